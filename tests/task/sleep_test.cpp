// sleep, yield and stop tokens: what a task can ask about itself and the time.
#include <leat/task/this_task.hpp>

#include <core.hpp>

#include <leat/task/scope.hpp>

namespace {

using leat::task;
using leat_test::error_of;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::until_stopped;
using namespace std::chrono_literals;

TEST(sleep, wakes_in_the_order_of_the_deadlines) {
    std::vector<int> order;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        const leat::time_point start = leat::env::now();
        for (const int ms : {9, 3, 6, 1})
            work.spawn(
                [&order, start](int place) -> task<> {
                    co_await leat::sleep_until(start + place * 1ms);
                    order.push_back(place);
                },
                ms);
        co_await work.join();
    });
    EXPECT_EQ(order, (std::vector<int>{1, 3, 6, 9}));
}

TEST(sleep, never_ends_early) {
    on_one_thread([]() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        const leat::time_point until = line.where().now() + 3ms;
        co_await leat::sleep_until(until);
        EXPECT_GE(line.where().now(), until);
    });
}

TEST(sleep, of_zero_or_less_or_until_the_past_ends_at_once) {
    on_one_thread([]() -> task<> {
        co_await leat::sleep_for(0ms);
        co_await leat::sleep_for(-1h);
        co_await leat::sleep_for(leat::duration::min());
        co_await leat::sleep_until(leat::time_point::min());
        co_await leat::sleep_until(leat::time_point{});
        leat::context& line = co_await leat::this_task::line();
        EXPECT_EQ(line.waits_for(), nullptr);
    });
}

TEST(sleep, of_zero_lets_others_run_now_and_then) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        bool other_ran = false;
        work.spawn([&other_ran]() -> task<> {
            other_ran = true;
            co_return;
        });
        for (int i = 0; i < 1000; ++i) co_await leat::sleep_for(0ms);
        EXPECT_TRUE(other_ran);
        co_await work.join();
    });
}

TEST(sleep, ends_with_cancelled_when_stopped) {
    for (const leat::duration time : {leat::duration(1h), leat::duration::max()}) {
        EXPECT_EQ(error_of([time]() -> task<> {
                      leat::scope work;
                      bool cancelled = false;
                      work.spawn([&]() -> task<> {
                          try {
                              co_await leat::sleep_for(time);
                          } catch (const leat::cancelled&) {
                              cancelled = true;
                          }
                      });
                      co_await giving(0, 3);
                      work.stop();
                      co_await work.join();
                      throw std::runtime_error(cancelled ? "cancelled" : "slept");
                  }),
                  "cancelled");
    }
}

TEST(sleep, throws_cancelled_at_once_after_a_stop) {
    for (const leat::duration time : {leat::duration(0), leat::duration(1h)}) {
        leat::stop_source stop;
        stop.request_stop();
        leat::run_options options(1);
        options.stop = &stop;
        const auto program = [time]() -> task<> { co_await leat::sleep_for(time); };
        EXPECT_THROW(leat::run(options, program), leat::cancelled);
    }
}

TEST(sleep, beyond_the_clock_lasts_until_it_is_stopped) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        work.spawn([]() -> task<> { co_await leat::sleep_for(std::chrono::hours::max()); });
        work.spawn([]() -> task<> { co_await leat::sleep_until(leat::time_point::max()); });
        co_await leat::sleep_for(3ms);
        EXPECT_EQ(work.pending(), 2U);
        work.stop();
        co_await work.join();
    });
}

TEST(yield, lets_everything_that_is_ready_run_first) {
    std::string trace;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        for (const char name : {'a', 'b'})
            work.spawn(
                [&trace](char mine) -> task<> {
                    for (int i = 0; i < 3; ++i) {
                        trace += mine;
                        co_await leat::this_task::yield();
                    }
                },
                name);
        co_await work.join();
    });
    EXPECT_EQ(trace, "ababab");
}

TEST(yield, is_no_cancellation_point) {
    leat::stop_source stop;
    stop.request_stop();
    leat::run_options options(1);
    options.stop = &stop;
    const auto program = []() -> task<int> {
        for (int i = 0; i < 10; ++i) co_await leat::this_task::yield();
        co_return 10;
    };
    EXPECT_EQ(leat::run(options, program), 10);
}

TEST(stop_token, is_inherited_by_what_is_awaited_and_spawned) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        int told = 0;
        const auto asks = [&told]() -> task<> {
            const leat::stop_token token = co_await leat::this_task::stop_token();
            EXPECT_FALSE(token.stop_requested());
            task<> wait = until_stopped();
            (void)co_await wait.as_outcome();
            told += token.stop_requested() ? 1 : 0;
        };
        work.spawn([&asks]() -> task<> { co_await asks(); });
        work.spawn([&asks]() -> task<> {
            leat::scope below;
            below.spawn(asks);
            (void)co_await below.join_quietly();
        });
        co_await giving(0, 5);
        work.stop();
        co_await work.join();
        EXPECT_EQ(told, 2);
        const leat::stop_token mine = co_await leat::this_task::stop_token();
        EXPECT_FALSE(mine.stop_requested());  // a scope's stop goes down, not up
    });
}

TEST(stop_token, made_from_nothing_never_stops) { EXPECT_FALSE(leat::stop_token().stop_requested()); }

TEST(stop, a_request_from_another_thread_ends_a_wait) {
    for (const unsigned threads : {1U, 4U}) {
        leat::stop_source stop;
        leat::run_options options(threads);
        options.stop = &stop;
        leat::env::thread other;
        const auto asks = [](void* source) { static_cast<leat::stop_source*>(source)->request_stop(); };
        const auto program = [&]() -> task<> {
            EXPECT_TRUE(other.start("stopper", asks, &stop));
            co_await until_stopped();
        };
        EXPECT_THROW(leat::run(options, program), leat::cancelled);
        other.join();
    }
}

TEST(stop, detach_waits_for_a_callback_and_prevents_later_ones) {
    struct counting : leat::stop_callback {
        counting() : stop_callback([](stop_callback& self) noexcept { ++static_cast<counting&>(self).calls; }) {}
        int calls = 0;
    };
    leat::stop_source source;
    counting attached;
    counting detached;
    attached.attach(source);
    detached.attach(source);
    detached.detach();
    source.request_stop();
    source.request_stop();
    EXPECT_EQ(attached.calls, 1);
    EXPECT_EQ(detached.calls, 0);
    attached.detach();
    attached.detach();  // harmless
    counting late;
    late.attach(source);
    EXPECT_EQ(late.calls, 1);
    late.detach();
}

TEST(context, reports_what_it_waits_for_only_while_it_waits) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        leat::context* sleeping = nullptr;
        work.spawn([&sleeping]() -> task<> {
            leat::context& line = co_await leat::this_task::line();
            sleeping = &line;
            co_await until_stopped();
        });
        co_await leat::this_task::yield();
        EXPECT_STREQ(sleeping->waits_for(), "sleep");
        work.stop();
        co_await work.join();
        leat::context& mine = co_await leat::this_task::line();
        EXPECT_EQ(mine.waits_for(), nullptr);
        co_await work.join();  // nothing in it: this does not wait
        EXPECT_EQ(mine.waits_for(), nullptr);
    });
}

}  // namespace
