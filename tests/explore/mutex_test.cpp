// All schedules of tasks on different threads that lock one mutex and hold it over a suspension.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

struct state {
    leat::mutex lock;
    env::shared<int> data{0};
    leat::stop_source stop;
};

// Writes, waits, writes: a race on `data` when two are inside.
leat::task<> write_twice(state& all) {
    auto held = co_await all.lock.lock();
    const int before = all.data.read();
    co_await leat::this_task::yield();
    all.data.write() = before + 1;
}

void run_on_this_thread(state& all, leat::stop_source* stop = nullptr) {
    explore::hand_executor worker;
    explore::run_line(worker, "writer", write_twice(all), stop);
}

TEST(mutex, two_tasks_are_never_inside_at_once_and_see_what_the_other_wrote) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i) explore::thread([all] { run_on_this_thread(*all); });
        explore::join_all();
        explore::check(all->data.read() == 2 && !all->lock.is_locked(), "both wrote, and left it unlocked");
    }));
}

TEST(mutex, three_tasks_pass_it_on_among_them) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<state>();
        for (int i = 0; i < 3; ++i) explore::thread([all] { run_on_this_thread(*all); });
        explore::join_all();
        explore::check(all->data.read() == 3 && !all->lock.is_locked(), "all wrote, and left it unlocked");
    }));
}

TEST(mutex, a_task_that_is_stopped_while_it_waits_does_not_take_the_lock_along) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<state>();
        explore::thread("holder", [all] { run_on_this_thread(*all); });
        explore::thread("waiter", [all] { run_on_this_thread(*all, &all->stop); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::join_all();
        explore::check(all->data.read() >= 1 && !all->lock.is_locked(), "it is free again");
    }));
}

TEST(mutex, try_lock_takes_it_only_while_nobody_has_it) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<state>();
        explore::thread("locker", [all] { run_on_this_thread(*all); });
        explore::thread("trier", [all] {
            if (auto held = all->lock.try_lock()) all->data.write() += 1;
        });
        explore::join_all();
        explore::check(all->data.read() >= 1 && !all->lock.is_locked(), "it is free again");
    }));
}

}  // namespace
