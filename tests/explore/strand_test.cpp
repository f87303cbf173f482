// All schedules of a strand on two workers, and of a line that moves between two executors while a stop and a timer race.
#include <gtest/gtest.h>

#include <array>
#include <explore/executor.hpp>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/runtime/strand.hpp>
#include <leat/task/resume_on.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;

struct item : leat::work_item {
    item() : work_item(&note) {}
    static void note(work_item& self) noexcept {
        auto& mine = static_cast<item&>(self);
        int& count = mine.on->write();  // a race when two items run at once, or one does not see what the former wrote
        mine.place = ++count;
        mine.ran.open();
    }
    env::shared<int>* on = nullptr;
    int place = 0;  // 0: has not run
    explore::gate ran;
};

TEST(strand, items_run_once_one_at_a_time_and_in_the_order_of_each_poster) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        struct state {
            explore::hand_executor workers;
            leat::strand line{workers};
            env::shared<int> count{0};
            std::array<item, 3> items;
        };
        auto all = std::make_shared<state>();
        for (item& each : all->items) each.on = &all->count;
        for (int i = 0; i < 2; ++i)
            explore::thread("worker", [all] {
                while (all->workers.run_one()) continue;
            });
        explore::thread("poster", [all] { all->line.post(all->items[2]); });
        all->line.post(all->items[0]);
        all->line.post(all->items[1]);
        for (item& each : all->items) each.ran.pass();
        all->workers.end();
        all->workers.end();
        explore::join_all();
        explore::check(all->items[0].place < all->items[1].place, "first in, first out");
        explore::check(all->count.read() == 3, "each once");
    }));
}

TEST(strand, may_be_destroyed_as_soon_as_its_last_item_has_run) {
    expect_right(explore::run(explore::all_schedules, [] {
        struct state {
            explore::hand_executor workers;
            env::shared<int> count{0};
            item only;
        };
        auto all = std::make_shared<state>();
        all->only.on = &all->count;
        auto line = std::make_unique<leat::strand>(all->workers);
        explore::thread("worker", [all] {
            while (all->workers.run_one()) continue;
        });
        line->post(all->only);
        all->only.ran.pass();
        line.reset();
        all->workers.end();
        explore::join_all();
        explore::check(all->only.place == 1, "it has run");
    }));
}

// Which executor's thread this is, for a scenario that says so.
void on_thread_of(leat::executor& where) { env::this_thread(env::slot::worker) = &where; }
void check_on(leat::executor& where, const char* what) {
    explore::check(env::this_thread(env::slot::worker) == &where, what);
}

struct two_places {
    explore::hand_executor home, away;
    leat::stop_source stop;
    bool cancelled = false;
};

leat::task<> sleep_away(two_places& all) {
    check_on(all.away, "the task runs there");
    leat::task<> sleep = [](two_places& at) -> leat::task<> {
        co_await leat::sleep_for(std::chrono::hours(1));
        check_on(at.away, "a wait ends where it began");
    }(all);
    const leat::outcome<void> end = co_await sleep.as_outcome();
    all.cancelled = end.is_cancelled();
    check_on(all.away, "also one that is cancelled");
}

leat::task<> there_and_back(two_places& all) {
    co_await leat::on(all.away, sleep_away(all));
    check_on(all.home, "and comes back");
}

void explore_a_move(bool stops, bool fires) {
    expect_right(explore::run({.preemption_bound = 2}, [=] {
        auto all = std::make_shared<two_places>();
        explore::thread("away", [all] {
            on_thread_of(all->away);
            while (all->away.run_one()) continue;
            on_thread_of(all->home);
        });
        if (stops) explore::thread("stopper", [all] { all->stop.request_stop(); });
        if (fires) explore::thread("clock", [all] { all->away.fire_timers(); });
        on_thread_of(all->home);
        {
            explore::line line(all->home, "line", there_and_back(*all));
            line.attach(all->stop);
            line.start();
            if (!stops) {
                // The clock may have come too early: then the stop ends the wait.
                explore::thread("late stopper", [all] { all->stop.request_stop(); });
            }
            line.finish();
            line.detach();
        }
        all->away.end();
        explore::join_all();
        all->away.fire_timers();  // none is left behind: it would be gone
        env::this_thread(env::slot::worker) = nullptr;
    }));
}

TEST(resume_on, a_line_that_moves_is_found_by_a_stop_and_a_timer_where_it_is) {
    explore_a_move(true, true);
    explore_a_move(false, true);
    explore_a_move(true, false);
}

}  // namespace
