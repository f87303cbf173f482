// process_event between tasks, threads and processes.
#include <leat/process/process_event.hpp>

#include <core.hpp>
#include <cstdint>
#include <deque>
#include <gtest/gtest.h>
#include <leat/process/shared_array.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <soak.hpp>
#include <thread>
#include <unistd.h>

#include "forked_child.hpp"
#include "passing.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::process_event;
using leat_test::forked_child;
using leat_test::give;
using leat_test::made;
using leat_test::on_one_thread;
using counters = leat::shared_array<std::uint64_t>;

std::uint64_t value(const counters& of, std::size_t index) { return std::atomic_ref(of[index]).load(); }
void add(const counters& to, std::size_t index) { std::atomic_ref(to[index]).fetch_add(1); }

TEST(process_event, stays_set_until_it_is_reset) {
    auto ready = made(process_event::create());
    EXPECT_FALSE(ready.is_set());
    EXPECT_FALSE(ready.try_wait());
    EXPECT_FALSE(ready.blocking_wait_for(1ms));
    ready.set();
    ready.set();
    EXPECT_TRUE(ready.is_set());
    ready.blocking_wait();
    on_one_thread([&]() -> leat::task<> {
        co_await ready.wait();
        EXPECT_TRUE(co_await ready.wait_for(0ms));
        ready.reset();
        EXPECT_FALSE(co_await ready.wait_for(1ms));
        EXPECT_FALSE(co_await ready.wait_for(0ms));
    });
    EXPECT_FALSE(ready.is_set());
}

TEST(process_event, what_was_done_before_it_was_set_is_seen) {
    auto there = made(process_event::create());
    auto back = made(process_event::create());
    const counters number = made(counters::create(2));
    forked_child child([&] {
        for (std::uint64_t i = 1; i <= 500; ++i) {
            there.blocking_wait();
            there.reset();
            if (number[0] != i) return 1;
            number[1] = i;
            back.set();
        }
        return 0;
    });
    on_one_thread([&]() -> leat::task<> {
        for (std::uint64_t i = 1; i <= 500; ++i) {
            number[0] = i;
            there.set();
            co_await back.wait();
            back.reset();
            EXPECT_EQ(number[1], i);
        }
    });
    EXPECT_EQ(child.wait(), 0);
}

TEST(process_event, a_hundred_who_wait_go_on_even_when_it_is_reset_at_once) {
    auto go = made(process_event::create());
    const counters waiting = made(counters::create(2));
    std::deque<forked_child> children;
    for (int i = 0; i < 50; ++i)
        children.emplace_back([&] {
            add(waiting, 0);
            go.blocking_wait();
            return 0;
        });
    children.emplace_back([&] {
        const auto one = [&]() -> leat::task<> {
            add(waiting, 0);
            co_await go.wait();
        };
        on_one_thread([&]() -> leat::task<> {
            leat::scope all;
            for (int i = 0; i < 50; ++i) all.spawn(one);
            co_await all.join();
        });
        return 0;
    });
    while (value(waiting, 0) < 100) ::usleep(100);
    ::usleep(10'000);  // so that most wait indeed; each that comes later is let in below
    go.set();
    go.reset();
    ::usleep(10'000);
    go.set();
    for (forked_child& each : children) EXPECT_EQ(each.wait(), 0);
}

TEST(process_event, a_task_that_waits_hears_a_set_and_a_reset_that_come_together) {
    auto go = made(process_event::create());
    std::thread other([&] {
        ::usleep(5'000);
        go.set();
        go.reset();
    });
    on_one_thread([&]() -> leat::task<> { co_await go.wait(); });
    other.join();
}

TEST(process_event, a_task_that_is_stopped_waits_no_more) {
    auto never = made(process_event::create());
    on_one_thread([&]() -> leat::task<> {
        bool timed_out = false;
        try {
            co_await leat::timeout(never.wait(), 5ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        never.set();
        co_await never.wait();
    });
}

TEST(process_event, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    auto ready = made(process_event::create());
    auto same = made(process_event::attach(give(ready.passed(710))));
    same.set();
    EXPECT_TRUE(ready.is_set());

    EXPECT_EQ(process_event::attach(800).error().what, kind::not_shared);
    const auto other = made(leat::shared_memory::create(4096));
    auto mixed = ready.passed(710);
    mixed[0].here = other.fd();
    EXPECT_EQ(process_event::attach(give(mixed)).error().what, kind::wrong_kind);
    mixed = ready.passed(710);
    mixed[1].here = mixed[0].here;
    EXPECT_EQ(process_event::attach(give(mixed)).error().what, kind::not_shared);
}

TEST(process_event, nonsense_in_its_memory_does_no_harm) {
    for (unsigned seed = 0; seed < 50; ++seed) {
        auto ready = made(process_event::create());
        auto memory = made(leat::shared_memory::attach(leat::io::unique_fd(::dup(ready.passed(3)[0].here))));
        leat_test::dice random(seed);
        for (std::byte& each : memory.bytes()) each = std::byte(random(256));
        EXPECT_FALSE(process_event::attach(give(ready.passed(710))));
        ready.reset();
        EXPECT_FALSE(ready.blocking_wait_for(1ms));
        ready.set();
        EXPECT_TRUE(ready.is_set());
    }
}

// Who sets it is killed at random moments, and those who wait too: the others go on.
TEST(process_event, those_who_set_it_may_be_killed_at_any_moment_soak) {
    for (leat_test::soak rounds(10); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto go = made(process_event::create());
        const counters woken = made(counters::create(1));
        forked_child waits([&] {
            for (;;) {
                go.blocking_wait();
                add(woken, 0);
            }
            return 0;
        });
        for (int victim = 0; victim < 5; ++victim) {
            forked_child sets([&] {
                for (;;) {
                    go.set();
                    go.reset();
                }
                return 0;
            });
            forked_child also_waits([&] {
                for (;;) go.blocking_wait();
                return 0;
            });
            ::usleep(random(2000));
            sets.kill();
            EXPECT_EQ(sets.wait(), -SIGKILL);
            also_waits.kill();
            EXPECT_EQ(also_waits.wait(), -SIGKILL);
        }
        const std::uint64_t before = value(woken, 0);
        go.set();
        while (value(woken, 0) == before) ::usleep(100);
    }
}

}  // namespace
