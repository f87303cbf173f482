// Schedules of a worker that works, rests and holds, and of the watch that looks at it: each hold is reported, once.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/base/log.hpp>
#include <leat/runtime/hold_watch.hpp>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;

constexpr auto limit = std::chrono::milliseconds(8);

struct item : leat::work_item {
    item() noexcept : work_item([](work_item&) noexcept {}) {}
};

// Counts what is reported.
struct reports {
    reports() {
        leat::set_log_hook([](void* self, leat::log_level,
                              std::string_view) noexcept { static_cast<reports*>(self)->count.fetch_add(1); },
                           this);
    }
    ~reports() { leat::set_log_hook(nullptr, nullptr); }
    env::atomic<int> count{0};
};

// On the explorer's clock, which goes on while all wait.
void let_pass(leat::duration how_long) {
    const leat::time_point until = env::now() + how_long;
    env::atomic<std::uint32_t> word{0};
    while (env::futex_wait_until(word, 0, until)) {
    }
}

TEST(hold_watch, a_worker_that_holds_is_seen_whether_the_watch_looks_sleeps_or_is_about_to) {
    const auto scenario = [] {
        reports told;
        leat::now_running worker;
        item one;
        const leat::hold_watch watch({&worker}, limit);
        worker.begins(one);
        worker.rests();
        worker.begins(one);
        while (told.count.load() == 0) env::pause();
        worker.rests();
    };
    explore::expect_right(explore::run({.preemption_bound = 3, .max_steps = 5'000}, scenario));
    const explore::report stale =
        explore::run({.random_schedules = 5'000, .seed = 7, .max_steps = 5'000, .stale = 4}, scenario);
    EXPECT_TRUE(stale.ok()) << stale.text();
}

TEST(hold_watch, of_workers_that_rest_ends_from_its_sleep) {
    explore::expect_right(explore::run(explore::all_schedules, [] {
        leat::now_running worker;
        const leat::hold_watch watch({&worker}, limit);
    }));
}

TEST(hold_watch, a_hold_is_reported_once_and_a_rest_never) {
    explore::expect_right(explore::run({.preemption_bound = 2, .max_steps = 5'000}, [] {
        reports told;
        leat::now_running worker;
        item one;
        const leat::hold_watch watch({&worker}, limit);
        worker.begins(one);
        while (told.count.load() == 0) env::pause();
        let_pass(3 * limit);
        explore::check(told.count.load() == 1, "once");
        worker.rests();
        let_pass(3 * limit);
        explore::check(told.count.load() == 1, "not while it rests");
        worker.begins(one);
        while (told.count.load() == 1) env::pause();
        worker.rests();
    }));
}

TEST(hold_watch, items_one_after_the_other_are_no_hold) {
    explore::expect_right(explore::run({.preemption_bound = 2, .max_steps = 5'000}, [] {
        reports told;
        leat::now_running worker;
        item one;
        const leat::hold_watch watch({&worker}, limit);
        for (int i = 0; i < 4; ++i) {
            worker.begins(one);
            let_pass(limit / 2);  // longer than between two looks
        }
        worker.rests();
        explore::check(told.count.load() == 0, "none was long");
    }));
}

TEST(hold_watch, of_two_workers_the_one_that_holds_is_reported_while_the_other_comes_and_goes) {
    explore::expect_right(explore::run({.preemption_bound = 2, .max_steps = 5'000}, [] {
        reports told;
        struct state {
            leat::now_running one, other;
        } workers;
        item first, second;
        const leat::hold_watch watch({&workers.one, &workers.other}, limit);
        explore::thread("other", [&] {
            workers.other.begins(second);
            workers.other.rests();
        });
        workers.one.begins(first);
        while (told.count.load() == 0) env::pause();
        workers.one.rests();
        explore::join_all();
    }));
}

}  // namespace
