// shared_array: made, passed on, attached to, and used beside a lock.
#include <leat/process/shared_array.hpp>

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <leat/process/process_mutex.hpp>
#include <numeric>

#include "forked_child.hpp"
#include "passing.hpp"

namespace {

using kind = leat::shared_error::kind;
using leat::shared_array;
using leat_test::forked_child;
using leat_test::give;
using leat_test::made;

struct point {
    double x, y;
};

TEST(shared_array, is_zero_and_seen_by_another_process) {
    const auto points = made(shared_array<point>::create(1000));
    EXPECT_EQ(points.size(), 1000U);
    EXPECT_TRUE(std::ranges::all_of(points, [](const point& each) { return each.x == 0 && each.y == 0; }));
    forked_child child([&] {
        points[999] = {1, 2};
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(points.elements().back().y, 2);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(points.data()) % 64, 0U);
}

TEST(shared_array, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    const auto numbers = made(shared_array<int>::create(10));
    std::iota(numbers.begin(), numbers.end(), 0);
    const auto same = made(shared_array<int>::attach(give(numbers.passed(710))));
    EXPECT_EQ(same.size(), 10U);
    EXPECT_EQ(same[7], 7);

    EXPECT_EQ(shared_array<int>::create(0).error().what, kind::bad_size);
    EXPECT_EQ(shared_array<int>::create(SIZE_MAX / 4).error().what, kind::bad_size);
    EXPECT_EQ(shared_array<int>::attach(800).error().what, kind::not_shared);
    EXPECT_EQ(shared_array<point>::attach(give(numbers.passed(710))).error().what, kind::wrong_kind);
    const auto other = made(leat::shared_memory::create(4096));
    EXPECT_EQ(shared_array<int>::attach(give({{other.fd(), 710}})).error().what, kind::wrong_kind);
    const auto memory = made(leat::shared_memory::attach(leat::io::unique_fd(::dup(numbers.passed(3)[0].here))));
    for (const std::uint64_t count : {std::uint64_t{1009}, UINT64_MAX, UINT64_MAX / 4 + 1}) {
        std::memcpy(memory.bytes().data() + 16, &count, sizeof count);
        EXPECT_EQ(shared_array<int>::attach(give(numbers.passed(710))).error().what, kind::wrong_size);
    }
    EXPECT_EQ(numbers.size(), 10U) << "as it was when it was checked";
}

TEST(shared_array, a_lock_beside_it_keeps_changes_whole) {
    const auto counts = made(shared_array<std::uint64_t>::create(2));
    auto lock = made(leat::process_mutex::create());
    const auto work = [&] {
        for (int i = 0; i < 2000; ++i) {
            const auto held = lock.blocking_lock();
            counts[0] += 1;
            counts[1] += counts[0];
        }
        return 0;
    };
    forked_child child(work);
    work();
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(counts[0], 4000U);
    EXPECT_EQ(counts[1], 4000U * 4001 / 2);
}

}  // namespace
