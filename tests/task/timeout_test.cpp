// timeout, shield and finally: ends in time, ends undisturbed, and clean-up on every path.
#include <leat/task/timeout.hpp>

#include <core.hpp>

#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::task;
using leat_test::error_of;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::until_stopped;
using namespace std::chrono_literals;

TEST(timeout, keeps_the_value_of_an_operation_that_ends_in_time) {
    on_one_thread([]() -> task<> {
        const int value = co_await leat::timeout(giving(5, 3), 1h);
        EXPECT_EQ(value, 5);
    });
}

TEST(timeout, stops_the_operation_waits_for_it_and_throws_timed_out) {
    on_one_thread([]() -> task<> {
        bool ended = false;
        const auto slow = [](bool& did_end) -> task<> {
            task<> wait = until_stopped();
            const leat::outcome<void> end = co_await wait.as_outcome();
            co_await giving(0, 5);
            did_end = true;
            if (end.is_cancelled()) throw leat::cancelled{};
        };
        bool timed_out = false;
        try {
            co_await leat::timeout(slow(ended), 1ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_TRUE(ended);
    });
}

TEST(timeout, keeps_a_value_that_comes_after_the_time_all_the_same) {
    on_one_thread([]() -> task<> {
        const auto late = []() -> task<int> {
            task<> wait = until_stopped();
            (void)co_await wait.as_outcome();
            co_return 8;
        };
        const int value = co_await leat::timeout(late(), 1ms);
        EXPECT_EQ(value, 8);
    });
}

TEST(timeout, of_zero_or_less_stops_at_the_first_wait) {
    for (const leat::duration limit : {leat::duration(0), leat::duration(-1), leat::duration::min()}) {
        EXPECT_EQ(error_of([limit]() -> task<> { co_await leat::timeout(until_stopped(), limit); }), "(timed out)");
        EXPECT_EQ(error_of([limit]() -> task<> { co_await leat::timeout(giving(1), limit); }), "(a value)");
    }
}

TEST(timeout, beyond_the_clock_never_ends) {
    on_one_thread([]() -> task<> {
        const int value = co_await leat::timeout(giving(3, 5), leat::duration::max());
        EXPECT_EQ(value, 3);
        const int hours = co_await leat::timeout(giving(4, 5), std::chrono::hours::max());
        EXPECT_EQ(hours, 4);
    });
}

TEST(timeout, an_error_of_the_operation_comes_out) {
    EXPECT_EQ(error_of([]() -> task<> { co_await leat::timeout(failing("inside", 2), 1h); }), "inside");
}

TEST(timeout, a_stop_from_above_wins_over_timed_out) {
    bool cancelled = false;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn([&]() -> task<> {
            try {
                co_await leat::timeout(until_stopped(), leat::duration::zero());
                co_return;
            } catch (const leat::timed_out&) {
            }
            try {
                co_await leat::timeout(until_stopped(), 1h);
            } catch (const leat::cancelled&) {
                cancelled = true;
            }
        });
        co_await giving(0, 5);
        work.stop();
        co_await work.join();
    });
    EXPECT_TRUE(cancelled);
}

TEST(timeout, takes_operations_that_are_no_tasks) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::semaphore none(0);
                  auto operation = none.acquire();
                  (void)co_await leat::timeout(std::move(operation), 1ms);
              }),
              "(timed out)");
}

TEST(timeout, nested_the_nearest_wins) {
    on_one_thread([]() -> task<> {
        std::string who;
        const auto inner = [](std::string& name) -> task<> {
            try {
                co_await leat::timeout(until_stopped(), 1ms);
            } catch (const leat::timed_out&) {
                name = "inner";
            }
        };
        co_await leat::timeout(inner(who), 1h);
        EXPECT_EQ(who, "inner");
    });
}

TEST(timeout, races_with_the_end_of_the_operation_on_many_threads) {
    const int ends = leat_test::on_threads(4, []() -> task<int> {
        int total = 0;
        for (int round = 0; round < 300; ++round) {
            const auto brief = [](int length) -> task<> { co_await leat::sleep_for(length * 1us); };
            try {
                co_await leat::timeout(brief(round % 100), 50us);
                ++total;
            } catch (const leat::timed_out&) {
                ++total;
            }
        }
        co_return total;
    });
    EXPECT_EQ(ends, 300);
}

TEST(shield, is_deaf_to_stop_requests_from_above) {
    bool finished = false;
    bool cancelled_after = false;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn([&]() -> task<> {
            const auto clean_up = [](bool& done) -> task<> {
                co_await leat::sleep_for(2ms);
                done = true;
            };
            co_await leat::shield(clean_up(finished));
            try {
                co_await leat::sleep_for(1h);
            } catch (const leat::cancelled&) {
                cancelled_after = true;
            }
        });
        co_await leat::this_task::yield();
        work.stop();
        co_await work.join();
    });
    EXPECT_TRUE(finished);
    EXPECT_TRUE(cancelled_after);
}

TEST(shield, passes_values_and_errors_through) {
    on_one_thread([]() -> task<> {
        const int value = co_await leat::shield(giving(2, 2));
        EXPECT_EQ(value, 2);
    });
    EXPECT_EQ(error_of([]() -> task<> { co_await leat::shield(failing("shielded", 1)); }), "shielded");
}

TEST(shield, a_timeout_inside_still_works) {
    EXPECT_EQ(error_of([]() -> task<> {
                  const auto inside = []() -> task<> { co_await leat::timeout(until_stopped(), 1ms); };
                  co_await leat::shield(inside());
              }),
              "(timed out)");
}

// What `finally` does around `operation`: its outcome in words, and the clean-ups that ran to their end.
template <class Operation>
std::string with_clean_up(Operation operation, bool stop_it) {
    int cleaned = 0;
    const std::string end = error_of([&]() -> task<> {
        leat::scope work;
        leat::outcome<int> outcome;
        std::string text = "a value";
        work.spawn([&]() -> task<> {
            const auto clean_up = [&cleaned]() -> task<> {
                co_await leat::sleep_for(1ms);  // it may wait, even while the task is being stopped
                ++cleaned;
            };
            task<int> guarded = leat::finally(operation(), clean_up);
            leat::outcome<int> how = co_await guarded.as_outcome();
            if (how.is_error()) text = "an error";
            if (how.is_cancelled()) text = "cancelled";
        });
        co_await giving(0, 5);
        if (stop_it) work.stop();
        co_await work.join();
        throw std::runtime_error(text);
    });
    return end + ", cleaned " + std::to_string(cleaned);
}

task<int> value_until_stopped() {
    co_await until_stopped();
    co_return 0;
}

TEST(finally, cleans_up_on_every_path) {
    EXPECT_EQ(with_clean_up([] { return giving(1, 2); }, false), "a value, cleaned 1");
    EXPECT_EQ(with_clean_up([] { return failing("x", 2); }, false), "an error, cleaned 1");
    EXPECT_EQ(with_clean_up(value_until_stopped, true), "cancelled, cleaned 1");
}

TEST(finally, an_error_of_the_clean_up_replaces_the_outcome) {
    EXPECT_EQ(error_of([]() -> task<> {
                  const auto broken = []() -> task<int> { return failing("clean-up"); };
                  co_await leat::finally(failing("operation"), broken);
              }),
              "clean-up");
}

}  // namespace
