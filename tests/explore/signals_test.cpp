// All schedules of those who wait for a signal against those who give it, take it back, stop them, and destroy it.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/barrier.hpp>
#include <leat/sync/condition_variable.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/latch.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using namespace std::chrono_literals;

template <class Event>
struct scene {
    explore::hand_executor worker;
    leat::stop_source stop;
    Event bell;
    env::shared<int> data{0};
    int rung = 0, left = 0;  // the worker's own
};

template <class Event>
leat::task<> waits(scene<Event>& all) {
    try {
        co_await all.bell.wait();
        ++all.rung;
        explore::check(all.data.read() == 1, "what was done before it was set is seen");
    } catch (const leat::cancelled&) {
        ++all.left;
    }
}

template <class Event>
void set_while_one_is_stopped() {
    auto all = std::make_shared<scene<Event>>();
    explore::line leaves(all->worker, "leaves", waits(*all));
    explore::line stays(all->worker, "stays", waits(*all));
    leaves.attach(all->stop);
    explore::thread("setter", [all] {
        all->data.write() = 1;
        all->bell.set();
    });
    explore::thread("stopper", [all] { all->stop.request_stop(); });
    leaves.start();
    stays.start();
    leaves.finish();
    if (std::is_same_v<Event, leat::auto_reset_event> && all->rung == 1 && !stays.has_ended()) all->bell.set();
    stays.finish();
    explore::join_all();
    explore::check(all->rung + all->left == 2 && all->left <= 1, "each wait has ended");
    explore::check(all->bell.is_set() == std::is_same_v<Event, leat::event> && all->worker.idle(), "nothing is left");
}

TEST(event, lets_all_go_on_that_are_not_stopped) {
    expect_right(explore::run({.preemption_bound = 3}, &set_while_one_is_stopped<leat::event>));
}

TEST(auto_reset_event, a_signal_passes_a_waiter_that_is_stopped_and_reaches_the_next) {
    expect_right(explore::run({.preemption_bound = 3}, &set_while_one_is_stopped<leat::auto_reset_event>));
}

// Two that announce work by one event; one that takes it back before it looks for work. Nothing is overlooked.
template <class Event>
void announced_by_two() {
    struct state {
        Event bell;
        env::atomic<int> work[2] = {0, 0};
    };
    auto all = std::make_shared<state>();
    for (int i = 0; i < 2; ++i)
        explore::thread("announces", [all, i] {
            all->work[i].store(1, env::relaxed);  // relaxed: the event orders it
            all->bell.set();
        });
    explore::thread("looks", [all] {
        bool found[2] = {false, false};
        while (!found[0] || !found[1]) {
            all->bell.blocking_wait();
            if constexpr (std::is_same_v<Event, leat::event>) all->bell.reset();
            for (int i = 0; i < 2; ++i) found[i] = found[i] || all->work[i].load(env::relaxed) == 1;
        }
    });
    explore::join_all();
}

TEST(event, who_resets_it_sees_what_was_done_before_it_was_set_again) {
    expect_right(explore::run({.preemption_bound = 2, .stale = 2}, &announced_by_two<leat::event>));
}

TEST(auto_reset_event, who_takes_it_sees_what_was_done_before_it_was_set_again) {
    expect_right(explore::run({.preemption_bound = 2, .stale = 2}, &announced_by_two<leat::auto_reset_event>));
}

TEST(event, may_be_destroyed_by_who_has_waited_for_it) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto bell = std::make_shared<std::unique_ptr<leat::event>>(std::make_unique<leat::event>());
        explore::thread("sets", [one = bell->get()] { one->set(); });
        explore::thread("waits", [bell] {
            (*bell)->blocking_wait();
            bell->reset();
        });
        explore::join_all();
    }));
    // Another one waits too: so who sets it takes the longer way.
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state {
            explore::hand_executor worker;
            std::unique_ptr<leat::event> bell = std::make_unique<leat::event>();
        };
        auto all = std::make_shared<state>();
        const auto waits_in_task = [](leat::event& bell) -> leat::task<> { co_await bell.wait(); };
        explore::line first(all->worker, "first", waits_in_task(*all->bell));
        first.start();
        explore::thread("sets", [one = all->bell.get()] { one->set(); });
        explore::thread("sees", [all] {
            while (!all->bell->is_set()) env::pause();
            all->bell.reset();
        });
        first.finish();
        explore::join_all();
    }));
}

leat::task<> waits_in_time(scene<leat::event>& all) {
    const bool rang = co_await all.bell.wait_for(1h);
    (rang ? all.rung : all.left) += 1;
}

TEST(event, set_while_its_waiters_time_is_over_ends_the_wait_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene<leat::event>>();
        explore::thread("setter", [all] { all->bell.set(); });
        explore::thread("clock", [all] { all->worker.fire_timers(); });
        explore::run_line(all->worker, "waits", waits_in_time(*all));
        explore::join_all();
        explore::check(all->rung + all->left == 1 && all->worker.idle(), "one wait, one end");
    }));
}

// Of those that one set() releases some can be posted together; one is on another executor, one may not have suspended yet.
struct mixed {
    explore::hand_executor worker, other;
    leat::event bell;
    env::shared<int> late_steps{0};  // the late line's own
    env::atomic<int> gone_on{0};

    void goes_on() {
        if (gone_on.fetch_add(1, env::acq_rel) + 1 != 4) return;
        worker.end();
        other.end();
    }
};

leat::task<> waits_simply(mixed& all) {
    co_await all.bell.wait();
    all.goes_on();
}

leat::task<> waits_elsewhere(mixed& all) {
    co_await all.bell.wait();
    explore::check(env::this_thread(env::slot::worker) == &all.other, "it goes on where it belongs");
    all.goes_on();
}

// A wait in two steps, with something to do before the second.
struct late_wait : leat::waiter {
    explicit late_wait(mixed& of) : all(of) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        line = &self.promise().leat_context();
        if (!line->prepare_wait(self, "the bell")) return false;
        wait_as(*line);
        if (!all.bell.watch(*this) && line->withdraw(line->current_ticket(), leat::context::wake::ready)) return false;
        ++all.late_steps.write();
        return line->commit_wait();
    }
    void await_resume() noexcept {
        all.bell.unwatch(*this);
        ++all.late_steps.write();
    }
    mixed& all;
};

leat::task<> waits_late(mixed& all) {
    late_wait rings(all);
    co_await rings;
    all.goes_on();
}

TEST(event, releases_all_whether_they_can_be_posted_together_or_not) {
    expect_right(explore::run({.preemption_bound = 1}, [] {
        auto all = std::make_shared<mixed>();
        explore::line first(all->worker, "first", waits_simply(*all));
        explore::line second(all->worker, "second", waits_simply(*all));
        explore::line elsewhere(all->other, "elsewhere", waits_elsewhere(*all));
        explore::line late(all->worker, "late", waits_late(*all));
        first.start();
        second.start();
        elsewhere.start();
        explore::thread("begins to wait", [&late] { late.start(); });
        explore::thread("sets", [all] { all->bell.set(); });
        explore::thread("another executor", [all] {
            env::this_thread(env::slot::worker) = &all->other;
            while (all->other.run_one()) {
            }
        });
        while (all->worker.run_one()) {
        }
        explore::join_all();
        explore::check(all->gone_on.load(env::relaxed) == 4 && all->worker.idle() && all->other.idle(), "all went on");
    }));
}

// --- condition_variable ---

struct shop {
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::mutex lock;
    leat::condition_variable changed;
    env::shared<int> jobs{0};  // under lock
    int had = 0, left = 0;     // the worker's own
};

leat::task<> takes_job(shop& all) {
    auto held = co_await all.lock.lock();
    const auto there_is_one = [&] { return all.jobs.read() > 0; };
    try {
        co_await all.changed.wait(held, there_is_one);
        --all.jobs.write();
        ++all.had;
    } catch (const leat::cancelled&) {
        explore::check(held && all.lock.is_locked(), "the lock is held however it ends");
        ++all.left;
    }
}

void gives_job(shop& all) {
    {
        const auto held = all.lock.blocking_lock();
        ++all.jobs.write();
    }
    all.changed.notify_one();
}

TEST(condition_variable, a_notification_after_the_change_is_not_missed) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<shop>();
        explore::thread("gives", [all] { gives_job(*all); });
        explore::run_line(all->worker, "takes", takes_job(*all));
        explore::join_all();
        explore::check(all->had == 1 && all->jobs.read() == 0 && !all->lock.is_locked(), "it had the job");
    }));
}

TEST(condition_variable, a_notification_passes_a_waiter_that_is_stopped_and_reaches_the_next) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<shop>();
        explore::line leaves(all->worker, "leaves", takes_job(*all));
        explore::line stays(all->worker, "stays", takes_job(*all));
        leaves.attach(all->stop);
        leaves.start();
        stays.start();
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("gives", [all] { gives_job(*all); });
        leaves.finish();
        if (all->had == 1 && !stays.has_ended()) {
            all->jobs.write() += 1;  // nobody else is in the shop
            all->changed.notify_one();
        }
        stays.finish();
        explore::join_all();
        explore::check(all->had + all->left == 2 && all->left <= 1, "each wait has ended");
        explore::check(all->jobs.read() == 0 && !all->lock.is_locked() && all->worker.idle(), "nothing is left");
    }));
}

TEST(condition_variable, plain_threads_wait_like_tasks) {
    expect_right(explore::run({.preemption_bound = 2, .timeouts = 1}, [] {
        auto all = std::make_shared<shop>();
        explore::thread("takes", [all] {
            auto held = all->lock.blocking_lock();
            const auto there_is_one = [&] { return all->jobs.read() > 0; };
            const bool in_time = all->changed.blocking_wait_for(held, 1s, there_is_one);
            if (in_time) --all->jobs.write();
            else all->changed.blocking_wait(held, there_is_one);
        });
        explore::thread("gives", [all] { gives_job(*all); });
        explore::join_all();
        explore::check(!all->lock.is_locked(), "it is free again");
    }));
}

// --- latch and barrier ---

TEST(latch, opens_when_the_last_has_counted_down_and_may_be_destroyed_then) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            std::unique_ptr<leat::latch> both = std::make_unique<leat::latch>(2);
            env::shared<int> data[2];
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread("counts", [all, i, latch = all->both.get()] {
                all->data[i].write() = 1;
                latch->count_down();
            });
        all->both->blocking_wait();
        explore::check(all->data[0].read() + all->data[1].read() == 2, "what both did before is seen");
        all->both.reset();
        explore::join_all();
    }));
}

TEST(barrier, nobody_goes_on_before_all_have_arrived_and_the_completion_has_run) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state {
            env::shared<int> completed{0};
            env::shared<int> data[2];
            struct completion {
                state* all;
                void operator()() noexcept {
                    explore::check(all->data[0].read() == all->data[1].read(), "all have arrived");
                    ++all->completed.write();
                }
            };
            leat::barrier<completion> both{2, completion{this}};
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread("takes part", [all, i] {
                for (int round = 1; round <= 2; ++round) {
                    ++all->data[i].write();
                    all->both.blocking_arrive_and_wait();
                    explore::check(all->completed.read() == round, "the completion has run");
                }
            });
        explore::join_all();
    }));
}

TEST(barrier, one_that_is_stopped_drops_out_and_the_other_goes_on) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state {
            leat::stop_source stop;
            leat::barrier<> both{2};
        };
        auto all = std::make_shared<state>();
        explore::thread("leaves", [all] {
            explore::hand_executor worker;
            const auto takes_part = [](leat::barrier<>& both) -> leat::task<> {
                const auto first = both.arrive();
                try {
                    co_await both.wait(first);
                } catch (const leat::cancelled&) {
                }
                both.drop(first);
            };
            explore::run_line(worker, "leaves", takes_part(all->both), &all->stop);
        });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        for (int round = 0; round < 3; ++round) all->both.blocking_arrive_and_wait();
        explore::join_all();
    }));
}

}  // namespace
