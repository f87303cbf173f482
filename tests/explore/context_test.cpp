// All schedules of the ends that a wait can have: of those who claim its ticket (a waker, a stop request, a timer) exactly
// one wins, what the winner hands over is seen by the line, and the line resumes exactly once.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/task/arm.hpp>
#include <leat/task/task.hpp>
#include <leat/task/this_task.hpp>
#include <memory>
#include <optional>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::context;
using wake = leat::context::wake;

// The smallest thing to wait at: one waiter, published under a lock or in two steps, and ended by whoever claims it.
struct door {
    enum class publish { under_lock, in_two_steps };

    env::mutex lock;
    context* line = nullptr;
    context::ticket ticket;
    env::shared<int> handed{0};    // written by the winner alone, read by the line when it was woken
    env::shared<int> entering{0};  // written by the line before it suspends and after it resumes
    int wins = 0;
    int resumed = 0;

    // Whoever calls this ends the wait, if there is one, as `reason`, and hands over `value`. True when it did.
    bool knock(wake reason, int value) {
        lock.lock();
        context* const waiting = line;
        const context::ticket which = ticket;
        const bool won = waiting != nullptr && waiting->claim(which, reason);
        if (won) {
            line = nullptr;
            ++wins;
            handed.write() = value;
        }
        lock.unlock();
        if (won) waiting->resume();
        return won;
    }

    struct awaiter {
        door& at;
        publish how;
        context::interruptible can;
        context* line = nullptr;
        bool refused = false;
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
            line = &self.promise().leat_context();
            if (how == publish::under_lock) {
                at.entering.write() = 1;
                env::lock_guard held(at.lock);
                refused = !line->begin_wait(self, "door", can);
                if (!refused) at.ticket = line->current_ticket(), at.line = line;
                return !refused;
            }
            refused = !line->prepare_wait(self, "door", can);
            if (refused) return false;
            {
                env::lock_guard held(at.lock);
                at.ticket = line->current_ticket(), at.line = line;
            }
            at.entering.write() = 1;
            return line->commit_wait();
        }
        wake await_resume() noexcept {
            const wake reason = line->woken_by();
            if (!refused || how == publish::under_lock) at.entering.write() = 0;  // its own: no lock is needed
            if (reason != wake::cancelled) explore::check(at.handed.read() != 0, "what was handed over is there");
            env::lock_guard held(at.lock);
            at.line = nullptr;
            ++at.resumed;
            explore::check(refused || line->waits_for() == nullptr, "a line that runs waits for nothing");
            return reason;
        }
    };
    awaiter wait(publish how, context::interruptible can = context::interruptible::yes) { return {*this, how, can}; }
};

struct scene {
    explore::hand_executor worker;
    leat::stop_source stop;
    door here;
    wake seen = wake::ready;
    std::array<bool, 2> won{};
};

leat::task<> wait_at(scene& all, door::publish how, context::interruptible can) {
    auto wait = all.here.wait(how, can);
    all.seen = co_await wait;
}

// Runs a line that waits once on the first thread, and each of `others` on a thread of its own; then has the line, if it
// still waits, ended.
template <class... Others>
explore::report wait_once(const explore::options& how, door::publish publish, context::interruptible can,
                          Others... others) {
    return explore::run(how, [=] {
        auto all = std::make_shared<scene>();
        explore::name(&all->here.lock, "door");
        explore::line line(all->worker, "line", wait_at(*all, publish, can));
        line.attach(all->stop);
        (explore::thread([all, others] { others(*all); }), ...);
        line.start();
        explore::join_all();
        if (!line.has_ended()) {
            if (all->here.wins == 0) (void)all->here.knock(wake::ready, 9);
            line.finish();
        }
        explore::check(all->here.resumed == 1, "the line has resumed once");
        explore::check(all->worker.idle(), "and was posted no more than that");
        explore::check(all->here.wins <= 1, "at most one claim has won");
        explore::check(all->won[0] + all->won[1] <= all->here.wins, "who was told so is who won");
        if (all->here.wins == 0) explore::check(all->seen == wake::cancelled, "else it was stopped");
    });
}

const auto waker = [](scene& all) { all.won[0] = all.here.knock(wake::ready, 1); };
const auto timer = [](scene& all) { all.won[1] = all.here.knock(wake::timed_out, 2); };
const auto stopper = [](scene& all) { all.stop.request_stop(); };

constexpr auto interruptible = context::interruptible::yes;
constexpr auto deaf = context::interruptible::no;
class context_wait : public testing::TestWithParam<door::publish> {};

TEST_P(context_wait, a_waker_and_a_timer_exclude_each_other) {
    expect_right(wait_once(all_schedules, GetParam(), interruptible, waker, timer));
}

TEST_P(context_wait, a_waker_and_a_stop_request_exclude_each_other) {
    expect_right(wait_once(all_schedules, GetParam(), interruptible, waker, stopper));
    expect_right(wait_once({.preemption_bound = 3, .spurious = 1}, GetParam(), interruptible, waker, stopper));
}

TEST_P(context_wait, two_stop_requests_end_a_wait_once) {
    const auto direct = [](scene& all) {
        // As a combinator does: asks the line itself, which it knows to live.
        all.here.lock.lock();
        context* const line = all.here.line;
        if (line != nullptr) line->request_stop();
        all.here.lock.unlock();
    };
    expect_right(wait_once({.preemption_bound = 4}, GetParam(), interruptible, stopper, direct));
}

TEST_P(context_wait, a_stop_request_leaves_a_deaf_wait_alone) {
    const explore::report report = explore::run(all_schedules, [publish = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::line line(all->worker, "line", wait_at(*all, publish, deaf));
        line.attach(all->stop);
        explore::thread([all] { all->stop.request_stop(); });
        line.start();
        explore::join_all();
        explore::check(!line.has_ended() && all->worker.idle(), "still waits");
        explore::check(line.stop_requested(), "but knows of the request");
        explore::check(all->here.knock(wake::ready, 1), "and can be woken");
        line.finish();
        explore::check(all->seen == wake::ready, "as if nothing had been asked");
    });
    expect_right(report);
}

struct unstarted {
    explore::hand_executor worker;
    leat::stop_source stop;
    context line{worker, "line"};
};

TEST(context, a_stop_request_is_known_to_a_line_that_has_never_waited_and_to_what_it_begins) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<unstarted>();
        all->line.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("line", [all] {
            const bool before = all->line.stop_requested();
            const leat::child_stop_source below(all->line.stop());
            explore::check(!before || below.stop_requested(), "who comes after the request is told at once");
            while (!below.stop_requested()) env::pause();
        });
        explore::join_all();
        explore::check(all->line.stop_requested(), "as is the line");
        all->line.detach();
    }));
}

TEST(context, a_line_that_has_never_waited_asks_its_source) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<unstarted>();
        all->line.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("line", [all] {
            while (!all->line.stop_requested()) env::pause();
        });
    }));
}

leat::task<> wait_twice(scene& all, context::interruptible first, wake& second) {
    auto one = all.here.wait(door::publish::under_lock, first);
    all.seen = co_await one;
    auto two = all.here.wait(door::publish::under_lock);
    second = co_await two;
    all.worker.end();
}

TEST(context, a_ticket_of_an_earlier_wait_ends_no_later_one) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        wake second = wake::cancelled;
        explore::line line(all->worker, "line", wait_twice(*all, interruptible, second));
        line.start();
        const context::ticket stale = all->here.ticket;
        explore::check(all->here.knock(wake::ready, 1), "it waits");
        explore::thread("late",
                        [&line, stale] { explore::check(!line.claim(stale, wake::timed_out), "that wait has ended"); });
        explore::thread("waker", [all] {
            while (!all->here.knock(wake::ready, 2)) env::pause();
        });
        while (all->worker.run_one()) continue;
        explore::join_all();
        explore::check(second == wake::ready && all->here.resumed == 2, "two waits, two resumptions");
    }));
}

TEST(context, a_stop_request_that_a_deaf_wait_ignored_ends_the_next_wait) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        wake second = wake::ready;
        explore::line line(all->worker, "line", wait_twice(*all, deaf, second));
        line.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("waker", [all] {
            while (!all->here.knock(wake::ready, 1)) env::pause();
        });
        line.start();
        while (all->worker.run_one()) continue;
        explore::join_all();
        explore::check(all->seen == wake::ready && second == wake::cancelled, "the second, and only that");
    }));
}

TEST_P(context_wait, a_line_that_is_woken_early_resumes_elsewhere_only_after_it_has_suspended) {
    static constexpr auto body = [](scene& all, door::publish how) -> leat::task<> {
        auto wait = all.here.wait(how);
        all.seen = co_await wait;
        all.worker.end();
    };
    expect_right(explore::run(all_schedules, [publish = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::line line(all->worker, "line", body(*all, publish));
        explore::thread("worker", [all] {
            while (all->worker.run_one()) continue;
        });
        explore::thread("waker", [all] {
            while (!all->here.knock(wake::ready, 1)) env::pause();
        });
        line.start();
        explore::join_all();
        explore::check(all->seen == wake::ready && all->here.resumed == 1, "it has gone on once");
    }));
}

TEST_P(context_wait, a_line_that_is_stopped_resumes_elsewhere_and_finds_what_it_wrote_before) {
    static constexpr auto body = [](scene& all, door::publish how) -> leat::task<> {
        auto wait = all.here.wait(how);
        all.seen = co_await wait;
        all.worker.end();
    };
    expect_right(explore::run(all_schedules, [publish = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::line line(all->worker, "line", body(*all, publish));
        line.attach(all->stop);
        explore::thread("worker", [all] {
            while (all->worker.run_one()) continue;
        });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        line.start();
        explore::join_all();
        explore::check(all->seen == wake::cancelled && all->here.resumed == 1, "it has gone on once");
    }));
}

INSTANTIATE_TEST_SUITE_P(explore, context_wait, testing::Values(door::publish::under_lock, door::publish::in_two_steps),
                         [](const auto& of) {
                             return of.param == door::publish::under_lock ? "under_lock" : "in_two_steps";
                         });

// --- sleep_for: the timer of an executor against a stop request ---

leat::task<> sleep_once(int& how) {
    const auto nap = leat::sleep_for(std::chrono::seconds(1));
    try {
        co_await nap;
        how = 1;
    } catch (const leat::cancelled&) {
        how = 2;
    }
}

TEST(context, a_sleep_ends_by_its_timer_or_by_a_stop_and_its_timer_never_outlives_it) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            explore::hand_executor worker;
            leat::stop_source stop;
            int how = 0;
        };
        auto all = std::make_shared<state>();
        explore::line line(all->worker, "line", sleep_once(all->how));
        line.attach(all->stop);
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        explore::thread("clock", [all] { all->worker.fire_timers(); });
        line.start();
        explore::join_all();
        if (!line.has_ended()) line.finish();
        explore::check(all->how != 0, "it has ended one way or the other");
        explore::check(all->worker.idle(), "once");
    }));
}

// --- countdown ---

struct ends {
    explore::hand_executor worker;
    leat::countdown left{2};
    env::shared<int> one{0}, two{0};
    bool passed = false;
};

leat::task<> await_ends(ends& all) {
    leat::all_arrived arrived{all.left, "ends"};
    co_await arrived;
    explore::check(all.one.read() == 1 && all.two.read() == 2, "what was written before each arrival is seen");
    all.passed = true;
}

TEST(countdown, the_last_of_two_arrivals_resumes_the_line_which_sees_what_both_wrote) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<ends>();
        explore::line line(all->worker, "line", await_ends(*all));
        explore::thread([all] {
            all->one.write() = 1;
            all->left.arrive();
        });
        explore::thread([all] {
            all->two.write() = 2;
            all->left.arrive();
        });
        line.run();
        explore::check(all->passed && all->worker.idle(), "once");
    }));
}

}  // namespace
