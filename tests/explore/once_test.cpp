// All schedules of those who come to do one thing, of which one does it.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/once.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

struct state {
    leat::once first;
    env::shared<int> made{0};  // by who does it: a race when two do
    leat::stop_source stop;
    int stopped = 0;  // the worker's own
};

leat::task<> makes(state& all) {
    const int before = all.made.read();
    co_await leat::this_task::yield();
    all.made.write() = before + 1;
}
leat::task<> comes(state& all) {
    try {
        auto call = all.first.call(&makes, std::ref(all));
        co_await call;
        explore::check(all.made.read() == 1, "who comes sees that it was done");
    } catch (const leat::cancelled&) {
        ++all.stopped;
    }
}

TEST(once, is_done_by_one_of_two_and_the_other_waits_until_it_was) {
    expect_right(explore::run({.preemption_bound = 3, .stale = 1}, [] {
        auto all = std::make_shared<state>();
        explore::thread("thread", [all] {
            all->first.blocking_call([all] { all->made.write() += 1; });
            explore::check(all->made.read() == 1, "who comes sees that it was done");
        });
        explore::hand_executor worker;
        explore::run_line(worker, "task", comes(*all));
        explore::join_all();
        explore::check(all->made.read() == 1 && all->first.is_done(), "it was done once");
    }));
}

TEST(once, who_sees_that_it_is_done_sees_what_was_made) {
    expect_right(explore::run({.stale = 2, .reduce = true}, [] {
        auto all = std::make_shared<state>();
        explore::thread("makes", [all] { all->first.blocking_call([all] { all->made.write() = 1; }); });
        explore::thread("looks", [all] {
            if (all->first.is_done()) explore::check(all->made.read() == 1, "it was made");
        });
        explore::thread("tries", [all] {
            if (all->first.try_call([all] { all->made.write() = 1; }))
                explore::check(all->made.read() == 1, "it was made");
        });
        explore::join_all();
    }));
}

TEST(once, one_that_is_stopped_in_the_middle_leaves_it_to_the_next) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct held_up : state {
            explore::hand_executor worker;
        };
        auto all = std::make_shared<held_up>();
        explore::thread("next", [all] { all->first.blocking_call([all] { all->made.write() = 1; }); });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        const auto sleeps = [](held_up& mine) -> leat::task<> {
            const auto until_stopped = []() -> leat::task<> { co_await leat::sleep_for(leat::duration::max()); };
            try {
                auto call = mine.first.call(until_stopped);
                co_await call;
            } catch (const leat::cancelled&) {
                ++mine.stopped;
            }
        };
        explore::run_line(all->worker, "sleeps", sleeps(*all), &all->stop);
        explore::join_all();
        explore::check(all->made.read() == 1 && all->first.is_done(), "the other has done it");
        explore::check(all->worker.idle(), "nothing is left");
    }));
}

}  // namespace
