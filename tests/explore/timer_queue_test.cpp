// All schedules of a timer that is set, fires and is cancelled: it fires at most once, and never after cancel() has returned.
#include <gtest/gtest.h>

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

}  // namespace
