// task_handle: what a submitted task ends with reaches who joins it, once or shared; an error that nobody takes reaches the
// scope; stopping either side loses nothing.
#include <leat/sync/task_handle.hpp>

#include <core.hpp>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <leat/runtime/sim.hpp>
#include <leat/sync/future.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat::task_handle;
using leat_test::counted;
using leat_test::error_of;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using leat_test::token;
using leat_test::until_stopped;
using namespace std::chrono_literals;

task<token> token_after(int number, int turns) {
    co_await giving(0, turns);
    co_return token(number);
}
task<> turns(int count) { co_await giving(0, count); }

TEST(task_handle, join_gives_the_value_of_the_task) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const task_handle<int> handle = work.submit(giving, 7, 3);
        EXPECT_FALSE(handle.done());
        const int value = co_await handle.join();
        EXPECT_EQ(value, 7);
        EXPECT_TRUE(handle.done());
        const int again = co_await handle.join();
        EXPECT_EQ(again, 7);
        co_await work.join();
    });
}

TEST(task_handle, runs_the_task_whether_or_not_anybody_waits) {
    int ran = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        const auto count = [](int& into) -> task<> {
            ++into;
            co_return;
        };
        const task_handle<> handle = work.submit(leat::task_name("counts"), count, std::ref(ran));
        EXPECT_EQ(ran, 0);  // never inside the call
        co_await work.join();
        EXPECT_TRUE(handle.done());
        co_await handle.join();  // after the scope too
    });
    EXPECT_EQ(ran, 1);
}

TEST(task_handle, a_value_that_only_moves_is_moved_out_once) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        task_handle<token> handle = work.submit(token_after, 5, 2);
        co_await handle.wait();  // takes nothing
        const token value = co_await std::move(handle).join();
        EXPECT_EQ(value.number(), 5);
        EXPECT_FALSE(handle.valid());
        co_await work.join();
    });
}

TEST(task_handle, many_tasks_may_join_at_once_and_each_gets_the_value) {
    on_threads(3, []() -> task<> {
        const std::vector<int> expected(100, 4);
        leat::scope work;
        const auto make = [](std::vector<int> what) -> task<std::vector<int>> {
            co_await turns(20);
            co_return what;
        };
        const auto handle = work.submit(make, expected);
        const auto joins = [&]() -> task<> {
            const std::vector<int> value = co_await handle.join();
            EXPECT_EQ(value, expected);
        };
        for (int i = 0; i < 20; ++i) work.spawn(joins);
        co_await work.join();
    });
}

TEST(task_handle, one_that_takes_the_value_leaves_it_to_those_who_share_it) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const auto text = []() -> task<std::string> {
            co_await turns(3);
            co_return "a text that is longer than a small string";
        };
        auto handle = work.submit(text);
        std::string shared;
        const auto shares = [&]() -> task<> { shared = co_await handle.join(); };
        work.spawn(shares);
        co_await leat::this_task::yield();
        const std::string taken = co_await std::move(handle).join();
        co_await work.join();
        EXPECT_EQ(taken, "a text that is longer than a small string");
        EXPECT_EQ(shared, taken);
    });
}

TEST(task_handle, references_and_void_are_given_too) {
    int there = 3;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        const auto finds = [](int& what) -> task<int&> { co_return what; };
        const auto handle = work.submit(finds, std::ref(there));
        int& found = co_await handle.join();
        EXPECT_EQ(&found, &there);
        const task_handle<> nothing = work.submit(turns, 1);
        co_await nothing.join();
        co_await work.join();
    });
}

TEST(task_handle, the_task_and_its_arguments_are_gone_when_it_is_done) {
    int alive = 0;
    on_threads(2, [&]() -> task<> {
        leat::scope work;
        const auto keeps = [](const counted&) -> task<> { co_await turns(1); };
        for (int i = 0; i < 50; ++i) {
            const task_handle<> handle = work.submit(keeps, counted(alive));
            co_await handle.join();
            EXPECT_EQ(alive, 0);
        }
        co_await work.join();
    });
}

TEST(task_handle, join_throws_the_error_of_the_task_and_the_siblings_go_on) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const auto sibling = work.submit(giving, 1, 20);
        const auto handle = work.submit(failing, "planned", 2);
        std::string caught;
        for (int i = 0; i < 2; ++i) {
            try {
                co_await handle.join();
            } catch (const std::runtime_error& error) {
                caught += error.what();
            }
        }
        EXPECT_EQ(caught, "plannedplanned");
        const int value = co_await sibling.join();
        EXPECT_EQ(value, 1);
        co_await work.join();  // the error was taken
    });
}

TEST(task_handle, an_outcome_tells_a_stopped_task_from_a_stopped_waiter) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const task_handle<> handle = work.submit(until_stopped);
        co_await leat::this_task::yield();
        handle.stop();
        const leat::outcome<void> end = co_await handle.as_outcome();
        EXPECT_TRUE(end.is_cancelled());
        bool cancelled = false;
        try {
            co_await handle.join();
        } catch (const leat::cancelled&) {
            cancelled = true;
        }
        EXPECT_TRUE(cancelled);
        co_await work.join();
        handle.stop();  // nothing
    });
}

TEST(task_handle, stopping_who_joins_leaves_the_task_and_its_value_alone) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        task_handle<token> handle = work.submit(token_after, 9, 50);
        leat::scope others;
        const auto joins = [&]() -> task<> {
            const token never = co_await std::move(handle).join();
            ADD_FAILURE() << "it was stopped, but has " << never.number();
        };
        others.spawn(joins);
        co_await leat::this_task::yield();
        others.stop();
        co_await others.join();
        EXPECT_TRUE(handle.valid());
        const token value = co_await std::move(handle).join();
        EXPECT_EQ(value.number(), 9);
        co_await work.join();
    });
}

TEST(task_handle, a_join_that_runs_out_of_time_can_be_tried_again) {
    const leat::sim::result ran = leat::sim::run({.seed = 1}, []() -> task<> {
        leat::scope work;
        const auto slow = []() -> task<token> {
            co_await leat::sleep_for(1h);
            co_return token(3);
        };
        task_handle<token> handle = work.submit(slow);
        bool late = false;
        try {
            co_await leat::timeout(std::move(handle).join(), 1min);
        } catch (const leat::timed_out&) {
            late = true;
        }
        EXPECT_TRUE(late);
        const token value = co_await leat::timeout(std::move(handle).join(), 2h);
        EXPECT_EQ(value.number(), 3);
        co_await work.join();
    });
    EXPECT_TRUE(ran.ok()) << ran.report();
}

TEST(task_handle, what_has_ended_is_given_even_to_a_task_that_was_asked_to_stop) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const auto handle = work.submit(giving, 2, 0);
        co_await handle.wait();
        leat::scope others;
        int got = 0;
        const auto joins = [&]() -> task<> { got = co_await handle.join(); };
        others.stop();
        others.spawn(joins);
        co_await others.join_quietly();
        EXPECT_EQ(got, 2);
        co_await work.join();
    });
}

TEST(task_handle, an_error_whose_handle_was_dropped_before_it_stops_the_siblings_and_is_the_scopes) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  work.spawn(until_stopped);
                  {
                      const auto dropped = work.submit(failing, "nobody looked", 3);
                  }
                  co_await work.join();
              }),
              "nobody looked");
}

TEST(task_handle, an_error_whose_handle_is_dropped_after_it_stops_the_siblings_and_is_the_scopes) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  work.spawn(until_stopped);
                  {
                      const auto dropped = work.submit(failing, "nobody looked", 0);
                      co_await dropped.wait();
                  }
                  co_await work.join();
              }),
              "nobody looked");
}

TEST(task_handle, an_error_that_nobody_has_taken_is_thrown_by_the_join_of_the_scope) {
    on_one_thread([]() -> task<> {
        std::optional<task_handle<int>> outlives;
        std::string caught;
        {
            leat::scope work;
            outlives.emplace(work.submit(failing, "late", 2));
            const auto other = work.submit(failing, "later", 4);
            try {
                co_await work.join();
            } catch (const std::runtime_error& error) {
                caught = error.what();
            }
        }
        EXPECT_EQ(caught, "late");
        try {
            co_await outlives->join();
        } catch (const std::runtime_error& error) {
            caught += error.what();
        }
        EXPECT_EQ(caught, "latelate");
    });
}

TEST(task_handle, errors_that_are_taken_leave_nothing_behind_in_the_scope) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        for (int i = 0; i < 3; ++i) {
            const auto first = work.submit(failing, "one", 1);
            const auto second = work.submit(failing, "two", 1);
            const auto third = work.submit(failing, "three", 1);
            for (const auto* each : {&second, &first, &third}) {
                const auto end = co_await each->as_outcome();
                EXPECT_TRUE(end.is_error());
            }
        }
        co_await work.join();
    });
}

TEST(task_handle, a_handle_may_be_dropped_while_others_wait_for_it) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        std::optional<task_handle<int>> handle(work.submit(giving, 6, 10));
        int got = 0;
        const auto joins = [&]() -> task<> { got = co_await handle->join(); };
        work.spawn(joins);
        co_await turns(2);
        handle.reset();
        co_await work.join();
        EXPECT_EQ(got, 6);
    });
}

TEST(task_handle, plain_threads_can_wait_and_join) {
    on_threads(2, []() -> task<> {
        leat::scope work;
        leat::promise<> go;
        const auto waits = [](leat::future<> start) -> task<int> {
            co_await start;
            co_return 11;
        };
        const auto handle = work.submit(waits, go.get_future());
        int got = 0;
        std::thread other([&] {
            EXPECT_FALSE(handle.blocking_wait_for(1ms));
            EXPECT_FALSE(handle.blocking_wait_until(leat::time_point()));
            go.set_value();
            EXPECT_TRUE(handle.blocking_wait_for(std::chrono::hours::max()));
            got = handle.blocking_join();
        });
        co_await handle.wait();
        co_await work.join();
        other.join();
        EXPECT_EQ(got, 11);
    });
}

TEST(task_handle, an_argument_whose_copy_throws_leaves_nothing_spawned) {
    struct uncopyable_today {
        uncopyable_today() = default;
        uncopyable_today(const uncopyable_today&) { throw std::runtime_error("no copies today"); }
    };
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  const uncopyable_today argument;
                  const auto takes = [](const uncopyable_today&) -> task<> { co_return; };
                  (void)work.submit(takes, argument);
                  co_await work.join();
              }),
              "no copies today");
}

TEST(task_handle_death, an_empty_handle_is_not_used) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     const task_handle<int> empty;
                     co_await empty.join();
                 }),
                 "empty task_handle");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::scope work;
                     task_handle<int> handle = work.submit(giving, 1, 0);
                     co_await std::move(handle).join();
                     co_await std::move(handle).join();
                 }),
                 "empty task_handle");
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::scope work;
                     const task_handle<int> handle = work.submit(giving, 1, 0);
                     (void)handle.blocking_join();
                     co_await work.join();
                 }),
                 "runs tasks");
}

// One that joins is stopped, another takes its place: whatever the order, the value or the error comes out once, and nothing
// is left of the task.
task<> stops_a_join_after(int killed_after, bool fails) {
    int alive = 0;
    int gave = 0;
    int failed = 0;
    bool scope_failed = false;
    {
        leat::scope work;
        const auto body = [](const counted&, bool throws) -> task<token> {
            co_await turns(2);
            if (throws) throw std::runtime_error("planned");
            co_await leat::sleep_for(1s);
            co_return token(1);
        };
        task_handle<token> handle = work.submit(body, counted(alive), fails);
        leat::scope joiners;
        const auto joins = [&]() -> task<> {
            try {
                const token value = co_await std::move(handle).join();
                gave += value.number();
            } catch (const std::runtime_error&) {
                ++failed;
            }
        };
        joiners.spawn(joins);
        co_await turns(killed_after);
        joiners.stop();
        co_await joiners.join_quietly();
        if (handle.valid() && killed_after % 2 == 0) {
            const leat::outcome<token> end = co_await std::move(handle).as_outcome();
            gave += end.is_value() ? 1 : 0;
            failed += end.is_error() ? 1 : 0;
        } else {
            const task_handle<token> dropped = std::move(handle);
        }
        scope_failed = co_await work.join_quietly() != nullptr;
    }
    if (alive != 0) throw std::runtime_error("the argument is still there");
    if (fails && failed + (scope_failed ? 1 : 0) != 1) throw std::runtime_error("the error came out not once");
    if (!fails && (scope_failed || failed != 0)) throw std::runtime_error("an error came out of nothing");
    if (!fails && killed_after % 2 == 0 && gave != 1) throw std::runtime_error("the value was lost");
}

TEST(task_handle, a_stop_at_any_point_of_a_join_loses_neither_value_nor_error) {
    for (int killed_after = 0; killed_after < 12; ++killed_after)
        for (const bool fails : {false, true}) {
            SCOPED_TRACE(killed_after);
            leat::sim::explore({.seeds = 40}, [=] { return stops_a_join_after(killed_after, fails); });
        }
}

}  // namespace
