// All schedules of recursive and shared mutexes, of locks that are waited for only so long, and of locks that are destroyed
// by whoever has had them last.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/recursive_mutex.hpp>
#include <leat/sync/shared_mutex.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using namespace std::chrono_literals;

struct timed {
    explore::hand_executor worker;
    leat::mutex lock;
    leat::stop_source stop;
    int had = 0, late = 0, stopped = 0;
};

leat::task<> lock_in_time(timed& all) {
    try {
        const auto held = co_await all.lock.lock_for(1h);
        (held ? all.had : all.late) += 1;
    } catch (const leat::cancelled&) {
        ++all.stopped;
    }
}

TEST(timed_lock, is_had_or_late_and_free_afterwards) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<timed>();
        auto held = all->lock.try_lock();
        explore::line waits(all->worker, "waits", lock_in_time(*all));
        waits.start();
        explore::thread("clock", [all] { all->worker.fire_timers(); });
        explore::thread("holder",
                        [all, mine = std::make_shared<leat::mutex::guard>(std::move(*held))] { mine->unlock(); });
        waits.finish();
        explore::join_all();
        explore::check(all->had + all->late == 1, "one wait, one end");
        explore::check(!all->lock.is_locked() && all->worker.idle(), "it is free again");
    }));
}

TEST(timed_lock, whose_time_comes_while_it_begins_to_wait_ends_once) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<timed>();
        auto held = all->lock.try_lock();
        explore::thread("clock", [all] { all->worker.fire_timers(); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("holder",
                        [all, mine = std::make_shared<leat::mutex::guard>(std::move(*held))] { mine->unlock(); });
        explore::run_line(all->worker, "waits", lock_in_time(*all), &all->stop);
        explore::join_all();
        explore::check(all->had + all->late + all->stopped == 1, "one wait, one end");
        explore::check(!all->lock.is_locked() && all->worker.idle(), "it is free again");
    }));
}

TEST(timed_lock, of_plain_threads_is_had_or_late_and_free_afterwards) {
    expect_right(explore::run({.preemption_bound = 3, .timeouts = 1, .spurious = 1}, [] {
        struct state {
            leat::mutex lock;
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        explore::thread("in time or not", [all] {
            if (const auto held = all->lock.blocking_lock_for(1s)) all->data.write() += 1;
        });
        explore::thread("in any case", [all] {
            const auto held = all->lock.blocking_lock();
            all->data.write() += 1;
        });
        explore::join_all();
        explore::check(all->data.read() >= 1 && !all->lock.is_locked(), "it is free again");
    }));
}

TEST(mutex_end, one_that_is_unlocked_may_be_destroyed_by_the_next_that_had_it) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto lock = std::make_shared<std::unique_ptr<leat::mutex>>(std::make_unique<leat::mutex>());
        auto held = (*lock)->try_lock();
        explore::thread("waits", [lock] { const auto mine = (*lock)->blocking_lock(); });
        explore::thread("unlocks", [mine = std::make_shared<leat::mutex::guard>(std::move(*held))] { mine->unlock(); });
        explore::join_all();
        lock->reset();
    }));
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            std::unique_ptr<leat::mutex> lock = std::make_unique<leat::mutex>();
            std::optional<leat::mutex::guard> held = lock->try_lock();
        };
        auto all = std::make_shared<state>();
        explore::thread("had it", [all] { all->held.reset(); });
        explore::thread("waits", [all] {
            (void)all->lock->blocking_lock();
            // The last one, if the other has unlocked: nobody but us can have it now.
            all->lock.reset();
        });
        explore::join_all();
    }));
}

leat::task<> nested(leat::recursive_mutex& lock, env::shared<int>& data) {
    const auto outer = co_await lock.lock();
    const int before = data.read();
    co_await leat::this_task::yield();
    const auto inner = co_await lock.lock();
    data.write() = before + 1;
}

TEST(recursive_mutex, two_owners_are_never_inside_at_once) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            leat::recursive_mutex lock;
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread([all] {
                explore::hand_executor worker;
                explore::run_line(worker, "owner", nested(all->lock, all->data));
            });
        explore::join_all();
        explore::check(all->data.read() == 2 && all->lock.try_lock(), "both wrote, and left it unlocked");
    }));
}

struct pages {
    leat::shared_mutex lock;
    env::shared<int> data{0};
    leat::stop_source stop;
};

leat::task<> reads(pages& all) {
    const auto held = co_await all.lock.lock_shared();
    const int before = all.data.read();
    co_await leat::this_task::yield();
    explore::check(all.data.read() == before, "nobody writes meanwhile");
}
leat::task<> writes(pages& all) {
    const auto held = co_await all.lock.lock();
    all.data.write() += 1;
    co_await leat::this_task::yield();
    all.data.write() += 1;
}
void on_this_thread(leat::task<> body, leat::stop_source* stop = nullptr) {
    explore::hand_executor worker;
    explore::run_line(worker, "reader or writer", std::move(body), stop);
}

TEST(shared_mutex, readers_and_a_writer_exclude_each_other) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<pages>();
        for (int i = 0; i < 2; ++i) explore::thread("reader", [all] { on_this_thread(reads(*all)); });
        explore::thread("writer", [all] { on_this_thread(writes(*all)); });
        explore::join_all();
        explore::check(all->data.read() == 2 && all->lock.try_lock(), "it is free again");
    }));
}

TEST(shared_mutex, a_writer_that_is_stopped_while_it_waits_lets_the_reader_behind_it_go) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<pages>();
        explore::thread("reader", [all] { on_this_thread(reads(*all)); });
        explore::thread("writer", [all] { on_this_thread(writes(*all), &all->stop); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        on_this_thread(reads(*all));
        explore::join_all();
        explore::check(all->lock.try_lock().has_value(), "it is free again");
    }));
}

}  // namespace
