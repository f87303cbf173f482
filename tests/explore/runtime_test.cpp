// Schedules of whole runtimes: a pool of two workers and an event loop, with tasks that wait for each other, for time and
// for threads from outside. Too many steps for all schedules: one preemption everywhere it can be, and random schedules.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/channel/channel.hpp>
#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;

// Every schedule with at most so many preemptions, and random ones with any number, also with loads that see older values.
template <class Scenario>
void explore_both_ways(Scenario scenario, int preemptions = 1) {
    explore::expect_right(explore::run({.preemption_bound = preemptions, .max_steps = 50'000}, scenario));
    const explore::report random = explore::run({.random_schedules = 500, .seed = 20, .max_steps = 50'000}, scenario);
    EXPECT_TRUE(random.ok()) << random.text();
    for (const unsigned depth : {0U, 3U}) {
        const explore::report stale = explore::run(
            {.random_schedules = 1'000, .pct_depth = depth, .seed = 30, .max_steps = 50'000, .stale = 4}, scenario);
        EXPECT_TRUE(stale.ok()) << stale.text();
    }
}

leat::task<> send_two(leat::sender<int> out) {
    for (int i = 1; i <= 2; ++i) {
        auto sent = co_await out.send(i);
        explore::check(sent.has_value(), "the receiver is there");
    }
}

leat::task<int> sum_of(leat::receiver<int> in) {
    int sum = 0;
    for (;;) {
        auto next = co_await in.recv();
        if (!next) co_return sum;
        sum += *next;
    }
}

leat::task<int> pass_through_a_channel(leat::scope& work) {
    auto [out, in] = leat::channel<int>(1);
    work.spawn(send_two, std::move(out));
    co_return co_await sum_of(std::move(in));
}

TEST(runtime, tasks_of_a_pool_wake_each_other) {
    explore_both_ways([] {
        leat::thread_pool pool(2);
        explore::check(pool.run(leat::with_scope(pass_through_a_channel)) == 3, "all came through");
    });
}

// A thread of the program sends into the runtime while it falls asleep.
template <class Runtime, class... Argument>
void explore_a_sender_from_outside(Argument... argument) {
    explore_both_ways([=] {
        auto ends = std::make_shared<leat::channel_ends<int>>(leat::channel<int>(1));
        explore::thread("outside", [ends] {
            for (int i = 1; i <= 2; ++i)
                explore::check(ends->out.blocking_send(i).has_value(), "the receiver is there");
            ends->out.reset();
        });
        Runtime runtime(argument...);
        explore::check(runtime.run(sum_of(std::move(ends->in))) == 3, "all came through");
    });
}

TEST(runtime, a_pool_that_falls_asleep_hears_a_thread_from_outside) {
    explore_a_sender_from_outside<leat::thread_pool>(2U);
}
TEST(runtime, a_loop_that_falls_asleep_hears_a_thread_from_outside) {
    explore_a_sender_from_outside<leat::event_loop>();
}

leat::task<int> nap_and_spawn(leat::scope& work, env::atomic<int>& naps) {
    static constexpr auto nap = [](env::atomic<int>& count, int ms) -> leat::task<> {
        const leat::time_point due = env::now() + std::chrono::milliseconds(ms);
        co_await leat::sleep_for(std::chrono::milliseconds(ms));
        explore::check(env::now() - due < std::chrono::microseconds(500), "not late");
        count.fetch_add(1, env::relaxed);
    };
    work.spawn(nap, std::ref(naps), 5);
    work.spawn(nap, std::ref(naps), 3);
    co_await leat::sleep_for(std::chrono::milliseconds(4));
    co_return 1;
}

template <class Runtime, class... Argument>
void explore_naps(Argument... argument) {
    explore_both_ways([=] {
        env::atomic<int> naps{0};
        Runtime runtime(argument...);
        explore::check(runtime.run(leat::with_scope(nap_and_spawn, std::ref(naps))) == 1, "the body has ended");
        explore::check(naps.load(env::relaxed) == 2, "both naps are over");
    });
}

TEST(runtime, a_pool_wakes_for_each_of_its_timers) { explore_naps<leat::thread_pool>(2U); }
TEST(runtime, a_loop_wakes_for_each_of_its_timers) {
    const explore::report report = explore::run({.max_steps = 50'000}, [] {
        env::atomic<int> naps{0};
        leat::event_loop loop;
        explore::check(loop.run(leat::with_scope(nap_and_spawn, std::ref(naps))) == 1, "the body has ended");
        explore::check(naps.load(env::relaxed) == 2, "both naps are over");
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

// A task that holds its worker until the other tasks have come, which it cannot run itself.
leat::task<> meet(env::atomic<int>& present, int all) {
    present.fetch_add(1);
    while (present.load() < all) env::pause();
    co_return;
}
leat::task<> meet_in(leat::scope& work, env::atomic<int>& present, int all) {
    for (int i = 1; i < all; ++i) work.spawn(meet, std::ref(present), all);
    co_await meet(present, all);
}

TEST(runtime, a_worker_that_is_held_has_what_it_posted_taken_by_the_other) {
    explore_both_ways([] {
        env::atomic<int> present{0};
        leat::thread_pool pool(2);
        pool.run(leat::with_scope(meet_in, std::ref(present), 2));
        explore::check(present.load() == 2, "both were there at once");
    });
}

TEST(runtime, workers_that_find_work_wake_the_next_until_all_have_some) {
    explore_both_ways(
        [] {
            env::atomic<int> present{0};
            leat::thread_pool pool(3);
            pool.run(leat::with_scope(meet_in, std::ref(present), 3));
            explore::check(present.load() == 3, "all three were there at once");
        },
        0);
}

leat::task<> nap_and_meet(leat::scope& work, env::atomic<int>& present, int all) {
    co_await leat::sleep_for(std::chrono::milliseconds(1));
    co_await meet_in(work, present, all);
}

TEST(runtime, a_worker_that_woke_for_a_timer_has_what_it_posts_taken_by_the_other) {
    explore_both_ways([] {
        env::atomic<int> present{0};
        leat::thread_pool pool(2);
        pool.run(leat::with_scope(nap_and_meet, std::ref(present), 2));
        explore::check(present.load() == 2, "both were there at once");
    });
}

// Goes to the end of its worker's queue while the other of the two holds that worker.
leat::task<> yield_and_meet(leat::scope& work, env::atomic<int>& present) {
    work.spawn(meet, std::ref(present), 2);
    co_await leat::this_task::yield();
    co_await meet(present, 2);
}

TEST(runtime, a_task_that_yields_to_one_that_holds_the_worker_is_taken_by_the_other) {
    explore_both_ways([] {
        env::atomic<int> present{0};
        leat::thread_pool pool(2);
        pool.run(leat::with_scope(yield_and_meet, std::ref(present)));
        explore::check(present.load() == 2, "both were there at once");
    });
}

TEST(runtime, tasks_that_two_threads_bring_from_outside_meet) {
    explore_both_ways([] {
        env::atomic<int> present{0};
        leat::thread_pool pool(2);
        explore::thread("outside", [&present, &pool] { pool.run(meet(present, 2)); });
        pool.run(meet(present, 2));
        explore::join_all();
        explore::check(present.load() == 2, "both were there at once");
    });
}

leat::task<> sleep_for_ever() { co_await leat::sleep_for(std::chrono::hours(1'000)); }

template <class Runtime, class... Argument>
void explore_a_stop_from_outside(Argument... argument) {
    explore_both_ways([=] {
        auto stop = std::make_shared<leat::stop_source>();
        explore::thread("stopper", [stop] { stop->request_stop(); });
        Runtime runtime(argument...);
        const leat::time_point start = env::now();
        bool cancelled = false;
        try {
            runtime.run(sleep_for_ever(), stop.get());
        } catch (const leat::cancelled&) {
            cancelled = true;
        }
        explore::check(cancelled, "the sleep was cut short");
        explore::check(env::now() - start < std::chrono::hours(1'000), "and no time was waited for");
    });
}

struct alarm : leat::timer {
    alarm() noexcept : timer(&ring) {}
    static void ring(leat::timer& self) noexcept {
        auto& mine = static_cast<alarm&>(self);
        explore::check(env::now() - mine.due < std::chrono::microseconds(500), "not late");
        mine.rung.store(1);
    }
    env::atomic<int> rung{0};
};
leat::task<> sleep_a_while() { co_await leat::sleep_for(std::chrono::milliseconds(5)); }

TEST(runtime, a_pool_that_sleeps_for_a_timer_hears_of_an_earlier_one_from_outside) {
    explore_both_ways([] {
        alarm early;
        leat::thread_pool pool(2);
        explore::thread("outside", [&] {
            early.due = env::now() + std::chrono::milliseconds(1);
            pool.start(early);
        });
        pool.run(sleep_a_while());
        explore::join_all();
        explore::check(early.rung.load() == 1, "before the later one");
    });
}

TEST(runtime, a_pool_that_sleeps_for_a_timer_hears_a_stop) { explore_a_stop_from_outside<leat::thread_pool>(2U); }
TEST(runtime, a_loop_that_sleeps_for_a_timer_hears_a_stop) { explore_a_stop_from_outside<leat::event_loop>(); }

}  // namespace
