// scope and with_scope: what is spawned is joined, on every path.
#include <leat/task/scope.hpp>

#include <core.hpp>
#include <memory>

namespace {

using leat::task;
using leat_test::counted;
using leat_test::error_of;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::until_stopped;

// What became of a task that waits until it is stopped.
enum class fate { unknown, returned, cancelled };
task<> waits_and_tells(fate& end) {
    task<> wait = until_stopped();
    const leat::outcome<void> how = co_await wait.as_outcome();
    end = how.is_cancelled() ? fate::cancelled : fate::returned;
    if (how.is_cancelled()) throw leat::cancelled{};
}

TEST(scope, join_waits_for_all_that_was_spawned) {
    int ended = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        for (int i = 0; i < 100; ++i)
            work.spawn(
                [&ended](int turns) -> task<> {
                    co_await giving(0, turns);
                    ++ended;
                },
                i);
        EXPECT_EQ(ended, 0);  // never inside the call
        EXPECT_EQ(work.pending(), 100U);
        co_await work.join();
        EXPECT_EQ(ended, 100);
        EXPECT_EQ(work.pending(), 0U);
    });
}

TEST(scope, the_first_error_stops_the_siblings_and_is_rethrown_by_join) {
    fate sibling = fate::unknown;
    EXPECT_EQ(error_of([&]() -> task<> {
                  leat::scope work;
                  work.spawn(waits_and_tells, std::ref(sibling));
                  work.spawn(failing, "first", 3);
                  co_await work.join();
              }),
              "first");
    EXPECT_EQ(sibling, fate::cancelled);
}

TEST(scope, only_the_first_of_many_errors_comes_out) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  work.spawn(failing, "second", 5);
                  work.spawn(failing, "first", 2);
                  work.spawn(failing, "third", 9);
                  co_await work.join();
              }),
              "first");
}

TEST(scope, a_cancelled_task_is_no_error_and_stops_nobody) {
    const int result = on_one_thread([]() -> task<int> {
        int ended = 0;
        leat::scope work;
        work.spawn([]() -> task<> {
            throw leat::cancelled{};
            co_return;
        });
        work.spawn([&ended]() -> task<> {
            const int value = co_await giving(1, 10);
            ended = value;
        });
        co_await work.join();
        co_return ended;
    });
    EXPECT_EQ(result, 1);
}

TEST(scope, arguments_are_copied_into_the_task_and_live_until_its_end) {
    int alive = 0;
    std::string seen;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        {
            const std::string text = "a text that is longer than a small string";
            counted argument(alive);
            work.spawn(
                [&seen](const std::string& by_reference, const counted&) -> task<> {
                    co_await leat::this_task::yield();
                    seen = by_reference;
                },
                text, argument);
        }
        EXPECT_EQ(alive, 1);
        co_await work.join();
        EXPECT_EQ(alive, 0);  // freed before the join ends
    });
    EXPECT_EQ(seen, "a text that is longer than a small string");
}

TEST(scope, moves_arguments_that_cannot_be_copied) {
    int seen = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(
            [&seen](std::unique_ptr<int> value) -> task<> {
                co_await leat::this_task::yield();
                seen = *value;
            },
            std::make_unique<int>(9));
        co_await work.join();
    });
    EXPECT_EQ(seen, 9);
}

TEST(scope, captures_of_a_lambda_live_until_the_end_of_its_task) {
    int alive = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn([held = counted(alive), &alive]() -> task<> {
            co_await leat::this_task::yield();
            EXPECT_GE(alive, 1);
        });
        co_await work.join();
        EXPECT_EQ(alive, 0);
    });
}

TEST(scope, can_be_used_again_after_join) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        int ended = 0;
        for (int round = 1; round <= 3; ++round) {
            work.spawn([&ended]() -> task<> {
                ++ended;
                co_return;
            });
            co_await work.join();
            EXPECT_EQ(ended, round);
        }
        co_await work.join();  // nothing in it
    });
}

TEST(scope, stop_reaches_all_and_later_tasks_start_with_it) {
    fate early = fate::unknown;
    fate late = fate::unknown;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(waits_and_tells, std::ref(early));
        co_await leat::this_task::yield();
        work.stop();
        work.spawn(waits_and_tells, std::ref(late));
        co_await work.join();
    });
    EXPECT_EQ(early, fate::cancelled);
    EXPECT_EQ(late, fate::cancelled);
}

task<> spawns_more(leat::scope& work, int levels, int& ended) {
    co_await leat::this_task::yield();
    if (levels > 0) {
        work.spawn(spawns_more, std::ref(work), levels - 1, std::ref(ended));
        work.spawn(spawns_more, std::ref(work), levels - 1, std::ref(ended));
    }
    ++ended;
}

TEST(scope, tasks_may_spawn_into_their_own_scope) {
    int ended = 0;
    on_one_thread([&]() -> task<> {
        leat::scope work;
        work.spawn(spawns_more, std::ref(work), 7, std::ref(ended));
        co_await work.join();
    });
    EXPECT_EQ(ended, 255);
}

TEST(scope, join_quietly_gives_the_error_instead_of_throwing) {
    on_one_thread([]() -> task<> {
        leat::scope work;
        const std::exception_ptr none = co_await work.join_quietly();
        EXPECT_EQ(none, nullptr);
        work.spawn(failing, "kept", 0);
        const std::exception_ptr error = co_await work.join_quietly();
        EXPECT_NE(error, nullptr);
    });
}

TEST(scope, join_throws_cancelled_when_the_joining_task_was_asked_to_stop) {
    fate inner = fate::unknown;
    fate outer = fate::unknown;
    on_one_thread([&]() -> task<> {
        leat::scope above;
        above.spawn([&]() -> task<> {
            leat::scope below;
            below.spawn(waits_and_tells, std::ref(inner));
            try {
                co_await below.join();
                outer = fate::returned;
            } catch (const leat::cancelled&) {
                outer = fate::cancelled;
            }
        });
        co_await giving(0, 3);
        above.stop();
        co_await above.join();
    });
    EXPECT_EQ(inner, fate::cancelled);
    EXPECT_EQ(outer, fate::cancelled);
}

struct throws_when_copied {
    throws_when_copied() = default;
    throws_when_copied(const throws_when_copied&) { throw std::runtime_error("no copy"); }
};

TEST(scope, an_argument_that_throws_when_copied_spawns_nothing) {
    EXPECT_EQ(error_of([]() -> task<> {
                  leat::scope work;
                  const throws_when_copied argument;
                  std::string text;
                  try {
                      work.spawn([](const throws_when_copied&) -> task<> { co_return; }, argument);
                  } catch (const std::runtime_error& error) {
                      text = error.what();
                  }
                  EXPECT_EQ(work.pending(), 0U);
                  co_await work.join();
                  throw std::runtime_error(text);
              }),
              "no copy");
}

TEST(scope, thousands_of_tasks_on_many_threads) {
    constexpr int tasks = 20'000;
    const int sum = leat_test::on_threads(4, []() -> task<int> {
        std::vector<int> results(tasks);
        leat::scope work;
        for (int i = 0; i < tasks; ++i)
            work.spawn(
                [&results](int index) -> task<> {
                    if (index % 3 == 0) co_await leat::this_task::yield();
                    results[static_cast<std::size_t>(index)] = 1;
                },
                i);
        co_await work.join();
        int total = 0;
        for (const int each : results) total += each;
        co_return total;
    });
    EXPECT_EQ(sum, tasks);
}

TEST(scope, errors_and_stops_race_on_many_threads) {
    for (int round = 0; round < 200; ++round) {
        EXPECT_THROW(leat_test::on_threads(4,
                                           []() -> task<> {
                                               leat::scope work;
                                               for (int i = 0; i < 20; ++i) {
                                                   work.spawn(until_stopped);
                                                   if (i % 5 == 0) work.spawn(failing, "any", i);
                                               }
                                               work.stop();
                                               co_await work.join();
                                           }),
                     std::runtime_error);
    }
}

TEST(scope_death, destroyed_unjoined_names_its_tasks) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     leat::scope work;
                     work.spawn(leat::task_name("fetch"), until_stopped);
                     work.spawn(leat::task_name("store"), until_stopped);
                     co_await leat::this_task::yield();
                 }),
                 "bug: a scope was destroyed before it was joined, with 2 of its tasks running: store, fetch");
}

TEST(scope_death, made_outside_a_task) {
    EXPECT_DEATH({ const leat::scope nowhere; }, "bug: a scope was made outside a task.*scope_test.cpp");
}

TEST(with_scope, keeps_the_value_of_its_body_and_joins) {
    int ended = 0;
    const int value = on_one_thread([&]() -> task<int> {
        const auto body = [&ended](leat::scope& work, int result) -> task<int> {
            work.spawn([&ended]() -> task<> {
                co_await giving(0, 5);
                ++ended;
            });
            co_return result;
        };
        const int result = co_await leat::with_scope(body, 6);
        EXPECT_EQ(ended, 1);
        co_return result;
    });
    EXPECT_EQ(value, 6);
}

TEST(with_scope, an_error_of_the_body_stops_the_tasks_and_comes_out_after_the_join) {
    fate sibling = fate::unknown;
    EXPECT_EQ(error_of([&]() -> task<> {
                  const auto body = [&sibling](leat::scope& work) -> task<> {
                      work.spawn(waits_and_tells, std::ref(sibling));
                      co_await leat::this_task::yield();
                      throw std::runtime_error("body");
                  };
                  co_await leat::with_scope(body);
              }),
              "body");
    EXPECT_EQ(sibling, fate::cancelled);
}

TEST(with_scope, an_error_of_a_task_stops_the_body_and_comes_out) {
    fate body_end = fate::unknown;
    EXPECT_EQ(error_of([&]() -> task<> {
                  const auto body = [&body_end](leat::scope& work) -> task<> {
                      work.spawn(failing, "task", 2);
                      co_await waits_and_tells(body_end);
                  };
                  co_await leat::with_scope(body);
              }),
              "task");
    EXPECT_EQ(body_end, fate::cancelled);
}

TEST(with_scope, a_stop_from_above_reaches_body_and_tasks_and_comes_out_as_cancelled) {
    fate task_end = fate::unknown;
    fate body_end = fate::unknown;
    leat::stop_source stop;
    leat::run_options options(1);
    options.stop = &stop;
    const auto program = [&]() -> task<> {
        const auto body = [&](leat::scope& work) -> task<> {
            work.spawn(waits_and_tells, std::ref(task_end));
            work.spawn([&]() -> task<> {
                co_await giving(0, 3);
                stop.request_stop();
            });
            co_await waits_and_tells(body_end);
        };
        co_await leat::with_scope(body);
    };
    EXPECT_THROW(leat::run(options, program), leat::cancelled);
    EXPECT_EQ(task_end, fate::cancelled);
    EXPECT_EQ(body_end, fate::cancelled);
}

TEST(with_scope, joins_what_a_function_spawned_before_it_threw) {
    fate sibling = fate::unknown;
    EXPECT_EQ(error_of([&]() -> task<> {
                  const auto no_coroutine = [&sibling](leat::scope& work) -> task<> {
                      work.spawn(waits_and_tells, std::ref(sibling));
                      throw std::runtime_error("before the body");
                  };
                  co_await leat::with_scope(no_coroutine);
              }),
              "before the body");
    EXPECT_EQ(sibling, fate::cancelled);
}

TEST(with_scope, nests_and_an_inner_error_reaches_only_its_own_level_when_caught) {
    fate outer_sibling = fate::unknown;
    const int value = on_one_thread([&]() -> task<int> {
        const auto outer = [&outer_sibling](leat::scope& work) -> task<int> {
            work.spawn(waits_and_tells, std::ref(outer_sibling));
            const auto inner = [](leat::scope& inside) -> task<> {
                inside.spawn(failing, "inner", 1);
                co_await until_stopped();
            };
            bool caught = false;
            try {
                co_await leat::with_scope(inner);
            } catch (const std::runtime_error&) {
                caught = true;
            }
            EXPECT_EQ(outer_sibling, fate::unknown);
            work.stop();
            co_return caught ? 1 : 0;
        };
        const int result = co_await leat::with_scope(outer);
        co_return result;
    });
    EXPECT_EQ(value, 1);
    EXPECT_EQ(outer_sibling, fate::cancelled);
}

}  // namespace
