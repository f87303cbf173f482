// All schedules of a semaphore's waiters against release, stop and each other: no permit is lost, none is given twice, and
// one that was meant for a waiter that leaves goes to the next.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

struct scene {
    explicit scene(std::size_t permits) : here(permits) {}
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::semaphore here;
    int got = 0, left = 0;  // lines that were served, or stopped: the worker's own
};

// Acquires `count` permits and keeps them out of the semaphore.
leat::task<> take(scene& all, std::size_t count) {
    try {
        auto held = co_await all.here.acquire(count);
        held.forget();
        ++all.got;
    } catch (const leat::cancelled&) {
        ++all.left;
    }
}

TEST(semaphore, a_permit_released_while_its_waiter_is_stopped_is_taken_or_kept) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>(0);
        explore::thread("releaser", [all] { all->here.release(); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::run_line(all->worker, "taker", take(*all, 1), &all->stop);
        explore::join_all();
        explore::check(all->got + all->left == 1, "one wait, one end");
        explore::check(static_cast<std::size_t>(all->got) + all->here.available() == 1, "the permit is taken or kept");
    }));
}

TEST(semaphore, a_permit_meant_for_a_waiter_that_is_stopped_goes_to_the_next) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>(0);
        explore::line leaves(all->worker, "leaves", take(*all, 1));
        explore::line stays(all->worker, "stays", take(*all, 1));
        leaves.attach(all->stop);
        explore::thread("releaser", [all] { all->here.release(); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        leaves.start();
        stays.start();
        leaves.finish();
        if (all->left == 0) all->here.release();  // the first has taken the one permit
        stays.finish();
        explore::join_all();
        explore::check(all->got + all->left == 2, "each wait has ended");
        explore::check(all->here.available() == 0, "and no permit is left behind");
    }));
}

TEST(semaphore, one_that_asks_for_many_lets_those_behind_it_go_when_it_is_stopped) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>(1);
        explore::line many(all->worker, "many", take(*all, 2));
        explore::line few(all->worker, "few", take(*all, 1));
        many.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("trier", [all] {
            if (auto one = all->here.try_acquire()) one->release();
        });
        many.start();
        few.start();
        many.finish();
        few.finish();
        explore::join_all();
        explore::check(all->left == 1 && all->got == 1 && all->here.available() == 0, "few has the permit");
    }));
}

TEST(semaphore, one_that_asks_for_few_waits_behind_one_that_asks_for_many) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>(1);
        explore::line many(all->worker, "many", take(*all, 2));
        explore::line few(all->worker, "few", take(*all, 1));
        many.start();
        explore::check(!all->here.try_acquire(), "there is a permit, but somebody waits for it");
        explore::thread("releaser", [all] { all->here.release(); });
        explore::thread("trier", [all] {
            if (auto one = all->here.try_acquire()) one->release();
        });
        few.start();
        many.finish();  // one release is enough for it, if nobody has overtaken
        all->here.release();
        few.finish();
        explore::join_all();
        explore::check(all->got == 2 && all->here.available() == 0, "both were served");
    }));
}

TEST(semaphore, releases_of_two_threads_serve_one_that_needs_both) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>(0);
        for (int i = 0; i < 2; ++i) explore::thread([all] { all->here.release(); });
        explore::run_line(all->worker, "taker", take(*all, 2));
        explore::join_all();
        explore::check(all->got == 1 && all->here.available() == 0, "served once, with both");
    }));
}

// Enters with a permit, waits inside, and leaves.
leat::task<> visit(leat::semaphore& door, env::atomic<int>& inside, int most) {
    auto held = co_await door.acquire();
    explore::check(inside.fetch_add(1, env::relaxed) < most, "no more inside than permits");
    co_await leat::this_task::yield();
    inside.fetch_sub(1, env::relaxed);
}

TEST(semaphore, no_more_are_inside_than_there_are_permits) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state {
            leat::semaphore door{2};
            env::atomic<int> inside{0};
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 3; ++i)
            explore::thread([all] {
                explore::hand_executor worker;
                explore::run_line(worker, "visitor", visit(all->door, all->inside, 2));
            });
        explore::join_all();
        explore::check(all->door.available() == 2, "all permits are back");
    }));
}

}  // namespace
