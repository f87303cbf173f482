// The memory of frames: what is freed is used again, on the thread that freed it, and no more than the bound is kept.
#include <leat/task/frame_cache.hpp>

#include <core.hpp>
#include <thread>
#include <vector>

#include <leat/task/generator.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::detail::allocate_frame;
using leat::detail::frame_cache;
using leat::detail::free_frame;

TEST(frame_cache, what_was_freed_last_is_the_next_block_of_its_class) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    frame_cache mine;
    const frame_cache::here installed(mine);
    void* const first = allocate_frame(100);
    void* const second = allocate_frame(104);
    EXPECT_EQ(mine.kept(), 0U);
    free_frame(first, 100);
    free_frame(second, 104);
    EXPECT_EQ(mine.kept(), 208U);
    void* const larger = allocate_frame(105);
    EXPECT_NE(larger, second) << "of another class";
    EXPECT_EQ(allocate_frame(89), second);
    EXPECT_EQ(allocate_frame(104), first);
    EXPECT_EQ(mine.kept(), 0U);
    free_frame(first, 104);
    free_frame(second, 89);
    free_frame(larger, 105);
    EXPECT_EQ(mine.kept(), 208U + 120U);
}

TEST(frame_cache, sizes_above_the_classes_and_threads_without_a_cache_use_the_heap) {
    frame_cache mine;
    constexpr std::size_t large = frame_cache::granule * frame_cache::classes + 1;
    {
        const frame_cache::here installed(mine);
        free_frame(allocate_frame(large), large);
        EXPECT_EQ(mine.kept(), 0U);
    }
    free_frame(allocate_frame(64), 64);
    EXPECT_EQ(mine.kept(), 0U);
}

TEST(frame_cache, no_more_than_the_bound_is_kept_of_what_other_threads_made) {
    constexpr std::size_t block = frame_cache::bytes_of(16);
    std::vector<void*> made;
    for (std::size_t i = 0; i < 3 * frame_cache::most_kept / block; ++i) made.push_back(allocate_frame(block));
    std::thread([&] {
        frame_cache theirs;
        const frame_cache::here installed(theirs);
        for (void* each : made) free_frame(each, block);
        EXPECT_EQ(theirs.kept() / block, frame_cache::keeps_any() ? frame_cache::most_kept / block + 1 : 0U);
    }).join();
}

TEST(frame_cache, a_cache_inside_another_gives_the_thread_back) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    frame_cache outer, inner;
    const frame_cache::here first(outer);
    {
        const frame_cache::here second(inner);
        free_frame(allocate_frame(72), 72);
    }
    free_frame(allocate_frame(72), 72);
    EXPECT_EQ(inner.kept(), 72U);
    EXPECT_EQ(outer.kept(), 72U);
}

[[gnu::noinline]] leat::generator<int> up_to(int last) {
    if (last > 1) co_yield leat::elements_of(up_to(last - 1));
    co_yield last;
}

TEST(frame_cache, frames_of_generators_are_used_again) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    frame_cache mine;
    const frame_cache::here installed(mine);
    const auto sum = [] {
        int total = 0;
        for (const int each : up_to(5)) total += each;
        return total;
    };
    EXPECT_EQ(sum(), 15);
    const std::size_t kept = mine.kept();
    EXPECT_GT(kept, 0U);
    EXPECT_EQ(sum(), 15);
    EXPECT_EQ(mine.kept(), kept);
}

leat::task<> nested(int depth) {
    if (depth > 0) co_await nested(depth - 1);
}

TEST(frame_cache, frames_of_tasks_that_move_between_threads_are_sound) {
    const auto body = [](leat::scope& work) -> leat::task<> {
        for (int i = 0; i < 2000; ++i) work.spawn(nested, i % 40);
        co_return;
    };
    leat_test::on_threads(4, [&] { return leat::with_scope(body); });
}

}  // namespace
