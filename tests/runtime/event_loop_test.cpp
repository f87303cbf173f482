// event_loop: one thread in a known order, driven by run() or by hand.
#include <leat/runtime/event_loop.hpp>

#include <core.hpp>
#include <note.hpp>
#include <thread>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/task/scope.hpp>

namespace {

using leat::task;
using leat_test::note;
using namespace std::chrono_literals;

TEST(event_loop, poll_runs_what_is_ready_in_order_and_nothing_else) {
    std::vector<int> ran;
    note one(ran, 1);
    note two(ran, 2);
    note urgent(ran, 3);
    urgent.urgency = leat::priority::high;
    leat::event_loop loop;
    EXPECT_FALSE(loop.poll());
    loop.post(one);
    loop.post(two);
    loop.post(urgent);
    EXPECT_TRUE(ran.empty());
    EXPECT_TRUE(loop.poll());
    EXPECT_EQ(ran, (std::vector<int>{3, 1, 2}));
    EXPECT_FALSE(loop.poll());
}

struct mark : leat::timer {
    explicit mark(int& count) noexcept
        : timer([](timer& self) noexcept { ++*static_cast<mark&>(self).fired; }), fired(&count) {}
    int* fired;
};

TEST(event_loop, poll_fires_timers_that_are_due_and_tells_the_next_deadline) {
    leat::event_loop loop;
    int fired = 0;
    mark past(fired);
    mark future(fired);
    past.due = loop.now() - 1s;
    future.due = loop.now() + 1h;
    EXPECT_EQ(loop.next_deadline(), leat::time_point::max());
    loop.start(future);
    loop.start(past);
    EXPECT_EQ(loop.next_deadline(), past.due);
    EXPECT_EQ(fired, 0);  // never inside start()
    EXPECT_TRUE(loop.poll());
    EXPECT_EQ(fired, 1);
    EXPECT_EQ(loop.next_deadline(), future.due);
    loop.cancel(future);
    loop.cancel(future);
    EXPECT_EQ(loop.next_deadline(), leat::time_point::max());
    EXPECT_FALSE(loop.poll());
}

TEST(event_loop, posts_from_other_threads_wake_it) {
    for (int round = 0; round < 200; ++round) {
        auto [out, in] = leat::channel<int>(1);
        std::thread other([mine = std::move(out), round]() mutable {
            if (round % 20 == 0) std::this_thread::sleep_for(1ms);  // now and then the loop is asleep for sure
            EXPECT_TRUE(mine.blocking_send(5));
            EXPECT_TRUE(mine.blocking_send(6));
        });
        leat::event_loop loop;
        const int sum = loop.run([](leat::receiver<int> from) -> task<int> {
            const auto first = co_await from.recv();
            const auto second = co_await from.recv();
            co_return *first + *second;
        }(std::move(in)));
        other.join();
        EXPECT_EQ(sum, 11);
    }
}

TEST(event_loop, can_be_driven_from_a_task_of_another_runtime) {
    std::vector<int> ran;
    note one(ran, 1);
    leat::event_loop inner;
    leat_test::on_threads(2, [&]() -> task<> {
        leat::context* const mine = leat::context::current();
        inner.post(one);
        EXPECT_TRUE(inner.poll());
        EXPECT_EQ(leat::context::current(), mine);
        leat::scope still_possible;
        co_await still_possible.join();
    });
    EXPECT_EQ(ran, std::vector<int>{1});
}

TEST(event_loop, runs_in_an_order_that_does_not_change) {
    const auto trace = [] {
        std::string text;
        leat_test::on_one_thread([&]() -> task<> {
            auto [out, in] = leat::channel<int>(2);
            leat::scope work;
            for (int i = 0; i < 5; ++i) {
                work.spawn(
                    [&text](leat::sender<int> mine, int number) -> task<> {
                        text += 's';
                        EXPECT_TRUE(co_await mine.send(number));
                    },
                    out, i);
                work.spawn(
                    [&text](leat::receiver<int> mine) -> task<> {
                        const auto item = co_await mine.recv();
                        text += std::to_string(*item);
                    },
                    in);
            }
            co_await work.join();
        });
        return text;
    };
    const std::string first = trace();
    EXPECT_EQ(first.size(), 10U);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(trace(), first);
}

}  // namespace
