// process_semaphore between tasks, threads and processes, and after the death of those who held permits.
#include <leat/process/process_semaphore.hpp>

#include <core.hpp>
#include <cstdint>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <leat/process/process_event.hpp>
#include <leat/process/shared_array.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <soak.hpp>
#include <thread>
#include <unistd.h>

#include "forked_child.hpp"
#include "passing.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::process_semaphore;
using leat_test::forked_child;
using leat_test::give;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;
using counters = leat::shared_array<std::uint64_t>;

std::uint64_t value(const counters& of, std::size_t index) { return std::atomic_ref(of[index]).load(); }
std::uint64_t add(const counters& to, std::size_t index, std::uint64_t what = 1) {
    return std::atomic_ref(to[index]).fetch_add(what) + what;
}

TEST(process_semaphore, as_many_hold_permits_as_there_are) {
    auto slots = made(process_semaphore::create(3));
    EXPECT_EQ(slots.permits(), 3U);
    {
        auto two = slots.try_acquire(2);
        ASSERT_TRUE(two);
        EXPECT_EQ(two->count(), 2U);
        EXPECT_FALSE(two->holder_died());
        EXPECT_FALSE(slots.try_acquire(2)) << "all or none";
        auto one = slots.try_acquire();
        ASSERT_TRUE(one);
        EXPECT_EQ(slots.available(), 0U);
        EXPECT_FALSE(slots.try_acquire());
        EXPECT_FALSE(slots.blocking_acquire_for(1ms));
        two->release();
        two->release();
        EXPECT_EQ(slots.available(), 2U);
        two = std::move(one);
        EXPECT_EQ(slots.available(), 2U);
    }
    EXPECT_EQ(slots.available(), 3U);
    on_one_thread([&]() -> leat::task<> {
        auto all = co_await slots.acquire(3);
        EXPECT_FALSE(co_await slots.acquire_for(1ms));
        all.release();
        EXPECT_TRUE(co_await slots.acquire_for(0ms));
    });
}

TEST(process_semaphore, tasks_and_threads_of_processes_share_it) {
    auto slots = made(process_semaphore::create(2));
    const counters inside = made(counters::create(2));  // now, and too many
    const auto enter = [&] {
        if (add(inside, 0) > 2) add(inside, 1);
        std::this_thread::yield();
        add(inside, 0, std::uint64_t(-1));
    };
    const auto in_threads = [&] {
        for (int i = 0; i < 2000; ++i) {
            const auto permit = slots.blocking_acquire();
            if (permit.holder_died()) return 1;
            enter();
        }
        return 0;
    };
    const auto work = [&]() -> leat::task<> {
        for (int i = 0; i < 2000; ++i) {
            const auto permit = co_await slots.acquire();
            EXPECT_FALSE(permit.holder_died());
            enter();
        }
    };
    const auto in_tasks = [&] {
        on_threads(2, [&]() -> leat::task<> { co_await leat::when_all(work(), work()); });
        return 0;
    };
    forked_child first(in_threads);
    forked_child second(in_tasks);
    forked_child third(in_threads);
    in_tasks();
    EXPECT_EQ(first.wait(), 0);
    EXPECT_EQ(second.wait(), 0);
    EXPECT_EQ(third.wait(), 0);
    EXPECT_EQ(value(inside, 1), 0U);
    EXPECT_EQ(slots.available(), 2U);
}

TEST(process_semaphore, one_that_wants_all_is_not_overtaken_for_ever) {
    auto slots = made(process_semaphore::create(3));
    const counters turns = made(counters::create(1));
    const auto take_one_again_and_again = [&] {
        for (;;) {
            const auto permit = slots.blocking_acquire();
            add(turns, 0);
        }
        return 0;
    };
    forked_child first(take_one_again_and_again);
    forked_child second(take_one_again_and_again);
    while (value(turns, 0) < 100) ::usleep(100);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(slots.blocking_acquire(3).count(), 3U);
    on_one_thread([&]() -> leat::task<> {
        for (int i = 0; i < 50; ++i) EXPECT_EQ((co_await slots.acquire(3)).count(), 3U);
    });
}

TEST(process_semaphore, permits_of_the_dead_come_back_and_the_next_holder_is_told) {
    auto slots = made(process_semaphore::create(3));
    const auto die_with_two = [&] {
        const auto permit = slots.blocking_acquire(2);
        ::kill(::getpid(), SIGKILL);
        return 0;
    };
    {
        forked_child child(die_with_two);
        EXPECT_EQ(child.wait(), -SIGKILL);
        EXPECT_FALSE(slots.try_acquire()->holder_died()) << "one that was free";
        EXPECT_TRUE(slots.try_acquire(3)->holder_died());
        EXPECT_FALSE(slots.try_acquire(3)->holder_died()) << "it was told";
    }
    forked_child child(die_with_two);
    EXPECT_EQ(child.wait(), -SIGKILL);
    on_one_thread([&]() -> leat::task<> { EXPECT_TRUE((co_await slots.acquire(3)).holder_died()); });
}

TEST(process_semaphore, who_gets_not_enough_leaves_word_of_the_dead) {
    auto slots = made(process_semaphore::create(2));
    {
        forked_child child([&] {
            const auto permit = slots.blocking_acquire();
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        EXPECT_EQ(child.wait(), -SIGKILL);
    }
    auto other = slots.try_acquire();
    ASSERT_TRUE(other);
    EXPECT_FALSE(slots.try_acquire(2));
    EXPECT_FALSE(slots.blocking_acquire_for(1ms, 2));
    EXPECT_EQ(slots.available(), 1U);
    EXPECT_TRUE(slots.try_acquire()->holder_died());
}

TEST(process_semaphore, who_waits_notices_the_death_of_the_holder) {
    auto slots = made(process_semaphore::create(1));
    for (const bool as_task : {false, true}) {
        const counters marks = made(counters::create(1));
        forked_child child([&] {
            const auto permit = slots.blocking_acquire();
            add(marks, 0);
            ::usleep(20'000);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        while (value(marks, 0) == 0) ::usleep(100);
        if (as_task) {
            on_one_thread([&]() -> leat::task<> { EXPECT_TRUE((co_await slots.acquire()).holder_died()); });
        } else {
            EXPECT_TRUE(slots.blocking_acquire().holder_died());
        }
    }
}

TEST(process_semaphore, the_place_in_front_of_one_that_dies_is_taken_over) {
    auto slots = made(process_semaphore::create(2));
    auto held = slots.try_acquire();
    forked_child in_front([&] {
        const auto both = slots.blocking_acquire(2);
        return 0;
    });
    while (slots.available() != 0) ::usleep(100);
    EXPECT_FALSE(slots.try_acquire());
    in_front.kill();
    EXPECT_EQ(in_front.wait(), -SIGKILL);
    EXPECT_TRUE(slots.blocking_acquire().holder_died());
    EXPECT_TRUE(slots.try_acquire());
}

TEST(process_semaphore, a_task_that_is_stopped_while_it_waits_has_no_permit) {
    auto slots = made(process_semaphore::create(3));
    auto held = slots.try_acquire();
    on_one_thread([&]() -> leat::task<> {
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(slots.acquire(3), 5ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_EQ(slots.available(), 2U);
        EXPECT_TRUE(co_await slots.acquire_for(0ms, 2)) << "nobody is in front any more";
    });
}

TEST(process_semaphore, a_hundred_who_wait_are_served) {
    auto slots = made(process_semaphore::create(1));
    const counters done = made(counters::create(1));
    auto held = slots.try_acquire();
    std::deque<forked_child> children;
    for (int i = 0; i < 50; ++i)
        children.emplace_back([&] {
            const auto permit = slots.blocking_acquire();
            add(done, 0);
            return 0;
        });
    const auto one = [&]() -> leat::task<> {
        const auto permit = co_await slots.acquire();
        add(done, 0);
    };
    on_one_thread([&]() -> leat::task<> {
        leat::scope all;
        for (int i = 0; i < 50; ++i) all.spawn(one);
        co_await leat::sleep_for(5ms);
        EXPECT_EQ(value(done, 0), 0U);
        held->release();
        co_await all.join();
    });
    for (forked_child& each : children) EXPECT_EQ(each.wait(), 0);
    EXPECT_EQ(value(done, 0), 100U);
}

TEST(process_semaphore, a_permit_in_a_fork_gives_nothing_back) {
    auto slots = made(process_semaphore::create(1));
    auto held = slots.try_acquire();
    forked_child child([&] {
        held->release();
        return slots.try_acquire() ? 1 : 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(slots.available(), 0U);
}

TEST(process_semaphore, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    auto slots = made(process_semaphore::create(2));
    auto same = made(process_semaphore::attach(give(slots.passed(710))));
    EXPECT_EQ(same.permits(), 2U);
    auto held = same.try_acquire(2);
    EXPECT_TRUE(held);
    EXPECT_FALSE(slots.try_acquire());
    held->release();
    EXPECT_TRUE(slots.try_acquire(2));

    EXPECT_EQ(process_semaphore::create(0).error().what, kind::bad_size);
    EXPECT_EQ(process_semaphore::create(process_semaphore::most_permits + 1).error().what, kind::bad_size);
    EXPECT_EQ(process_semaphore::attach(800).error().what, kind::not_shared);
    const auto other = made(leat::shared_memory::create(4096));
    auto mixed = slots.passed(710);
    mixed[0].here = other.fd();
    EXPECT_EQ(process_semaphore::attach(give(mixed)).error().what, kind::wrong_kind);
    mixed = slots.passed(710);
    mixed[1].here = mixed[0].here;
    EXPECT_EQ(process_semaphore::attach(give(mixed)).error().what, kind::not_shared);
}

TEST(process_semaphore, nonsense_in_its_memory_is_refused_or_harmless) {
    for (unsigned seed = 0; seed < 50; ++seed) {
        auto slots = made(process_semaphore::create(8));
        auto memory = made(leat::shared_memory::attach(leat::io::unique_fd(::dup(slots.passed(3)[0].here))));
        leat_test::dice random(seed);
        for (std::byte& each : memory.bytes()) each = std::byte(random(256));
        EXPECT_FALSE(process_semaphore::attach(give(slots.passed(710))));
        auto held = slots.blocking_acquire_for(1ms, 1 + random(8));
        if (held) held->release();
        EXPECT_LE(slots.available(), 8U);
    }
    auto slots = made(process_semaphore::create(8));
    auto memory = made(leat::shared_memory::attach(leat::io::unique_fd(::dup(slots.passed(3)[0].here))));
    const std::uint64_t many = process_semaphore::most_permits;
    std::memcpy(memory.bytes().data() + 8, &many, sizeof many);
    EXPECT_EQ(process_semaphore::attach(give(slots.passed(710))).error().what, kind::wrong_kind);
}

// Processes are killed at random moments, with permits and while they wait: none is lost.
TEST(process_semaphore, holders_killed_at_any_moment_leave_no_permit_behind_soak) {
    for (leat_test::soak rounds(15); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto slots = made(process_semaphore::create(3));
        const auto work = [&](unsigned seed) {
            leat_test::dice mine(seed);
            for (;;) auto permit = slots.blocking_acquire(1 + mine(3));
            return 0;
        };
        std::deque<forked_child> children;
        for (unsigned i = 0; i < 4; ++i) children.emplace_back([&, i] { return work(rounds.seed() + i); });
        for (int victim = 0; victim < 8; ++victim) {
            ::usleep(random(2000));
            children.front().kill();
            EXPECT_EQ(children.front().wait(), -SIGKILL);
            children.pop_front();
            children.emplace_back([&, victim] { return work(rounds.seed() * 100 + static_cast<unsigned>(victim)); });
        }
        children.clear();
        auto all = slots.blocking_acquire_for(10s, 3);
        EXPECT_TRUE(all);
    }
}

}  // namespace
