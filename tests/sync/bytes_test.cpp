// What a task takes that waits: there may be a million of them.
#include <malloc.h>

#include <core.hpp>

#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::task;

// Words that somebody has counted: who adds one finds out here.
static_assert(sizeof(leat::context) <= 104);
static_assert(sizeof(leat::detail::promise<void>) <= 16);
static_assert(sizeof(leat::detail::spawned<leat::detail::unnamed, task<>>) <= 112);
static_assert(sizeof(leat::waiter) <= 32);

task<> waits(leat::semaphore* gate, int* ended) {
    (void)co_await gate->acquire();
    ++*ended;
}

TEST(bytes, of_a_task_that_waits_are_less_than_250) {
    if (!leat::detail::frame_cache::keeps_any()) GTEST_SKIP() << "a sanitizer's heap";
#if !defined(__OPTIMIZE__)
    GTEST_SKIP() << "frames that nobody has made small";
#endif
    leat_test::on_one_thread([]() -> task<> {
        constexpr int many = 100'000;
        const auto in_use = [] { return ::mallinfo2().uordblks + ::mallinfo2().hblkhd; };
        int ended = 0;
        leat::semaphore gate(0);
        leat::scope work;
        const std::size_t before = in_use();
        for (int i = 0; i < many; ++i) work.spawn(waits, &gate, &ended);
        co_await leat::this_task::yield();
        EXPECT_LT(in_use() - before, std::size_t{250} * many);
        gate.release(1);  // each gives it to the next
        co_await work.join();
        EXPECT_EQ(ended, many);
    });
}

}  // namespace
