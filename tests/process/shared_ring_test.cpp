// shared_ring and byte_ring, between tasks and threads of one process and between processes that live, close, and are killed.
#include <leat/process/shared_ring.hpp>

#include <core.hpp>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <leat/process/spawn.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <soak.hpp>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include "forked_child.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::byte_ring;
using leat::ring_error;
using leat::shared_ring;
using leat::io::unique_fd;
using leat_test::forked_child;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;

template <class T>
struct ends {
    explicit ends(std::size_t capacity) : ends(made(shared_ring<T>::create(capacity))) {}
    explicit ends(shared_ring<T> ring) : out(made(ring.sender())), in(made(ring.receiver())) {}
    leat::ring_sender<T> out;
    leat::ring_receiver<T> in;
};
struct byte_ends {
    explicit byte_ends(std::size_t bytes) : byte_ends(made(byte_ring::create(bytes))) {}
    explicit byte_ends(byte_ring ring) : out(made(ring.sender())), in(made(ring.receiver())) {}
    leat::byte_sender out;
    leat::byte_receiver in;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// --- Tasks and threads ---

leat::task<> send_numbers(leat::ring_sender<int>& out, int count) {
    for (int i = 0; i < count; ++i) EXPECT_TRUE(co_await out.send(i));
    out.close();
}
leat::task<> receive_numbers(leat::ring_receiver<int>& in, int count) {
    for (int i = 0; i < count; ++i) {
        const auto next = co_await in.recv();
        EXPECT_TRUE(next && *next == i);
    }
    EXPECT_EQ((co_await in.recv()).error(), ring_error::closed);
}

TEST(shared_ring, messages_arrive_in_order_and_then_it_is_closed) {
    const auto program = []() -> leat::task<> {
        ends<int> both(1024);
        co_await leat::when_all(send_numbers(both.out, 20'000), receive_numbers(both.in, 20'000));
    };
    on_one_thread(program);
    on_threads(2, program);
}

TEST(shared_ring, plain_threads_wait_for_each_other) {
    ends<int> both(1024);
    std::thread sender([&] {
        for (int i = 0; i < 100'000; ++i) EXPECT_TRUE(both.out.blocking_send(i));
        both.out.close();
    });
    for (int i = 0; i < 100'000; ++i) {
        if (i % 10'000 == 0) std::this_thread::sleep_for(1ms);  // the sender fills it and sleeps
        ASSERT_EQ(both.in.blocking_recv().value(), i);
    }
    EXPECT_EQ(both.in.blocking_recv().error(), ring_error::closed);
    sender.join();
}

TEST(shared_ring, a_thread_and_a_task_wait_for_each_other) {
    ends<int> there(1);
    ends<int> back(1);
    std::thread other([&] {
        while (const auto next = there.in.blocking_recv()) EXPECT_TRUE(back.out.blocking_send(*next + 1));
        back.out.close();
    });
    on_one_thread([&]() -> leat::task<> {
        for (int i = 0; i < 1000; ++i) {
            EXPECT_TRUE(co_await there.out.send(i));
            const auto answer = co_await back.in.recv();
            EXPECT_TRUE(answer && *answer == i + 1);
        }
        there.out.close();
    });
    other.join();
}

TEST(shared_ring, it_holds_what_it_is_made_for_and_then_is_full) {
    ends<std::uint64_t> both(512);
    std::uint64_t sent = 0;
    while (both.out.try_send(sent)) ++sent;
    EXPECT_EQ(sent, both.out.capacity_bytes() / 8);
    EXPECT_GE(sent, 512U);
    EXPECT_EQ(both.out.try_send(0).error(), ring_error::full);
    EXPECT_EQ(both.in.try_recv().value(), 0U);
    EXPECT_TRUE(both.out.try_send(sent));
    for (std::uint64_t i = 1; i <= sent; ++i) EXPECT_EQ(both.in.try_recv().value(), i);
    EXPECT_EQ(both.in.try_recv().error(), ring_error::empty);
}

struct odd {
    std::uint32_t a, b, c;
};

TEST(shared_ring, messages_that_lie_across_its_end_are_whole) {
    ends<odd> both(100);
    for (std::uint32_t i = 0; i < 5000; ++i) {
        ASSERT_TRUE(both.out.try_send({i, i + 1, i + 2}));
        const odd got = both.in.try_recv().value();
        ASSERT_TRUE(got.a == i && got.b == i + 1 && got.c == i + 2);
    }
}

TEST(shared_ring, batches_are_sent_and_received_in_parts_that_fit) {
    std::vector<int> numbers(50'000);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i);
    const auto collect = [&numbers](leat::ring_receiver<int>& in) -> leat::task<> {
        std::vector<int> got;
        std::vector<int> some(700);
        for (;;) {
            const auto count = co_await in.recv_many(some);
            if (!count) break;
            got.insert(got.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(*count));
        }
        EXPECT_EQ(got, numbers);
    };
    const auto send = [&numbers](leat::ring_sender<int>& out) -> leat::task<> {
        EXPECT_TRUE(co_await out.send_many(numbers));
        out.close();
    };
    on_one_thread([&]() -> leat::task<> {
        ends<int> both(1024);
        co_await leat::when_all(send(both.out), collect(both.in));
    });
    ends<int> both(1024);
    std::thread sender([&] {
        EXPECT_TRUE(both.out.blocking_send_many(numbers));
        both.out.close();
    });
    std::vector<int> some(64);
    int next = 0;
    while (const auto count = both.in.blocking_recv_many(some))
        for (std::size_t i = 0; i < *count; ++i) ASSERT_EQ(some[i], next++);
    EXPECT_EQ(next, 50'000);
    sender.join();
}

TEST(shared_ring, a_wait_ends_in_time) {
    ends<int> both(1);
    EXPECT_EQ(both.in.blocking_recv(1ms).error(), ring_error::timed_out);
    while (both.out.try_send(0)) {
    }
    EXPECT_EQ(both.out.blocking_send(1, 1ms).error(), ring_error::timed_out);
    on_one_thread([&]() -> leat::task<> {
        EXPECT_EQ((co_await both.out.send(1, 1ms)).error(), ring_error::timed_out);
        while (both.in.try_recv()) {
        }
        EXPECT_EQ((co_await both.in.recv(1ms)).error(), ring_error::timed_out);
        EXPECT_EQ((co_await both.in.recv(0ms)).error(), ring_error::timed_out);
        EXPECT_TRUE(co_await both.out.send(2, 0ms)) << "there is room";
    });
}

TEST(shared_ring, a_task_that_is_stopped_while_it_waits_loses_nothing) {
    on_one_thread([]() -> leat::task<> {
        ends<int> both(1);
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(both.in.recv(), 1ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        int sent = 0;
        while (both.out.try_send(sent)) ++sent;
        const auto late = co_await leat::timeout(both.out.send(-1), 1ms);
        EXPECT_EQ(late.error(), ring_error::cancelled);
        for (int i = 0; i < sent; ++i) EXPECT_EQ(both.in.try_recv().value(), i);
        EXPECT_EQ(both.in.try_recv().error(), ring_error::empty);
        EXPECT_TRUE(co_await both.out.send(5)) << "it goes on as before";
        EXPECT_EQ((co_await both.in.recv()).value(), 5);
    });
}

TEST(shared_ring, a_close_by_either_side_wakes_both_and_what_is_inside_comes_out) {
    {
        ends<int> both(1);
        EXPECT_TRUE(both.out.try_send(1));
        both.in.close();
        EXPECT_EQ(both.out.try_send(2).error(), ring_error::closed);
        EXPECT_EQ(both.in.try_recv().value(), 1);
        EXPECT_EQ(both.in.try_recv().error(), ring_error::closed);
    }
    ends<int> both(1);
    std::thread closer([&] {
        std::this_thread::sleep_for(2ms);
        both.out.close();
    });
    EXPECT_EQ(both.in.blocking_recv().error(), ring_error::closed);
    closer.join();
}

TEST(shared_ring, the_end_of_a_receiver_refuses_messages) {
    auto ring = made(shared_ring<int>::create(1));
    auto out = made(ring.sender());
    {
        const auto in = made(ring.receiver());
    }
    EXPECT_EQ(out.try_send(1).error(), ring_error::closed);
}

TEST(shared_ring, a_place_is_taken_once) {
    auto ring = made(shared_ring<int>::create(1));
    const auto out = made(ring.sender());
    const auto second = ring.sender();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().what, kind::taken);
    EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos) << second.error().message;
}

// --- Bytes ---

TEST(byte_ring, messages_of_all_sizes_arrive_in_place) {
    byte_ends both(8192);
    EXPECT_EQ(both.out.largest(), 8192U - 16);
    for (std::size_t size = 0; size <= both.out.largest(); size += 1 + size / 3) {
        auto slot = both.out.try_reserve(size);
        ASSERT_TRUE(slot);
        EXPECT_EQ(slot->bytes().size(), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slot->bytes().data()) % 16, 0U);
        std::memset(slot->bytes().data(), static_cast<int>(size % 251), size);
        EXPECT_EQ(both.in.try_borrow().error(), ring_error::empty) << "it is not committed";
        EXPECT_TRUE(slot->commit());
        auto loan = both.in.try_borrow();
        ASSERT_TRUE(loan);
        ASSERT_EQ(loan->bytes().size(), size);
        for (const std::byte each : loan->bytes()) ASSERT_EQ(each, std::byte(size % 251));
    }
    EXPECT_EQ(both.out.try_reserve(both.out.largest() + 1).error(), ring_error::too_large);
    EXPECT_EQ(both.out.try_reserve(SIZE_MAX).error(), ring_error::too_large);
}

TEST(byte_ring, a_slot_that_is_dropped_was_never_there_and_a_part_of_one_can_be_sent) {
    byte_ends both(4096);
    {
        auto slot = both.out.try_reserve(100);
        std::memset(slot->bytes().data(), 1, 100);
    }
    EXPECT_EQ(both.in.try_recv().error(), ring_error::empty);
    auto slot = both.out.try_reserve(4000);
    std::memcpy(slot->bytes().data(), "short", 5);
    EXPECT_TRUE(slot->commit(5));
    EXPECT_TRUE(both.out.try_send(bytes_of("another"))) << "the rest of the slot is free again";
    EXPECT_EQ(text_of(both.in.try_recv().value()), "short");
    EXPECT_EQ(text_of(both.in.try_recv().value()), "another");
}

TEST(byte_ring, a_borrowed_message_keeps_its_place_until_it_is_released) {
    byte_ends both(4096);
    EXPECT_TRUE(both.out.try_send(bytes_of(std::string(4000, 'a'))));
    auto loan = both.in.try_borrow();
    EXPECT_EQ(both.out.try_send(bytes_of(std::string(1000, 'b'))).error(), ring_error::full);
    EXPECT_EQ(text_of(loan->bytes()), std::string(4000, 'a'));
    loan->release();
    EXPECT_TRUE(both.out.try_send(bytes_of(std::string(1000, 'b'))));
}

TEST(byte_ring, tasks_wait_for_room_and_for_messages) {
    on_one_thread([]() -> leat::task<> {
        byte_ends both(4096);
        const auto produce = [](leat::byte_sender& out) -> leat::task<> {
            for (std::size_t size = 0; size < 3000; size += 7) {
                auto slot = co_await out.reserve(size);
                EXPECT_TRUE(slot);
                std::memset(slot->bytes().data(), static_cast<int>(size % 251), size);
                EXPECT_TRUE(slot->commit());
            }
            EXPECT_TRUE(co_await out.send(bytes_of("end")));
        };
        const auto consume = [](leat::byte_receiver& in) -> leat::task<> {
            for (std::size_t size = 0; size < 3000; size += 7) {
                auto loan = co_await in.borrow();
                EXPECT_TRUE(loan && loan->bytes().size() == size);
                EXPECT_TRUE(size == 0 || loan->bytes()[size - 1] == std::byte(size % 251));
            }
            EXPECT_EQ(text_of((co_await in.recv()).value()), "end");
        };
        co_await leat::when_all(produce(both.out), consume(both.in));
    });
}

TEST(byte_ring, misuse_ends_the_program_with_its_name) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    byte_ends both(4096);
    auto slot = both.out.try_reserve(1);
    EXPECT_DEATH((void)both.out.try_reserve(1), "while a slot of it is reserved");
    EXPECT_DEATH((void)slot->commit(2), "more was committed than was reserved");
    EXPECT_TRUE(slot->commit());
    EXPECT_DEATH((void)slot->commit(), "committed twice");
    auto loan = both.in.try_borrow();
    EXPECT_DEATH((void)both.in.try_borrow(), "while one is borrowed");
}

// --- Other processes ---

TEST(shared_ring, two_processes_pass_messages_both_ways) {
    auto there = made(shared_ring<std::uint64_t>::create(512));
    auto back = made(shared_ring<std::uint64_t>::create(512));
    forked_child child([&] {
        auto in = made(there.receiver());
        auto out = made(back.sender());
        while (const auto next = in.blocking_recv())
            if (!out.blocking_send(*next * 3)) return 1;
        return 0;
    });
    auto out = made(there.sender());
    auto in = made(back.receiver());
    on_threads(2, [&]() -> leat::task<> {
        const auto feed = [](leat::ring_sender<std::uint64_t>& to) -> leat::task<> {
            for (std::uint64_t i = 0; i < 30'000; ++i) EXPECT_TRUE(co_await to.send(i));
            to.close();
        };
        const auto collect = [](leat::ring_receiver<std::uint64_t>& from) -> leat::task<> {
            for (std::uint64_t i = 0; i < 30'000; ++i) {
                const auto next = co_await from.recv();
                EXPECT_TRUE(next && *next == 3 * i);
            }
            EXPECT_EQ((co_await from.recv()).error(), ring_error::closed);
        };
        co_await leat::when_all(feed(out), collect(in));
    });
    EXPECT_EQ(child.wait(), 0);
}

// The program of the child below.
TEST(shared_ring_child, echoes) {
    if (std::getenv("LEAT_TEST_RING") == nullptr) GTEST_SKIP() << "it is started by the test of spawned processes";
    auto there = byte_ring::attach(3);
    auto back = byte_ring::attach(6);
    ASSERT_TRUE(there && back);
    auto in = made(there->receiver());
    auto out = made(back->sender());
    while (const auto loan = in.blocking_borrow()) ASSERT_TRUE(out.blocking_send(loan->bytes()));
}

TEST(shared_ring, a_spawned_program_attaches_by_descriptor) {
    auto there = made(byte_ring::create(1 << 16));
    auto back = made(byte_ring::create(1 << 16));
    leat::spawn_options options({"/proc/self/exe", "--gtest_filter=shared_ring_child.echoes"});
    options.program = std::filesystem::read_symlink("/proc/self/exe");
    options.environment.emplace_back("LEAT_TEST_RING", "1");
    options.out = leat::child_stdio::null();
    options.pass = there.passed(3);
    for (const auto& each : back.passed(6)) options.pass.push_back(each);
    auto child = leat::spawn(options);
    ASSERT_TRUE(child) << child.error().message;
    auto out = made(there.sender());
    auto in = made(back.receiver());
    out.expect(child->pid());
    in.expect(child->pid());
    for (const std::string text : {"one", "", "three"}) {
        ASSERT_TRUE(out.blocking_send(bytes_of(text)));
        const auto answer = in.blocking_recv();
        ASSERT_TRUE(answer) << leat::text_of(answer.error());
        EXPECT_EQ(text_of(*answer), text);
    }
    out.close();
    EXPECT_EQ(in.blocking_recv().error(), ring_error::closed);
    EXPECT_EQ(child->wait().text(), "exited with 0");
}

TEST(shared_ring, what_a_dead_sender_committed_is_received_and_then_its_death_is_told) {
    auto ring = made(byte_ring::create(4096));
    forked_child child([&] {
        auto out = made(ring.sender());
        (void)out.blocking_send(bytes_of("whole"));
        auto slot = out.blocking_reserve(100);
        std::memset(slot->bytes().data(), 'x', 50);
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    auto in = made(ring.receiver());
    in.expect(child.pid());
    EXPECT_EQ(text_of(in.blocking_recv().value()), "whole");
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died);
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died);
    on_one_thread([&]() -> leat::task<> { EXPECT_EQ((co_await in.recv()).error(), ring_error::peer_died); });
    EXPECT_TRUE(in.peer_gone());
}

TEST(shared_ring, a_sender_that_waits_for_room_learns_that_the_receiver_died) {
    auto ring = made(shared_ring<int>::create(1));
    forked_child child([&] {
        const auto in = made(ring.receiver());
        return ::pause();
    });
    auto out = made(ring.sender());
    out.expect(child.pid());
    while (out.try_send(1)) {
    }
    const auto send_on = [&]() -> leat::task<> { EXPECT_EQ((co_await out.send(2)).error(), ring_error::peer_died); };
    on_one_thread([&]() -> leat::task<> {
        const auto kill_it = [&]() -> leat::task<> {
            co_await leat::sleep_for(5ms);
            child.kill();
        };
        co_await leat::when_all(send_on(), kill_it());
    });
    EXPECT_EQ(out.blocking_send(2).error(), ring_error::peer_died);
}

TEST(shared_ring, who_is_expected_and_never_comes_has_died) {
    auto ring = made(shared_ring<int>::create(1));
    auto in = made(ring.receiver());
    EXPECT_FALSE(in.peer_gone()) << "nobody was expected";
    forked_child child([] { return 0; });
    in.expect(child.pid());
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died);
    (void)child.wait();
    in.expect(1 << 30);
    EXPECT_EQ(in.blocking_recv().error(), ring_error::peer_died) << "there was nobody";
}

TEST(shared_ring, a_task_that_waits_notices_a_process_that_comes_later_and_dies) {
    auto ring = made(shared_ring<int>::create(1));
    auto in = made(ring.receiver());
    leat_test::forked_child child([&] {
        ::usleep(20'000);
        const auto out = made(ring.sender());
        ::usleep(20'000);
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    on_one_thread([&]() -> leat::task<> { EXPECT_EQ((co_await in.recv()).error(), ring_error::peer_died); });
}

TEST(shared_ring, a_successor_goes_on_where_the_dead_one_was) {
    auto ring = made(byte_ring::create(4096));
    auto out = made(ring.sender());
    for (const auto* text : {"a", "b", "c"}) EXPECT_TRUE(out.try_send(bytes_of(text)));
    forked_child first([&] {
        auto in = made(ring.receiver());
        (void)in.blocking_recv();
        const auto loan = in.blocking_borrow();  // b: not released
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    EXPECT_EQ(first.wait(), -SIGKILL);
    auto in = made(ring.receiver());
    EXPECT_EQ(text_of(in.try_recv().value()), "b") << "what was borrowed comes again";
    EXPECT_EQ(text_of(in.try_recv().value()), "c");
    EXPECT_FALSE(out.peer_gone()) << "the new one lives";
}

TEST(shared_ring, a_fork_that_ends_does_not_close_the_ends_of_its_parent) {
    ends<int> both(1);
    forked_child child([&] {
        {
            const ends<int> mine = std::move(both);
        }
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(both.out.try_send(1));
    EXPECT_EQ(both.in.try_recv().value(), 1);
}

// --- What is not right ---

// The descriptors of a ring, as three numbers in a row.
int numbers_for(const std::vector<leat::passed_descriptor>& all) {
    constexpr int first = 700;
    for (const auto& each : all)
        if (::dup2(each.here, each.there) < 0) std::abort();
    return first;
}

TEST(shared_ring, an_attach_names_what_is_wrong) {
    auto ring = made(shared_ring<int>::create(1));
    const auto why = [](auto attached) {
        if (attached) throw std::runtime_error("it was attached to");
        return attached.error().what;
    };
    {
        EXPECT_TRUE(shared_ring<int>::attach(numbers_for(ring.passed(700))));
    }
    EXPECT_EQ(why(shared_ring<int>::attach(700)), kind::not_shared) << "the descriptors were taken over";
    EXPECT_EQ(why(shared_ring<long>::attach(numbers_for(ring.passed(700)))), kind::wrong_kind);
    EXPECT_EQ(why(byte_ring::attach(numbers_for(ring.passed(700)))), kind::wrong_kind);

    auto mixed = ring.passed(700);
    mixed[1].here = mixed[0].here;
    EXPECT_EQ(why(shared_ring<int>::attach(numbers_for(mixed))), kind::not_shared) << "that is no bell";

    for (const std::size_t bytes : {std::size_t{4096}, std::size_t{8192}, std::size_t{12288}}) {
        const auto other = made(leat::shared_memory::create(bytes));
        auto others = ring.passed(700);
        others[0].here = other.fd();
        const kind what = why(shared_ring<int>::attach(numbers_for(others)));
        EXPECT_TRUE(what == kind::wrong_size || what == kind::wrong_kind) << bytes;
    }
    EXPECT_EQ(shared_ring<int>::create(0).error().what, kind::bad_size);
    EXPECT_EQ(shared_ring<long>::create(SIZE_MAX).error().what, kind::bad_size);
}

// Scribbles over the words that both sides write, between operations of a receiver: it never reads outside the ring, and says that
// the ring is damaged, or goes on.
TEST(byte_ring, a_hostile_sender_gets_an_error_soak) {
    for (leat_test::soak rounds(300); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto ring = made(byte_ring::create(4096));
        const auto memory = made(leat::shared_memory::attach(unique_fd(::dup(ring.passed(3)[0].here))));
        auto out = made(ring.sender());
        auto in = made(ring.receiver());
        const auto words =
            std::span(reinterpret_cast<std::uint64_t*>(memory.bytes().data()), memory.bytes().size() / 8);
        for (int turn = 0; turn < 50; ++turn) {
            (void)out.try_send(bytes_of(std::string(random(200), 'x')));
            const bool header = random(2) == 0;
            const std::size_t at = header ? 24 + random(56) : 512 + random(64);  // not the names of the processes
            words[at] = random(3) == 0 ? ~std::uint64_t{0} : words[at] + random(5) - 2;
            const auto got = in.try_recv();
            EXPECT_TRUE(!got || got->size() <= 4096U);
            (void)in.blocking_recv(0ms);
        }
    }
}

// A sender is killed at a random moment: what it said that it had sent is received, whole and in order, and at most the one
// message more that it was about to say.
TEST(shared_ring, a_sender_killed_at_any_moment_loses_nothing_that_it_sent_soak) {
    for (leat_test::soak rounds(40); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto ring = made(byte_ring::create(4096u << random(3)));
        const auto said = made(leat::shared_memory::create(8));
        auto* const sent = reinterpret_cast<std::atomic<std::uint64_t>*>(said.bytes().data());
        forked_child child([&] {
            auto out = made(ring.sender());
            for (std::uint64_t i = 0;; ++i) {
                auto slot = out.blocking_reserve(8 + i * 37 % 600);
                std::memset(slot->bytes().data(), static_cast<int>(i % 251), slot->bytes().size());
                std::memcpy(slot->bytes().data(), &i, 8);
                if (!slot->commit()) return 1;
                sent->store(i + 1);
            }
        });
        auto in = made(ring.receiver());
        in.expect(child.pid());
        std::thread killer([&, after = random(3000)] {
            std::this_thread::sleep_for(std::chrono::microseconds(after));
            child.kill();
        });
        std::uint64_t next = 0;
        const auto look = [&](std::span<const std::byte> bytes) {
            std::uint64_t number = 0;
            std::memcpy(&number, bytes.data(), 8);
            EXPECT_EQ(number, next);
            EXPECT_EQ(bytes.size(), 8 + next * 37 % 600);
            for (const std::byte each : bytes.subspan(8)) EXPECT_EQ(each, std::byte(next % 251));
            ++next;
        };
        ring_error end = ring_error::empty;
        if (random(2) == 0) {
            for (;;) {
                const auto loan = in.blocking_borrow();
                if (!loan) {
                    end = loan.error();
                    break;
                }
                look(loan->bytes());
            }
        } else {
            on_one_thread([&]() -> leat::task<> {
                for (;;) {
                    const auto loan = co_await in.borrow();
                    if (!loan) {
                        end = loan.error();
                        break;
                    }
                    look(loan->bytes());
                }
            });
        }
        killer.join();
        EXPECT_EQ(end, ring_error::peer_died);
        EXPECT_TRUE(next == *sent || next == *sent + 1) << next << " received, " << *sent << " said to be sent";
    }
}

// Receivers are killed at random moments, each followed by another: each message comes out, in order, and again only to the
// successor of one that had it borrowed.
TEST(shared_ring, receivers_killed_at_any_moment_lose_no_message_soak) {
    for (leat_test::soak rounds(15); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        constexpr std::uint64_t count = 20'000;
        auto ring = made(byte_ring::create(4096));
        const auto book = made(leat::shared_memory::create(count));
        auto* const received = reinterpret_cast<std::atomic<std::uint8_t>*>(book.bytes().data());
        const auto consume = [&] {
            auto in = made(ring.receiver());
            for (;;) {
                const auto loan = in.blocking_borrow();
                if (!loan) return loan.error() == ring_error::closed ? 0 : 1;
                std::uint64_t number = count;
                std::memcpy(&number, loan->bytes().data(), 8);
                if (number >= count || (number != 0 && received[number - 1] == 0)) return 2;
                ++received[number];
            }
        };
        forked_child producer([&] {
            auto out = made(ring.sender());
            for (std::uint64_t i = 0; i < count;) {
                const auto sent = out.blocking_send(std::as_bytes(std::span(&i, 1)));
                if (sent) ++i;
                else if (sent.error() != ring_error::peer_died) return 1;
                else ::usleep(100);
            }
            out.close();
            return 0;
        });
        unsigned killed = 0;
        for (bool done = false; !done;) {
            forked_child consumer(consume);
            if (killed < 10) {
                ::usleep(random(1500));
                consumer.kill();
            }
            const int how = consumer.wait();
            killed += how == -SIGKILL ? 1 : 0;
            done = how != -SIGKILL;
            if (done) {
                EXPECT_EQ(how, 0);
            }
        }
        EXPECT_EQ(producer.wait(), 0);
        unsigned twice = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            EXPECT_GE(received[i], 1) << i;
            twice += received[i] - 1U;
        }
        EXPECT_LE(twice, killed);
    }
}

}  // namespace
