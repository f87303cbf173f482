// ring_copier: whichever way it copies, and however often it measures, what was copied is there and nothing else is touched.
#include <leat/process/ring_copier.hpp>

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

namespace {

TEST(ring_copier, copies_of_all_sizes_and_places_are_whole) {
    constexpr std::size_t room = 40'000;
    leat::detail::ring_copier copier(16'384);  // a short lap: all phases, many times
    std::vector<std::byte> from(room);
    for (std::size_t i = 0; i < room; ++i) from[i] = std::byte(i * 131 % 251 + 1);
    std::size_t copied = 0;
    for (std::size_t size = 0; size < room - 128; size += 1 + size % 97) {
        const std::size_t source = size % 61;
        const std::size_t place = size * 7 % 64;
        std::vector<std::byte> to(room, std::byte(0));
        copier.copy(to.data() + place, from.data() + source, size);
        copied += size;
        ASSERT_EQ(std::memcmp(to.data() + place, from.data() + source, size), 0) << size;
        for (std::size_t i = 0; i < place; ++i) ASSERT_EQ(to[i], std::byte(0)) << size;
        for (std::size_t i = place + size; i < room; ++i) ASSERT_EQ(to[i], std::byte(0)) << size;
    }
    EXPECT_GT(copied, 16'384U * 40);
}

}  // namespace
