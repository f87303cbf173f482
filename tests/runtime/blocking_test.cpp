// blocking: calls that block, on threads of their own.
#include <leat/runtime/blocking.hpp>

#include <core.hpp>
#include <memory>
#include <set>
#include <thread>

#include <leat/task/scope.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

TEST(blocking, gives_the_value_and_resumes_on_the_executor) {
    for (const unsigned threads : {1U, 2U}) {
        leat_test::on_threads(threads, []() -> task<> {
            const auto caller = std::this_thread::get_id();
            auto call = leat::blocking([](int a, int b) { return std::pair(a + b, std::this_thread::get_id()); }, 2, 3);
            const auto result = co_await std::move(call);
            EXPECT_EQ(result.first, 5);
            EXPECT_NE(result.second, caller);
            EXPECT_NE(result.second, std::this_thread::get_id());
            EXPECT_NE(leat::context::current(), nullptr);
        });
    }
}

TEST(blocking, holds_function_and_arguments_by_value_and_moves_them_in) {
    const std::unique_ptr<int> result = leat_test::on_one_thread([]() -> task<std::unique_ptr<int>> {
        auto text = std::make_unique<int>(3);
        const auto add = [more = std::make_shared<int>(4)](std::unique_ptr<int> value) {
            *value += *more;
            return value;
        };
        auto call = leat::blocking(add, std::move(text));
        std::unique_ptr<int> made = co_await std::move(call);
        co_return made;
    });
    EXPECT_EQ(*result, 7);
}

TEST(blocking, throws_what_the_call_threw) {
    EXPECT_EQ(leat_test::error_of([]() -> task<> {
                  auto call = leat::blocking([] { throw std::runtime_error("from the thread"); });
                  co_await std::move(call);
              }),
              "from the thread");
}

TEST(blocking, more_calls_than_threads_wait_their_turn) {
    constexpr int calls = 3 * leat::blocking_pool::limit;
    leat::env::atomic<int> inside{0};
    leat::env::atomic<int> most{0};
    leat_test::on_threads(2, [&]() -> task<> {
        leat::scope work;
        leat::env::atomic<int> done{0};
        for (int i = 0; i < calls; ++i)
            work.spawn([&]() -> task<> {
                auto call = leat::blocking([&] {
                    const int now = inside.fetch_add(1) + 1;
                    int seen = most.load();
                    while (seen < now && !most.compare_exchange_weak(seen, now)) {
                    }
                    std::this_thread::sleep_for(1ms);
                    inside.fetch_sub(1);
                });
                co_await std::move(call);
                done.fetch_add(1);
            });
        co_await work.join();
        EXPECT_EQ(done.load(), calls);
    });
    EXPECT_LE(most.load(), static_cast<int>(leat::blocking_pool::limit));
    EXPECT_GT(most.load(), 1);
}

TEST(blocking, threads_are_used_again) {
    std::set<std::thread::id> seen;
    leat_test::on_one_thread([&]() -> task<> {
        for (int i = 0; i < 200; ++i) {
            auto call = leat::blocking([] { return std::this_thread::get_id(); });
            const auto id = co_await std::move(call);
            seen.insert(id);
        }
    });
    EXPECT_LT(seen.size(), 150U);  // one that has just answered may not be idle yet
}

TEST(blocking, a_stop_before_the_call_throws_cancelled_and_calls_nothing) {
    leat::stop_source stop;
    stop.request_stop();
    leat::run_options options(1);
    options.stop = &stop;
    bool called = false;
    const auto program = [&]() -> task<> {
        auto call = leat::blocking([&called] { called = true; });
        co_await std::move(call);
    };
    EXPECT_THROW(leat::run(options, program), leat::cancelled);
    EXPECT_FALSE(called);
}

TEST(blocking, a_stop_during_the_call_waits_for_it_and_keeps_its_value) {
    leat::stop_source stop;
    leat::run_options options(2);
    options.stop = &stop;
    const auto program = [&]() -> task<int> {
        auto call = leat::blocking([&stop] {
            stop.request_stop();
            return 6;
        });
        co_return co_await std::move(call);
    };
    EXPECT_EQ(leat::run(options, program), 6);
}

TEST(blocking, many_short_programs_end_their_threads) {
    for (int round = 0; round < 100; ++round) {
        for (const unsigned threads : {1U, 2U}) {
            const int value = leat_test::on_threads(threads, []() -> task<int> {
                auto call = leat::blocking([] { return 1; });
                co_return co_await std::move(call);
            });
            EXPECT_EQ(value, 1);
        }
    }
}

TEST(blocking, the_blocking_ends_of_the_library_may_be_used_inside) {
    const int value = leat_test::on_one_thread([]() -> task<int> {
        auto call = leat::blocking([] { return leat_test::on_one_thread([]() -> task<int> { co_return 4; }); });
        co_return co_await std::move(call);
    });
    EXPECT_EQ(value, 4);
}

}  // namespace
