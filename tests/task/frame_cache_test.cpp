// The memory of frames: what is freed is used again, on the thread that freed it, and no more than the bound is kept.
#include <leat/task/frame_cache.hpp>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <core.hpp>
#include <cstring>
#include <set>
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
    void* const first = allocate_frame(97);
    void* const second = allocate_frame(112);
    void* const larger = allocate_frame(113);
    const std::size_t kept = mine.kept();
    free_frame(first, 97);
    free_frame(second, 112);
    EXPECT_EQ(mine.kept(), kept + 224U);
    void* const of_another_class = allocate_frame(113);
    EXPECT_NE(of_another_class, second);
    EXPECT_EQ(allocate_frame(100), second);
    EXPECT_EQ(allocate_frame(112), first);
    free_frame(first, 112);
    free_frame(second, 100);
    free_frame(larger, 113);
    free_frame(of_another_class, 113);
    EXPECT_EQ(mine.kept(), kept + 224U + 128U);
}

TEST(frame_cache, blocks_are_aligned_and_lie_side_by_side) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    constexpr std::size_t many = 20'000;
    for (const std::size_t size : {1, 112, 128, 240, 1000, 2048}) {
        frame_cache mine;
        const frame_cache::here installed(mine);
        std::set<std::uintptr_t> made;
        for (std::size_t i = 0; i < many; ++i) {
            void* const block = allocate_frame(size);
            std::memset(block, 0x5a, size);
            made.insert(reinterpret_cast<std::uintptr_t>(block));
        }
        EXPECT_EQ(made.size(), many);
        std::size_t beside = 0;
        const std::size_t each = frame_cache::bytes_of(frame_cache::class_of(size));
        std::uintptr_t before = 0;
        for (const std::uintptr_t block : made) {
            EXPECT_EQ(block % 16, 0U);
            EXPECT_GE(block - before, each);
            beside += block - before == each;
            before = block;
        }
        EXPECT_GT(beside, many * 9 / 10);
        // In an order of its own.
        for (const std::uintptr_t block : made)
            if (block % 3 == 0) free_frame(reinterpret_cast<void*>(block), size);
        for (const std::uintptr_t block : made)
            if (block % 3 != 0) free_frame(reinterpret_cast<void*>(block), size);
    }
}

TEST(frame_cache, what_is_free_goes_back_to_the_heap) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    constexpr std::size_t many = 400'000, size = 512;  // 200 MB
    const auto in_use = [] { return ::mallinfo2().uordblks + ::mallinfo2().hblkhd; };
    const std::size_t before = in_use();
    {
        frame_cache mine;
        const frame_cache::here installed(mine);
        std::vector<void*> made;
        for (std::size_t i = 0; i < many; ++i) made.push_back(allocate_frame(size));
        EXPECT_GT(in_use(), before + many * size);
        for (void* each : made) free_frame(each, size);
    }
    EXPECT_LT(in_use(), before + (1U << 20U));
}

TEST(frame_cache, a_forked_child_makes_frames_whatever_other_threads_did) {
    if (!frame_cache::keeps_any()) GTEST_SKIP() << "this build leaves blocks to the heap";
    std::atomic<bool> over{false};
    std::jthread other([&] {
        while (!over) free_frame(allocate_frame(64), 64);  // without a cache: through the lock each time
    });
    int status = 0;
    for (int i = 0; i < 50 && status == 0; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            free_frame(allocate_frame(64), 64);
            ::_exit(0);
        }
        EXPECT_EQ(::waitpid(child, &status, 0), child);
    }
    over = true;
    EXPECT_EQ(status, 0);
}

TEST(frame_cache, sizes_above_the_classes_and_blocks_of_threads_without_a_cache_are_not_kept) {
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
        EXPECT_LE(theirs.kept(), frame_cache::most_kept + block);
        EXPECT_EQ(theirs.kept() > frame_cache::most_kept / 2, frame_cache::keeps_any());
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
    const std::size_t kept = inner.kept();
    EXPECT_GT(kept, 0U);
    EXPECT_EQ(outer.kept(), 0U);
    free_frame(allocate_frame(72), 72);
    EXPECT_EQ(inner.kept(), kept);
    EXPECT_GT(outer.kept(), 0U);
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
