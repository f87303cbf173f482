// wait and as_completed: for several at once, taking nothing from them.
#include <leat/sync/wait.hpp>

#include <core.hpp>
#include <list>
#include <vector>

#include <leat/runtime/sim.hpp>
#include <leat/sync/future.hpp>
#include <leat/sync/task_handle.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat::task_handle;
using leat::until;
using leat_test::failing;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::on_threads;
using leat_test::until_stopped;
using places = std::vector<std::size_t>;
using namespace std::chrono_literals;

task<int> after(std::chrono::seconds time, int value) {
    co_await leat::sleep_for(time);
    co_return value;
}

// In virtual time.
template <class Program>
void simulated(Program program) {
    const leat::sim::result ran = leat::sim::run({.seed = 1}, program);
    EXPECT_TRUE(ran.ok()) << ran.report();
}

std::vector<task_handle<int>> three(leat::scope& work) {
    std::vector<task_handle<int>> handles;
    handles.push_back(work.submit(after, 3s, 3));
    handles.push_back(work.submit(after, 1s, 1));
    handles.push_back(work.submit(after, 2s, 2));
    return handles;
}

TEST(wait, ends_with_the_first_that_has_completed) {
    simulated([]() -> task<> {
        leat::scope work;
        const auto handles = three(work);
        auto first = co_await leat::wait(handles, until::first_completed);
        EXPECT_EQ(first.done, places{1});
        EXPECT_EQ(first.pending, (places{0, 2}));
        auto again = co_await leat::wait(handles, until::first_completed);  // at once
        EXPECT_EQ(again.done, places{1});
        co_await work.join();
    });
}

TEST(wait, ends_when_all_have_completed) {
    simulated([]() -> task<> {
        leat::scope work;
        const auto handles = three(work);
        auto all = co_await leat::wait(handles);
        EXPECT_EQ(all.done, (places{0, 1, 2}));
        EXPECT_TRUE(all.pending.empty());
        co_await work.join();
    });
}

TEST(wait, ends_with_the_first_error_or_when_there_is_none) {
    simulated([]() -> task<> {
        leat::scope work;
        const auto fails = []() -> task<int> {
            co_await leat::sleep_for(2s);
            throw std::runtime_error("planned");
        };
        const auto stopped = work.submit(until_stopped);
        stopped.stop();  // is no error
        const auto quick = work.submit(after, 1s, 1);
        const auto bad = work.submit(fails);
        const auto slow = work.submit(after, 9s, 9);
        auto until_it = co_await leat::wait(until::first_exception, stopped, quick, bad, slow);
        EXPECT_EQ(until_it.done, (places{0, 1, 2}));
        EXPECT_EQ(until_it.pending, places{3});
        auto without = co_await leat::wait(until::first_exception, quick, slow);
        EXPECT_EQ(without.done, (places{0, 1}));
        const auto end = co_await bad.as_outcome();  // wait has taken nothing
        EXPECT_TRUE(end.is_error());
        co_await work.join();
    });
}

TEST(wait, for_nothing_ends_at_once) {
    on_one_thread([]() -> task<> {
        const std::vector<task_handle<int>> none;
        for (const until when : {until::first_completed, until::first_exception, until::all_completed}) {
            auto result = co_await leat::wait(none, when);
            EXPECT_TRUE(result.done.empty() && result.pending.empty());
        }
        auto ended = leat::as_completed(none);
        const auto* const first = co_await ended.next();
        EXPECT_EQ(first, nullptr);
    });
}

TEST(wait, takes_handles_and_futures_and_pointers_to_them) {
    on_one_thread([]() -> task<> {
        leat::promise<int> makes;
        const leat::future<int> later = makes.get_future();
        leat::scope work;
        const task_handle<int> handle = work.submit(giving, 1, 2);
        auto first = co_await leat::wait(until::first_completed, later, handle);
        EXPECT_EQ(first.done, places{1});
        makes.set_value(1);
        const std::list<const leat::future<int>*> pointers{&later};
        auto all = co_await leat::wait(pointers);
        EXPECT_EQ(all.done, places{0});
        co_await work.join();
    });
}

TEST(wait, being_stopped_or_late_leaves_the_tasks_alone) {
    simulated([]() -> task<> {
        leat::scope work;
        const auto handles = three(work);
        bool late = false;
        try {
            co_await leat::timeout(leat::wait(handles), 2500ms);
        } catch (const leat::timed_out&) {
            late = true;
        }
        EXPECT_TRUE(late);
        auto now = co_await leat::wait(handles, until::first_completed);
        EXPECT_EQ(now.done, (places{1, 2}));
        const int last = co_await handles[0].join();
        EXPECT_EQ(last, 3);
        co_await work.join();
    });
}

TEST(as_completed, gives_results_in_the_order_in_which_they_come) {
    simulated([]() -> task<> {
        leat::scope work;
        auto handles = three(work);
        std::vector<int> order;
        auto ended = leat::as_completed(handles);
        while (task_handle<int>* const handle = co_await ended.next()) {
            const int value = co_await std::move(*handle).join();
            order.push_back(value);
        }
        EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
        const auto* const end = co_await ended.next();
        EXPECT_EQ(end, nullptr);
        co_await work.join();
    });
}

TEST(as_completed, goes_on_after_a_time_limit_without_losing_one) {
    simulated([]() -> task<> {
        leat::scope work;
        auto handles = three(work);
        auto ended = leat::as_completed(handles);
        std::vector<int> order;
        int late = 0;
        for (bool more = true; more;) {
            try {
                task_handle<int>* const handle = co_await leat::timeout(ended.next(), 300ms);
                more = handle != nullptr;
                if (more) {
                    const int value = co_await handle->join();
                    order.push_back(value);
                }
            } catch (const leat::timed_out&) {
                ++late;
            }
        }
        EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
        EXPECT_EQ(late, 9);
        co_await work.join();
    });
}

TEST(as_completed, may_be_left_before_all_have_come) {
    on_threads(3, []() -> task<> {
        for (int round = 0; round < 100; ++round) {
            leat::scope work;
            std::vector<task_handle<int>> handles;
            for (int i = 0; i < 10; ++i) handles.push_back(work.submit(giving, i, i % 3));
            {
                auto ended = leat::as_completed(handles);
                for (int i = 0; i < 4; ++i) {
                    const task_handle<int>* const handle = co_await ended.next();
                    EXPECT_TRUE(handle->done());
                }
            }
            co_await work.join();
        }
    });
}

TEST(as_completed, gives_each_of_many_once) {
    on_threads(3, []() -> task<> {
        leat::scope work;
        std::vector<task_handle<int>> handles;
        for (int i = 0; i < 2000; ++i) handles.push_back(work.submit(giving, 1, i % 4));
        auto ended = leat::as_completed(handles);
        int sum = 0;
        while (task_handle<int>* const handle = co_await ended.next()) {
            const int value = co_await std::move(*handle).join();
            sum += value;
        }
        EXPECT_EQ(sum, 2000);
        co_await work.join();
    });
}

TEST(as_completed, a_stop_at_any_point_loses_none) {
    for (int killed_after = 0; killed_after < 12; ++killed_after)
        leat::sim::explore({.seeds = 30}, [killed_after]() -> task<> {
            leat::scope work;
            std::vector<task_handle<int>> handles;
            for (int i = 0; i < 3; ++i) handles.push_back(work.submit(giving, 1, 2 * i));
            auto ended = leat::as_completed(handles);
            int sum = 0;
            const auto drains = [&]() -> task<> {
                while (task_handle<int>* const handle = co_await ended.next()) {
                    const int value = co_await std::move(*handle).join();
                    sum += value;
                }
            };
            leat::scope draining;
            draining.spawn(drains);
            co_await giving(0, killed_after);
            draining.stop();
            co_await draining.join_quietly();
            co_await drains();
            if (sum != 3) throw std::runtime_error("one was lost");
            co_await work.join();
        });
}

}  // namespace
