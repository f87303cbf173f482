// interval: ticks on a grid, by the executor's clock.
#include <leat/task/interval.hpp>

#include <core.hpp>
#include <vector>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::interval;
using leat::missed_ticks;
using leat::task;
using namespace std::chrono_literals;

template <class Program>
void simulated(Program program) {
    const leat::sim::result ran = leat::sim::run({.seed = 1}, program);
    EXPECT_TRUE(ran.ok()) << ran.report();
}

// The seconds since the start at which ticks came, the work after the second of them taking 2.5 s; and what they stood for.
struct seen {
    std::vector<double> came, stood_for;
};
task<seen> five_ticks(missed_ticks policy) {
    const leat::time_point start = co_await leat::this_task::now();
    const auto since = [start](leat::time_point when) { return std::chrono::duration<double>(when - start).count(); };
    interval every(1s, policy);
    seen all;
    for (int i = 0; i < 5; ++i) {
        const leat::time_point tick = co_await every.next();
        const leat::time_point now = co_await leat::this_task::now();
        all.came.push_back(since(now));
        all.stood_for.push_back(since(tick));
        if (i == 1) co_await leat::sleep_for(2500ms);
    }
    co_return all;
}

TEST(interval, the_first_tick_comes_at_once_and_begins_the_grid) {
    simulated([]() -> task<> {
        interval every(1min);
        co_await leat::sleep_for(90s);
        const leat::time_point start = co_await leat::this_task::now();
        for (int i = 0; i < 4; ++i) {
            const leat::time_point tick = co_await every.next();
            EXPECT_EQ(tick, start + i * 1min);
            co_await leat::sleep_for(7s);  // no drift
        }
    });
}

TEST(interval, a_first_tick_may_be_given) {
    simulated([]() -> task<> {
        const leat::time_point start = co_await leat::this_task::now();
        interval every(start + 5s, 1s);
        const leat::time_point first = co_await every.next();
        const leat::time_point now = co_await leat::this_task::now();
        EXPECT_EQ(first, start + 5s);
        EXPECT_EQ(now, start + 5s);
        interval long_ago(leat::time_point::min() + 1ns, 1s, missed_ticks::skip);
        co_await long_ago.next();
        const leat::time_point next = co_await long_ago.next();
        EXPECT_GT(next, now);
        EXPECT_LE(next, now + 1s);
    });
}

TEST(interval, missed_ticks_come_in_a_burst) {
    simulated([]() -> task<> {
        const seen all = co_await five_ticks(missed_ticks::burst);
        EXPECT_EQ(all.came, (std::vector<double>{0, 1, 3.5, 3.5, 4}));
        EXPECT_EQ(all.stood_for, (std::vector<double>{0, 1, 2, 3, 4}));
    });
}

TEST(interval, missed_ticks_are_skipped) {
    simulated([]() -> task<> {
        const seen all = co_await five_ticks(missed_ticks::skip);
        EXPECT_EQ(all.came, (std::vector<double>{0, 1, 3.5, 4, 5}));
        EXPECT_EQ(all.stood_for, (std::vector<double>{0, 1, 2, 4, 5}));
    });
}

TEST(interval, missed_ticks_move_the_grid) {
    simulated([]() -> task<> {
        const seen all = co_await five_ticks(missed_ticks::delay);
        EXPECT_EQ(all.came, (std::vector<double>{0, 1, 3.5, 4.5, 5.5}));
        EXPECT_EQ(all.stood_for, (std::vector<double>{0, 1, 2, 4.5, 5.5}));
    });
}

TEST(interval, a_tick_that_is_exactly_a_period_late_has_missed_one) {
    simulated([]() -> task<> {
        const leat::time_point start = co_await leat::this_task::now();
        interval every(start, 1s, missed_ticks::skip);
        co_await leat::sleep_for(1s);
        co_await every.next();
        const leat::time_point next = co_await every.next();
        EXPECT_EQ(next, start + 2s);
    });
}

TEST(interval, a_stopped_or_late_wait_loses_no_tick) {
    simulated([]() -> task<> {
        interval every(1min);
        const leat::time_point start = co_await every.next();
        int late = 0;
        for (int i = 0; i < 3; ++i) {
            try {
                co_await leat::timeout(every.next(), 10s);
            } catch (const leat::timed_out&) {
                ++late;
            }
        }
        EXPECT_EQ(late, 3);
        const leat::time_point tick = co_await every.next();
        EXPECT_EQ(tick, start + 1min);
    });
}

TEST(interval, one_beyond_the_clock_never_comes) {
    simulated([]() -> task<> {
        interval never(std::chrono::hours::max());
        co_await never.next();
        bool late = false;
        try {
            co_await leat::timeout(never.next(), std::chrono::hours(24 * 300));
        } catch (const leat::timed_out&) {
            late = true;
        }
        EXPECT_TRUE(late);
    });
}

TEST(interval_death, one_of_no_time_is_a_bug) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(interval(0s), "interval of no time");
    EXPECT_DEATH(interval(-1s), "interval of no time");
}

}  // namespace
