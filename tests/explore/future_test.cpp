// All schedules of a promise that is set, or broken, against those who wait for its future, are stopped, run out of time or
// give it up: the value is seen, taken once, and freed once.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/future.hpp>
#include <leat/sync/wait.hpp>
#include <memory>
#include <optional>
#include <vector>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::task;

struct scene {
    explore::hand_executor worker;
    leat::stop_source stop;
    std::optional<leat::promise<int>> makes{std::in_place};
    std::optional<leat::future<int>> waits{makes->get_future()};
    env::shared<int> written{0};  // before the promise is set
    int got = 0, left = 0, broken = 0;

    void set() {
        written.write() = 1;
        makes->set_value(1);
    }
};

task<> gets(scene& all) {
    try {
        all.got += co_await std::move(*all.waits);
        explore::check(all.written.read() == 1, "what was written before is seen");
    } catch (const leat::broken_promise&) {
        ++all.broken;
    } catch (const leat::cancelled&) {
        ++all.left;
    }
}

TEST(future, a_value_that_is_set_while_its_waiter_is_stopped_is_taken_or_still_there) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sets", [all] { all->set(); });
        explore::thread("stops", [all] { all->stop.request_stop(); });
        explore::run_line(all->worker, "gets", gets(*all), &all->stop);
        explore::join_all();
        explore::check(all->got + all->left == 1, "one wait, one end");
        if (all->waits->valid()) all->got += std::move(*all->waits).blocking_get();
        explore::check(all->got == 1, "the value came out once");
    }));
}

TEST(future, a_promise_that_breaks_while_it_is_awaited_says_so) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("breaks", [all] { all->makes.reset(); });
        explore::run_line(all->worker, "gets", gets(*all));
        explore::join_all();
        explore::check(all->broken == 1, "it is broken");
    }));
}

TEST(future, a_future_that_is_dropped_while_its_promise_is_set_frees_the_value_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sets", [all] { all->set(); });
        explore::thread("drops", [all] { all->waits.reset(); });
        explore::join_all();
    }));
}

TEST(future, a_thread_whose_time_is_over_while_the_promise_is_set_can_still_have_the_value) {
    explore::options in_time = all_schedules;
    in_time.timeouts = 1;
    expect_right(explore::run(in_time, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sets", [all] { all->set(); });
        (void)all->waits->blocking_wait_for(std::chrono::seconds(1));
        explore::check(std::move(*all->waits).blocking_get() == 1, "the value");
        explore::join_all();
    }));
}

TEST(future, two_threads_that_share_it_each_have_the_value_and_the_last_frees_it) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        auto all = std::make_shared<scene>();
        explore::thread("sets", [all] { all->set(); });
        explore::thread("shares", [all] { explore::check(all->waits->blocking_get() == 1, "the value"); });
        explore::check(all->waits->blocking_get() == 1, "the value");
        explore::join_all();
    }));
}

task<> shares(scene& all) { all.left = co_await std::as_const(*all.waits); }

TEST(future, one_that_takes_while_another_shares_leaves_it_the_value) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<scene>();
        explore::hand_executor second;
        explore::line other(second, "shares", shares(*all));
        other.start();  // waits for the value, whoever takes it
        explore::thread("takes", [all] { explore::run_line(all->worker, "takes", gets(*all)); });
        all->set();
        other.finish();
        explore::join_all();
        explore::check(all->got == 1 && all->left == 1, "both have it");
    }));
}

// --- several at once ---

struct two {
    explore::hand_executor worker;
    leat::stop_source stop;
    leat::promise<int> first, second;
    std::vector<leat::future<int>> waits;
    std::vector<std::size_t> done;
    int came = 0, left = 0;
    two() {
        waits.push_back(first.get_future());
        waits.push_back(second.get_future());
    }
};

task<> waits_for_first(two& all) {
    auto result = co_await leat::wait(all.waits, leat::until::first_completed);
    all.done = std::move(result.done);
}

TEST(wait, for_the_first_of_two_that_are_set_at_once_ends_with_one_or_both) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<two>();
        explore::thread("first", [all] { all->first.set_value(1); });
        explore::thread("second", [all] { all->second.set_value(2); });
        explore::run_line(all->worker, "waits", waits_for_first(*all));
        explore::check(!all->done.empty(), "one at least");
        explore::join_all();
    }));
}

task<> drains(two& all) {
    auto ended = leat::as_completed(all.waits);
    for (int tries = 0; tries < 2; ++tries) {
        try {
            while (leat::future<int>* const each = co_await ended.next()) {
                explore::check(each->done(), "it has ended");
                ++all.came;
            }
            co_return;
        } catch (const leat::cancelled&) {
            ++all.left;
        }
    }
}

TEST(as_completed, gives_each_of_two_once_that_are_set_at_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<two>();
        explore::thread("first", [all] { all->first.set_value(1); });
        explore::thread("second", [all] { all->second.set_value(2); });
        explore::run_line(all->worker, "drains", drains(*all));
        explore::join_all();
        explore::check(all->came == 2, "each once");
    }));
}

TEST(as_completed, that_is_stopped_and_left_while_one_comes_touches_nothing_afterwards) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<two>();
        explore::thread("first", [all] { all->first.set_value(1); });
        explore::thread("stops", [all] { all->stop.request_stop(); });
        explore::run_line(all->worker, "drains", drains(*all), &all->stop);
        explore::join_all();
        explore::check(all->left == 2 && all->came <= 1, "it was stopped");
    }));
}

}  // namespace
