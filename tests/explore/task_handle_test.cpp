// All schedules of a submitted task's end against those who join it, stop it, are stopped, and drop its handle: its value or
// error reaches exactly one place, and nobody touches what another has freed.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/sync/task_handle.hpp>
#include <memory>
#include <optional>
#include <stdexcept>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;
using leat::task;
using leat::task_handle;

// One thread runs the tasks of a scope, another one uses the handle.
struct scene {
    explore::hand_executor worker;
    explore::gate ready;  // there is a handle
    std::optional<leat::scope> work;
    std::optional<task_handle<int>> handle;
    env::shared<int> written{0};  // by the task, read by who joins it
    int values = 0, errors = 0;
};

task<int> writes(scene& all) {
    all.written.write() = 1;
    co_return 1;
}
task<int> fails() {
    throw std::runtime_error("planned");
    co_return 0;
}
task<int> sleeps() {
    co_await leat::sleep_for(std::chrono::hours(1));
    co_return 1;
}

// What the scope's owner does: submits, lets the other thread go, and joins.
template <class Body>
task<> owner(scene& all, Body body, int others = 1) {
    leat::context& line = co_await leat::this_task::line();
    all.work.emplace(line);
    all.handle.emplace(body(*all.work));
    for (; others > 0; --others) all.ready.open();
    if (co_await all.work->join_quietly()) ++all.errors;
    all.work.reset();  // nobody touches it any more
}

template <class Body, class Other>
void meet(const explore::options& how, Body body, Other other) {
    expect_right(explore::run(how, [=] {
        auto all = std::make_shared<scene>();
        explore::thread("other", [all, other] {
            all->ready.pass();
            other(*all);
        });
        explore::run_line(all->worker, "owner", owner(*all, body));
        explore::join_all();
        all->handle.reset();
        explore::check(all->values + all->errors == 1, "the end came out once");
    }));
}

void join(scene& all, task_handle<int>& handle) {
    leat::outcome<int> end = std::move(handle).blocking_outcome();
    if (end.is_value()) all.values += std::move(end).get();
    if (end.is_error()) ++all.errors;
}

TEST(task_handle, a_thread_that_joins_sees_what_the_task_wrote) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("joins", [all] {
            all->ready.pass();
            join(*all, *all->handle);
            explore::check(all->written.read() == 1 && all->values == 1, "written, and given");
        });
        const auto submits = [all](leat::scope& work) { return work.submit(writes, std::ref<scene>(*all)); };
        explore::run_line(all->worker, "owner", owner(*all, submits));
        explore::join_all();
    }));
}

TEST(task_handle, an_error_is_taken_by_a_join_or_thrown_by_the_scope) {
    // Both, when the scope is joined first.
    expect_right(explore::run(all_schedules, [] {
        struct both : scene {
            int joined = 0;
        };
        auto all = std::make_shared<both>();
        explore::thread("joins", [all] {
            all->ready.pass();
            leat::outcome<int> end = std::move(*all->handle).blocking_outcome();
            all->joined = end.is_error() ? 1 : 0;
        });
        explore::run_line(all->worker, "owner", owner(*all, [](leat::scope& work) { return work.submit(fails); }));
        explore::join_all();
        explore::check(all->joined == 1 && all->errors <= 1, "the join has it");
    }));
}

TEST(task_handle, an_error_whose_handle_is_dropped_meanwhile_is_the_scopes_exactly_once) {
    meet(all_schedules, [](leat::scope& work) { return work.submit(fails); }, [](scene& all) { all.handle.reset(); });
}

TEST(task_handle, a_stop_reaches_the_task_or_comes_too_late) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("stops", [all] {
            all->ready.pass();
            all->handle->stop();
        });
        explore::run_line(all->worker, "owner", owner(*all, [](leat::scope& work) { return work.submit(sleeps); }));
        explore::join_all();
        explore::check(all->handle->as_outcome().operator co_await().await_resume().is_cancelled(), "it was stopped");
    }));
}

TEST(task_handle, a_stop_that_comes_while_the_task_ends_touches_nothing_of_it) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("stops", [all] {
            all->ready.pass();
            all->handle->stop();
        });
        const auto submits = [all](leat::scope& work) { return work.submit(writes, std::ref<scene>(*all)); };
        explore::run_line(all->worker, "owner", owner(*all, submits));
        explore::join_all();
        join(*all, *all->handle);
        explore::check(all->values == 1, "it did not wait, so it has a value");
    }));
}

// Joins the handle, then the scope, while another thread waits without taking.
task<> joins_both(scene& all) {
    leat::context& line = co_await leat::this_task::line();
    leat::scope work(line);
    all.handle.emplace(work.submit(fails));
    all.ready.open();
    leat::outcome<int> end = co_await all.handle->as_outcome();
    if (end.is_error()) ++all.values;
    if (co_await work.join_quietly()) ++all.errors;
}

TEST(task_handle, an_error_that_was_taken_is_not_the_scopes) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("waits", [all] {
            all->ready.pass();
            all->handle->blocking_wait();
        });
        explore::run_line(all->worker, "owner", joins_both(*all));
        explore::join_all();
        explore::check(all->values == 1 && all->errors == 0, "taken once, and not thrown");
    }));
}

TEST(task_handle, of_two_that_share_each_gets_the_value) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct both : scene {
            env::atomic<int> sum{0};
        };
        auto all = std::make_shared<both>();
        for (int i = 0; i < 2; ++i)
            explore::thread("joins", [all] {
                all->ready.pass();
                all->sum.fetch_add(all->handle->blocking_join());
            });
        const auto submits = [all](leat::scope& work) { return work.submit(writes, std::ref<scene>(*all)); };
        explore::run_line(all->worker, "owner", owner(*all, submits, 2));
        explore::join_all();
        explore::check(all->sum == 2, "both have it");
    }));
}

// Joins on a line of its own, below a stop source.
task<> joins(scene& all) {
    try {
        all.values += co_await std::move(*all.handle).join();
    } catch (const leat::cancelled&) {
        explore::note("it was stopped");
    }
}

TEST(task_handle, a_join_that_is_stopped_while_the_task_ends_leaves_the_value_or_has_it) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct both : scene {
            explore::hand_executor second;
            leat::stop_source stop;
        };
        auto all = std::make_shared<both>();
        explore::thread("joiner", [all] {
            all->ready.pass();
            explore::run_line(all->second, "joiner", joins(*all), &all->stop);
        });
        explore::thread("stopper", [all] { all->stop.request_stop(); });
        const auto submits = [all](leat::scope& work) { return work.submit(writes, std::ref<scene>(*all)); };
        explore::run_line(all->worker, "owner", owner(*all, submits));
        explore::join_all();
        if (all->handle->valid()) join(*all, *all->handle);
        explore::check(all->values == 1, "the value came out once");
    }));
}

TEST(task_handle, the_end_of_the_handle_of_a_task_that_ends_frees_the_value_once) {
    expect_right(explore::run(all_schedules, [] {
        auto all = std::make_shared<scene>();
        explore::thread("drops", [all] {
            all->ready.pass();
            all->handle.reset();
        });
        const auto submits = [all](leat::scope& work) { return work.submit(writes, std::ref<scene>(*all)); };
        explore::run_line(all->worker, "owner", owner(*all, submits));
        explore::join_all();
        explore::check(all->written.read() == 1 && all->errors == 0, "it ran, and nothing failed");
    }));
}

}  // namespace
