// task<T>: what it carries, when it runs, and what becomes of one that is misused.
#include <leat/task/task.hpp>

#include <core.hpp>
#include <memory>
#include <vector>

#include <leat/task/this_task.hpp>

namespace {

using leat::task;
using leat_test::counted;
using leat_test::error_of;
using leat_test::giving;
using leat_test::on_one_thread;

TEST(task, gives_its_value_to_the_awaiter) {
    const int sum = on_one_thread([]() -> task<int> {
        const int one = co_await giving(1);
        const int two = co_await giving(2);
        co_return one + two;
    });
    EXPECT_EQ(sum, 3);
}

task<int&> third_of(std::vector<int>& numbers) { co_return numbers[2]; }

TEST(task, gives_a_reference_to_the_very_object) {
    std::vector<int> numbers{1, 2, 3};
    on_one_thread([&]() -> task<> {
        int& third = co_await third_of(numbers);
        third = 7;
    });
    EXPECT_EQ(numbers[2], 7);
    EXPECT_EQ(&on_one_thread(third_of, numbers), &numbers[2]);
}

TEST(task, moves_a_value_that_cannot_be_copied) {
    const std::unique_ptr<int> made = on_one_thread([]() -> task<std::unique_ptr<int>> {
        task<std::unique_ptr<int>> inner = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); }();
        std::unique_ptr<int> value = co_await inner;
        co_return value;
    });
    ASSERT_NE(made, nullptr);
    EXPECT_EQ(*made, 5);
}

TEST(task, keeps_a_value_without_a_default_constructor) {
    const leat_test::token value = on_one_thread([]() -> task<leat_test::token> { co_return leat_test::token(3); });
    EXPECT_EQ(value.number(), 3);
}

TEST(task, throws_at_the_await_what_it_threw) {
    const std::string caught = on_one_thread([]() -> task<std::string> {
        std::string text;
        try {
            co_await leat_test::failing("broken");
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        co_return text;
    });
    EXPECT_EQ(caught, "broken");
}

TEST(task, an_error_passes_through_awaiters_that_do_not_catch_it) {
    EXPECT_EQ(error_of([]() -> task<int> {
                  const int value = co_await leat_test::failing("deep", 3);
                  co_return value;
              }),
              "deep");
}

struct throws_when_made_from_text {
    explicit throws_when_made_from_text(int) {}
    throws_when_made_from_text(const char* text) { throw std::runtime_error(text); }  // NOLINT
};

TEST(task, an_error_in_making_the_result_is_the_error_of_the_task) {
    EXPECT_EQ(error_of([]() -> task<throws_when_made_from_text> { co_return "no value"; }), "no value");
}

TEST(task, as_outcome_tells_how_it_ended_and_never_throws) {
    on_one_thread([]() -> task<> {
        task<int> value = giving(4);
        leat::outcome<int> first = co_await value.as_outcome();
        EXPECT_TRUE(first.is_value());
        EXPECT_EQ(std::move(first).get(), 4);
        task<int> error = leat_test::failing("x");
        const leat::outcome<int> second = co_await error.as_outcome();
        EXPECT_TRUE(second.is_error());
        EXPECT_NE(second.error(), nullptr);
        task<> stopped = []() -> task<> {
            throw leat::cancelled{};
            co_return;
        }();
        const leat::outcome<void> third = co_await stopped.as_outcome();
        EXPECT_TRUE(third.is_cancelled());
        EXPECT_EQ(third.error(), nullptr);
    });
}

TEST(task, cancelled_is_not_caught_as_an_ordinary_exception) {
    EXPECT_EQ(error_of([]() -> task<> {
                  try {
                      throw leat::cancelled{};
                  } catch (const std::exception&) {
                      throw std::runtime_error("swallowed");
                  }
                  co_return;
              }),
              "(cancelled)");
}

TEST(task, one_that_is_dropped_unawaited_runs_nothing_and_destroys_its_arguments) {
    int alive = 0;
    bool ran = false;
    on_one_thread([&]() -> task<> {
        {
            counted argument(alive);
            const task<> dropped = [](counted, bool& did_run) -> task<> {
                did_run = true;
                co_return;
            }(argument, ran);
            EXPECT_EQ(alive, 2);
        }
        EXPECT_EQ(alive, 0);
        co_return;
    });
    EXPECT_FALSE(ran);
    EXPECT_EQ(alive, 0);
}

TEST(task, locals_are_destroyed_at_its_end_and_arguments_with_the_task) {
    int arguments = 0;
    int locals = 0;
    on_one_thread([&]() -> task<> {
        counted argument(arguments);
        {
            task<int> inner = [](counted, int& alive) -> task<int> {
                counted local(alive);
                co_await leat::this_task::yield();
                co_return alive;
            }(argument, locals);
            const int while_running = co_await inner;
            EXPECT_EQ(while_running, 1);
            EXPECT_EQ(locals, 0);
            EXPECT_EQ(arguments, 2);
        }
        EXPECT_EQ(arguments, 1);
    });
    EXPECT_EQ(arguments, 0);
}

TEST(task, move_assignment_drops_the_former_task) {
    int alive = 0;
    const int value = on_one_thread([&]() -> task<int> {
        counted argument(alive);
        const auto body = [](counted, int result) -> task<int> { co_return result; };
        task<int> kept = body(argument, 1);
        kept = body(argument, 2);
        EXPECT_EQ(alive, 2);
        co_return co_await kept;
    });
    EXPECT_EQ(value, 2);
    EXPECT_EQ(alive, 0);
}

TEST(task_death, awaited_twice) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     task<int> once = giving(1);
                     co_await once;
                     co_await once;
                 }),
                 "bug: a task was awaited twice");
}

TEST(task_death, awaited_after_it_was_moved_from) {
    EXPECT_DEATH(on_one_thread([]() -> task<> {
                     task<int> first = giving(1);
                     const task<int> second = std::move(first);
                     co_await first;  // NOLINT(bugprone-use-after-move)
                 }),
                 "bug: a task that was moved from was awaited");
}

}  // namespace
