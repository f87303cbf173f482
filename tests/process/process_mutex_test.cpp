// process_mutex between tasks, threads and processes, and after the death of its owner.
#include <leat/process/process_mutex.hpp>

#include <core.hpp>
#include <cstdint>
#include <gtest/gtest.h>
#include <leat/process/shared_memory.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <soak.hpp>
#include <unistd.h>

#include "forked_child.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::process_mutex;
using leat_test::forked_child;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;

// A number in shared memory that is changed in two steps.
struct account {
    account() : memory(made(leat::shared_memory::create(16))) {}
    volatile std::uint64_t* halves() const { return reinterpret_cast<volatile std::uint64_t*>(memory.bytes().data()); }
    void add() const {
        halves()[0] = halves()[0] + 1;
        halves()[1] = halves()[1] + 1;
    }
    [[nodiscard]] bool is_whole() const { return halves()[0] == halves()[1]; }
    leat::shared_memory memory;
};

TEST(process_mutex, one_holds_it_and_the_next_is_served_when_it_is_unlocked) {
    auto lock = made(process_mutex::create());
    auto held = lock.try_lock();
    ASSERT_TRUE(held);
    EXPECT_FALSE(held->owner_died());
    EXPECT_FALSE(lock.try_lock());
    EXPECT_FALSE(lock.blocking_lock_for(1ms));
    held->unlock();
    held->unlock();
    EXPECT_TRUE(lock.blocking_lock_for(0ms));
    on_one_thread([&]() -> leat::task<> {
        auto first = co_await lock.lock();
        EXPECT_FALSE(co_await lock.lock_for(1ms));
        first.unlock();
        EXPECT_TRUE(co_await lock.lock_for(0ms));
    });
}

TEST(process_mutex, processes_of_tasks_and_threads_exclude_each_other) {
    auto lock = made(process_mutex::create());
    const account money;
    constexpr int turns = 3000;
    const auto in_threads = [&] {
        for (int i = 0; i < turns; ++i) {
            const auto held = lock.blocking_lock();
            if (held.owner_died()) return 1;
            money.add();
        }
        return 0;
    };
    const auto work = [&]() -> leat::task<> {
        for (int i = 0; i < turns; ++i) {
            const auto held = co_await lock.lock();
            EXPECT_FALSE(held.owner_died());
            money.add();
        }
    };
    const auto in_tasks = [&] {
        on_threads(2, [&]() -> leat::task<> { co_await leat::when_all(work(), work()); });
        return 0;
    };
    forked_child first(in_threads);
    forked_child second(in_tasks);
    in_tasks();
    EXPECT_EQ(first.wait(), 0);
    EXPECT_EQ(second.wait(), 0);
    EXPECT_EQ(money.halves()[0], turns * 5U);
    EXPECT_TRUE(money.is_whole());
}

TEST(process_mutex, the_next_owner_is_told_that_the_last_one_died) {
    auto lock = made(process_mutex::create());
    const auto die_with_it = [&] {
        const auto held = lock.blocking_lock();
        ::kill(::getpid(), SIGKILL);
        return 0;
    };
    {
        forked_child child(die_with_it);
        EXPECT_EQ(child.wait(), -SIGKILL);
        auto held = lock.try_lock();
        ASSERT_TRUE(held);
        EXPECT_TRUE(held->owner_died());
    }
    EXPECT_FALSE(lock.blocking_lock().owner_died()) << "it was told to one who has unlocked it since";
    forked_child child(die_with_it);
    EXPECT_EQ(child.wait(), -SIGKILL);
    on_one_thread([&]() -> leat::task<> {
        const auto held = co_await lock.lock();
        EXPECT_TRUE(held.owner_died());
    });
}

TEST(process_mutex, who_waits_notices_the_death_of_the_owner) {
    auto lock = made(process_mutex::create());
    for (const bool as_task : {false, true}) {
        const account marks;
        forked_child child([&] {
            const auto held = lock.blocking_lock();
            marks.add();
            ::usleep(20'000);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        while (marks.halves()[1] == 0) ::usleep(100);
        if (as_task) {
            on_one_thread([&]() -> leat::task<> { EXPECT_TRUE((co_await lock.lock()).owner_died()); });
        } else {
            EXPECT_TRUE(lock.blocking_lock().owner_died());
        }
    }
}

TEST(process_mutex, a_task_that_is_stopped_while_it_waits_has_no_lock) {
    auto lock = made(process_mutex::create());
    const account marks;
    forked_child child([&] {
        const auto held = lock.blocking_lock();
        marks.add();
        return ::pause();
    });
    while (marks.halves()[1] == 0) ::usleep(100);
    on_one_thread([&]() -> leat::task<> {
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(lock.lock(), 5ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_FALSE(co_await lock.lock_for(1ms));
    });
    EXPECT_FALSE(lock.blocking_lock_for(1ms));
    child.kill();
    EXPECT_TRUE(lock.blocking_lock().owner_died());
}

TEST(process_mutex, a_guard_in_a_fork_unlocks_nothing) {
    auto lock = made(process_mutex::create());
    auto held = lock.try_lock();
    forked_child child([&] {
        held->unlock();
        return lock.try_lock() ? 1 : 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_FALSE(lock.try_lock());
}

TEST(process_mutex, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    auto lock = made(process_mutex::create());
    const auto give = [](const std::vector<leat::passed_descriptor>& all) {
        for (const auto& each : all)
            if (::dup2(each.here, each.there) < 0) std::abort();
        return 710;
    };
    auto same = made(process_mutex::attach(give(lock.passed(710))));
    auto held = same.try_lock();
    EXPECT_TRUE(held);
    EXPECT_FALSE(lock.try_lock());
    held->unlock();
    EXPECT_TRUE(lock.try_lock());

    EXPECT_EQ(process_mutex::attach(800).error().what, kind::not_shared);
    const account other;
    auto mixed = lock.passed(710);
    mixed[0].here = other.memory.fd();
    EXPECT_EQ(process_mutex::attach(give(mixed)).error().what, kind::wrong_kind);
    mixed = lock.passed(710);
    mixed[1].here = mixed[0].here;
    EXPECT_EQ(process_mutex::attach(give(mixed)).error().what, kind::not_shared);
}

// Processes are killed at random moments, some with the lock: who finds an account that is not whole was told so.
TEST(process_mutex, owners_killed_at_any_moment_are_told_of_soak) {
    for (leat_test::soak rounds(20); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto lock = made(process_mutex::create());
        const account money;
        const auto work = [&] {
            for (;;) {
                const auto held = lock.blocking_lock();
                if (!money.is_whole()) {
                    if (!held.owner_died()) return 1;
                    money.halves()[1] = static_cast<std::uint64_t>(money.halves()[0]);
                }
                money.add();
            }
        };
        forked_child first(work);
        for (int victim = 0; victim < 5; ++victim) {
            forked_child second(work);
            ::usleep(random(2000));
            second.kill();
            EXPECT_EQ(second.wait(), -SIGKILL);
        }
        const auto before = static_cast<std::uint64_t>(money.halves()[0]);
        EXPECT_TRUE(leat_test::on_one_thread([&]() -> leat::task<bool> {
            for (int i = 0; i < 30'000; ++i) {
                if (money.halves()[0] > before) co_return true;
                co_await leat::sleep_for(1ms);
            }
            co_return false;
        })) << "the one that lives goes on";
        first.kill();
        EXPECT_EQ(first.wait(), -SIGKILL);
        const auto held = lock.blocking_lock();
        EXPECT_TRUE(money.is_whole() || held.owner_died());
    }
}

}  // namespace
