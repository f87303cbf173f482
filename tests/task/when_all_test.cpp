// when_all and when_any: several tasks at once, and one outcome.
#include <leat/task/when_all.hpp>

#include <core.hpp>
#include <numeric>

#include <leat/task/scope.hpp>
#include <leat/task/when_any.hpp>

namespace {

using leat::task;
using leat_test::error_of;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::until_stopped;

task<> nothing(int turns) {
    for (; turns > 0; --turns) co_await leat::this_task::yield();
}

TEST(when_all, gives_a_tuple_in_the_order_of_the_tasks) {
    on_one_thread([]() -> task<> {
        const auto results = co_await leat::when_all(giving(1, 5), nothing(2), giving(3));
        EXPECT_EQ(std::get<0>(results), 1);
        EXPECT_EQ(std::get<1>(results), std::monostate{});
        EXPECT_EQ(std::get<2>(results), 3);
    });
}

TEST(when_all, gives_a_vector_in_the_order_of_the_tasks) {
    on_one_thread([]() -> task<> {
        std::vector<task<int>> tasks;
        for (int i = 0; i < 50; ++i) tasks.push_back(giving(i, 50 - i));
        const std::vector<int> values = co_await leat::when_all(std::move(tasks));
        std::vector<int> expected(50);
        std::iota(expected.begin(), expected.end(), 0);
        EXPECT_EQ(values, expected);
    });
}

TEST(when_all, of_nothing_ends_at_once) {
    on_one_thread([]() -> task<> {
        const std::tuple<> none = co_await leat::when_all();
        (void)none;
        std::vector<task<int>> empty;
        const std::vector<int> values = co_await leat::when_all(std::move(empty));
        EXPECT_TRUE(values.empty());
    });
}

TEST(when_all, runs_the_tasks_side_by_side) {
    // Each waits for what only the other does.
    on_one_thread([]() -> task<> {
        bool left = false;
        bool right = false;
        const auto meet = [](bool& mine, bool& other) -> task<bool> {
            mine = true;
            const bool met = co_await leat_test::turns_until([&other] { return other; });
            co_return met;
        };
        const auto met = co_await leat::when_all(meet(left, right), meet(right, left));
        EXPECT_TRUE(std::get<0>(met) && std::get<1>(met));
    });
}

TEST(when_all, a_failure_stops_the_others_and_is_rethrown) {
    EXPECT_EQ(
        error_of([]() -> task<> { co_await leat::when_all(until_stopped(), failing("one", 3), until_stopped()); }),
        "one");
    EXPECT_EQ(error_of([]() -> task<> {
                  std::vector<task<int>> tasks;
                  tasks.push_back(giving(1));
                  tasks.push_back(failing("of a vector"));
                  co_await leat::when_all(std::move(tasks));
              }),
              "of a vector");
}

TEST(when_all, of_two_failures_the_first_argument_counts) {
    EXPECT_EQ(error_of([]() -> task<> {
                  const auto on_stop = []() -> task<> {
                      task<> wait = until_stopped();
                      (void)co_await wait.as_outcome();
                      throw std::runtime_error("left");
                  };
                  co_await leat::when_all(on_stop(), failing("right", 2));
              }),
              "left");
}

TEST(when_all, stopping_the_awaiting_task_stops_all) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  int stopped = 0;
                  const auto arm = [&stopped]() -> task<> {
                      task<> wait = until_stopped();
                      const leat::outcome<void> end = co_await wait.as_outcome();
                      stopped += end.is_cancelled() ? 1 : 0;
                  };
                  work.spawn([&]() -> task<> { co_await leat::when_all(arm(), arm()); });
                  co_await nothing(3);
                  work.stop();
                  co_await work.join();
                  throw std::runtime_error(std::to_string(stopped));
              }),
              "2");
}

TEST(when_all, of_many_on_many_threads) {
    const int sum = leat_test::on_threads(4, []() -> task<int> {
        int total = 0;
        for (int round = 0; round < 500; ++round) {
            const auto three = co_await leat::when_all(giving(1, 1), giving(2), giving(3, 2));
            total += std::get<0>(three) + std::get<1>(three) + std::get<2>(three);
        }
        co_return total;
    });
    EXPECT_EQ(sum, 3000);
}

// Keeps its argument until it ends; and one that ends when no argument is kept any more.
task<int> keeps(leat_test::counted, int value, int turns) { co_return co_await giving(value, turns); }
task<int> until_none_is_kept(int& kept) {
    const bool none = co_await leat_test::turns_until([&kept] { return std::atomic_ref(kept).load() == 0; });
    co_return none ? 0 : 1;
}

TEST(when_all, the_arguments_of_a_task_are_gone_when_it_ends) {
    for (const unsigned threads : {1U, 3U}) {
        int kept = 0;
        leat_test::on_threads(threads, [&kept]() -> task<> {
            auto pair = leat::when_all(keeps(leat_test::counted(kept), 7, 3), until_none_is_kept(kept));
            const auto [value, failed] = co_await pair;
            EXPECT_EQ(value, 7);
            EXPECT_EQ(failed, 0);
            std::vector<task<int>> many;
            many.push_back(until_none_is_kept(kept));
            many.push_back(keeps(leat_test::counted(kept), 8, 0));
            many.push_back(keeps(leat_test::counted(kept), 9, 5));
            auto all = leat::when_all(std::move(many));
            const std::vector<int> values = co_await all;
            EXPECT_EQ(values, (std::vector<int>{0, 8, 9}));
            auto ends = leat::when_all_outcomes(keeps(leat_test::counted(kept), 7, 3), until_none_is_kept(kept));
            auto outcomes = co_await ends;
            EXPECT_EQ(std::move(std::get<1>(outcomes)).get(), 0);
        });
        EXPECT_EQ(kept, 0);
    }
}

TEST(when_all, a_value_whose_move_throws_fails_its_task) {
    struct stubborn {
        explicit stubborn(int moves) : left(moves) {}
        stubborn(stubborn&& other) : left(other.left - 1) {
            if (left < 0) throw std::runtime_error("stubborn");
        }
        int left;
    };
    for (int moves = 0; moves < 20; ++moves) {
        const auto gives = [moves]() -> task<stubborn> { co_return stubborn(moves); };
        const std::string end = error_of([&]() -> task<> { co_await leat::when_all(gives(), giving(1, 3)); });
        EXPECT_TRUE(end == "stubborn" || (moves > 3 && end == "(a value)")) << moves << " " << end;
    }
}

TEST(when_any, gives_the_first_and_its_place) {
    on_one_thread([]() -> task<> {
        const auto first = co_await leat::when_any(giving(1, 20), giving(2, 3), nothing(30));
        EXPECT_EQ(first.index(), 1U);
        EXPECT_EQ(std::get<1>(first), 2);
    });
}

TEST(when_any, stops_the_losers_and_waits_for_them) {
    on_one_thread([]() -> task<> {
        bool loser_ended = false;
        const auto loser = [](bool& ended) -> task<int> {
            task<> wait = until_stopped();
            (void)co_await wait.as_outcome();
            const int value = co_await giving(0, 10);
            ended = true;
            co_return value;
        };
        const auto first = co_await leat::when_any(loser(loser_ended), giving(4, 2));
        EXPECT_EQ(first.index(), 1U);
        EXPECT_TRUE(loser_ended);
    });
}

TEST(when_any, of_a_vector_gives_index_and_value) {
    on_one_thread([]() -> task<> {
        std::vector<task<int>> tasks;
        for (int i = 0; i < 10; ++i) tasks.push_back(giving(i, 10 + (i - 6) * (i - 6)));
        const leat::first_of<int> first = co_await leat::when_any(std::move(tasks));
        EXPECT_EQ(first.index, 6U);
        EXPECT_EQ(first.value, 6);
    });
}

TEST(when_any, the_error_of_the_winner_is_rethrown_and_of_a_loser_is_not) {
    EXPECT_EQ(error_of([]() -> task<> { co_await leat::when_any(giving(1, 9), failing("won", 2)); }), "won");
    EXPECT_EQ(error_of([]() -> task<> { co_await leat::when_any(giving(1, 2), failing("lost", 9)); }), "(a value)");
}

leat::task<> breaking() {
    co_await leat::this_task::yield();
    throw std::runtime_error("won");
}

TEST(when_any, the_error_of_a_winner_without_a_value_is_rethrown) {
    EXPECT_EQ(error_of([]() -> task<> { co_await leat::when_any(giving(1, 9), breaking()); }), "won");
    EXPECT_EQ(error_of([]() -> task<> {
                  std::vector<task<>> tasks;
                  tasks.push_back(breaking());
                  tasks.push_back(breaking());
                  (void)co_await leat::when_any(std::move(tasks));
              }),
              "won");
}

TEST(when_any, stopped_from_above_throws_cancelled) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  bool cancelled = false;
                  work.spawn([&]() -> task<> {
                      try {
                          co_await leat::when_any(until_stopped(), until_stopped());
                      } catch (const leat::cancelled&) {
                          cancelled = true;
                      }
                  });
                  co_await nothing(3);
                  work.stop();
                  co_await work.join();
                  throw std::runtime_error(cancelled ? "cancelled" : "went on");
              }),
              "cancelled");
}

TEST(when_any, races_on_many_threads_have_one_winner) {
    const int wins = leat_test::on_threads(4, []() -> task<int> {
        int total = 0;
        for (int round = 0; round < 500; ++round) {
            const auto first = co_await leat::when_any(giving(1, 1), giving(1, 1), giving(1, 1));
            total += first.index() < 3 ? 1 : 0;
        }
        co_return total;
    });
    EXPECT_EQ(wins, 500);
}

TEST(when_any_death, of_an_empty_vector) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     std::vector<task<int>> none;
                     co_await leat::when_any(std::move(none));
                 }),
                 "bug: when_any of nothing would wait for ever");
}

TEST(when_all_outcomes, gives_every_end_and_stops_nobody) {
    on_one_thread([]() -> task<> {
        auto [value, error, nothing_given] =
            co_await leat::when_all_outcomes(giving(1, 9), failing("planned", 2), nothing(5));
        EXPECT_EQ(std::move(value).get(), 1);
        EXPECT_TRUE(error.is_error());
        EXPECT_TRUE(nothing_given.is_value());
        std::vector<task<int>> tasks;
        for (int i = 0; i < 4; ++i) tasks.push_back(i % 2 == 0 ? giving(i, 5) : failing("planned", i));
        auto ends = co_await leat::when_all_outcomes(std::move(tasks));
        EXPECT_EQ(std::move(ends.at(2)).get(), 2);
        EXPECT_TRUE(ends.at(1).is_error() && ends.at(3).is_error());
    });
}

}  // namespace
