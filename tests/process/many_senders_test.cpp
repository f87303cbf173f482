// shared_ring and byte_ring with many senders: tasks, threads and processes that take turns, wait, leave, close and are killed.
#include <leat/process/shared_ring.hpp>

#include <array>
#include <atomic>
#include <core.hpp>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <memory>
#include <soak.hpp>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "forked_child.hpp"

namespace {

using namespace std::chrono_literals;
using leat::byte_ring;
using leat::ring_error;
using leat::ring_senders;
using leat::shared_ring;
using leat_test::forked_child;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;

struct numbered {
    std::uint32_t from;
    std::uint32_t number;
};
// A ring of one page holds one of it.
struct page {
    std::uint32_t from;
    std::array<std::byte, 4092> rest;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// What each sender has sent comes in order, all of it.
class tally {
public:
    tally(std::size_t senders, std::uint32_t each) : next_(senders), each_(each) {}
    void add(numbered got) {
        ASSERT_LT(got.from, next_.size());
        ASSERT_EQ(got.number, next_[got.from]++) << "of " << got.from;
    }
    void check() const {
        for (const std::uint32_t next : next_) EXPECT_EQ(next, each_);
    }

private:
    std::vector<std::uint32_t> next_;
    std::uint32_t each_;
};

leat::task<> send_numbers(leat::ring_sender<numbered> out, std::uint32_t from, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) EXPECT_TRUE(co_await out.send({from, i}));
}
leat::task<ring_error> receive_all(leat::ring_receiver<numbered>& in, tally& into) {
    for (;;) {
        const auto next = co_await in.recv();
        if (!next) co_return next.error();
        into.add(*next);
    }
}
ring_error receive_all_blocking(leat::ring_receiver<numbered>& in, tally& into) {
    for (;;) {
        const auto next = in.blocking_recv();
        if (!next) return next.error();
        into.add(*next);
    }
}

// --- In one process ---

TEST(many_senders, tasks_send_each_with_a_sender_of_its_own) {
    const auto program = []() -> leat::task<> {
        auto ring = made(shared_ring<numbered>::create(512, ring_senders::many));
        auto in = made(ring.receiver());
        tally got(3, 3000);
        std::vector<leat::ring_sender<numbered>> out;
        for (int i = 0; i < 3; ++i) out.push_back(made(ring.sender()));
        const auto receive = [](leat::ring_receiver<numbered>& from, tally& into) -> leat::task<> {
            EXPECT_EQ(co_await receive_all(from, into), ring_error::closed) << "when all have left";
        };
        co_await leat::when_all(send_numbers(std::move(out[0]), 0, 3000), send_numbers(std::move(out[1]), 1, 3000),
                                send_numbers(std::move(out[2]), 2, 3000), receive(in, got));
        got.check();
    };
    on_one_thread(program);
    on_threads(2, program);
}

TEST(many_senders, threads_send_messages_and_batches) {
    auto ring = made(shared_ring<numbered>::create(512, ring_senders::many));
    auto in = made(ring.receiver());
    tally got(3, 20'000);
    std::vector<std::thread> threads;
    for (std::uint32_t from = 0; from < 3; ++from)
        threads.emplace_back(
            [from, out = std::make_shared<leat::ring_sender<numbered>>(made(ring.sender()))]() mutable {
                for (std::uint32_t i = 0; i < 20'000;) {
                    if (from == 0) {
                        EXPECT_TRUE(out->blocking_send({from, i++}));
                        continue;
                    }
                    std::array<numbered, 10> some{};
                    for (numbered& each : some) each = {from, i++};
                    EXPECT_TRUE(out->blocking_send_many(some));
                }
                out.reset();
            });
    EXPECT_EQ(receive_all_blocking(in, got), ring_error::closed);
    got.check();
    for (std::thread& each : threads) each.join();
}

TEST(many_senders, a_ring_with_room_for_one_message_serves_all_who_wait) {
    auto ring = made(shared_ring<page>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    std::vector<std::thread> threads;
    std::array<int, 4> count{};
    for (std::uint32_t from = 0; from < 2; ++from)
        threads.emplace_back([from, out = std::make_shared<leat::ring_sender<page>>(made(ring.sender()))]() mutable {
            for (int i = 0; i < 300; ++i) EXPECT_TRUE(out->blocking_send({from, {}}));
            out.reset();
        });
    const auto send = [](leat::ring_sender<page> out, std::uint32_t from) -> leat::task<> {
        for (int i = 0; i < 300; ++i) EXPECT_TRUE(co_await out.send({from, {}}));
    };
    const auto receive = [&]() -> leat::task<> {
        while (const auto next = co_await in.recv()) ++count.at(next->from);
    };
    on_one_thread([&]() -> leat::task<> {
        co_await leat::when_all(send(made(ring.sender()), 2), send(made(ring.sender()), 3), receive());
    });
    for (std::thread& each : threads) each.join();
    EXPECT_EQ(count, (std::array{300, 300, 300, 300}));
}

TEST(many_senders, a_batch_that_fits_lies_in_one_piece) {
    auto ring = made(shared_ring<numbered>::create(512, ring_senders::many));
    auto one = made(ring.sender());
    auto other = made(ring.sender());
    auto in = made(ring.receiver());
    const std::array<numbered, 3> some{{{1, 0}, {1, 1}, {1, 2}}};
    EXPECT_TRUE(other.try_send({2, 0}));
    EXPECT_EQ(one.try_send_many(some).value(), 3U);
    EXPECT_TRUE(other.try_send({2, 1}));
    std::string order;
    while (const auto next = in.try_recv()) order += std::to_string(next->from);
    EXPECT_EQ(order, "21112");
    std::size_t sent = 0;
    while (const auto count = one.try_send_many(some)) sent += *count;
    EXPECT_EQ(sent, 512U);
    EXPECT_EQ(other.try_send({2, 2}).error(), ring_error::full);
    EXPECT_TRUE(in.try_recv());
    EXPECT_TRUE(other.try_send({2, 2}));
}

TEST(many_senders, a_reserved_slot_is_a_turn_until_it_is_committed_or_dropped) {
    auto ring = made(byte_ring::create(4096, ring_senders::many));
    auto one = made(ring.sender());
    auto other = made(ring.sender());
    auto in = made(ring.receiver());
    {
        auto slot = one.try_reserve(100);
        ASSERT_TRUE(slot);
        EXPECT_EQ(other.try_send(bytes_of("x")).error(), ring_error::full);
        EXPECT_EQ(other.blocking_send(bytes_of("x"), 1ms).error(), ring_error::timed_out);
    }
    EXPECT_TRUE(other.try_send(bytes_of("first"))) << "a slot that was dropped was never there";
    auto slot = one.try_reserve(6);
    std::thread waits([&] { EXPECT_TRUE(other.blocking_send(bytes_of("third"))); });
    std::memcpy(slot->bytes().data(), "second", 6);
    EXPECT_TRUE(slot->commit());
    waits.join();
    for (const std::string expected : {"first", "second", "third"}) {
        const auto got = in.blocking_recv().value();
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(got.data()), got.size()), expected);
    }
}

TEST(many_senders, a_message_too_large_takes_no_turn) {
    auto ring = made(byte_ring::create(4096, ring_senders::many));
    auto one = made(ring.sender());
    auto other = made(ring.sender());
    EXPECT_EQ(one.try_reserve(5000).error(), ring_error::too_large);
    EXPECT_TRUE(other.try_reserve(4000));
}

TEST(many_senders, a_close_by_the_receiver_ends_every_wait) {
    for (const bool by_a_sender : {false, true}) {
        auto ring = made(shared_ring<page>::create(1, ring_senders::many));
        auto in = made(ring.receiver());
        auto closer = made(ring.sender());
        auto first = made(ring.sender());
        auto second = made(ring.sender());
        auto third = made(ring.sender());
        EXPECT_TRUE(first.try_send({}));
        std::thread waits([&] { EXPECT_EQ(first.blocking_send({}).error(), ring_error::closed); });
        std::thread waits_too([&] { EXPECT_EQ(second.blocking_send({}).error(), ring_error::closed); });
        on_one_thread([&]() -> leat::task<> {
            const auto wait = [&]() -> leat::task<> {
                EXPECT_EQ((co_await third.send({})).error(), ring_error::closed);
            };
            const auto close = [&]() -> leat::task<> {
                co_await leat::sleep_for(5ms);
                if (by_a_sender) closer.close();
                else in.close();
            };
            co_await leat::when_all(wait(), close());
        });
        waits.join();
        waits_too.join();
        EXPECT_TRUE(in.try_recv()) << "what was inside";
        EXPECT_EQ(in.blocking_recv().error(), ring_error::closed);
    }
}

TEST(many_senders, a_ring_ends_with_the_last_sender_that_leaves) {
    auto ring = made(shared_ring<numbered>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    auto first = std::make_unique<leat::ring_sender<numbered>>(made(ring.sender()));
    auto second = std::make_unique<leat::ring_sender<numbered>>(made(ring.sender()));
    EXPECT_EQ(in.blocking_recv(1ms).error(), ring_error::timed_out);
    first.reset();
    EXPECT_EQ(in.blocking_recv(1ms).error(), ring_error::timed_out);
    EXPECT_TRUE(second->try_send({2, 0}));
    auto third = std::make_unique<leat::ring_sender<numbered>>(made(ring.sender()));
    second.reset();
    EXPECT_TRUE(in.try_recv());
    EXPECT_EQ(in.try_recv().error(), ring_error::empty);
    std::thread leaves([&] { third.reset(); });
    EXPECT_EQ(in.blocking_recv().error(), ring_error::closed);
    leaves.join();
    EXPECT_EQ(in.try_recv().error(), ring_error::closed);
}

TEST(many_senders, a_task_that_is_stopped_while_it_waits_leaves_its_turn_to_others) {
    on_one_thread([]() -> leat::task<> {
        auto ring = made(shared_ring<page>::create(1, ring_senders::many));
        auto in = made(ring.receiver());
        auto first = made(ring.sender());
        auto second = made(ring.sender());
        EXPECT_TRUE(first.try_send({1, {}}));
        const auto stopped = [](leat::ring_sender<page>& out) -> leat::task<> {
            const auto late = co_await leat::timeout(out.send({9, {}}), 5ms);
            EXPECT_EQ(late.error(), ring_error::cancelled);
        };
        // One has the turn and waits for room, the other waits for the turn.
        co_await leat::when_all(stopped(first), stopped(second));
        EXPECT_EQ(in.try_recv().value().from, 1U);
        EXPECT_TRUE(second.try_send({2, {}}));
        EXPECT_EQ((co_await first.send({3, {}}, 1ms)).error(), ring_error::timed_out);
        EXPECT_EQ((co_await in.recv()).value().from, 2U);
        EXPECT_TRUE(co_await first.send({4, {}}));
        EXPECT_EQ((co_await in.recv()).value().from, 4U);
    });
}

TEST(many_senders, there_are_1024_seats_and_a_free_one_is_given_again) {
    auto ring = made(shared_ring<int>::create(1, ring_senders::many));
    std::vector<leat::ring_sender<int>> out;
    for (int i = 0; i < 1024; ++i) out.push_back(made(ring.sender()));
    EXPECT_EQ(ring.sender().error().what, leat::shared_error::kind::taken);
    out.pop_back();
    EXPECT_TRUE(ring.sender());
}

TEST(many_senders, it_is_attached_to_with_four_descriptors) {
    auto ring = made(shared_ring<int>::create(1, ring_senders::many));
    const auto all = ring.passed(700);
    ASSERT_EQ(all.size(), 4U);
    for (const auto& each : all) ASSERT_GE(::dup2(each.here, each.there), 0);
    auto there = made(shared_ring<int>::attach(700));
    auto out = made(ring.sender());
    auto also = made(there.sender());
    auto in = made(there.receiver());
    EXPECT_TRUE(out.try_send(1));
    EXPECT_TRUE(also.try_send(2));
    EXPECT_EQ(in.try_recv().value(), 1);
    EXPECT_EQ(in.try_recv().value(), 2);
}

// --- Several processes ---

TEST(many_senders, processes_send_in_order_and_nothing_is_lost_or_doubled) {
    for (const bool as_task : {false, true}) {
        auto ring = made(shared_ring<numbered>::create(512, ring_senders::many));
        auto in = made(ring.receiver());
        std::vector<std::unique_ptr<forked_child>> children;
        for (std::uint32_t from = 0; from < 4; ++from) {
            children.push_back(std::make_unique<forked_child>([&ring, from] {
                auto out = made(ring.sender());
                for (std::uint32_t i = 0; i < 10'000; ++i)
                    if (!out.blocking_send({from, i})) return 1;
                return 0;
            }));
            in.expect(children.back()->pid());
        }
        tally got(4, 10'000);
        ring_error end = ring_error::empty;
        if (as_task) end = on_one_thread(receive_all, in, got);
        else end = receive_all_blocking(in, got);
        EXPECT_EQ(end, ring_error::closed);
        got.check();
        for (auto& each : children) EXPECT_EQ(each->wait(), 0);
    }
}

TEST(many_senders, processes_whose_tasks_send_wait_for_each_other) {
    auto ring = made(shared_ring<page>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    std::vector<std::unique_ptr<forked_child>> children;
    for (std::uint32_t from = 0; from < 3; ++from) {
        children.push_back(std::make_unique<forked_child>([&ring, from] {
            return on_one_thread([&]() -> leat::task<int> {
                auto out = made(ring.sender());
                for (int i = 0; i < 300; ++i)
                    if (!co_await out.send({from, {}})) co_return 1;
                co_return 0;
            });
        }));
        in.expect(children.back()->pid());
    }
    std::array<int, 3> count{};
    on_one_thread([&]() -> leat::task<> {
        while (const auto next = co_await in.recv()) ++count.at(next->from);
    });
    EXPECT_EQ(count, (std::array{300, 300, 300}));
    for (auto& each : children) EXPECT_EQ(each->wait(), 0);
}

TEST(many_senders, one_that_is_killed_in_its_turn_holds_up_nobody) {
    auto ring = made(byte_ring::create(4096, ring_senders::many));
    auto in = made(ring.receiver());
    auto out = made(ring.sender());
    forked_child child([&] {
        auto mine = made(ring.sender());
        (void)mine.blocking_send(bytes_of("whole"));
        auto slot = mine.blocking_reserve(3000);
        std::memset(slot->bytes().data(), 'x', 3000);
        return ::kill(::getpid(), SIGKILL);
    });
    EXPECT_EQ(child.wait(), -SIGKILL);
    EXPECT_TRUE(out.try_send(bytes_of("after")));
    EXPECT_EQ(in.try_recv().value().size(), 5U);
    EXPECT_EQ(in.try_recv().value().size(), 5U);
    EXPECT_EQ(in.try_recv().error(), ring_error::empty);
    EXPECT_FALSE(in.peer_gone());
}

TEST(many_senders, a_fork_that_ends_gives_no_turn_of_its_parent_away) {
    auto ring = made(byte_ring::create(4096, ring_senders::many));
    auto in = made(ring.receiver());
    auto out = made(ring.sender());
    auto other = made(ring.sender());
    auto slot = out.try_reserve(5);
    forked_child child([&] {
        {
            const auto mine = std::move(*slot);
        }
        const auto end = std::move(out);
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(other.try_send(bytes_of("x")).error(), ring_error::full);
    std::memcpy(slot->bytes().data(), "whole", 5);
    EXPECT_TRUE(slot->commit());
    EXPECT_TRUE(other.try_send(bytes_of("x")));
    EXPECT_EQ(in.try_recv().value().size(), 5U);
}

TEST(many_senders, who_waits_for_a_turn_gets_it_from_one_that_is_killed) {
    auto ring = made(byte_ring::create(4096, ring_senders::many));
    const auto in = made(ring.receiver());
    auto out = made(ring.sender());
    const auto has_it = made(leat::shared_memory::create(8));
    auto* const reserved = reinterpret_cast<std::atomic<std::uint64_t>*>(has_it.bytes().data());
    const auto holder = [&] {
        auto mine = made(ring.sender());
        const auto slot = mine.blocking_reserve(3000);
        ++*reserved;
        return ::pause();
    };
    {
        forked_child child(holder);
        while (*reserved != 1) ::usleep(100);
        EXPECT_EQ(out.try_send(bytes_of("x")).error(), ring_error::full);
        std::thread killer([&] {
            ::usleep(5000);
            child.kill();
            (void)child.wait();
        });
        EXPECT_TRUE(out.blocking_send(bytes_of("x")));
        killer.join();
    }
    forked_child child(holder);
    while (*reserved != 2) ::usleep(100);
    on_one_thread([&]() -> leat::task<> {
        const auto send = [&]() -> leat::task<> { EXPECT_TRUE(co_await out.send(bytes_of("x"))); };
        const auto kill = [&]() -> leat::task<> {
            co_await leat::sleep_for(5ms);
            child.kill();
        };
        co_await leat::when_all(send(), kill());
    });
}

TEST(many_senders, a_death_is_told_when_the_last_one_is_gone_and_it_was_not_made_good) {
    for (const bool is_replaced : {false, true}) {
        auto ring = made(shared_ring<int>::create(1, ring_senders::many));
        auto in = made(ring.receiver());
        auto out = std::make_unique<leat::ring_sender<int>>(made(ring.sender()));
        forked_child child([&] {
            auto mine = made(ring.sender());
            (void)mine.blocking_send(1);
            return ::kill(::getpid(), SIGKILL);
        });
        EXPECT_EQ(child.wait(), -SIGKILL);
        EXPECT_EQ(in.blocking_recv().value(), 1);
        EXPECT_EQ(in.blocking_recv(1ms).error(), ring_error::timed_out) << "one still lives";
        if (is_replaced) {
            const auto other = made(ring.sender());
        }
        EXPECT_TRUE(out->try_send(2));
        out.reset();
        EXPECT_EQ(in.blocking_recv().value(), 2);
        EXPECT_EQ(in.blocking_recv().error(), is_replaced ? ring_error::closed : ring_error::peer_died);
        EXPECT_EQ(in.peer_gone(), !is_replaced);
        on_one_thread([&]() -> leat::task<> {
            EXPECT_EQ((co_await in.recv()).error(), is_replaced ? ring_error::closed : ring_error::peer_died);
        });
    }
}

TEST(many_senders, the_ring_stays_open_for_those_who_are_expected) {
    auto ring = made(shared_ring<int>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    forked_child slow([&] {
        ::usleep(20'000);
        auto out = made(ring.sender());
        return out.blocking_send(2) ? 0 : 1;
    });
    in.expect(slow.pid());
    {
        const auto out = made(ring.sender());
    }
    EXPECT_EQ(in.blocking_recv().value(), 2);
    EXPECT_EQ(in.blocking_recv().error(), ring_error::closed);
    EXPECT_EQ(slow.wait(), 0);
}

TEST(many_senders, who_has_come_and_gone_is_not_expected_again) {
    auto ring = made(shared_ring<int>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    auto out = std::make_unique<leat::ring_sender<int>>(made(ring.sender()));
    forked_child child([&] {
        const auto mine = made(ring.sender());
        return 0;
    });
    const pid_t pid = child.pid();
    EXPECT_EQ(child.wait(), 0);
    in.expect(pid);
    out.reset();
    EXPECT_EQ(in.blocking_recv().error(), ring_error::closed);
}

TEST(many_senders, who_is_expected_and_dies_before_it_comes_has_died) {
    auto ring = made(shared_ring<int>::create(1, ring_senders::many));
    auto in = made(ring.receiver());
    forked_child child([] { return 0; });
    in.expect(child.pid());
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died);
    (void)child.wait();
    in.expect(1 << 30);
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died) << "there was nobody";
}

TEST(many_senders, senders_that_wait_for_room_learn_that_the_receiver_died) {
    auto ring = made(shared_ring<page>::create(1, ring_senders::many));
    forked_child child([&] {
        const auto in = made(ring.receiver());
        return ::pause();
    });
    auto first = made(ring.sender());
    auto second = made(ring.sender());
    first.expect(child.pid());
    second.expect(child.pid());
    EXPECT_TRUE(first.try_send({}));
    std::thread waits([&] { EXPECT_EQ(first.blocking_send({}).error(), ring_error::peer_died); });
    on_one_thread([&]() -> leat::task<> {
        const auto wait = [&]() -> leat::task<> {
            EXPECT_EQ((co_await second.send({})).error(), ring_error::peer_died);
        };
        const auto kill_it = [&]() -> leat::task<> {
            co_await leat::sleep_for(5ms);
            child.kill();
        };
        co_await leat::when_all(wait(), kill_it());
    });
    waits.join();
}

// Else it would lose its turn in the middle.
TEST(many_senders, a_process_that_cannot_be_looked_up_for_lack_of_descriptors_counts_as_alive) {
    const auto here = leat::process_identity::self();
    forked_child child([&] {
        const rlimit few{64, 64};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
        int last = -1;
        for (int fd = 0; fd >= 0; fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) last = fd;
        if (!here.alive()) return 2;
        ::close(last);  // one is left, for the pidfd and not for /proc
        return here.alive() ? 0 : 3;
    });
    EXPECT_EQ(child.wait(), 0);
}

// Scribbles over the words that all of them write: nobody reads or writes outside the ring, and each goes on, or says that it is
// full, closed, or damaged.
TEST(many_senders, a_hostile_one_gives_the_others_an_error_at_most_soak) {
    for (leat_test::soak rounds(200); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto ring = made(byte_ring::create(4096, ring_senders::many));
        const auto memory = made(leat::shared_memory::attach(leat::io::unique_fd(::dup(ring.passed(3)[0].here))));
        auto one = made(ring.sender());
        auto other = made(ring.sender());
        auto in = made(ring.receiver());
        const auto words =
            std::span(reinterpret_cast<std::uint64_t*>(memory.bytes().data()), memory.bytes().size() / 8);
        for (int turn = 0; turn < 30; ++turn) {
            words[24 + random(48)] = random(3) == 0 ? ~std::uint64_t{0} : random(5);  // indices, turn, some seats
            (void)one.try_send(bytes_of(std::string(random(200), 'x')));
            (void)other.try_send(bytes_of(std::string(random(200), 'y')));
            const auto got = in.try_recv();
            EXPECT_TRUE(!got || got->size() <= 4096U);
        }
    }
}

// Senders are killed at random moments, and each replaced: what one said that it had sent is received, once, in its order, and at
// most the one message more that it was about to say. The ring goes on as long as one lives.
TEST(many_senders, senders_killed_at_any_moment_lose_nothing_that_they_sent_soak) {
    for (leat_test::soak rounds(12); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        constexpr std::uint32_t generations = 40;
        constexpr std::size_t at_once = 3;
        auto ring = made(byte_ring::create(4096U << random(3), ring_senders::many));
        const auto book = made(leat::shared_memory::create(generations * 4));
        auto* const sent = reinterpret_cast<std::atomic<std::uint32_t>*>(book.bytes().data());
        const auto size_of = [](numbered what) { return 8 + what.number * 37 % 600; };
        const auto produce = [&](std::uint32_t from) {
            auto out = made(ring.sender());
            for (std::uint32_t i = 0;; ++i) {
                const numbered what{from, i};
                auto slot = out.blocking_reserve(size_of(what));
                if (!slot) return 1;
                std::memset(slot->bytes().data(), static_cast<int>((from + i) % 251), slot->bytes().size());
                std::memcpy(slot->bytes().data(), &what, sizeof what);
                if (!slot->commit()) return 2;
                sent[from].store(i + 1);
            }
        };
        // The only process with threads is none that forks.
        const unsigned seed = random(1 << 30);
        forked_child killer([&] {
            leat_test::dice fate(seed);
            const auto keep_open = made(ring.sender());
            std::vector<std::unique_ptr<forked_child>> children;
            for (std::uint32_t from = 0; from < generations; ++from) {
                if (children.size() == at_once) {
                    ::usleep(fate(1500));
                    const std::size_t victim = fate(at_once);
                    children[victim]->kill();
                    if (children[victim]->wait() != -SIGKILL) return 1;
                    children.erase(children.begin() + static_cast<std::ptrdiff_t>(victim));
                }
                children.push_back(std::make_unique<forked_child>([&, from] { return produce(from); }));
            }
            ::usleep(fate(1500));
            for (auto& each : children) {
                each->kill();
                if (each->wait() != -SIGKILL) return 1;
            }
            return 0;
        });
        auto in = made(ring.receiver());
        in.expect(killer.pid());
        std::vector<std::uint32_t> next(generations);
        const auto look = [&](std::span<const std::byte> bytes) {
            numbered got{};
            std::memcpy(&got, bytes.data(), sizeof got);
            ASSERT_LT(got.from, generations);
            EXPECT_EQ(got.number, next[got.from]) << "of " << got.from;
            next[got.from] = got.number + 1;
            ASSERT_EQ(bytes.size(), size_of(got));
            for (const std::byte each : bytes.subspan(8)) ASSERT_EQ(each, std::byte((got.from + got.number) % 251));
        };
        if (random(2) == 0)
            on_one_thread([&]() -> leat::task<> {
                while (const auto loan = co_await in.borrow()) look(loan->bytes());
            });
        else
            while (const auto loan = in.blocking_borrow()) look(loan->bytes());
        EXPECT_EQ(killer.wait(), 0);
        for (std::uint32_t i = 0; i < generations; ++i)
            EXPECT_TRUE(next[i] == sent[i] || next[i] == sent[i] + 1)
                << i << ": " << next[i] << " received, " << sent[i] << " said to be sent";
    }
}

}  // namespace
