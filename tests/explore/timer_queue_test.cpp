// All schedules of a timer that is set, fires and is cancelled: it fires at most once, and never after cancel() has returned.
#include <gtest/gtest.h>

#include <array>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/runtime/timer_queue.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::all_schedules;
using explore::expect_right;

struct alarm : leat::timer {
    explicit alarm(int in_ms) : timer(&ring) { due = leat::time_point() + std::chrono::milliseconds(in_ms); }
    static void ring(leat::timer& self) noexcept {
        auto& mine = static_cast<alarm&>(self);
        mine.word.store(1);  // takes its time
        ++mine.rings.write();
    }
    env::atomic<int> word{0};
    env::shared<int> rings{0};
};

const leat::time_point later = leat::time_point() + std::chrono::milliseconds(100);

TEST(timer_queue, after_cancel_a_timer_neither_fires_nor_is_firing) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::timer_queue queue;
            alarm other{20};
        };
        auto all = std::make_shared<state>();
        auto* const mine = new alarm(10);
        (void)all->queue.start(*mine);
        (void)all->queue.start(all->other);
        explore::thread("clock", [all] { all->queue.fire(later); });
        explore::thread("owner", [all, mine] {
            (void)mine->word.load();  // a step, so that cancel() may come at any time also where a mutant took its lock
            all->queue.cancel(*mine);
            explore::check(mine->rings.read() <= 1, "at most once");
            delete mine;
        });
        explore::join_all();
        explore::check(all->other.rings.read() == 1 && all->queue.empty(), "the other has fired");
    }));
}

TEST(timer_queue, two_that_fire_what_is_due_fire_each_timer_once) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::timer_queue queue;
            alarm one{10}, two{20};
        };
        auto all = std::make_shared<state>();
        (void)all->queue.start(all->one);
        for (int i = 0; i < 2; ++i) explore::thread("clock", [all] { all->queue.fire(later); });
        explore::thread("setter", [all] { (void)all->queue.start(all->two); });
        explore::join_all();
        (void)all->queue.fire(later);
        explore::check(all->one.rings.read() == 1 && all->two.rings.read() == 1, "each once");
    }));
}

TEST(timer_queue, of_two_timers_set_at_once_the_one_who_sets_the_earlier_is_told) {
    expect_right(explore::run(all_schedules, [] {
        struct state {
            leat::timer_queue queue;
            alarm early{10}, late{20};
            bool told = false;
        };
        auto all = std::make_shared<state>();
        explore::thread("early", [all] { all->told = all->queue.start(all->early); });
        explore::thread("late", [all] { (void)all->queue.start(all->late); });
        explore::join_all();
        explore::check(all->told, "whoever sleeps must be woken for it");
        explore::check(all->queue.next() == all->early.due, "the next is the earlier");
        all->queue.cancel(all->early);
        explore::check(all->queue.next() == all->late.due, "then the later");
        all->queue.cancel(all->late);
    }));
}

TEST(timer_queue, one_cancelled_while_many_others_go_down_or_fire_is_not_lost_and_not_fired) {
    // So many that the lock is let go of in between.
    struct quiet : leat::timer {
        quiet() : timer([](timer& self) noexcept { ++static_cast<quiet&>(self).rings; }) {}
        int rings = 0;
    };
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state {
            leat::timer_queue queue;
            std::array<quiet, 100> many;
            alarm late{100};
        };
        auto all = std::make_shared<state>();
        for (std::size_t i = 0; i < all->many.size(); ++i) {
            all->many[i].due = leat::time_point() + std::chrono::milliseconds(50) + leat::duration(i % 3);
            (void)all->queue.start(all->many[i]);
        }
        quiet& cancelled = all->many[10];
        explore::thread("clock", [all] { all->queue.fire(later); });
        explore::thread("owner", [all, &cancelled] {
            all->queue.cancel(cancelled);
            cancelled.rings += 10;
        });
        explore::thread("setter", [all] { (void)all->queue.start(all->late); });
        explore::join_all();
        (void)all->queue.fire(later);
        explore::check(cancelled.rings == 10 || cancelled.rings == 11, "at most once, and not after the cancel");
        for (quiet& each : all->many) explore::check(&each == &cancelled || each.rings == 1, "each other once");
        explore::check(all->late.rings.read() == 1 && all->queue.empty(), "also the one that came late");
    }));
}

TEST(timer_queue, who_sleeps_until_the_next_and_is_told_of_earlier_ones_is_never_late) {
    // A sleeper announces itself, then reads when to wake; who sets an earlier timer looks for sleepers (see thread_pool).
    // With the lock or, as the pool does, without: then old values of the earliest time matter.
    const auto scenario = [](bool locks) {
        struct state {
            leat::timer_queue queue;
            alarm first{20}, early{10};
            env::atomic<bool> asleep{false};
            env::atomic<bool> woken{false};
            leat::time_point until;
        };
        auto all = std::make_shared<state>();
        (void)all->queue.start(all->first);
        explore::thread("sleeper", [all, locks] {
            all->asleep.store(true);
            all->until = locks ? all->queue.next() : all->queue.not_before();
        });
        explore::thread("setter", [all] {
            if (all->queue.start(all->early) && all->asleep.load()) all->woken.store(true);
        });
        explore::thread("canceller", [all] { all->queue.cancel(all->first); });
        explore::join_all();
        explore::check(all->until <= all->early.due || all->woken.load(), "wakes for the early one");
        all->queue.cancel(all->early);
        explore::check(all->queue.empty(), "nothing is left");
    };
    for (const bool locks : {true, false}) {
        const auto either = [=] { scenario(locks); };
        expect_right(explore::run(all_schedules, either));
        const explore::report stale = explore::run({.random_schedules = 2'000, .seed = 3, .stale = 2}, either);
        EXPECT_TRUE(stale.ok()) << stale.text();
    }
}

}  // namespace
