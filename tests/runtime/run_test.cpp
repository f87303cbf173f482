// run: from a plain function into tasks and back.
#include <leat/runtime/run.hpp>

#include <core.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include <leat/base/sanitizer.hpp>
#include <leat/runtime/blocking.hpp>
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

TEST(run, of_no_threads_takes_as_many_as_the_machine_has) {
    EXPECT_EQ(leat::run(leat::run_options(0), leat_test::giving, 3, 1), 3);
    EXPECT_GE(leat::thread_pool(0).size(), 1U);
}

TEST(run, that_is_refused_does_not_call_the_function) {
    bool called = false;
    const auto program = [&called]() -> task<> {
        called = true;
        return leat_test::until_stopped();
    };
    EXPECT_THROW(leat::run(leat::run_options(leat::thread_pool::max_threads + 1), program), std::invalid_argument);
    EXPECT_FALSE(called);
}

// --- In a forked child ---

// What `body` returned in a child of this process, or minus the signal that ended it.
template <class Body>
int in_child(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);  // a child that hangs is a failure, not a hang of the tests
        ::_exit(body());
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(fork, a_child_may_destroy_the_runtimes_that_it_inherited) {
    for (const unsigned threads : {1U, 3U}) {
        leat::run_options options(threads);
        options.report_holds_after = std::chrono::hours(1);  // a thread for that, too
        auto inherited = leat::make_runtime(options);
        inherited->run([]() -> task<> {
            auto call = leat::blocking([] {});  // an attachment with threads of its own
            co_await std::move(call);
        }());
        EXPECT_EQ(in_child([&inherited] {
                      inherited.reset();
                      return 7;
                  }),
                  7);
        EXPECT_EQ(inherited->run(leat_test::giving(2, 2)), 2);  // the parent's is as it was
    }
}

TEST(fork, a_child_may_make_a_runtime_of_its_own) {
    if (leat::sanitizer::thread) GTEST_SKIP() << "the thread sanitizer ends a forked child that starts threads";
    leat::thread_pool inherited(2);
    EXPECT_EQ(inherited.run(leat_test::giving(1, 1)), 1);
    EXPECT_EQ(in_child([] { return leat::run(leat::run_options(2), leat_test::giving, 9, 3); }), 9);
}

TEST(fork, a_task_may_fork_a_child_that_ends_at_once) {
    const auto program = []() -> task<int> {
        const int code = in_child([] { return 4; });
        co_await leat::this_task::yield();
        co_return code;
    };
    EXPECT_EQ(leat_test::on_threads(2, program), 4);
}

TEST(fork_death, running_on_an_inherited_runtime) {
    for (const unsigned threads : {1U, 2U}) {
        const auto inherited = leat::make_runtime(leat::run_options(threads));
        // The statement runs in a forked child.
        EXPECT_DEATH(inherited->run(leat_test::giving(1)),
                     "bug: a runtime made before fork\\(\\) was asked to run a task");
    }
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
