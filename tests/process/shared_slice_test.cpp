// shared_slice: elements in shared memory that cross without a copy, and slices that make no sense.
#include <leat/process/shared_slice.hpp>

#include <gtest/gtest.h>
#include <leat/process/process_pipe.hpp>
#include <numeric>
#include <soak.hpp>
#include <string>
#include <vector>

#include "forked_child.hpp"

namespace {

using leat::shared_memory;
using leat::shared_region;
using leat::shared_slice;
using leat_test::forked_child;
using leat_test::made;

struct point {
    double x, y;
};
struct frame {
    int number;
    std::vector<shared_slice<point>> parts;
};
static_assert(leat::crosses_processes<frame>);

shared_region region_of(std::size_t bytes) { return made(shared_region::of(made(shared_memory::create(bytes)))); }

TEST(shared_slice, elements_cross_to_another_process_without_a_copy) {
    auto memory = region_of(1 << 20);
    auto ends = made(leat::process_pipe<frame, double>::create());
    forked_child child([&] {
        ends.here.reset();
        // As a program that was started with the descriptor, which maps it elsewhere.
        const auto mine = made(shared_region::of(made(shared_memory::attach(leat::io::unique_fd(::dup(memory.fd()))))));
        while (const auto got = ends.there.blocking_recv()) {
            double sum = 0;
            for (const auto& part : got->parts)
                for (point& each : part.elements()) sum += std::exchange(each.x, -1);
            if (!ends.there.blocking_send(sum)) return 1;
        }
        return 0;
    });
    ends.there.reset();
    const auto first = memory.slice<point>(0, 100);
    const auto second = memory.slice<point>(4096, 1000);
    ASSERT_TRUE(first && second);
    for (const auto& slice : {*first, *second})
        for (point& each : slice.elements()) each.x = 2;
    const frame sent{7, {*first, *second}};
    EXPECT_LT(leat::encode(sent).size(), 200U);
    EXPECT_TRUE(ends.here.blocking_send(sent));
    EXPECT_EQ(ends.here.blocking_recv().value(), 2200);
    EXPECT_EQ(second->elements().back().x, -1) << "the same bytes";
    ends.here.close();
    EXPECT_EQ(child.wait(), 0);
}

TEST(shared_slice, what_is_not_inside_or_not_aligned_cannot_be_had) {
    const auto memory = region_of(4096);
    EXPECT_TRUE(memory.slice<point>(0, 256));
    EXPECT_FALSE(memory.slice<point>(0, 257));
    EXPECT_FALSE(memory.slice<point>(8, 256));
    EXPECT_FALSE(memory.slice<point>(4, 1));
    EXPECT_FALSE(memory.slice<point>(4104, 0));
    EXPECT_FALSE(memory.slice<point>(0, SIZE_MAX / 8));
    EXPECT_FALSE(memory.slice<point>(SIZE_MAX - 7, 1));
    EXPECT_EQ(memory.slice<point>(4096, 0)->size(), 0U);
}

TEST(shared_slice, one_that_arrives_is_checked) {
    const auto memory = region_of(4096);
    using place = leat::detail::slice_place;
    const auto good = leat::decode<place>(leat::encode(*memory.slice<point>(16, 3))).value();
    const auto decodes = [](const place& what) { return bool(leat::decode<shared_slice<point>>(leat::encode(what))); };
    EXPECT_TRUE(decodes(good));
    const auto with = [&](auto change) {
        place what = good;
        change(what);
        return decodes(what);
    };
    EXPECT_FALSE(with([](place& what) { ++what.number; }));
    EXPECT_FALSE(with([](place& what) { ++what.device; }));
    EXPECT_FALSE(with([](place& what) { what.offset = 4; }));
    EXPECT_FALSE(with([](place& what) { what.offset = 4096; }));
    EXPECT_FALSE(with([](place& what) { what.offset = UINT64_MAX - 15; }));
    EXPECT_FALSE(with([](place& what) { what.count = 256; }));
    EXPECT_FALSE(with([](place& what) { what.count = UINT64_MAX / sizeof(point) + 2; }));
    EXPECT_FALSE(with([](place& what) { what.element_bytes = 8; }));
    leat_test::dice random(1);
    for (int i = 0; i < 2000; ++i) {
        std::string message = leat::encode(good);
        for (int k = 0; k < 3; ++k)
            message[random(static_cast<unsigned>(message.size()))] = static_cast<char>(random(256));
        const auto got = leat::decode<shared_slice<point>>(message);
        if (!got) continue;
        const auto bytes = std::as_writable_bytes(got->elements());
        EXPECT_TRUE(bytes.empty() || (&bytes.front() >= memory.bytes().data() &&
                                      &bytes.back() < memory.bytes().data() + memory.bytes().size()));
    }
}

TEST(shared_slice, memory_is_known_as_long_as_a_region_or_a_slice_of_it_lives) {
    std::string message;
    {
        std::optional<shared_slice<int>> kept;
        {
            const auto memory = region_of(4096);
            const auto slice = memory.slice<int>(0, 10);
            std::iota(slice->elements().begin(), slice->elements().end(), 0);
            message = leat::encode(*slice);
            kept = slice;
        }
        EXPECT_EQ(kept->elements()[9], 9) << "it is still mapped";
        EXPECT_EQ(leat::decode<shared_slice<int>>(message)->elements()[9], 9);
    }
    const auto gone = leat::decode<shared_slice<int>>(message);
    ASSERT_FALSE(gone);
    EXPECT_NE(gone.error().text(), "");
}

TEST(shared_slice, each_of_several_mappings_of_one_memory_may_go) {
    auto first = std::optional(region_of(4096));
    const auto second = made(shared_region::of(made(shared_memory::attach(leat::io::unique_fd(::dup(first->fd()))))));
    first->bytes()[0] = std::byte(5);
    const std::string message = leat::encode(*second.slice<std::byte>(0, 1));
    first.reset();
    EXPECT_EQ(leat::decode<shared_slice<std::byte>>(message)->elements()[0], std::byte(5));
}

}  // namespace
