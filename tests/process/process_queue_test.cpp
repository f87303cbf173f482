// process_queue between tasks, threads and processes that live, leave, close, and are killed.
#include <leat/process/process_queue.hpp>

#include <array>
#include <core.hpp>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <leat/process/process_event.hpp>
#include <leat/process/shared_array.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <soak.hpp>
#include <string>
#include <thread>
#include <vector>

#include "forked_child.hpp"
#include "passing.hpp"

namespace {

using namespace std::chrono_literals;
using kind = leat::shared_error::kind;
using leat::process_queue;
using leat::queue_error;
using leat::shared_array;
using leat_test::forked_child;
using leat_test::give;
using leat_test::made;
using leat_test::on_one_thread;
using leat_test::on_threads;

struct job {
    int from;
    int number;
    std::string text;
};
std::string text_for(int number) {
    return std::string(static_cast<std::size_t>(number % 50), static_cast<char>('a' + number % 26));
}
bool is_right(const job& what) { return what.text == text_for(what.number); }

TEST(process_queue, messages_come_out_once_and_in_order_and_then_it_is_closed) {
    auto queue = made(process_queue<job>::create(10, 4096));
    auto out = made(queue.sender());
    auto in = made(queue.receiver());
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(out.try_send({0, i, text_for(i)}));
    auto refused = out.try_send({0, 10, "x"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().why, queue_error::full);
    EXPECT_EQ(refused.error().value.number, 10);
    EXPECT_EQ(queue.depth(), 10U);
    out.close();
    EXPECT_EQ(out.try_send({0, 11, ""}).error().why, queue_error::closed);
    for (int i = 0; i < 10; ++i) {
        const auto next = in.try_recv();
        ASSERT_TRUE(next && next->number == i && is_right(*next));
    }
    EXPECT_EQ(in.try_recv().error(), queue_error::closed);
    EXPECT_EQ(in.blocking_recv().error(), queue_error::closed);
}

TEST(process_queue, is_bounded_in_bytes_too_and_messages_may_lie_across_its_end) {
    auto queue = made(process_queue<std::string>::create(1000, 4096));
    auto out = made(queue.sender());
    auto in = made(queue.receiver());
    EXPECT_EQ(out.try_send(std::string(5000, 'x')).error().why, queue_error::too_large);
    EXPECT_EQ(out.try_send(std::string(4096, 'x')).error().why, queue_error::too_large);
    ASSERT_TRUE(out.try_send(std::string(4080, 'x')));
    EXPECT_EQ(out.try_send("").error().why, queue_error::full);
    EXPECT_EQ(in.try_recv()->size(), 4080U);
    leat_test::dice random(1);
    for (unsigned i = 0; i < 3000; ++i) {
        const std::string one(random(2000), static_cast<char>(i));
        ASSERT_TRUE(out.try_send(one));
        ASSERT_EQ(*in.try_recv(), one);
    }
}

// Who: numbers of `from`, in order.
struct checker {
    std::array<int, 8> next{};
    bool takes(const job& what) { return is_right(what) && what.number == next[static_cast<std::size_t>(what.from)]++; }
};

TEST(process_queue, many_processes_of_tasks_and_threads_send_to_one_that_keeps_the_order_of_each) {
    constexpr int count = 3000;
    auto queue = made(process_queue<job>::create(64, 8192));
    auto in = made(queue.receiver());
    const auto send_all = [&](int from) -> leat::task<> {
        auto out = made(queue.sender());
        for (int i = 0; i < count; ++i) {
            job next{from, i, text_for(i)};  // named: see CONTRIBUTING.md
            EXPECT_TRUE(co_await out.send(std::move(next)));
        }
    };
    const auto in_tasks = [&](int from) {
        on_threads(2, [&]() -> leat::task<> { co_await leat::when_all(send_all(from), send_all(from + 1)); });
        return testing::Test::HasFailure() ? 1 : 0;
    };
    const auto in_thread = [&](int from) {
        auto out = made(queue.sender());
        for (int i = 0; i < count; ++i)
            if (!out.blocking_send({from, i, text_for(i)})) return 1;
        return 0;
    };
    forked_child first([&] { return in_tasks(0); });
    forked_child second([&] { return in_thread(2); });
    forked_child third([&] { return in_thread(3); });
    for (const forked_child* each : {&first, &second, &third}) EXPECT_TRUE(queue.expect_sender(each->pid()));
    checker right;
    int got = 0;
    on_one_thread([&]() -> leat::task<> {
        while (const auto next = co_await in.recv()) {
            EXPECT_TRUE(right.takes(*next));
            ++got;
        }
        EXPECT_EQ((co_await in.recv()).error(), queue_error::closed) << "all have left";
    });
    EXPECT_EQ(got, 4 * count);
    for (forked_child* each : {&first, &second, &third}) EXPECT_EQ(each->wait(), 0);
}

TEST(process_queue, each_message_goes_to_one_of_many_receivers) {
    constexpr int count = 6000;
    auto queue = made(process_queue<int>::create(64, 4096));
    const auto got = made(shared_array<std::uint32_t>::create(count));
    const auto in_thread = [&] {
        auto in = made(queue.receiver());
        while (const auto next = in.blocking_recv()) std::atomic_ref(got[static_cast<std::size_t>(*next)]).fetch_add(1);
        return in.blocking_recv().error() == queue_error::closed ? 0 : 1;
    };
    const auto work = [&]() -> leat::task<> {
        auto in = made(queue.receiver());
        while (const auto next = co_await in.recv()) std::atomic_ref(got[static_cast<std::size_t>(*next)]).fetch_add(1);
    };
    forked_child first(in_thread);
    forked_child second([&] {
        on_threads(2, [&]() -> leat::task<> { co_await leat::when_all(work(), work()); });
        return 0;
    });
    auto out = made(queue.sender());
    on_one_thread([&]() -> leat::task<> {
        for (int i = 0; i < count; ++i) EXPECT_TRUE(co_await out.send(i));
    });
    out.close();
    EXPECT_EQ(first.wait(), 0);
    EXPECT_EQ(second.wait(), 0);
    EXPECT_TRUE(std::ranges::all_of(got, [](std::uint32_t times) { return times == 1; }));
}

TEST(process_queue, a_wait_ends_in_time) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto out = made(queue.sender());
    auto in = made(queue.receiver());
    EXPECT_EQ(in.blocking_recv_for(1ms).error(), queue_error::timed_out);
    EXPECT_TRUE(out.blocking_send_for(1, 0ms));
    EXPECT_EQ(out.blocking_send_for(2, 1ms).error().value, 2);
    on_one_thread([&]() -> leat::task<> {
        EXPECT_EQ((co_await out.send_for(3, 1ms)).error().why, queue_error::timed_out);
        EXPECT_EQ((co_await in.recv_for(0ms)).value(), 1);
        EXPECT_EQ((co_await in.recv_for(1ms)).error(), queue_error::timed_out);
    });
}

TEST(process_queue, a_task_that_is_stopped_while_it_waits_loses_nothing) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto out = made(queue.sender());
    auto in = made(queue.receiver());
    on_one_thread([&]() -> leat::task<> {
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(in.recv(), 5ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_TRUE(co_await out.send(1));
        const auto late = co_await leat::timeout(out.send(2), 5ms);
        EXPECT_EQ(late.error().why, queue_error::cancelled);
        EXPECT_EQ(late.error().value, 2);
        EXPECT_EQ((co_await in.recv()).value(), 1);
        EXPECT_EQ(in.try_recv().error(), queue_error::empty);
    });
}

TEST(process_queue, a_close_wakes_a_hundred_who_wait) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto out = made(queue.sender());
    std::deque<forked_child> children;
    for (int i = 0; i < 50; ++i)
        children.emplace_back([&] {
            auto in = made(queue.receiver());
            return in.blocking_recv().error() == queue_error::closed ? 0 : 1;
        });
    children.emplace_back([&] {
        auto in = made(queue.receiver());
        const auto one = [&]() -> leat::task<> { EXPECT_EQ((co_await in.recv()).error(), queue_error::closed); };
        on_one_thread([&]() -> leat::task<> {
            leat::scope all;
            for (int i = 0; i < 50; ++i) all.spawn(one);
            co_await all.join();
        });
        return testing::Test::HasFailure() ? 1 : 0;
    });
    ::usleep(20'000);  // so that most wait indeed
    out.close();
    for (forked_child& each : children) EXPECT_EQ(each.wait(), 0);
}

TEST(process_queue, a_close_wakes_senders_too) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto out = made(queue.sender());
    auto in = made(queue.receiver());
    EXPECT_TRUE(out.try_send(1));
    std::thread closer([&] {
        std::this_thread::sleep_for(2ms);
        in.close();
    });
    EXPECT_EQ(out.blocking_send(2).error().why, queue_error::closed);
    closer.join();
    EXPECT_EQ(in.blocking_recv().value(), 1);
    EXPECT_EQ(in.blocking_recv().error(), queue_error::closed);
}

TEST(process_queue, who_waits_is_told_that_all_on_the_other_side_died_and_others_may_take_their_place) {
    for (const bool as_task : {false, true}) {
        auto queue = made(process_queue<int>::create(4, 4096));
        auto in = made(queue.receiver());
        const auto recv = [&] {
            if (!as_task) return in.blocking_recv();
            return on_one_thread(
                [&]() -> leat::task<leat::expected<int, queue_error>> { co_return co_await in.recv(); });
        };
        const auto send_and_die = [&] {
            auto out = made(queue.sender());
            (void)out.blocking_send(7);
            ::usleep(20'000);
            ::kill(::getpid(), SIGKILL);
            return 0;
        };
        {
            forked_child child(send_and_die);
            EXPECT_EQ(recv().value(), 7) << "what was sent is received";
            EXPECT_EQ(recv().error(), queue_error::peer_died);
        }
        forked_child child(send_and_die);
        EXPECT_TRUE(queue.expect_sender(child.pid()));
        EXPECT_EQ(recv().value(), 7) << "it goes on";
        EXPECT_EQ(recv().error(), queue_error::peer_died);
    }
}

TEST(process_queue, a_sender_is_told_that_all_receivers_died) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto out = made(queue.sender());
    forked_child child([&] {
        auto in = made(queue.receiver());
        (void)in.blocking_recv();
        ::usleep(20'000);
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    EXPECT_TRUE(queue.expect_receiver(child.pid()));
    EXPECT_TRUE(out.blocking_send(1));
    EXPECT_TRUE(out.blocking_send(2));
    EXPECT_EQ(out.blocking_send(3).error().why, queue_error::peer_died);
    auto in = made(queue.receiver());
    EXPECT_EQ(in.blocking_recv().value(), 2) << "it stays inside for the next receiver";
}

TEST(process_queue, a_child_that_is_expected_and_dies_before_it_has_come_is_told_of) {
    auto queue = made(process_queue<int>::create(1, 4096));
    auto in = made(queue.receiver());
    forked_child child([] { return 0; });
    EXPECT_TRUE(queue.expect_sender(child.pid()));
    EXPECT_EQ(in.blocking_recv().error(), queue_error::peer_died);
    child.wait();
    auto other = made(process_queue<int>::create(1, 4096));
    EXPECT_TRUE(other.expect_sender(child.pid())) << "one that had ended";
    auto other_in = made(other.receiver());
    EXPECT_EQ(other_in.blocking_recv().error(), queue_error::peer_died);
}

TEST(process_queue, ends_are_shared_by_copies_and_the_last_one_leaves) {
    auto queue = made(process_queue<int>::create(4, 4096));
    auto in = made(queue.receiver());
    {
        auto first = made(queue.sender());
        auto second = first;
        first.reset();
        EXPECT_TRUE(second.try_send(1));
        EXPECT_EQ(in.blocking_recv().value(), 1);
        EXPECT_EQ(in.blocking_recv_for(1ms).error(), queue_error::timed_out) << "one is there";
    }
    EXPECT_EQ(in.blocking_recv().error(), queue_error::closed);
    auto again = made(queue.sender());
    EXPECT_TRUE(again.try_send(2));
    EXPECT_EQ(in.blocking_recv().value(), 2);
}

TEST(process_queue, an_end_in_a_fork_does_not_leave_for_its_parent) {
    auto queue = made(process_queue<int>::create(4, 4096));
    auto in = made(queue.receiver());
    auto out = made(queue.sender());
    forked_child child([&] {
        out.reset();
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(in.blocking_recv_for(1ms).error(), queue_error::timed_out);
}

TEST(process_queue, is_attached_to_by_descriptor_and_an_attach_names_what_is_wrong) {
    auto queue = made(process_queue<job>::create(4, 4096));
    forked_child child([&] {
        auto same = made(process_queue<job>::attach(give(queue.passed(710))));
        auto out = made(same.sender());
        return out.blocking_send({1, 2, "three"}) ? 0 : 1;
    });
    auto in = made(queue.receiver());
    const auto got = in.blocking_recv();
    EXPECT_TRUE(got && got->number == 2 && got->text == "three");
    EXPECT_EQ(child.wait(), 0);

    EXPECT_EQ(process_queue<int>::create(0, 4096).error().what, kind::bad_size);
    EXPECT_EQ(process_queue<int>::create(4, 0).error().what, kind::bad_size);
    EXPECT_EQ(process_queue<int>::create(4, SIZE_MAX).error().what, kind::bad_size);
    EXPECT_EQ(process_queue<int>::attach(give(queue.passed(710))).error().what, kind::wrong_kind);
    EXPECT_EQ(process_queue<job>::attach(800).error().what, kind::not_shared);
    const auto other = made(leat::shared_memory::create(16384));
    auto mixed = queue.passed(710);
    mixed[0].here = other.fd();
    EXPECT_EQ(process_queue<job>::attach(give(mixed)).error().what, kind::wrong_kind);
    mixed = queue.passed(710);
    mixed[2].here = mixed[0].here;
    EXPECT_EQ(process_queue<job>::attach(give(mixed)).error().what, kind::not_shared);
}

TEST(process_queue, nonsense_in_its_memory_is_an_error) {
    const auto memory_of = [](const process_queue<job>& queue) {
        return made(leat::shared_memory::attach(leat::io::unique_fd(::dup(queue.passed(3)[0].here))));
    };
    bool was_damaged = false;
    bool was_malformed = false;
    for (unsigned seed = 0; seed < 300; ++seed) {
        leat_test::dice random(seed);
        auto queue = made(process_queue<job>::create(8, 4096));
        auto out = made(queue.sender());
        auto in = made(queue.receiver());
        for (int i = 0; i < 5; ++i) ASSERT_TRUE(out.try_send({0, i, text_for(i)}));
        const auto memory = memory_of(queue);
        const auto bytes = memory.bytes();
        // The header, the messages, or single bytes of either; the rest of the header is its lock and who is there.
        const std::size_t header = bytes.size() - 4096;
        if (seed % 3 == 0)
            for (std::byte& each : bytes.first(header)) each = std::byte(random(256));
        else if (seed % 3 == 1)
            for (std::byte& each : bytes.subspan(header)) each = std::byte(random(256));
        else
            for (int i = 0; i < 20; ++i) bytes[random(static_cast<unsigned>(bytes.size()))] = std::byte(random(256));
        for (int i = 0; i < 10; ++i) {
            const auto got = in.blocking_recv_for(0ms);
            if (got) continue;
            was_damaged = was_damaged || got.error() == queue_error::damaged;
            was_malformed = was_malformed || got.error() == queue_error::malformed;
        }
        (void)out.blocking_send_for({0, 9, "x"}, 0ms);
        (void)queue.depth();
        out.close();
    }
    EXPECT_TRUE(was_damaged);
    EXPECT_TRUE(was_malformed);
}

// Senders and receivers are killed at random moments. What a sender was told to be sent comes out once, except at most one
// message for each receiver that was killed; nobody waits for ever.
TEST(process_queue, who_is_killed_at_any_moment_loses_one_message_at_most_soak) {
    constexpr int lives = 40;  // of senders
    constexpr int each_sends = 2000;
    for (leat_test::soak rounds(6); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        auto queue = made(process_queue<job>::create(16, 4096));
        const auto sent = made(shared_array<std::uint32_t>::create(lives));
        const auto got = made(shared_array<std::uint8_t>::create(lives * each_sends));
        const auto send = [&](int life) {
            auto out = made(queue.sender());
            for (int i = 0; i < each_sends; ++i) {
                if (!out.blocking_send({life, i, text_for(i)})) return 1;
                std::atomic_ref(sent[static_cast<std::size_t>(life)]).store(static_cast<std::uint32_t>(i) + 1);
            }
            return 0;
        };
        const auto note = [&](const job& what) {
            EXPECT_TRUE(is_right(what));
            std::atomic_ref(got[static_cast<std::size_t>(what.from * each_sends + what.number)]).fetch_add(1);
        };
        const auto receive = [&](bool as_task) {
            auto in = made(queue.receiver());
            const auto all = [&]() -> leat::task<> {
                for (;;) {
                    const auto next = co_await in.recv();
                    if (next) note(*next);
                    else if (next.error() == queue_error::closed && queue.depth() == 0) co_return;
                    // peer_died: other senders come
                    else co_await leat::sleep_for(1ms);
                }
            };
            if (as_task) on_one_thread(all);
            else
                for (;;)
                    if (const auto next = in.blocking_recv()) note(*next);
                    else if (next.error() != queue_error::peer_died) break;
            return testing::Test::HasFailure() ? 1 : 0;
        };
        auto stays = made(queue.sender());  // so that none of the ends below is that of all senders
        int receivers_killed = 0;
        {
            std::deque<forked_child> receivers;
            for (int i = 0; i < 2; ++i) receivers.emplace_back([&, i] { return receive(i == 0); });
            std::deque<forked_child> senders;
            for (int life = 0; life < lives; ++life) {
                senders.emplace_back([&] { return send(life); });
                ::usleep(random(1500));
                if (random(3) == 0) {
                    receivers.front().kill();
                    EXPECT_EQ(receivers.front().wait(), -SIGKILL);
                    ++receivers_killed;
                    receivers.pop_front();
                    receivers.emplace_back([&, life] { return receive(life % 2 == 0); });
                    // The other may be killed before this one has come.
                    EXPECT_TRUE(queue.expect_receiver(receivers.back().pid()));
                }
                if (senders.size() == 3) {
                    senders.front().kill();
                    (void)senders.front().wait();
                    senders.pop_front();
                }
            }
            for (forked_child& each : senders) EXPECT_EQ(each.wait(), 0);
            stays.close();
            for (forked_child& each : receivers) EXPECT_EQ(each.wait(), 0);
        }
        int lost = 0;
        for (int life = 0; life < lives; ++life)
            for (int i = 0; i < each_sends; ++i) {
                const int times = got[static_cast<std::size_t>(life * each_sends + i)];
                ASSERT_LE(times, 1) << life << " " << i;
                const int said = static_cast<int>(sent[static_cast<std::size_t>(life)]);
                if (i < said) lost += times == 0 ? 1 : 0;
                else if (i > said) {
                    ASSERT_EQ(times, 0) << "nobody has sent it";
                }
            }
        EXPECT_LE(lost, receivers_killed);
    }
}

}  // namespace
