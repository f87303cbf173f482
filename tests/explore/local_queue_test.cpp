// All schedules, within a bound, of the owner of a run queue against a thief: every item is run once.
#include <gtest/gtest.h>

#include <array>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/runtime/inbox.hpp>
#include <leat/runtime/local_queue.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;

// Counts its runs, and knows whether the one who runs it sees what was written before it was pushed.
struct item : leat::work_item {
    item() : work_item([](work_item&) noexcept {}) {}
    env::shared<int> runs{0};
    env::shared<int> load{0};  // written before it is pushed
};

leat::work_item& loaded(item& fresh) {
    fresh.load.write() = 1;
    return fresh;
}
void run(leat::work_item& which) {
    ++static_cast<item&>(which).runs.write();
    explore::check(static_cast<item&>(which).load.read() == 1, "what was written before the push is there");
}

// Runs all that is in a queue which nobody steals from.
void run_all(leat::local_queue& queue) {
    while (!queue.empty()) {
        leat::work_item* const next = queue.pop();
        explore::check(next != nullptr, "what counts as inside is there");
        run(*next);
    }
}

struct queues {
    leat::local_queue owner, thief;
    std::array<item, 4> items;
};

TEST(local_queue, what_is_pushed_comes_out_once_at_its_owner_or_at_a_thief) {
    // A step more or less does not matter here: two preemptions place the thief anywhere between the owner's steps.
    for (const explore::options& how :
         {explore::options{.preemption_bound = 2}, explore::options{.preemption_bound = 1, .stale = 2}})
        expect_right(explore::run(how, [] {
            auto all = std::make_shared<queues>();
            explore::thread("owner", [all] {
                for (int i = 0; i < 3; ++i)
                    explore::check(all->owner.push(loaded(all->items[static_cast<unsigned>(i)])), "room");
                if (leat::work_item* const mine = all->owner.pop()) run(*mine);
                explore::check(all->owner.push(loaded(all->items[3])), "room");
                while (leat::work_item* const mine = all->owner.pop()) run(*mine);
            });
            explore::thread("thief", [all] {
                for (int round = 0; round < 2; ++round) {
                    if (leat::work_item* const stolen = all->thief.steal_from(all->owner)) run(*stolen);
                    run_all(all->thief);
                }
            });
            explore::join_all();
            for (const item& each : all->items) explore::check(each.runs.read() == 1, "each item runs once");
            explore::check(all->owner.empty() && all->thief.empty(), "none is left");
        }));
}

TEST(local_queue, two_thieves_do_not_get_the_same_item) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct three : queues {
            leat::local_queue other;
        };
        auto all = std::make_shared<three>();
        for (item& each : all->items) explore::check(all->owner.push(loaded(each)), "room");
        const auto thief = [all](leat::local_queue& own) {
            if (leat::work_item* const stolen = own.steal_from(all->owner)) run(*stolen);
            run_all(own);
        };
        explore::thread("one", [all, thief] { thief(all->thief); });
        explore::thread("two", [all, thief] { thief(all->other); });
        explore::thread("owner", [all] {
            while (leat::work_item* const mine = all->owner.pop()) run(*mine);
        });
        explore::join_all();
        for (const item& each : all->items) explore::check(each.runs.read() == 1, "each item runs once");
    }));
}

TEST(local_queue, a_queue_that_is_full_says_so_until_something_was_taken) {
    expect_right(explore::run({.preemption_bound = 1}, [] {
        static constexpr std::size_t room = 256;
        struct full {
            leat::local_queue owner, thief;
            std::array<item, room + 1> items;
        };
        auto all = std::make_shared<full>();
        for (std::size_t i = 0; i < room; ++i) explore::check(all->owner.push(loaded(all->items[i])), "room");
        explore::thread("owner", [all] {
            leat::work_item* const oldest = all->owner.pop();  // a step apart: the thief may have made room before it
            run(*oldest);
            explore::check(all->owner.push(*oldest), "room for what was taken");
            const bool fits = all->owner.push(loaded(all->items[room]));
            if (!fits) run(all->items[room]);
        });
        explore::thread("thief", [all] {
            if (leat::work_item* const stolen = all->thief.steal_from(all->owner)) run(*stolen);
        });
        explore::join_all();
        run_all(all->owner);
        run_all(all->thief);
        int again = 0;
        for (const item& each : all->items) again += each.runs.read() - 1;
        explore::check(again == 1, "each item runs once, but for the one that was pushed again");
    }));
}

TEST(local_queue, one_that_is_full_gives_its_older_half_away_while_a_thief_takes_his) {
    expect_right(explore::run({.preemption_bound = 1}, [] {
        static constexpr std::size_t room = 256;
        struct full {
            leat::local_queue owner, thief;
            leat::inbox rest;
            std::array<item, room + 1> items;
        };
        auto all = std::make_shared<full>();
        for (std::size_t i = 0; i < room; ++i) explore::check(all->owner.push(loaded(all->items[i])), "room");
        explore::thread("owner", [all] { all->owner.push(loaded(all->items[room]), all->rest); });
        explore::thread("thief", [all] {
            if (leat::work_item* const stolen = all->thief.steal_from(all->owner)) run(*stolen);
        });
        explore::join_all();
        run_all(all->owner);
        run_all(all->thief);
        while (leat::work_item* const each = all->rest.pop()) run(*each);
        explore::check(all->rest.empty(), "the inbox counts what comes and goes");
        for (const item& each : all->items) explore::check(each.runs.read() == 1, "each item runs once");
    }));
}

TEST(local_queue, two_that_refill_from_one_inbox_share_what_is_in_it) {
    expect_right(explore::run({.preemption_bound = 2}, [] {
        struct state : queues {
            leat::inbox rest;
        };
        auto all = std::make_shared<state>();
        all->rest.push(loaded(all->items[0]));
        const auto take = [all](leat::local_queue& own) {
            if (leat::work_item* const first = own.refill(all->rest, 2)) run(*first);
            run_all(own);
        };
        explore::thread("one", [all, take] { take(all->owner); });
        explore::thread("two", [all, take] { take(all->thief); });
        explore::thread("outside", [all] {
            leat::item_list chain;
            for (unsigned i = 1; i < 4; ++i) chain.push(loaded(all->items[i]));
            all->rest.push_all(chain, 3);
        });
        explore::join_all();
        while (!all->rest.empty()) take(all->owner);
        for (const item& each : all->items) explore::check(each.runs.read() == 1, "each item runs once");
    }));
}

TEST(inbox, what_two_threads_push_comes_out_once_and_in_the_order_of_each) {
    expect_right(explore::run(explore::all_schedules, [] {
        struct state {
            leat::inbox box;
            std::array<item, 3> items;
        };
        auto all = std::make_shared<state>();
        explore::thread("one", [all] {
            all->box.push(loaded(all->items[0]));
            all->box.push(loaded(all->items[1]));
        });
        explore::thread("two", [all] { all->box.push(loaded(all->items[2])); });
        explore::thread("taker", [all] {
            while (leat::work_item* const got = all->box.pop()) run(*got);
        });
        explore::join_all();
        explore::check(all->items[1].runs.read() == 0 || all->items[0].runs.read() == 1, "first in, first out");
        while (leat::work_item* const got = all->box.pop()) run(*got);
        explore::check(all->box.empty(), "none is left");
        for (const item& each : all->items) explore::check(each.runs.read() == 1, "each item runs once");
    }));
}

}  // namespace
