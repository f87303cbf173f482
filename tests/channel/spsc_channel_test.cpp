// spsc_channel: what is its own; what it has in common with the other channels is in tests/conformance.
#include <leat/channel/spsc_channel.hpp>

#include <algorithm>
#include <array>
#include <core.hpp>
#include <numeric>
#include <soak.hpp>
#include <string>
#include <thread>
#include <vector>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::recv_error;
using leat::task;
using leat_test::counted;
using leat_test::giving;
using leat_test::on_one_thread;
using leat_test::token;
using namespace std::chrono_literals;
using why = leat::send_error<token>::reason;
using why_many = leat::send_many_error::reason;

std::vector<int> up_to(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

TEST(spsc_channel, plain_threads_exchange_everything_in_order) {
    for (const std::size_t capacity : {1U, 16U}) {
        auto [out, in] = leat::spsc_channel<int>(capacity);
        std::vector<int> got;
        std::thread consumer([&got, mine = std::move(in)]() mutable {
            std::array<int, 3> batch{};
            for (bool many = false;; many = !many) {
                if (many) {
                    const auto count = mine.blocking_recv_many(batch);
                    if (!count) return;
                    got.insert(got.end(), batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(*count));
                } else {
                    const auto item = mine.blocking_recv();
                    if (!item) return;
                    got.push_back(*item);
                }
            }
        });
        {
            leat::spsc_sender<int> mine = std::move(out);
            for (int i = 0; i < 9'000; i += 3) {
                EXPECT_TRUE(mine.blocking_send(i));
                std::array<int, 2> pair{i + 1, i + 2};
                EXPECT_TRUE(mine.blocking_send_many(pair));
            }
        }
        consumer.join();
        EXPECT_EQ(got, up_to(9'000));
    }
}

TEST(spsc_channel, try_forms_say_full_and_empty) {
    auto [out, in] = leat::spsc_channel<token>(2);
    EXPECT_EQ(in.try_recv().error(), recv_error::empty);
    EXPECT_TRUE(out.try_send(token(1)));
    std::vector<token> batch;
    for (const int i : {2, 3}) batch.emplace_back(i);
    const auto refused = out.try_send_many(batch);
    EXPECT_EQ(refused.error().why, why_many::full);
    EXPECT_EQ(refused.error().sent, 1U);
    EXPECT_EQ(batch[1].number(), 3);
    const auto full = out.try_send(token(4));
    EXPECT_EQ(full.error().why, why::full);
    EXPECT_EQ(full.error().value.number(), 4);
    const auto counts = out.counts();
    EXPECT_EQ(counts.sent, 2U);
    EXPECT_EQ(counts.received, 0U);
    EXPECT_EQ(counts.senders + counts.receivers, 2U);
    std::vector<token> got;
    for (int i = 0; i < 3; ++i) got.emplace_back(0);
    EXPECT_EQ(*in.try_recv_many(got), 2U);
    EXPECT_EQ(got[0].number(), 1);
    EXPECT_EQ(got[1].number(), 2);
    EXPECT_EQ(in.try_recv_many(got).error(), recv_error::empty);
}

TEST(spsc_channel, dropping_the_receiver_fails_the_sender_and_destroys_what_is_inside) {
    int alive = 0;
    auto [out, in] = leat::spsc_channel<counted>(4);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(out.try_send(counted(alive)));
    EXPECT_EQ(alive, 3);
    in.reset();
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(out.try_send(counted(alive)).error().why, leat::send_error<counted>::reason::aborted);
    EXPECT_EQ(alive, 0);
}

TEST(spsc_channel, a_stopped_batch_says_how_many_are_inside) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::spsc_channel<token>(3);
        leat::scope work;
        work.spawn(
            [](leat::spsc_sender<token>& mine) -> task<> {
                std::vector<token> batch;
                for (int i = 0; i < 10; ++i) batch.emplace_back(i);
                const auto sent = co_await mine.send_many(batch);
                EXPECT_EQ(sent.error().why, why_many::cancelled);
                EXPECT_EQ(sent.error().sent, 6U);  // it waits for room for three, and had that once
                EXPECT_EQ(batch[6].number(), 6);
            },
            std::ref(out));
        for (int i = 0; i < 5; ++i) {
            const auto item = co_await in.recv();
            EXPECT_EQ(item->number(), i);
        }
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        EXPECT_EQ(in.try_recv()->number(), 5);
        EXPECT_EQ(in.try_recv().error(), recv_error::empty);
    });
}

TEST(spsc_channel, a_batch_asks_for_nothing_when_it_is_empty) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::spsc_channel<int>(1);
        EXPECT_TRUE(co_await out.send_many({}));
        const auto none = co_await in.recv_many({});
        EXPECT_EQ(*none, 0U);
    });
}

TEST(spsc_channel, a_producer_and_a_consumer_that_never_wait_let_a_third_run) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::spsc_channel<int>(1024);
        leat::scope work;
        bool third_ran = false;
        work.spawn([&third_ran]() -> task<> {
            third_ran = true;
            co_return;
        });
        for (int i = 0; i < 1000; ++i) {
            EXPECT_TRUE(co_await out.send(i));
            const auto item = co_await in.recv();
            EXPECT_EQ(*item, i);
        }
        EXPECT_TRUE(third_ran);
        co_await work.join();
    });
}

// --- Everything at once: stops at any wait, in any order, from a seed ---

struct books {
    std::vector<int> received;
    std::vector<int> back;
};

task<> sends_with_timeouts(leat::spsc_sender<int> out, books* all, int count) {
    std::vector<int> batch;
    for (int i = 0; i < count;) {
        if (leat::sim::chance(50)) {
            auto operation = out.send(i++);
            auto sent = co_await leat::timeout(std::move(operation), std::chrono::microseconds(leat::sim::draw(20)));
            if (!sent) all->back.push_back(sent.error().value);
        } else {
            batch.clear();
            for (int n = 1 + static_cast<int>(leat::sim::draw(6)); n > 0 && i < count; --n) batch.push_back(i++);
            auto operation = out.send_many(batch);
            const auto sent =
                co_await leat::timeout(std::move(operation), std::chrono::microseconds(leat::sim::draw(20)));
            if (!sent)
                all->back.insert(all->back.end(), batch.begin() + static_cast<std::ptrdiff_t>(sent.error().sent),
                                 batch.end());
        }
        if (leat::sim::chance(20)) co_await leat::sleep_for(std::chrono::microseconds(leat::sim::draw(30)));
    }
}
task<> receives_with_timeouts(leat::spsc_receiver<int> in, books* all) {
    std::array<int, 4> batch{};
    for (;;) {
        const auto limit = std::chrono::microseconds(leat::sim::draw(20));
        try {
            if (leat::sim::chance(50)) {
                auto operation = in.recv();
                const auto item = co_await leat::timeout(std::move(operation), limit);
                if (!item) co_return;
                all->received.push_back(*item);
            } else {
                auto operation = in.recv_many(batch);
                const auto count = co_await leat::timeout(std::move(operation), limit);
                if (!count) co_return;
                all->received.insert(all->received.end(), batch.begin(),
                                     batch.begin() + static_cast<std::ptrdiff_t>(*count));
            }
        } catch (const leat::timed_out&) {
        }
        if (leat::sim::chance(20)) co_await leat::sleep_for(std::chrono::microseconds(leat::sim::draw(30)));
    }
}

TEST(spsc_channel, soak_each_item_is_received_once_in_order_or_comes_back) {
    for (leat_test::soak rounds(300); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        books all;
        leat::sim::options how;
        how.seed = rounds.seed();
        const auto result = leat::sim::run(how, [&]() -> task<> {
            auto [out, in] = leat::spsc_channel<int>(1 + leat::sim::draw(5));
            leat::scope work;
            work.spawn(sends_with_timeouts, std::move(out), &all, 60);
            work.spawn(receives_with_timeouts, std::move(in), &all);
            co_await work.join();
        });
        EXPECT_TRUE(result.ok()) << result.report();
        EXPECT_TRUE(std::is_sorted(all.received.begin(), all.received.end()));
        std::vector<int> places = all.received;
        places.insert(places.end(), all.back.begin(), all.back.end());
        std::sort(places.begin(), places.end());
        EXPECT_EQ(places, up_to(60));
    }
}

TEST(spsc_channel_death, an_end_that_was_given_up_is_used) {
    auto [out, in] = leat::spsc_channel<int>(1);
    out.reset();
    EXPECT_DEATH((void)out.try_send(1), "bug: a sender that was moved from or given up was used");
    leat::spsc_receiver<int> moved = std::move(in);
    EXPECT_DEATH((void)in.try_recv(), "bug: a receiver that was moved from or given up was used");  // NOLINT
}

TEST(spsc_channel_death, a_capacity_of_zero) {
    EXPECT_DEATH((void)leat::spsc_channel<int>(0), "bug: an spsc_channel holds at least one item");
}

}  // namespace
