// The explorer against planted mistakes: small primitives, each once as it should be and in broken variants. The right one
// passes every schedule, each broken one is found. What the explorer overlooks here it would overlook in the library.
#include <gtest/gtest.h>

#include <array>
#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/base/env.hpp>
#include <memory>
#include <string>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;
using explore::expect_broken;
using explore::expect_right;

// --- A spin lock ---

struct spin_mistakes {
    std::memory_order lock = env::acquire, unlock = env::release;
    bool test_then_set = false;  // looks and takes in two steps
    bool unlocks_early = false;  // before the last write of the critical section
};

explore::report spin_lock(spin_mistakes wrong, const explore::options& how = {}) {
    return explore::run(how, [wrong] {
        struct state {
            env::atomic<bool> held{false};
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread([all, wrong] {
                if (wrong.test_then_set) {
                    while (all->held.load(wrong.lock)) env::pause();
                    all->held.store(true, env::relaxed);
                } else {
                    while (all->held.exchange(true, wrong.lock)) env::pause();
                }
                if (wrong.unlocks_early) all->held.store(false, wrong.unlock);
                all->data.write() += 1;
                all->held.store(false, wrong.unlock);
            });
        explore::join_all();
        explore::check(all->data.read() == 2, "both were inside");
    });
}

TEST(mutants, spin_lock) {
    expect_right(spin_lock({}));
    expect_broken(spin_lock({.lock = env::relaxed}), "data race");
    expect_broken(spin_lock({.unlock = env::relaxed}), "data race");
    expect_broken(spin_lock({.test_then_set = true}), "data race");
    expect_broken(spin_lock({.unlocks_early = true}), "data race");
}

TEST(mutants, spin_lock_unlocked_twice_needs_a_third_thread_between) {
    // The second unlock frees the lock under its next owner.
    const auto thrice = [](bool twice) {
        return explore::run({.preemption_bound = 3}, [twice] {
            struct state {
                env::atomic<bool> held{false};
                env::atomic<int> inside{0};
            };
            auto all = std::make_shared<state>();
            for (int i = 0; i < 3; ++i)
                explore::thread([all, twice] {
                    while (all->held.exchange(true, env::acquire)) env::pause();
                    explore::check(all->inside.fetch_add(1, env::relaxed) == 0, "one at a time");
                    all->inside.fetch_sub(1, env::relaxed);
                    all->held.store(false, env::release);
                    if (twice) all->held.store(false, env::release);
                });
        });
    };
    expect_right(thrice(false));
    expect_broken(thrice(true), "one at a time");
}

// --- A lock on a futex: the one of the seam, written out ---

struct futex_mistakes {
    std::memory_order unlock = env::release;
    bool no_recheck = false;       // takes the lock for its own once it is woken
    bool marks_held_only = false;  // does not tell the owner that somebody sleeps
    bool wakes_first = false;      // wakes before it frees the word
    bool unlocks_by_load = false;  // looks for sleepers, then frees the word
    bool unlocks_twice = false;
};

explore::report futex_lock(futex_mistakes wrong, int threads, const explore::options& how) {
    return explore::run(how, [wrong, threads] {
        struct state {
            env::atomic<std::uint32_t> word{0};  // 0: free; 1: held; 2: held, and somebody may sleep
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        explore::name(&all->word, "lock");
        const auto lock = [wrong](state& it) {
            std::uint32_t free = 0;
            if (it.word.compare_exchange_strong(free, 1, env::acquire, env::relaxed)) return;
            const std::uint32_t mark = wrong.marks_held_only ? 1 : 2;
            while (it.word.exchange(mark, env::acquire) != 0) {
                env::futex_wait(it.word, mark);
                if (wrong.no_recheck) return;
            }
        };
        const auto unlock = [wrong](state& it) {
            if (wrong.wakes_first) {
                if (it.word.load(env::relaxed) == 2) env::futex_wake(it.word, 1);
                it.word.store(0, wrong.unlock);
                return;
            }
            if (wrong.unlocks_by_load) {
                const bool sleepers = it.word.load(env::relaxed) == 2;
                it.word.store(0, wrong.unlock);
                if (sleepers) env::futex_wake(it.word, 1);
                return;
            }
            if (it.word.exchange(0, wrong.unlock) == 2) env::futex_wake(it.word, 1);
            if (wrong.unlocks_twice) it.word.exchange(0, wrong.unlock);
        };
        for (int i = 0; i < threads; ++i)
            explore::thread([all, lock, unlock] {
                lock(*all);
                all->data.write() += 1;
                unlock(*all);
            });
        explore::join_all();
        explore::check(all->data.read() == threads, "all were inside");
    });
}

TEST(mutants, futex_lock) {
    expect_right(futex_lock({}, 2, {}));
    expect_right(futex_lock({}, 2, {.spurious = 2}));
    expect_right(futex_lock({}, 3, {.preemption_bound = 3}));
    expect_broken(futex_lock({.unlock = env::relaxed}, 2, {}), "data race");
    expect_broken(futex_lock({.marks_held_only = true}, 2, {}), "deadlock");
    expect_broken(futex_lock({.wakes_first = true}, 2, {}), "deadlock");
    expect_broken(futex_lock({.unlocks_by_load = true}, 2, {}), "deadlock");
    expect_broken(futex_lock({.no_recheck = true}, 2, {}), "data race");
    expect_broken(futex_lock({.unlocks_twice = true}, 3, {.preemption_bound = 3}), "data race");
}

// --- Dekker: each announces itself, then looks at the other; at most one gets in ---

struct dekker_mistakes {
    bool looks_first = false;
    std::memory_order leave = env::release;
};

explore::report dekker(dekker_mistakes wrong, const explore::options& how = {}) {
    return explore::run(how, [wrong] {
        struct state {
            std::array<env::atomic<bool>, 2> wants{};
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        for (unsigned me = 0; me < 2; ++me)
            explore::thread([all, wrong, me] {
                const bool before = wrong.looks_first && all->wants[1 - me].load(env::acquire);
                all->wants[me].store(true, env::seq_cst);
                if (!(wrong.looks_first ? before : all->wants[1 - me].load(env::seq_cst))) all->data.write() += 1;
                all->wants[me].store(false, wrong.leave);
            });
    });
}

TEST(mutants, dekker) {
    expect_right(dekker({}));
    expect_broken(dekker({.looks_first = true}), "data race");
    expect_broken(dekker({.leave = env::relaxed}), "data race");
}

// --- A ring between one producer and one consumer ---

struct ring_mistakes {
    std::memory_order publish = env::release, observe = env::acquire, give_back = env::release,
                      take_back = env::acquire;
    bool publishes_first = false;  // moves the tail before it writes the slot
    unsigned too_many = 0;         // off by one: counts a slot more than there is
};

explore::report spsc_ring(ring_mistakes wrong) {
    return explore::run({.preemption_bound = 4}, [wrong] {
        static constexpr unsigned room = 2;
        static constexpr int items = 3;
        struct state {
            std::array<env::shared<int>, room> slots;
            env::atomic<unsigned> head{0}, tail{0};
        };
        auto all = std::make_shared<state>();
        explore::thread("producer", [all, wrong] {
            for (int i = 1; i <= items; ++i) {
                const unsigned tail = all->tail.load(env::relaxed);
                while (tail - all->head.load(wrong.take_back) >= room + wrong.too_many) env::pause();
                if (wrong.publishes_first) all->tail.store(tail + 1, wrong.publish);
                all->slots[tail % room].write() = i;
                if (!wrong.publishes_first) all->tail.store(tail + 1, wrong.publish);
            }
        });
        explore::thread("consumer", [all, wrong] {
            for (int i = 1; i <= items; ++i) {
                const unsigned head = all->head.load(env::relaxed);
                while (all->tail.load(wrong.observe) == head) env::pause();
                explore::check(all->slots[head % room].read() == i, "in order, none lost");
                all->head.store(head + 1, wrong.give_back);
            }
        });
    });
}

TEST(mutants, spsc_ring) {
    expect_right(spsc_ring({}));
    expect_broken(spsc_ring({.publish = env::relaxed}), "data race");
    expect_broken(spsc_ring({.observe = env::relaxed}), "data race");
    expect_broken(spsc_ring({.give_back = env::relaxed}), "data race");
    expect_broken(spsc_ring({.take_back = env::relaxed}), "data race");
    expect_broken(spsc_ring({.publishes_first = true}), "data race");
    expect_broken(spsc_ring({.too_many = 1}), "in order, none lost");
}

// --- An event count: a consumer sleeps until there is work ---

struct event_mistakes {
    bool checks_before_announcing = false;  // looks for work, then takes the number it will sleep on
    bool no_announcement = false;           // the producer sees no sleeper and does not wake
    bool wakes_before_work = false;
    bool does_not_count = false;  // wakes, but leaves the number as it was
};

explore::report event_count(event_mistakes wrong, const explore::options& how = {}) {
    return explore::run(how, [wrong] {
        struct state {
            env::atomic<int> work{0};
            env::atomic<std::uint32_t> events{0};
            env::atomic<int> sleepers{0};
        };
        auto all = std::make_shared<state>();
        explore::thread("consumer", [all, wrong] {
            for (;;) {
                if (wrong.checks_before_announcing && all->work.load() != 0) return;
                if (!wrong.no_announcement) all->sleepers.fetch_add(1);
                const std::uint32_t seen = all->events.load();
                const bool ready = !wrong.checks_before_announcing && all->work.load() != 0;
                if (!ready) env::futex_wait(all->events, seen);
                if (!wrong.no_announcement) all->sleepers.fetch_sub(1);
                if (ready) return;
            }
        });
        explore::thread("producer", [all, wrong] {
            const auto wake = [&] {
                if (all->sleepers.load() == 0) return;
                if (!wrong.does_not_count) all->events.fetch_add(1);
                env::futex_wake(all->events, 1);
            };
            if (wrong.wakes_before_work) wake();
            all->work.store(1);
            if (!wrong.wakes_before_work) wake();
        });
    });
}

TEST(mutants, event_count) {
    expect_right(event_count({}));
    expect_broken(event_count({.checks_before_announcing = true}), "deadlock");
    expect_broken(event_count({.no_announcement = true}), "deadlock");
    expect_broken(event_count({.wakes_before_work = true}), "deadlock");
    expect_broken(event_count({.does_not_count = true}), "deadlock");
}

// --- A stack of nodes that come back (Treiber): A is popped, B follows, A returns: the head looks as if nothing happened ---

struct stack_mistakes {
    bool no_tag = false;
    std::memory_order push = env::release, pop = env::acquire;
};

explore::report treiber_stack(stack_mistakes wrong) {
    return explore::run({.preemption_bound = 3}, [wrong] {
        static constexpr std::uint32_t none = 0xffff;
        // The head: place of the first node in the low half, a tag that counts changes in the high half.
        struct state {
            env::atomic<std::uint32_t> head{none};
            std::array<env::atomic<std::uint32_t>, 3> next{};
            std::array<env::shared<int>, 3> owner;  // the thread that has popped the node, 0: in the stack
        };
        auto all = std::make_shared<state>();
        const auto retag = [wrong](std::uint32_t old, std::uint32_t node) {
            return wrong.no_tag ? node : ((old & 0xffff0000U) + 0x10000U) | node;
        };
        const auto push = [wrong, retag](state& it, std::uint32_t node) {
            it.owner[node].write() = 0;
            std::uint32_t old = it.head.load(env::relaxed);
            do it.next[node].store(old & 0xffffU, env::relaxed);
            while (!it.head.compare_exchange_weak(old, retag(old, node), wrong.push, env::relaxed));
        };
        const auto pop = [wrong, retag](state& it, int me) {
            std::uint32_t old = it.head.load(wrong.pop);
            for (;;) {
                const std::uint32_t node = old & 0xffffU;
                if (node == none) return none;
                const std::uint32_t next = it.next[node].load(env::relaxed);
                if (!it.head.compare_exchange_weak(old, retag(old, next), wrong.pop, wrong.pop)) continue;
                explore::check(it.owner[node].read() == 0, "a node has one owner");
                it.owner[node].write() = me;
                return node;
            }
        };
        for (std::uint32_t node = 0; node < 3; ++node) push(*all, node);
        explore::thread([all, pop] { (void)pop(*all, 1); });
        explore::thread([all, pop, push] {
            const std::uint32_t first = pop(*all, 2);
            (void)pop(*all, 2);
            if (first != none) push(*all, first);
        });
        explore::join_all();
        // Whoever is not owned is in the stack, once.
        int in_stack = 0;
        for (std::uint32_t node = all->head.load() & 0xffffU; node != none; node = all->next[node].load()) {
            explore::check(all->owner[node].read() == 0, "a popped node has left the stack");
            explore::check(++in_stack <= 3, "the stack has no cycle");
        }
    });
}

TEST(mutants, treiber_stack) {
    expect_right(treiber_stack({}));
    expect_broken(treiber_stack({.no_tag = true}), "");
    expect_broken(treiber_stack({.push = env::relaxed}), "data race");
    expect_broken(treiber_stack({.pop = env::relaxed}), "data race");
}

// --- The other ways to search ---

TEST(mutants, a_reduced_search_finds_them_as_well) {
    const explore::options reduced{.reduce = true};
    expect_right(spin_lock({}, reduced));
    expect_broken(spin_lock({.unlock = env::relaxed}, reduced), "data race");
    expect_broken(spin_lock({.test_then_set = true}, reduced), "data race");
    expect_right(futex_lock({}, 2, reduced));
    expect_broken(futex_lock({.unlock = env::relaxed}, 2, reduced), "data race");
    expect_broken(futex_lock({.marks_held_only = true}, 2, reduced), "deadlock");
    expect_broken(futex_lock({.wakes_first = true}, 2, reduced), "deadlock");
    expect_broken(futex_lock({.unlocks_by_load = true}, 2, reduced), "deadlock");
    expect_broken(futex_lock({.unlocks_twice = true}, 3, reduced), "data race");
    expect_right(dekker({}, reduced));
    expect_broken(dekker({.looks_first = true}, reduced), "data race");
    expect_right(event_count({}, reduced));
    expect_broken(event_count({.checks_before_announcing = true}, reduced), "deadlock");
    expect_broken(event_count({.does_not_count = true}, reduced), "deadlock");
}

TEST(mutants, random_schedules_find_them_as_well) {
    const explore::options random{.random_schedules = 10'000, .seed = 1};
    EXPECT_TRUE(event_count({}, random).ok());
    expect_broken(event_count({.no_announcement = true}, random), "deadlock");
    expect_broken(event_count({.checks_before_announcing = true}, random), "deadlock");
    expect_broken(futex_lock({.unlocks_twice = true}, 3, random), "data race");
}

// --- A count of references ---

explore::report counted(bool checks_the_old_value, std::memory_order order) {
    return explore::run({}, [checks_the_old_value, order] {
        struct object {
            env::atomic<int> references{2};
            env::shared<int> data{0};
        };
        auto* const it = new object;
        for (int i = 0; i < 2; ++i)
            explore::thread([it, checks_the_old_value, order] {
                (void)it->data.read();
                if (checks_the_old_value) {
                    if (it->references.fetch_sub(1, order) == 1) delete it;
                } else {
                    it->references.fetch_sub(1, order);
                    if (it->references.load(env::acquire) == 0) delete it;  // both may see it
                }
            });
    });
}

TEST(mutants, reference_count) {
    expect_right(counted(true, env::acq_rel));
    expect_broken(counted(true, env::relaxed), "data race");
    expect_broken(counted(false, env::acq_rel), "");
}

}  // namespace
