// Schedules of scopes whose tasks end on two workers at once: the join sees all they wrote, comes once, and nothing of the
// scope is touched after it.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <memory>
#include <stdexcept>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;

struct scene {
    explore::hand_executor workers;  // two threads run what is posted here
    leat::stop_source stop;
    env::shared<int> one{0}, two{0};
    int ends = 0;
};

// Runs `body` with two threads as workers, and what `beside` does on a third.
template <class Body, class Beside>
explore::report on_two_workers(int preemptions, Body body, Beside beside) {
    return explore::run({.preemption_bound = preemptions}, [=] {
        auto all = std::make_shared<scene>();
        explore::line line(all->workers, "root", body(*all));
        line.attach(all->stop);
        for (int i = 0; i < 2; ++i)
            explore::thread("worker", [all] {
                while (all->workers.run_one()) continue;
            });
        beside(*all);
        line.start();
        explore::join_all();
        explore::check(line.has_ended() && all->ends == 1, "it has ended once");
    });
}

// Calls `body` and then lets the workers go.
template <class Body>
leat::task<> then_end(scene& all, Body body) {
    co_await body(all);
    ++all.ends;
    all.workers.end();
    all.workers.end();
}

const auto nothing = [](scene&) {};
const auto stop_it = [](scene& all) { explore::thread("stopper", [&all] { all.stop.request_stop(); }); };

leat::task<> write(env::shared<int>& where, int value) {
    where.write() = value;
    co_return;
}
leat::task<> fail_at_once() {
    throw std::runtime_error("planned");
    co_return;
}
leat::task<> sleep_long() { co_await leat::sleep_for(std::chrono::hours(24)); }

leat::task<> spawn_two(leat::scope& work, scene& all) {
    work.spawn(write, std::ref(all.one), 1);
    work.spawn(write, std::ref(all.two), 2);
    co_return;
}

TEST(scope, the_join_sees_what_tasks_on_two_workers_wrote) {
    static constexpr auto body = [](scene& all) -> leat::task<> {
        auto joined = leat::with_scope(spawn_two, std::ref(all));
        co_await std::move(joined);
        explore::check(all.one.read() == 1 && all.two.read() == 2, "both have written");
    };
    expect_right(on_two_workers(2, [](scene& all) { return then_end(all, body); }, nothing));
}

// Writes when it ends: what a task keeps is gone when its scope is joined.
class last_word {
public:
    explicit last_word(env::shared<int>& where) : where_(&where) {}
    last_word(last_word&& other) noexcept : where_(std::exchange(other.where_, nullptr)) {}
    ~last_word() {
        if (where_ != nullptr) where_->write() = 3;
    }

private:
    env::shared<int>* where_;
};

leat::task<> keep(last_word) { co_return; }
leat::task<> spawn_two_that_keep(leat::scope& work, scene& all) {
    work.spawn(keep, last_word(all.one));
    work.spawn(keep, last_word(all.two));
    co_return;
}

TEST(scope, what_tasks_kept_is_gone_when_they_are_joined) {
    static constexpr auto body = [](scene& all) -> leat::task<> {
        auto joined = leat::with_scope(spawn_two_that_keep, std::ref(all));
        co_await std::move(joined);
        explore::check(all.one.read() == 3 && all.two.read() == 3, "both are gone");
    };
    expect_right(on_two_workers(2, [](scene& all) { return then_end(all, body); }, nothing));
}

leat::task<> spawn_one_that_fails_and_one_that_sleeps(leat::scope& work) {
    work.spawn(sleep_long);
    work.spawn(fail_at_once);
    co_return;
}

TEST(scope, the_first_error_stops_a_sibling_that_sleeps_and_is_rethrown) {
    static constexpr auto body = [](scene&) -> leat::task<> {
        bool caught = false;
        try {
            auto joined = leat::with_scope(spawn_one_that_fails_and_one_that_sleeps);
            co_await std::move(joined);
        } catch (const std::runtime_error&) {
            caught = true;
        }
        explore::check(caught, "the error came to the join");
    };
    expect_right(on_two_workers(1, [](scene& all) { return then_end(all, body); }, nothing));
}

TEST(scope, a_stop_from_outside_reaches_the_tasks_and_the_join_waits_for_them) {
    static constexpr auto body = [](scene& all) -> leat::task<> {
        try {
            auto joined = leat::with_scope(
                [](leat::scope& work, scene& in) -> leat::task<> {
                    work.spawn(sleep_long);
                    work.spawn(write, std::ref(in.two), 2);
                    co_return;
                },
                std::ref(all));
            co_await std::move(joined);
        } catch (const leat::cancelled&) {
            explore::note("the join was told of the stop");
        }
        (void)all.two.read();
    };
    expect_right(on_two_workers(1, [](scene& all) { return then_end(all, body); }, stop_it));
}

TEST(scope, arms_of_when_all_that_end_at_once_resume_their_line_once) {
    static constexpr auto arm = [](scene& all, bool first) -> leat::task<int> {
        co_await leat::this_task::yield();
        (first ? all.one : all.two).write() = first ? 1 : 2;
        co_return first ? 1 : 2;
    };
    static constexpr auto body = [](scene& all) -> leat::task<> {
        auto both = leat::when_all(arm(all, true), arm(all, false));
        const auto [one, two] = co_await std::move(both);
        explore::check(one == 1 && two == 2 && all.one.read() == 1 && all.two.read() == 2, "both values");
    };
    expect_right(on_two_workers(3, [](scene& all) { return then_end(all, body); }, nothing));
}

TEST(scope, a_timeout_that_fires_while_its_operation_ends_leaves_one_result) {
    static constexpr auto quick = []() -> leat::task<int> {
        co_await leat::this_task::yield();
        co_return 7;
    };
    static constexpr auto body = [](scene&) -> leat::task<> {
        auto timed = leat::timeout(quick(), std::chrono::seconds(1));
        int result = 0;
        try {
            result = co_await std::move(timed);
        } catch (const leat::timed_out&) {
            result = -1;
        }
        explore::check(result == 7 || result == -1, "the value, or that it took too long");
    };
    expect_right(on_two_workers(
        2, [](scene& all) { return then_end(all, body); },
        [](scene& all) { explore::thread("clock", [&all] { all.workers.fire_timers(); }); }));
}

}  // namespace
