// run: from a plain function into tasks and back.
#include <leat/runtime/run.hpp>

#include <core.hpp>

#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>

namespace {

using leat::task;

task<int> sum_of(int a, const std::string& text) {
    co_await leat::this_task::yield();
    co_return a + static_cast<int>(text.size());
}

TEST(run, calls_the_function_with_its_arguments_and_gives_the_value) {
    EXPECT_EQ(leat::run(sum_of, 1, std::string("four")), 5);
    EXPECT_EQ(leat::run(leat::run_options(1), sum_of, 1, "xy"), 3);
}

TEST(run, on_one_thread_is_the_calling_thread) {
    int marker = 0;
    static thread_local int* mine = nullptr;
    mine = &marker;
    leat::run(leat::run_options(1), [&]() -> task<> {
        EXPECT_EQ(mine, &marker);
        co_return;
    });
    leat::run(leat::run_options(2), [&]() -> task<> {
        EXPECT_EQ(mine, nullptr);
        co_return;
    });
}

TEST(run, throws_what_the_task_threw) { EXPECT_THROW(leat::run(leat_test::failing, "x", 1), std::runtime_error); }

TEST(run, stopped_throws_cancelled) {
    leat::stop_source stop;
    leat::run_options options(2);
    options.stop = &stop;
    stop.request_stop();
    EXPECT_THROW(leat::run(options, leat_test::until_stopped), leat::cancelled);
}

TEST(run, gives_the_root_task_its_name) {
    leat::run_options options(1);
    options.name = "reader";
    const std::string name = leat::run(options, []() -> task<std::string> {
        leat::context& line = co_await leat::this_task::line();
        co_return line.name();
    });
    EXPECT_EQ(name, "reader");
}

TEST(run, too_many_threads_are_refused) {
    EXPECT_THROW(leat::run(leat::run_options(5000), leat_test::until_stopped), std::invalid_argument);
}

TEST(run_death, inside_a_task) {
    const auto nested = [] {
        leat_test::on_one_thread([]() -> task<> {
            leat_test::on_one_thread(leat_test::until_stopped);
            co_return;
        });
    };
    EXPECT_DEATH(nested(), "bug: leat::run was called inside a task: await the task instead");
}

TEST(run_death, inside_a_task_of_a_pool) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto nested = [] {
        leat_test::on_threads(2, []() -> task<> {
            leat_test::on_threads(2, leat_test::until_stopped);
            co_return;
        });
    };
    EXPECT_DEATH(nested(), "bug: leat::run was called inside a task: await the task instead");
}

}  // namespace
