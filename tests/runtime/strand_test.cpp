// strand: one at a time, in order, on any executor, and no thread waits for it.
#include <leat/runtime/strand.hpp>

#include <core.hpp>
#include <memory>
#include <note.hpp>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include <leat/runtime/blocking.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/resume_on.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::note;
using namespace std::chrono_literals;

TEST(strand, runs_items_in_the_order_in_which_they_were_posted_whatever_their_priority) {
    leat::event_loop loop;
    leat::strand line(loop);
    std::vector<int> ran;
    std::vector<std::unique_ptr<note>> items;
    for (int i = 0; i < 300; ++i) {
        items.push_back(std::make_unique<note>(ran, i));
        if (i % 3 == 0) items.back()->urgency = leat::priority::high;
        if (i % 2 == 0) line.post(*items.back());
        else line.post_last(*items.back());
    }
    EXPECT_TRUE(ran.empty());  // never inside the call
    while (loop.poll()) continue;
    std::vector<int> expected(300);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(ran, expected);
}

TEST(strand, lets_others_of_the_executor_run_in_between) {
    leat::event_loop loop;
    leat::strand line(loop);
    std::vector<int> ran;
    std::vector<std::unique_ptr<note>> items;
    for (int i = 0; i < 300; ++i) {
        items.push_back(std::make_unique<note>(ran, i));
        line.post(*items.back());
    }
    note other(ran, -1);
    loop.post(other);
    while (loop.poll()) continue;
    const auto place = std::find(ran.begin(), ran.end(), -1) - ran.begin();
    EXPECT_LT(place, 100);
    EXPECT_EQ(ran.size(), 301U);
}

TEST(strand, tasks_on_it_need_no_lock_between_two_suspensions) {
    for (const unsigned threads : {1U, 2U, 4U}) {
        leat_test::on_threads(threads, []() -> task<> {
            leat::context& mine = co_await leat::this_task::line();
            leat::strand line(mine.where());
            int plain = 0;        // the strand protects it
            bool inside = false;  // so does it this
            const auto adds = [&]() -> task<> {
                for (int i = 0; i < 200; ++i) {
                    EXPECT_FALSE(std::exchange(inside, true));
                    ++plain;
                    EXPECT_TRUE(std::exchange(inside, false));
                    if (i % 3 == 0) co_await leat::this_task::yield();
                    if (i % 50 == 0) co_await leat::sleep_for(10us);
                }
            };
            leat::scope work;
            for (int i = 0; i < 16; ++i)
                work.spawn(
                    [](leat::strand& where, task<> body) -> task<> { co_await leat::on(where, std::move(body)); },
                    std::ref(line), adds());
            co_await work.join();
            EXPECT_EQ(plain, 3200);
        });
    }
}

TEST(strand, a_scope_made_on_it_runs_its_tasks_on_it) {
    leat_test::on_threads(4, []() -> task<> {
        leat::context& mine = co_await leat::this_task::line();
        leat::strand line(mine.where());
        const auto body = []() -> task<int> {
            int plain = 0;
            leat::scope work;
            for (int i = 0; i < 100; ++i)
                work.spawn([&plain]() -> task<> {
                    ++plain;
                    co_await leat::this_task::yield();
                    ++plain;
                });
            co_await work.join();
            co_return plain;
        };
        EXPECT_EQ(co_await leat::on(line, body()), 200);
    });
}

TEST(strand, waits_blocking_calls_and_stops_work_on_it) {
    leat_test::on_threads(2, []() -> task<> {
        leat::context& mine = co_await leat::this_task::line();
        leat::executor& before = mine.where();
        leat::strand line(before);
        leat::strand above(static_cast<leat::executor&>(line));  // a strand of a strand
        const auto body = [&]() -> task<int> {
            EXPECT_EQ(&mine.where(), &above);
            co_await leat::sleep_for(1ms);
            auto call = leat::blocking([] { return 5; });
            const int five = co_await std::move(call);
            EXPECT_EQ(&mine.where(), &above);
            bool timed_out = false;
            try {
                co_await leat::timeout(leat_test::until_stopped(), 1ms);
            } catch (const leat::timed_out&) {
                timed_out = true;
            }
            EXPECT_TRUE(timed_out);
            co_return five;
        };
        EXPECT_EQ(co_await leat::on(above, body()), 5);
        EXPECT_EQ(&mine.where(), &before);
    });
}

TEST(strand, may_be_destroyed_by_the_task_that_has_just_left_it) {
    leat_test::on_threads(2, []() -> task<> {
        leat::context& mine = co_await leat::this_task::line();
        for (int i = 0; i < 2'000; ++i) {
            leat::strand brief(mine.where());
            EXPECT_EQ(co_await leat::on(brief, leat_test::giving(i)), i);
        }
    });
}

TEST(strand_death, destroyed_while_tasks_are_on_it) {
    const auto program = [] {
        leat::event_loop loop;
        std::vector<int> ran;
        note item(ran, 1);
        leat::strand line(loop);
        line.post(item);
    };
    EXPECT_DEATH(program(), "bug: a strand was destroyed while tasks were on it");
}

}  // namespace
