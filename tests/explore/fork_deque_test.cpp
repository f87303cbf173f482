// Schedules of the owner of a deque of forks against thieves: each frame is taken once, by one who sees what was written
// before it was pushed; a ring that grows loses nothing.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/task/fork_deque.hpp>
#include <leat/task/fork_worker.hpp>
#include <memory>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_right;
using leat::detail::fork_deque;
using leat::detail::fork_frame;

// `stolen` counts who took it; `load` is written before the push.
struct frame : fork_frame {
    env::shared<int> load{0};
};
void take(fork_frame* which) {
    ++which->stolen.write();
    explore::check(static_cast<frame*>(which)->load.read() == 1, "what was written before the push is there");
}

struct state {
    fork_deque deque;
    frame frames[3];
    void push(unsigned which) {
        frames[which].load.write() = 1;
        if (!deque.ready()) deque.make_ready();
        deque.push(frames[which]);
    }
    void check_end() {
        for (const frame& each : frames) explore::check(each.stolen.read() == 1, "each is taken once");
        explore::check(deque.empty(), "none is left");
    }
};

void steal(state& all, int times) {
    for (int i = 0; i < times; ++i)
        if (fork_frame* const stolen = all.deque.steal()) take(stolen);
}
void pop_all(state& all) {
    while (fork_frame* const mine = all.deque.pop()) take(mine);
}

TEST(fork_deque, what_is_pushed_is_taken_once_by_its_owner_or_a_thief) {
    expect_right(explore::run(explore::all_schedules, [] {
        auto all = std::make_shared<state>();
        explore::thread("owner", [all] {
            all->push(0);
            all->push(1);
            if (fork_frame* const mine = all->deque.pop()) take(mine);
            all->push(2);
            pop_all(*all);
        });
        explore::thread("thief", [all] { steal(*all, 2); });
        explore::join_all();
        all->check_end();
    }));
}

TEST(fork_deque, two_thieves_and_the_owner_share_the_last_one) {
    expect_right(explore::run({.preemption_bound = 3}, [] {
        auto all = std::make_shared<state>();
        explore::thread("owner", [all] {
            for (unsigned i = 0; i < 3; ++i) all->push(i);
            pop_all(*all);
        });
        for (int i = 0; i < 2; ++i) explore::thread("thief", [all] { steal(*all, 2); });
        explore::join_all();
        all->check_end();
    }));
}

TEST(fork_deque, a_parent_that_cannot_be_taken_back_was_stolen_with_all_before_it) {
    expect_right(explore::run(explore::all_schedules, [] {
        auto all = std::make_shared<state>();
        all->frames[2].stolen.write() = 1;  // takes no part
        explore::thread("owner", [all] {
            all->push(0);
            all->push(1);
            if (all->deque.take_back()) {
                take(&all->frames[1]);
                if (all->deque.take_back()) take(&all->frames[0]);
            } else {
                explore::check(all->deque.empty(), "the others are gone too");
            }
        });
        explore::thread("thief", [all] { steal(*all, 2); });
        explore::join_all();
        all->check_end();
    }));
}

TEST(fork_deque, grows_under_a_thief_s_hands) {
    // Random: the ring is outgrown after hundreds of pushes.
    const auto report = explore::run({.random_schedules = 100, .max_steps = 100'000}, [] {
        constexpr int many = 600;
        struct large {
            fork_deque deque;
            std::unique_ptr<frame[]> frames{new frame[many]};
        };
        auto all = std::make_shared<large>();
        explore::thread("owner", [all] {
            for (int i = 0; i < many; ++i) {
                all->frames[static_cast<unsigned>(i)].load.write() = 1;
                if (!all->deque.ready()) all->deque.make_ready();
                all->deque.push(all->frames[static_cast<unsigned>(i)]);
            }
            while (fork_frame* const mine = all->deque.pop()) take(mine);
        });
        explore::thread("thief", [all] {
            for (int i = 0; i < 100; ++i)
                if (fork_frame* const stolen = all->deque.steal()) take(stolen);
        });
        explore::join_all();
        for (int i = 0; i < many; ++i)
            explore::check(all->frames[static_cast<unsigned>(i)].stolen.read() == 1, "each is taken once");
    });
    EXPECT_TRUE(report.ok()) << report.text();
}

// --- The same deque with planted mistakes ---

struct deque_mistakes {
    std::memory_order push = env::release, look = env::seq_cst;
    bool looks_before_announcing = false;  // pop reads top, then lowers bottom
    bool last_without_exchange = false;    // pop takes the last one as if it were not
    bool steals_by_store = false;          // a thief moves top without comparing
    bool reads_after_claim = false;        // a thief reads the slot once it has moved top
    bool does_not_restore = false;         // pop leaves bottom low when it comes too late
};

explore::report deque(deque_mistakes wrong) {
    return explore::run({.preemption_bound = 3}, [wrong] {
        static constexpr std::int64_t room = 2;
        struct item {
            env::shared<int> load{0}, taken{0};
        };
        struct parts {
            env::atomic<std::int64_t> bottom{0}, top{0};
            env::atomic<item*> slots[room] = {};
            item items[3];
            void take(item* it) {
                explore::check(it->load.read() == 1, "what was written before the push is there");
                explore::check(++it->taken.write() == 1, "taken once");
            }
        };
        auto all = std::make_shared<parts>();
        const auto push = [wrong](parts& it, item& what) {
            what.load.write() = 1;
            const std::int64_t bottom = it.bottom.load(env::relaxed);
            if (bottom - it.top.load(env::acquire) == room) return it.take(&what);
            it.slots[bottom % room].store(&what, env::relaxed);
            it.bottom.store(bottom + 1, wrong.push);
        };
        const auto pop = [wrong](parts& it) {
            const std::int64_t bottom = it.bottom.load(env::relaxed) - 1;
            std::int64_t top = 0;
            if (wrong.looks_before_announcing) top = it.top.load();
            it.bottom.exchange(bottom);
            if (!wrong.looks_before_announcing) top = it.top.load();
            if (top < bottom || (wrong.last_without_exchange && top == bottom))
                return it.take(it.slots[bottom % room].load(env::relaxed));
            item* const last = top == bottom ? it.slots[bottom % room].load(env::relaxed) : nullptr;
            if (last != nullptr && it.top.compare_exchange_strong(top, top + 1)) it.take(last);
            if (!wrong.does_not_restore) it.bottom.store(bottom + 1, env::release);
        };
        const auto steal = [wrong](parts& it) {
            std::int64_t top = it.top.load();
            if (top >= it.bottom.load(wrong.look)) return;
            item* found = it.slots[top % room].load(env::relaxed);
            if (wrong.steals_by_store) it.top.store(top + 1);
            else if (!it.top.compare_exchange_strong(top, top + 1)) return;
            if (wrong.reads_after_claim) found = it.slots[top % room].load(env::relaxed);
            it.take(found);
        };
        explore::thread("owner", [all, push, pop] {
            push(*all, all->items[0]);
            push(*all, all->items[1]);
            pop(*all);
            push(*all, all->items[2]);
            pop(*all);
            pop(*all);
        });
        explore::thread("thief", [all, steal] {
            steal(*all);
            steal(*all);
        });
        explore::join_all();
        for (const item& each : all->items) explore::check(each.taken.read() <= 1, "taken once");
        explore::check(all->bottom.load() >= all->top.load(), "the ends have not crossed");
    });
}

TEST(mutants, deque_of_continuations) {
    using explore::expect_broken;
    expect_right(deque({}));
    expect_broken(deque({.push = env::relaxed}), "data race");
    expect_broken(deque({.look = env::relaxed}), "data race");
    expect_broken(deque({.looks_before_announcing = true}), "");
    expect_broken(deque({.last_without_exchange = true}), "");
    expect_broken(deque({.steals_by_store = true}), "");
    expect_broken(deque({.reads_after_claim = true}), "");
    expect_broken(deque({.does_not_restore = true}), "");
}

}  // namespace
