// The report of a task that holds its worker: real pools and loops, and tasks that spin until they are reported.
#include <leat/runtime/hold_watch.hpp>

#include <core.hpp>
#include <gmock/gmock.h>
#include <mutex>
#include <source_location>
#include <vector>

#include <leat/base/log.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/strand.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/fork.hpp>
#include <leat/task/resume_on.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// What the library logs about one task while it lives. (Not about others: on a busy machine any of them may be held.)
class log_lines {
public:
    explicit log_lines(std::string about) : about_(std::move(about)) {
        leat::set_log_hook(
            [](void* self, leat::log_level, std::string_view text) noexcept {
                static_cast<log_lines*>(self)->add(std::string(text));
            },
            this);
    }
    ~log_lines() { leat::set_log_hook(nullptr, nullptr); }
    void wait_for(int count) const noexcept {
        while (count_.load() < count) leat::env::pause();
    }
    std::vector<std::string> take() {
        const std::lock_guard held(lock_);
        return std::exchange(lines_, {});
    }

private:
    void add(std::string text) {
        if (text.find('"' + about_ + '"') == std::string::npos) return;
        const std::lock_guard held(lock_);
        lines_.push_back(std::move(text));
        count_.fetch_add(1);
    }
    const std::string about_;
    std::mutex lock_;
    std::vector<std::string> lines_;
    std::atomic<int> count_{0};
};

leat::run_options watched(unsigned threads) {
    leat::run_options options(threads);
    options.report_holds_after = 20ms;
    return options;
}

task<> hold_until_reported(log_lines& log, int count) {
    log.wait_for(count);
    co_return;
}

class hold_watch : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(threads, hold_watch, testing::Values(1U, 2U, 3U));

TEST_P(hold_watch, names_the_task_that_holds_a_worker_and_where_it_was_spawned) {
    log_lines log("digger");
    unsigned line = 0;
    const auto body = [&](leat::scope& work) -> task<> {
        line = std::source_location::current().line() + 1;
        work.spawn(leat::task_name("digger"), hold_until_reported, std::ref(log), 1);
        co_return;
    };
    leat::run(watched(GetParam()), [&] { return leat::with_scope(body); });
    EXPECT_THAT(log.take(), ElementsAre(AllOf(HasSubstr("leat: worker "), HasSubstr(" has been held for 0."),
                                              HasSubstr(" by the task \"digger\", spawned at "),
                                              HasSubstr("hold_watch_test.cpp:" + std::to_string(line)))));
}

TEST_P(hold_watch, names_the_root_task_which_nobody_spawned) {
    log_lines log("the program");
    leat::run_options options = watched(GetParam());
    options.name = "the program";
    leat::run(options, hold_until_reported, std::ref(log), 1);
    EXPECT_THAT(log.take(), ElementsAre(AllOf(HasSubstr(" by the task \"the program\""), Not(HasSubstr("spawned")))));
}

TEST_P(hold_watch, reports_each_hold_and_all_that_the_line_does_under_the_name_of_its_task) {
    log_lines log("twice");
    const auto arms = [&log]() -> task<> {
        co_await hold_until_reported(log, 1);
        co_await leat::this_task::yield();
        co_await leat::when_all(hold_until_reported(log, 2), hold_until_reported(log, 2));
    };
    const auto body = [&](leat::scope& work) -> task<> {
        work.spawn(leat::task_options("twice", leat::priority::high), arms);
        co_return;
    };
    leat::run(watched(GetParam()), [&] { return leat::with_scope(body); });
    EXPECT_THAT(log.take(), ElementsAre(HasSubstr("\"twice\""), HasSubstr("\"twice\"")));
}

TEST_P(hold_watch, of_a_task_without_a_name_tells_the_function_that_spawned_it) {
    log_lines log("task");
    const auto body = [&](leat::scope& work) -> task<> {
        work.spawn([&log]() -> task<> { return hold_until_reported(log, 1); });
        co_return;
    };
    leat::run(watched(GetParam()), [&] { return leat::with_scope(body); });
    EXPECT_THAT(log.take(), ElementsAre(AllOf(HasSubstr("the task \"task\", spawned at "), HasSubstr("spawn"),
                                              HasSubstr("hold_watch"))));
}

TEST_P(hold_watch, looks_through_a_strand) {
    log_lines log("on the strand");
    const auto body = [&](leat::scope& work) -> task<> {
        leat::context& line = co_await leat::this_task::line();
        leat::strand one(line.where());
        work.spawn(leat::task_name("on the strand"),
                   [&]() -> task<> { co_await leat::on(one, hold_until_reported(log, 1)); });
        co_await work.join();
    };
    leat::run(watched(GetParam()), [&] { return leat::with_scope(body); });
    EXPECT_THAT(log.take(), ElementsAre(HasSubstr("\"on the strand\"")));
}

TEST(hold_watch_of_two_workers, reports_both) {
    log_lines log("both");
    const auto body = [&](leat::scope& work) -> task<> {
        for (int i = 0; i < 2; ++i) work.spawn(leat::task_name("both"), hold_until_reported, std::ref(log), 2);
        co_return;
    };
    leat::run(watched(2), [&] { return leat::with_scope(body); });
    EXPECT_THAT(log.take(), testing::UnorderedElementsAre(HasSubstr("worker 0 of 2"), HasSubstr("worker 1 of 2")));
}

leat::fork_task<> forks_that_hold(log_lines& log) {
    // The child holds the worker it was forked on, so that the rest is stolen and holds the other one.
    const auto child = [](log_lines& lines) -> leat::fork_task<> {
        lines.wait_for(2);
        co_return;
    };
    co_await leat::fork(child, log);
    log.wait_for(2);
    co_await leat::join();
}

TEST(hold_watch_of_two_workers, names_the_task_also_where_its_forks_were_stolen) {
    log_lines log("divide");
    leat::run_options options = watched(2);
    options.name = "divide";
    leat::run(options, [&]() -> task<> { co_await forks_that_hold(log); });
    EXPECT_THAT(log.take(), ElementsAre(HasSubstr("\"divide\""), HasSubstr("\"divide\"")));
}

TEST(hold_watch_of_a_driven_loop, sees_a_hold_in_poll) {
    log_lines log("guest");
    leat::event_loop outer;
    leat::event_loop inner({}, 20ms);
    const auto body = [&](leat::scope& work) -> task<> {
        leat::env::atomic<bool> over{false};
        work.spawn(leat::task_name("guest"), [&]() -> task<> {
            co_await leat::on(inner, hold_until_reported(log, 1));
            over.store(true);
        });
        while (!over.load()) {
            inner.poll();
            co_await leat::this_task::yield();
        }
        co_await work.join();
    };
    outer.run(leat::with_scope(body));
    EXPECT_THAT(log.take(), ElementsAre(HasSubstr("worker 0 of 1")));
}

}  // namespace
