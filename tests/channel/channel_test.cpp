// channel: order, bounds, the ends of its life, and values that are never lost.
#include <leat/channel/channel.hpp>

#include <algorithm>
#include <core.hpp>
#include <memory>
#include <vector>

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
using why = leat::send_error<int>::reason;

task<> sends(leat::sender<int> out, int first, int last, int* sent = nullptr) {
    for (int i = first; i <= last; ++i) {
        const auto done = co_await out.send(i);
        if (!done) co_return;
        if (sent != nullptr) ++*sent;
    }
}

task<std::vector<int>> receives_all(leat::receiver<int> in) {
    std::vector<int> all;
    for (;;) {
        const auto item = co_await in.recv();
        if (!item) {
            EXPECT_EQ(item.error(), recv_error::closed);
            co_return all;
        }
        all.push_back(*item);
    }
}

TEST(channel, gives_values_in_the_order_sent_and_ends_when_the_last_sender_has_gone) {
    for (const std::size_t capacity : {0U, 1U, 3U, 64U}) {
        on_one_thread([capacity]() -> task<> {
            auto [out, in] = leat::channel<int>(capacity);
            leat::scope work;
            work.spawn(sends, std::move(out), 1, 100, nullptr);
            const std::vector<int> all = co_await receives_all(std::move(in));
            EXPECT_EQ(all.size(), 100U);
            EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
            co_await work.join();
        });
    }
}

TEST(channel, holds_at_most_its_capacity_in_items) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(3);
        leat::scope work;
        int sent = 0;
        work.spawn(sends, out, 1, 10, &sent);
        co_await giving(0, 20);
        EXPECT_EQ(sent, 3);
        EXPECT_EQ(out.counts().depth, 3U);
        const auto first = co_await in.recv();
        EXPECT_EQ(*first, 1);
        co_await giving(0, 5);
        EXPECT_EQ(sent, 4);
        EXPECT_EQ(out.counts().depth, 3U);
        in.reset();
        co_await work.join();
    });
}

std::size_t size_of_text(const std::string& text) { return text.size(); }

TEST(channel, holds_at_most_its_capacity_in_bytes) {
    auto [out, in] = leat::channel<std::string>(leat::channel_bounds(100, 10), size_of_text);
    EXPECT_TRUE(out.try_send("12345"));
    EXPECT_TRUE(out.try_send("1234"));
    const auto refused = out.try_send("12");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().why, leat::send_error<std::string>::reason::full);
    EXPECT_EQ(refused.error().value, "12");
    EXPECT_TRUE(out.try_send("1"));
    EXPECT_EQ(out.counts().bytes, 10U);
    EXPECT_EQ(*in.try_recv(), "12345");
    EXPECT_EQ(out.counts().bytes, 5U);
}

TEST(channel, an_item_heavier_than_the_bound_passes_alone) {
    auto [out, in] = leat::channel<std::string>(leat::channel_bounds(100, 10), size_of_text);
    EXPECT_TRUE(out.try_send("1"));
    EXPECT_FALSE(out.try_send(std::string(50, 'x')));
    EXPECT_TRUE(in.try_recv());
    EXPECT_TRUE(out.try_send(std::string(50, 'x')));
    EXPECT_FALSE(out.try_send("1"));
    EXPECT_EQ(in.try_recv()->size(), 50U);
    EXPECT_EQ(out.counts().bytes, 0U);
}

TEST(channel, a_heavy_item_that_waits_is_not_overtaken_by_light_ones) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<std::string>(leat::channel_bounds(100, 10), size_of_text);
        leat::scope work;
        EXPECT_TRUE(out.try_send("12345678"));
        work.spawn(
            [](leat::sender<std::string> mine) -> task<> {
                std::string heavy = "abcdef";
                EXPECT_TRUE(co_await mine.send(std::move(heavy)));
            },
            out);
        co_await leat::this_task::yield();
        EXPECT_FALSE(out.try_send("1"));
        EXPECT_EQ(*in.try_recv(), "12345678");
        EXPECT_TRUE(out.try_send("1"));
        EXPECT_EQ(*in.try_recv(), "abcdef");
        EXPECT_EQ(*in.try_recv(), "1");
        co_await work.join();
    });
}

TEST(channel, of_capacity_zero_hands_over_only_to_a_receiver) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(0);
        EXPECT_EQ(out.try_send(1).error().why, why::full);
        leat::scope work;
        int sent = 0;
        work.spawn(sends, out, 1, 2, &sent);
        co_await giving(0, 5);
        EXPECT_EQ(sent, 0);
        const auto first = in.try_recv();  // a waiting sender is there to meet
        EXPECT_EQ(*first, 1);
        co_await giving(0, 5);
        EXPECT_EQ(sent, 1);
        const auto second = co_await in.recv();
        EXPECT_EQ(*second, 2);
        co_await work.join();
        work.spawn(
            [](leat::receiver<int> mine) -> task<> {
                const auto item = co_await mine.recv();
                EXPECT_EQ(*item, 7);
            },
            in);
        co_await giving(0, 2);
        EXPECT_TRUE(out.try_send(7));
        co_await work.join();
    });
}

TEST(channel, waiting_receivers_are_served_in_order_of_arrival) {
    std::vector<std::pair<char, int>> got;
    on_one_thread([&]() -> task<> {
        auto [out, in] = leat::channel<int>(4);
        leat::scope work;
        for (const char name : {'a', 'b', 'c'})
            work.spawn(
                [&got](leat::receiver<int> mine, char who) -> task<> {
                    const auto item = co_await mine.recv();
                    got.emplace_back(who, *item);
                },
                in, name);
        co_await leat::this_task::yield();
        for (int i = 1; i <= 3; ++i) EXPECT_TRUE(out.try_send(i));
        co_await work.join();
    });
    EXPECT_EQ(got, (std::vector<std::pair<char, int>>{{'a', 1}, {'b', 2}, {'c', 3}}));
}

TEST(channel, close_lets_out_what_is_inside_and_fails_senders_with_their_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(1);
        leat::scope work;
        EXPECT_TRUE(out.try_send(token(1)));
        work.spawn(
            [](leat::sender<token> mine) -> task<> {
                const auto sent = co_await mine.send(token(2));
                EXPECT_FALSE(sent);
                EXPECT_EQ(sent.error().why, leat::send_error<token>::reason::closed);
                EXPECT_EQ(sent.error().value.number(), 2);
            },
            out);
        co_await leat::this_task::yield();
        out.close();
        co_await work.join();
        const auto late = co_await out.send(token(3));
        EXPECT_EQ(late.error().why, leat::send_error<token>::reason::closed);
        EXPECT_EQ(late.error().value.number(), 3);
        EXPECT_EQ(out.try_send(token(4)).error().value.number(), 4);
        const auto inside = co_await in.recv();
        EXPECT_EQ(inside->number(), 1);
        const auto end = co_await in.recv();
        EXPECT_EQ(end.error(), recv_error::closed);
        EXPECT_EQ(in.try_recv().error(), recv_error::closed);
    });
}

TEST(channel, abort_drops_what_is_inside_and_wakes_both_sides) {
    int alive = 0;
    on_one_thread([&]() -> task<> {
        auto [out, in] = leat::channel<counted>(1);
        EXPECT_TRUE(out.try_send(counted(alive)));
        leat::scope work;
        work.spawn(
            [&alive](leat::sender<counted> mine) -> task<> {
                const auto sent = co_await mine.send(counted(alive));
                EXPECT_EQ(sent.error().why, leat::send_error<counted>::reason::aborted);
            },
            out);
        co_await leat::this_task::yield();
        in.abort();
        EXPECT_EQ(in.counts().depth, 0U);
        co_await work.join();
        EXPECT_EQ(alive, 0);
        EXPECT_EQ(in.try_recv().error(), recv_error::aborted);
        const auto end = co_await in.recv();
        EXPECT_EQ(end.error(), recv_error::aborted);

        auto [other_out, other_in] = leat::channel<int>(1);
        work.spawn(
            [](leat::receiver<int> mine) -> task<> {
                const auto item = co_await mine.recv();
                EXPECT_EQ(item.error(), recv_error::aborted);
            },
            other_in);
        co_await leat::this_task::yield();
        other_out.abort();
        co_await work.join();
    });
}

TEST(channel, dropping_the_last_receiver_fails_the_sender_and_returns_the_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(0);
        leat::scope work;
        work.spawn(
            [](leat::sender<token> mine) -> task<> {
                const auto sent = co_await mine.send(token(5));
                EXPECT_EQ(sent.error().why, leat::send_error<token>::reason::aborted);
                EXPECT_EQ(sent.error().value.number(), 5);
            },
            out);
        leat::receiver<token> copy = in;
        co_await leat::this_task::yield();
        in.reset();
        co_await giving(0, 3);
        EXPECT_EQ(work.pending(), 1U);
        copy.reset();
        co_await work.join();
        EXPECT_EQ(out.try_send(token(6)).error().value.number(), 6);
    });
}

TEST(channel, items_inside_are_destroyed_with_the_last_receiver) {
    int alive = 0;
    auto [out, in] = leat::channel<counted>(4);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(out.try_send(counted(alive)));
    EXPECT_EQ(alive, 4);
    in.reset();
    EXPECT_EQ(alive, 0);
}

TEST(channel, a_stopped_send_gives_the_value_back_and_a_stopped_recv_throws) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(0);
        leat::scope work;
        bool cancelled = false;
        work.spawn(
            [](leat::sender<token> mine) -> task<> {
                const auto sent = co_await mine.send(token(8));
                EXPECT_EQ(sent.error().why, leat::send_error<token>::reason::cancelled);
                EXPECT_EQ(sent.error().value.number(), 8);
            },
            out);
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        EXPECT_EQ(in.try_recv().error(), recv_error::empty);
        leat::scope other;
        other.spawn(
            [&cancelled](leat::receiver<token> mine) -> task<> {
                try {
                    (void)co_await mine.recv();
                } catch (const leat::cancelled&) {
                    cancelled = true;
                }
            },
            in);
        co_await giving(0, 2);
        other.stop();
        co_await other.join();
        EXPECT_TRUE(cancelled);
        EXPECT_EQ(out.try_send(token(9)).error().value.number(), 9);  // nobody waits any more
    });
}

TEST(channel, a_value_handed_to_a_receiver_that_is_then_stopped_arrives) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(0);
        leat::scope work;
        int got = 0;
        work.spawn(
            [&got](leat::receiver<int> mine) -> task<> {
                const auto item = co_await mine.recv();
                got = *item;
            },
            in);
        co_await giving(0, 2);
        EXPECT_TRUE(out.try_send(3));  // claimed for the receiver, which has not run yet
        work.stop();
        co_await work.join();
        EXPECT_EQ(got, 3);
    });
}

TEST(channel, a_cancelled_heavy_sender_lets_lighter_ones_in) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<std::string>(leat::channel_bounds(100, 10), size_of_text);
        EXPECT_TRUE(out.try_send("12345678"));
        leat::scope heavy;
        leat::scope light;
        bool light_in = false;
        heavy.spawn(
            [](leat::sender<std::string> mine) -> task<> {
                std::string text(9, 'h');
                (void)co_await mine.send(std::move(text));
            },
            out);
        light.spawn(
            [&light_in](leat::sender<std::string> mine) -> task<> {
                std::string text("l");
                const auto sent = co_await mine.send(std::move(text));
                light_in = sent.has_value();
            },
            out);
        co_await giving(0, 3);
        EXPECT_FALSE(light_in);
        heavy.stop();
        co_await heavy.join();
        co_await light.join();
        EXPECT_TRUE(light_in);
    });
}

TEST(channel, a_wider_bound_lets_waiting_senders_in_and_a_narrower_one_keeps_what_is_inside) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(1);
        leat::scope work;
        int sent = 0;
        work.spawn(sends, out, 1, 6, &sent);
        co_await giving(0, 10);
        EXPECT_EQ(sent, 1);
        in.set_bounds(4);
        co_await giving(0, 10);
        EXPECT_EQ(sent, 4);
        EXPECT_EQ(in.counts().capacity, 4U);
        in.set_bounds(2);
        EXPECT_EQ(in.counts().depth, 4U);
        for (int i = 1; i <= 2; ++i) EXPECT_EQ(*in.try_recv(), i);
        co_await giving(0, 10);
        EXPECT_EQ(sent, 4);  // still at the bound
        in.set_bounds(0);
        for (int i = 3; i <= 6; ++i) {
            const auto item = co_await in.recv();
            EXPECT_EQ(*item, i);
        }
        co_await work.join();
        EXPECT_EQ(sent, 6);
    });
}

TEST(channel, counts_what_went_through_and_who_is_there) {
    auto [out, in] = leat::channel<int>(5);
    const leat::sender<int> second = out;  // NOLINT(performance-unnecessary-copy-initialization)
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(out.try_send(i));
    EXPECT_TRUE(in.try_recv());
    const leat::channel_counts counts = in.counts();
    EXPECT_EQ(counts.depth, 2U);
    EXPECT_EQ(counts.capacity, 5U);
    EXPECT_EQ(counts.sent, 3U);
    EXPECT_EQ(counts.received, 1U);
    EXPECT_EQ(counts.senders, 2U);
    EXPECT_EQ(counts.receivers, 1U);
}

TEST(channel, a_timeout_around_send_returns_the_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(0);
        auto operation = out.send(token(4));
        const auto sent = co_await leat::timeout(std::move(operation), 1ms);
        EXPECT_FALSE(sent);
        EXPECT_EQ(sent.error().why, leat::send_error<token>::reason::cancelled);
        EXPECT_EQ(sent.error().value.number(), 4);
        auto receiving = in.recv();
        bool timed_out = false;
        try {
            (void)co_await leat::timeout(std::move(receiving), 1ms);
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
    });
}

TEST(channel, a_producer_and_a_consumer_take_turns_without_starving_a_third) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(1024);
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

TEST(channel_death, an_end_that_was_given_up_is_used) {
    auto [out, in] = leat::channel<int>(1);
    out.reset();
    EXPECT_DEATH((void)out.try_send(1), "bug: a sender that was moved from or given up was used");
    const leat::receiver<int> moved = std::move(in);
    EXPECT_DEATH((void)in.try_recv(), "bug: a receiver that was moved from or given up was used");  // NOLINT
}

}  // namespace
