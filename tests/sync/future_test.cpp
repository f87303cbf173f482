// promise and future: one value, from any thread to any, once; a promise that breaks says so.
#include <leat/sync/future.hpp>

#include <core.hpp>
#include <memory>
#include <string>
#include <thread>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::future;
using leat::promise;
using leat::task;
using leat_test::error_of;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using leat_test::token;
using namespace std::chrono_literals;

TEST(future, gives_what_its_promise_was_set_to) {
    on_one_thread([]() -> task<> {
        promise<std::string> makes;
        const future<std::string> waits = makes.get_future();
        EXPECT_FALSE(waits.done());
        makes.set_value("now");
        EXPECT_TRUE(waits.done());
        const std::string first = co_await waits;
        const std::string again = co_await waits.get();
        EXPECT_EQ(first + again, "nownow");
    });
}

TEST(future, is_awaited_by_a_task_that_another_wakes) {
    std::string order;
    on_one_thread([&]() -> task<> {
        promise<int> makes;
        leat::scope work;
        const auto asks = [&](future<int> from) -> task<> {
            order += 'a';
            const int value = co_await from;
            order += std::to_string(value);
        };
        work.spawn(asks, makes.get_future());
        co_await giving(0, 2);
        makes.set_value(5);
        order += 's';  // those who wait are posted, never resumed inside
        co_await work.join();
    });
    EXPECT_EQ(order, "as5");
}

TEST(future, a_value_that_only_moves_is_moved_out_once) {
    on_one_thread([]() -> task<> {
        promise<token> makes;
        future<token> waits = makes.get_future();
        makes.set_value(4);  // made in place
        const token value = co_await std::move(waits);
        EXPECT_EQ(value.number(), 4);
        EXPECT_FALSE(waits.valid());
    });
}

TEST(future, the_last_one_that_wants_the_value_gets_it_without_a_copy) {
    struct counts_copies {
        explicit counts_copies(int& into) noexcept : copies(&into) {}
        counts_copies(const counts_copies& other) noexcept : copies(other.copies) { ++*copies; }
        counts_copies(counts_copies&&) noexcept = default;
        int* copies;
    };
    int copies = 0;
    on_one_thread([&]() -> task<> {
        promise<counts_copies> makes;
        future<counts_copies> waits = makes.get_future();
        leat::scope work;
        const auto takes = [&]() -> task<> { (void)co_await std::move(waits); };
        work.spawn(takes);
        co_await giving(0, 2);
        makes.set_value(counts_copies(copies));
        co_await work.join();
    });
    EXPECT_EQ(copies, 0);
}

TEST(future, rethrows_the_exception_that_its_promise_was_set_to) {
    EXPECT_EQ(error_of([]() -> task<> {
                  promise<> makes;
                  const future<> waits = makes.get_future();
                  makes.set_exception(std::make_exception_ptr(std::runtime_error("planned")));
                  co_await waits;
              }),
              "planned");
}

TEST(future, a_promise_that_is_destroyed_unset_is_broken) {
    on_one_thread([]() -> task<> {
        future<int> waits;
        {
            promise<int> makes;
            waits = makes.get_future();
            promise<int> moved = std::move(makes);
        }
        bool broken = false;
        try {
            co_await waits;
        } catch (const leat::broken_promise&) {
            broken = true;
        }
        EXPECT_TRUE(broken);
        promise<int> first;
        waits = first.get_future();
        first = promise<int>();  // breaks the one that it was
        const leat::outcome<int> end = co_await waits.as_outcome();
        EXPECT_TRUE(end.is_error());
    });
}

TEST(future, a_value_whose_making_throws_leaves_the_promise_unset) {
    struct picky {
        explicit picky(int number) {
            if (number < 0) throw std::runtime_error("negative");
        }
        picky(picky&&) noexcept = default;
    };
    on_one_thread([]() -> task<> {
        promise<picky> makes;
        future<picky> waits = makes.get_future();
        EXPECT_THROW(makes.set_value(-1), std::runtime_error);
        EXPECT_FALSE(waits.done());
        makes.set_value(1);
        (void)co_await std::move(waits);
    });
}

TEST(future, a_value_that_nobody_wants_any_more_is_dropped) {
    int alive = 0;
    {
        promise<leat_test::counted> makes;
        {
            const auto dropped = makes.get_future();
        }
        makes.set_value(leat_test::counted(alive));
        EXPECT_EQ(alive, 0);
    }
    {
        promise<leat_test::counted> never_asked;
        never_asked.set_value(leat_test::counted(alive));
    }
    EXPECT_EQ(alive, 0);
}

TEST(future, goes_from_a_thread_to_tasks_and_from_a_task_to_a_thread) {
    for (int round = 0; round < 50; ++round) {
        promise<int> question;
        promise<std::unique_ptr<int>> answer;
        std::thread oracle([asked = question.get_future(), &answer]() mutable {
            answer.set_value(std::make_unique<int>(asked.blocking_get() * 2));
        });
        const int got = on_threads(2, [&, waits = answer.get_future()]() mutable -> task<int> {
            question.set_value(21);
            const std::unique_ptr<int> value = co_await std::move(waits);
            co_return *value;
        });
        oracle.join();
        EXPECT_EQ(got, 42);
    }
}

TEST(future, a_thread_waits_for_a_time) {
    promise<int> makes;
    future<int> waits = makes.get_future();
    EXPECT_FALSE(waits.blocking_wait_for(1us));
    EXPECT_FALSE(waits.blocking_wait_for(-1h));
    makes.set_value(1);
    EXPECT_TRUE(waits.blocking_wait_for(0s));
    EXPECT_TRUE(waits.blocking_wait_until(leat::time_point::max()));
    EXPECT_EQ(std::move(waits).blocking_get(), 1);
    EXPECT_FALSE(waits.valid());
}

TEST(future, stopping_who_waits_leaves_the_value_where_it_is) {
    for (int killed_after = 0; killed_after < 8; ++killed_after)
        leat::sim::explore({.seeds = 40}, [killed_after]() -> task<> {
            promise<token> makes;
            future<token> waits = makes.get_future();
            int got = 0;
            leat::scope asking;
            leat::scope setting;
            const auto asks = [&]() -> task<> {
                const token value = co_await std::move(waits);
                got += value.number();
            };
            const auto sets = [&]() -> task<> {
                co_await giving(0, 3);
                makes.set_value(1);
            };
            asking.spawn(asks);
            setting.spawn(sets);
            co_await giving(0, killed_after);
            asking.stop();
            co_await asking.join_quietly();
            if (waits.valid()) {
                const token value = co_await leat::timeout(std::move(waits).get(), 1h);
                got += value.number();
            }
            co_await setting.join();
            if (got != 1) throw std::runtime_error("the value was lost");
        });
}

TEST(future, a_wait_that_runs_out_of_time_can_be_tried_again) {
    const leat::sim::result ran = leat::sim::run({.seed = 2}, []() -> task<> {
        promise<int> makes;
        const future<int> waits = makes.get_future();
        bool late = false;
        try {
            co_await leat::timeout(waits.get(), 1s);
        } catch (const leat::timed_out&) {
            late = true;
        }
        EXPECT_TRUE(late);
        makes.set_value(8);
        const int value = co_await leat::timeout(waits.get(), 1s);
        EXPECT_EQ(value, 8);
    });
    EXPECT_TRUE(ran.ok()) << ran.report();
}

TEST(future_death, misuse_says_what_it_was) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            promise<int> makes;
            makes.set_value(1);
            makes.set_value(2);
        },
        "set twice");
    EXPECT_DEATH(
        {
            promise<int> makes;
            (void)makes.get_future();
            (void)makes.get_future();
        },
        "get_future.* twice");
    EXPECT_DEATH(promise<int>().set_exception(nullptr), "null exception");
    EXPECT_DEATH(
        {
            promise<int> makes;
            future<int> waits = makes.get_future();
            makes.set_value(1);
            (void)std::move(waits).blocking_get();
            (void)std::move(waits).blocking_get();
        },
        "empty future");
}

}  // namespace
