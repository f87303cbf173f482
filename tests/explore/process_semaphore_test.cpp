// All schedules of the words of a process_semaphore: those who wait in a futex and at a bell, for one permit and for many, and
// holders that die. The processes are threads here; a death is the end of a thread that gives nothing back, and who waits is
// called once to look, as the 50 ms do.
#include <array>
#include <gtest/gtest.h>

#include <explore/expect.hpp>
#include <explore/explorer.hpp>
#include <leat/process/process_permits.hpp>
#include <memory>

namespace {

namespace explore = leat::explore;
namespace env = leat::env;
using explore::expect_right;
using leat::detail::process_permits;
using waits = process_permits::waits;

struct scene {
    process_permits all;
    std::array<env::atomic<std::uint64_t>, 2> words{};
    env::shared<int> guarded{0};
    env::atomic<std::uint32_t> bell{0};
    env::atomic<std::uint64_t> dead{0};

    auto ring() {
        return [this] {
            bell.fetch_add(1);
            env::futex_wake(bell, 1 << 20);
        };
    }
    auto alive() {
        return [this](std::uint64_t who) { return who != dead.load(); };
    }
    // Whether a permit came from the dead.
    bool acquire(std::uint64_t me, std::size_t count, waits how) {
        process_permits::request request(all, words, me, count);
        if (!request.at_once(alive(), ring())) {
            all.begin(how);
            for (;;) {
                const std::uint32_t rung = bell.load();
                const std::uint32_t ticket = all.ticket();
                if (request.in_turn(true, alive())) break;
                if (how == waits::in_futex) all.sleep(ticket, leat::time_point::max());
                else env::futex_wait(bell, rung);
            }
            all.end(how);
        }
        request.end(ring());
        return request.from_the_dead();
    }
    // Gives up when it does not come at once, and after one more look in front.
    bool acquire_or_leave(std::uint64_t me, std::size_t count) {
        process_permits::request request(all, words, me, count);
        const bool has_all = request.at_once(alive(), ring()) || request.in_turn(true, alive());
        request.end(ring());
        return has_all;
    }
    void release(std::uint64_t me, std::size_t count) { all.give(words, me, count, ring()); }
    [[nodiscard]] bool all_free() const {
        return process_permits::is_free(words[0].load()) && process_permits::is_free(words[1].load());
    }
};

class process_semaphore : public testing::TestWithParam<waits> {};

TEST_P(process_semaphore, two_that_want_all_have_their_turns) {
    for (const explore::options& how :
         {explore::options{.preemption_bound = 3}, explore::options{.preemption_bound = 2, .stale = 1}})
        expect_right(explore::run(how, [way = GetParam()] {
            auto all = std::make_shared<scene>();
            for (const std::uint64_t me : {5U, 6U})
                explore::thread("process", [all, me, way] {
                    explore::check(!all->acquire(me, 2, way), "nobody died");
                    ++all->guarded.write();
                    all->release(me, 2);
                });
            explore::join_all();
            explore::check(all->guarded.read() == 2, "each has had its turn");
            explore::check(all->all_free(), "all permits are back");
        }));
}

TEST_P(process_semaphore, one_that_wants_all_and_two_that_want_one_are_served) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        for (const std::uint64_t me : {5U, 6U, 7U})
            explore::thread("process", [all, me, way] {
                const std::size_t count = me == 5 ? 2 : 1;
                explore::check(!all->acquire(me, count, me == 6 ? waits::in_futex : way), "nobody died");
                if (count == 2) ++all->guarded.write();
                all->release(me, count);
            });
        explore::join_all();
        explore::check(all->all_free(), "all permits are back");
    }));
}

TEST_P(process_semaphore, one_that_leaves_in_front_calls_the_next) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::check(!all->acquire(4, 1, way), "both are free");
        explore::thread("leaves", [all] {
            if (all->acquire_or_leave(5, 2)) all->release(5, 2);
        });
        explore::thread("waits", [all, way] {
            explore::check(!all->acquire(6, 1, way), "nobody died");
            all->release(6, 1);
        });
        explore::join_all();
        all->release(4, 1);
        explore::check(all->all_free(), "all permits are back");
    }));
}

TEST_P(process_semaphore, of_several_who_wait_for_one_that_died_one_is_told) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        auto told = std::make_shared<env::atomic<int>>(0);
        explore::check(!all->acquire(9, 1, way) && !all->acquire(8, 1, way), "both are free");
        for (const std::uint64_t me : {5U, 6U})
            explore::thread("process", [all, told, me, way] {
                if (all->acquire(me, 1, way)) told->fetch_add(1);
                all->release(me, 1);
            });
        explore::thread("death", [all] {
            all->dead.store(9);
            all->all.call(all->ring());  // for the look after 50 ms
        });
        explore::join_all();
        explore::check(told->load() == 1, "one is told of it");
        all->release(8, 1);
        explore::check(all->all_free(), "all permits are back");
    }));
}

TEST_P(process_semaphore, the_place_of_one_that_died_in_front_is_taken_over) {
    expect_right(explore::run({.preemption_bound = 2}, [way = GetParam()] {
        auto all = std::make_shared<scene>();
        explore::check(!all->acquire(8, 1, way), "both are free");
        {
            process_permits::request dies(all->all, all->words, 9, 2);
            explore::check(!dies.in_turn(true, all->alive()), "one is held");
        }
        for (const std::uint64_t me : {5U, 6U})
            explore::thread("process", [all, me, way] {
                (void)all->acquire(me, 1, way);
                all->release(me, 1);
            });
        explore::thread("death", [all] {
            all->dead.store(9);
            all->all.call(all->ring());
        });
        explore::join_all();
        all->release(8, 1);
        explore::check(all->all_free(), "all permits are back");
    }));
}

INSTANTIATE_TEST_SUITE_P(each, process_semaphore, testing::Values(waits::in_futex, waits::at_bell),
                         [](const auto& of) { return of.param == waits::in_futex ? "futex" : "bell"; });

}  // namespace
