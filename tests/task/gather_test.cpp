// gather: a task an element, at most so many at once, all ends in order.
#include <leat/task/gather.hpp>

#include <core.hpp>
#include <list>
#include <memory>
#include <numeric>
#include <ranges>
#include <string>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::task;
using leat_test::error_of;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using leat_test::until_stopped;
using namespace std::chrono_literals;

std::vector<int> numbers(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}
task<int> doubled(int number) {
    co_await giving(0, (number * 7) % 5);
    co_return 2 * number;
}

TEST(gather, gives_the_values_in_the_order_of_the_range) {
    for (const unsigned threads : {1U, 3U})
        on_threads(threads, []() -> task<> {
            const auto all = numbers(200);
            auto values = co_await leat::gather(all, doubled, 7);
            EXPECT_EQ(values.size(), all.size());
            for (std::size_t at = 0; at < values.size(); ++at) EXPECT_EQ(values[at], 2 * static_cast<int>(at));
        });
}

TEST(gather, runs_at_most_so_many_at_once_and_as_many_as_it_may) {
    on_one_thread([]() -> task<> {
        int inside = 0;
        int most = 0;
        const auto visit = [&](int) -> task<> {
            most = std::max(most, ++inside);
            co_await giving(0, 3);
            --inside;
        };
        const auto all = numbers(30);
        auto values = co_await leat::gather(all, visit, 4);
        EXPECT_EQ(values.size(), 30U);
        EXPECT_EQ(most, 4);
        most = 0;
        co_await leat::gather(all, visit, 1);
        EXPECT_EQ(most, 1);
        most = 0;
        co_await leat::gather(all, visit, ~std::size_t{0});
        EXPECT_EQ(most, 30);
    });
}

TEST(gather, takes_lists_views_and_ranges_that_it_keeps) {
    on_one_thread([]() -> task<> {
        const std::list<std::string> words{"a", "bb", "ccc"};
        const auto length = [](const std::string& word) -> task<std::size_t> {
            co_await leat::this_task::yield();
            co_return word.size();
        };
        const std::vector<std::size_t> expected{1, 2, 3};
        auto of_list = co_await leat::gather(words, length, 2);
        EXPECT_EQ(of_list, expected);
        auto kept = leat::gather(std::vector<std::string>(words.begin(), words.end()), length, 2);  // begun later
        auto of_kept = co_await std::move(kept);
        EXPECT_EQ(of_kept, expected);
        auto of_view = co_await leat::gather(std::views::iota(0, 3), doubled, 2);
        EXPECT_EQ(of_view, (std::vector<int>{0, 2, 4}));
        auto odd = std::views::iota(0, 6) | std::views::filter([](int number) { return number % 2 == 1; });
        auto of_odd = co_await leat::gather(odd, doubled, 2);
        EXPECT_EQ(of_odd, (std::vector<int>{2, 6, 10}));
    });
}

TEST(gather, of_nothing_ends_at_once) {
    on_one_thread([]() -> task<> {
        const std::vector<int> none;
        auto values = co_await leat::gather(none, doubled, 3);
        EXPECT_TRUE(values.empty());
        auto ends = co_await leat::gather_outcomes(none, doubled, 3);
        EXPECT_TRUE(ends.empty());
    });
}

TEST(gather, moves_values_that_only_move) {
    on_one_thread([]() -> task<> {
        const auto make = [](int number) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(number); };
        const auto all = numbers(3);
        auto values = co_await leat::gather(all, make, 2);
        EXPECT_EQ(*values.at(2), 2);
    });
}

TEST(gather, the_first_error_stops_the_rest_and_the_first_element_that_failed_is_told) {
    int begun = 0;
    EXPECT_EQ(error_of([&]() -> task<> {
                  const auto fails = [&](int number) -> task<> {
                      ++begun;
                      if (number == 1) co_await leat_test::failing("second", 3);
                      if (number == 2) co_await leat_test::failing("third", 3);
                      co_await until_stopped();
                  };
                  const auto all = numbers(100);
                  co_await leat::gather(all, fails, 5);
              }),
              "second");
    EXPECT_EQ(begun, 5);
}

TEST(gather, what_the_function_itself_throws_is_the_error_of_the_element) {
    EXPECT_EQ(error_of([]() -> task<> {
                  const auto throws = [](int number) -> task<int> {
                      if (number == 3) throw std::runtime_error("no task for this");
                      return doubled(number);
                  };
                  const auto all = numbers(9);
                  co_await leat::gather(all, throws, 2);
              }),
              "no task for this");
}

TEST(gather_outcomes, gives_all_ends_and_stops_nobody) {
    on_one_thread([]() -> task<> {
        const auto some_fail = [](int number) -> task<int> {
            co_await giving(0, number % 3);
            if (number % 2 == 1) throw std::runtime_error(std::to_string(number));
            co_return number;
        };
        const auto all = numbers(9);
        auto ends = co_await leat::gather_outcomes(all, some_fail, 3);
        for (std::size_t at = 0; at < ends.size(); ++at) EXPECT_EQ(ends[at].is_error(), at % 2 == 1) << at;
        EXPECT_EQ(std::move(ends[8]).get(), 8);
    });
}

TEST(gather_outcomes, keeps_what_was_done_when_it_is_stopped) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        std::string ends_in;
        const auto some_wait = [](int number) -> task<> {
            if (number >= 2) co_await until_stopped();
        };
        const auto gathers = [&]() -> task<> {
            const auto all = numbers(5);
            auto ends = co_await leat::gather_outcomes(all, some_wait, 2);
            for (const auto& each : ends) ends_in += each.is_value() ? 'v' : each.is_cancelled() ? 'c' : '?';
        };
        work.spawn(gathers);
        co_await giving(0, 10);
        work.stop();
        co_await work.join_quietly();
        EXPECT_EQ(ends_in, "vvccc");
    });
}

TEST(gather, a_stop_at_any_point_ends_all_that_was_begun) {
    for (int killed_after = 0; killed_after < 14; ++killed_after)
        leat::sim::explore({.seeds = 30}, [killed_after]() -> task<> {
            int inside = 0;
            bool ended = false;
            bool cancelled = false;
            const auto visit = [&](int number) -> task<int> {
                ++inside;
                task<int> body = giving(number, number);
                auto end = co_await body.as_outcome();
                --inside;
                co_return std::move(end).get();
            };
            const auto gathers = [&]() -> task<> {
                const auto all = numbers(4);
                try {
                    auto values = co_await leat::gather(all, visit, 2);
                    ended = values == all;
                } catch (const leat::cancelled&) {
                    cancelled = true;
                }
            };
            leat::scope work;
            work.spawn(gathers);
            co_await giving(0, killed_after);
            work.stop();
            co_await work.join_quietly();
            if (inside != 0) throw std::runtime_error("one is still inside");
            if (ended == cancelled) throw std::runtime_error("neither values nor cancelled");
        });
}

TEST(gather_death, a_limit_of_nothing_is_a_bug) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto all = numbers(2);
    EXPECT_DEATH((void)leat::gather(all, doubled, 0), "limit of 0");
}

}  // namespace
