// Schedules of a fiber that waits, on two workers: another may go on with it before the one that left it has turned away.
#include <gtest/gtest.h>

#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/base/sanitizer.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/run_in_fiber.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;

// The explorer's threads and the fibers inside them would both be fibers of ThreadSanitizer, whose record of calls breaks at
// the change from one to the other. tests/task/run_in_fiber_test.cpp runs fibers on real threads under it.
class run_in_fiber : public testing::Test {
    void SetUp() override {
        if (leat::sanitizer::thread) GTEST_SKIP() << "ThreadSanitizer's fibers do not nest";
    }
};

struct scene {
    explore::hand_executor home;
    leat::semaphore tokens{0};
    leat::stop_source stop;
    env::shared<int> steps{0};  // the fiber's own, wherever it runs
    explore::gate over;
};

void two_waits(scene& all) {
    for (int i = 0; i < 2; ++i) {
        leat::semaphore::permit held = leat::await(all.tokens.acquire());
        held.forget();
        ++all.steps.write();
    }
}
leat::task<> waits_in_a_fiber(scene& all) {
    co_await leat::run_in_fiber(two_waits, std::ref(all));
    explore::check(all.steps.read() == 2, "both waits are over");
}

void check_no_fiber_here() {
    explore::check(env::this_thread(env::slot::fiber) == nullptr, "no fiber is left on the thread");
}
leat::task<> opens_at_the_end(scene& all, leat::task<> body) {
    co_await body;
    all.over.open();
}

template <class Body, class Outside>
void on_two_workers(Body body, Outside outside) {
    const auto scenario = [=] {
        auto all = std::make_shared<scene>();
        {
            explore::line line(all->home, "line", opens_at_the_end(*all, body(*all)));
            line.attach(all->stop);
            for (int i = 0; i < 2; ++i)
                explore::thread("worker", [all] {
                    while (all->home.run_one()) check_no_fiber_here();
                });
            explore::thread("outside", [all, outside] { outside(*all); });
            line.start();
            check_no_fiber_here();
            all->over.pass();
            all->home.end();
            all->home.end();
            explore::join_all();
            explore::check(line.has_ended() && line.how().is_value(), "the line has come to its end");
            line.detach();
        }
    };
    explore::expect_right(explore::run({.preemption_bound = 2}, scenario));
    const explore::report random = explore::run({.random_schedules = 3'000, .seed = 5, .stale = 3}, scenario);
    EXPECT_TRUE(random.ok()) << random.text();
}

TEST_F(run_in_fiber, goes_on_on_whichever_worker_is_first) {
    on_two_workers(waits_in_a_fiber, [](scene& all) {
        all.tokens.release();
        all.tokens.release();
    });
}

// Asks for a wait each time, and never needs one.
struct needs_none {
    int& asked;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) const noexcept {
        ++asked;
        return false;
    }
    void await_resume() const noexcept {}
};
leat::task<> asks_often(scene&) {
    static constexpr int times = leat::context::nested_bound + 3;  // it goes on from the run queue once
    int asked = 0;
    const auto ask = [&asked] {
        for (int i = 0; i < times; ++i) leat::await(needs_none{asked});
    };
    co_await leat::run_in_fiber(ask);
    explore::check(asked == times, "each await has asked");
}

TEST_F(run_in_fiber, one_that_awaits_more_than_may_nest_asks_each_time) {
    on_two_workers(asks_often, [](scene&) {});
}

leat::task<> is_stopped_in_a_fiber(scene& all) {
    leat::task<> waits = leat::run_in_fiber(two_waits, std::ref(all));
    const leat::outcome<void> end = co_await waits.as_outcome();
    explore::check(end.is_cancelled() || all.steps.read() == 2, "stopped in a wait, or late");
}

TEST_F(run_in_fiber, a_stop_that_races_with_what_it_waits_for_ends_one_wait) {
    on_two_workers(is_stopped_in_a_fiber, [](scene& all) {
        all.tokens.release();
        all.stop.request_stop();
    });
}

leat::task<> in_a_fiber_in_a_task_in_a_fiber(scene& all) {
    const auto outer = [&all] {
        leat::await(waits_in_a_fiber(all));
        leat::await(leat::this_task::yield());
    };
    co_await leat::run_in_fiber(outer);
}

TEST_F(run_in_fiber, a_task_in_a_fiber_runs_a_fiber_of_its_own) {
    on_two_workers(in_a_fiber_in_a_task_in_a_fiber, [](scene& all) {
        all.tokens.release();
        all.tokens.release();
    });
}

}  // namespace
