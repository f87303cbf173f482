// All schedules of those who take tokens, wait for them, and are stopped meanwhile. No token is given twice, and one that is
// stopped has taken none.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/rate_limiter.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
using explore::expect_right;
using namespace std::chrono_literals;

struct bucket {
    leat::rate_limiter tokens{1, 2};  // one a second, two at first
    explore::hand_executor worker;
    leat::stop_source stop;
    int had = 0, left = 0;  // the worker's own
};

TEST(rate_limiter, of_two_tokens_three_threads_that_do_not_wait_have_at_most_two) {
    expect_right(explore::run({.preemption_bound = 3, .stale = 1}, [] {
        auto all = std::make_shared<bucket>();
        auto taken = std::make_shared<leat::env::atomic<int>>(0);
        for (int i = 0; i < 3; ++i)
            explore::thread("takes", [all, taken] {
                if (all->tokens.try_acquire(1, leat::time_point{})) taken->fetch_add(1);
            });
        explore::join_all();
        const int before = taken->load();
        explore::check(before >= 1 && before <= 2, "the first that comes has one, and the third never");
        for (int i = before; i < 2; ++i)
            explore::check(all->tokens.try_acquire(1, leat::time_point{}), "the other token is still there");
        explore::check(!all->tokens.try_acquire(1, leat::time_point{}), "there were two");
    }));
}

TEST(rate_limiter, threads_that_wait_are_served_in_turn) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<bucket>();
        const leat::time_point begin = leat::env::now();
        for (int i = 0; i < 2; ++i) explore::thread("takes two", [all] { all->tokens.blocking_acquire(2); });
        explore::join_all();
        explore::check(leat::env::now() - begin >= 2s, "the second had to wait for its own two");
    }));
}

leat::task<> takes_two(bucket& all) {
    try {
        auto taking = all.tokens.acquire(2);
        co_await taking;
        ++all.had;
    } catch (const leat::cancelled&) {
        ++all.left;
    }
}

TEST(rate_limiter, one_that_is_stopped_while_another_takes_has_taken_none) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<bucket>();
        const leat::time_point begin = leat::env::now();
        explore::thread("takes two", [all] { all->tokens.blocking_acquire(2); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("clock", [all] { all->worker.fire_timers(); });
        explore::run_line(all->worker, "leaves", takes_two(*all), &all->stop);
        explore::join_all();
        explore::check(all->had + all->left == 1 && all->worker.idle(), "one wait, one end");
        explore::check(all->tokens.try_acquire(2, begin + 100s), "it fills again");
    }));
}

}  // namespace
