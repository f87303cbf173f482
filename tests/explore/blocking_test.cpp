// Schedules of the threads for blocking calls: what is posted runs once, whether it finds an idle thread, one that is about to
// end, none, or as many as there may be; and the end of the pool waits for all of it.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/runtime/blocking.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;

struct call : leat::work_item {
    call() : work_item(&run_it) {}
    static void run_it(work_item& self) noexcept {
        auto& mine = static_cast<call&>(self);
        mine.value.write() = ++mine.argument.write();  // written by who posted: a race if it is not handed over
        mine.ran.open();
    }
    env::shared<int> argument{0};
    env::shared<int> value{0};
    explore::gate ran;
};

struct scene {
    explicit scene(unsigned most_threads) : pool(home, most_threads) {}
    explore::hand_executor home;
    leat::blocking_pool pool;
    std::array<call, 3> calls;
    leat::time_point began = env::now();

    void post(std::size_t which) {
        calls[which].argument.write() = 4;
        pool.post(calls[which]);
    }
    // For schedules whose clock stands still but for what nobody ends: a thread that was not woken wakes by itself, late.
    void check_time() const {
        explore::check(env::now() - began < std::chrono::seconds(1), "who is woken need not wait to give up");
    }
    void check_all() {
        for (call& each : calls)
            if (each.argument.read() != 0)
                explore::check(each.argument.read() == 5 && each.value.read() == 5, "each ran once, and to its end");
    }
};

// Every schedule within the bounds, and random ones with old values.
template <class Scenario>
void explore_both_ways(explore::options how, Scenario scenario) {
    explore::expect_right(explore::run(how, scenario));
    how.random_schedules = 3'000;
    how.seed = 11;
    how.stale = 4;
    const explore::report random = explore::run(how, scenario);
    EXPECT_TRUE(random.ok()) << random.text();
}

TEST(blocking, a_call_after_another_is_handed_to_the_idle_thread_or_to_a_new_one) {
    explore_both_ways({.preemption_bound = 3}, [] {
        scene all(2);
        all.post(0);
        all.calls[0].ran.pass();
        all.post(1);
        all.calls[1].ran.pass();
        all.check_time();
        all.pool.stop();
        all.check_all();
        all.check_time();
    });
}

TEST(blocking, a_call_that_comes_while_an_idle_thread_gives_up_is_not_lost) {
    explore_both_ways({.preemption_bound = 3, .timeouts = 2}, [] {
        scene all(1);
        all.post(0);
        all.calls[0].ran.pass();
        all.post(1);
        all.calls[1].ran.pass();
        all.post(2);
        all.calls[2].ran.pass();
        all.pool.stop();
        all.check_all();
    });
}

TEST(blocking, the_end_of_the_pool_runs_what_waits_and_meets_threads_that_work_sleep_or_give_up) {
    explore_both_ways({.preemption_bound = 2, .timeouts = 1}, [] {
        scene all(2);
        all.post(0);
        all.post(1);
        all.post(2);
        all.calls[0].ran.pass();
        all.pool.stop();
        all.check_all();
    });
}

TEST(blocking, calls_from_several_threads_share_the_threads_that_there_may_be) {
    explore_both_ways({.preemption_bound = 2}, [] {
        auto all = std::make_shared<scene>(1U);
        for (std::size_t i = 1; i < 3; ++i) explore::thread("caller", [all, i] { all->post(i); });
        all->post(0);
        for (call& each : all->calls) each.ran.pass();
        explore::join_all();
        all->pool.stop();
        all->check_all();
    });
}

}  // namespace
