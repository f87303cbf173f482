// All schedules of the word of a process_mutex: those who wait in a futex and at a bell, and owners that die. The processes are
// threads here; a death is the end of a thread that does not unlock, and who waits is called once to look, as the 50 ms do.
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/process/process_lock_word.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
namespace env = leat::env;
using explore::expect_right;
using leat::detail::process_lock_word;
using waits = process_lock_word::waits;

struct scene {
    process_lock_word word;
    env::shared<int> guarded{0};
    env::atomic<std::uint32_t> bell{0};
    env::atomic<std::uint64_t> dead{0};

    auto ring() {
        return [this] {
            bell.fetch_add(1);
            env::futex_wake(bell, 1 << 20);
        };
    }
    // 1: it was free or given; 2: its owner was dead.
    int take(std::uint64_t me) {
        if (word.take(me)) return 1;
        const std::uint64_t holder = word.owner();
        if (holder == 0 || holder != dead.load()) return 0;
        return word.inherit(holder, me) ? 2 : 0;
    }
    int lock(std::uint64_t me, waits how) {
        if (const int got = take(me)) return got;
        word.begin(how);
        int got = 0;
        for (;;) {
            const std::uint32_t rung = bell.load();
            const std::uint32_t ticket = word.ticket();
            if ((got = take(me)) != 0) break;
            if (how == waits::in_futex) word.sleep(ticket, leat::time_point::max());
            else env::futex_wait(bell, rung);
        }
        word.end(how);
        return got;
    }
    void unlock() { word.give(ring()); }
};

class process_lock : public testing::TestWithParam<waits> {};

TEST_P(process_lock, one_at_a_time_and_nobody_waits_for_ever) {
    for (const explore::options& how :
         {explore::options{.preemption_bound = 3}, explore::options{.preemption_bound = 2, .stale = 1}})
        expect_right(explore::run(how, [way = GetParam()] {
            auto all = std::make_shared<scene>();
            for (const std::uint64_t me : {1U, 2U})
                explore::thread("process", [all, me, way] {
                    for (int turn = 0; turn < 2; ++turn) {
                        explore::check(all->lock(me, way) == 1, "nobody died");
                        ++all->guarded.write();
                        all->unlock();
                    }
                });
            explore::join_all();
            explore::check(all->guarded.read() == 4, "each has had its turn");
        }));
}

TEST_P(process_lock, three_of_both_kinds_are_served) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        for (const std::uint64_t me : {1U, 2U, 3U})
            explore::thread("process", [all, me, way] {
                explore::check(all->lock(me, me == 1 ? waits::in_futex : way) == 1, "nobody died");
                ++all->guarded.write();
                all->unlock();
            });
        explore::join_all();
        explore::check(all->guarded.read() == 3, "each has had its turn");
    }));
}

TEST_P(process_lock, of_several_who_wait_for_a_dead_owner_one_inherits) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        auto inherited = std::make_shared<env::atomic<int>>(0);
        explore::check(all->word.take(9), "it is free");
        for (const std::uint64_t me : {1U, 2U})
            explore::thread("process", [all, inherited, me, way] {
                if (all->lock(me, way) == 2) inherited->fetch_add(1);
                ++all->guarded.write();
                all->unlock();
            });
        explore::thread("death", [all] {
            all->dead.store(9);
            all->word.call(all->ring());  // for the look after 50 ms
        });
        explore::join_all();
        explore::check(all->guarded.read() == 2, "each has had its turn");
        explore::check(inherited->load() == 1, "one is told of it");
    }));
}

INSTANTIATE_TEST_SUITE_P(each, process_lock, testing::Values(waits::in_futex, waits::at_bell),
                         [](const auto& of) { return of.param == waits::in_futex ? "futex" : "bell"; });

}  // namespace
