// channel: bounds, the ends of its life, and values that are never lost; what it has in common with the other kinds is in
// tests/conformance.
#include <leat/channel/channel.hpp>

#include <array>
#include <core.hpp>
#include <memory>
#include <vector>

#include <leat/task/scope.hpp>
#include <leat/task/when_all.hpp>

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

TEST(channel, ends_for_a_task_beside_the_last_sender_in_when_all) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(1);
        auto both = leat::when_all(sends(std::move(out), 1, 5), receives_all(std::move(in)));
        const auto got = co_await both;
        EXPECT_EQ(std::get<1>(got), (std::vector<int>{1, 2, 3, 4, 5}));
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

// --- Batches ---

TEST(channel, a_batch_goes_in_in_order_and_comes_out_as_much_as_is_asked_for) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(4);
        leat::scope work;
        work.spawn(
            [](leat::sender<token> mine) -> task<> {
                std::vector<token> values;
                for (int i = 0; i < 10; ++i) values.emplace_back(i);
                EXPECT_TRUE(co_await mine.send_many(values));
                for (const token& each : values) EXPECT_EQ(each.number(), -1);
            },
            out);
        co_await giving(0, 2);
        EXPECT_EQ(in.counts().depth, 4U);
        std::vector<token> got;
        const auto first = co_await in.recv_many(got, 3);
        EXPECT_EQ(*first, 3U);
        while (got.size() < 10) EXPECT_TRUE(co_await in.recv_many(got, 100));
        for (int i = 0; i < 10; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)].number(), i);
        co_await work.join();
        out.close();
        const auto end = co_await in.recv_many(got, 1);
        EXPECT_EQ(end.error(), recv_error::closed);
    });
}

TEST(channel, a_batch_that_is_cut_short_tells_how_far_it_came) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(2);
        leat::scope work;
        const auto sends_three = [](leat::sender<token> mine, leat::send_failure expected) -> task<> {
            std::vector<token> values;
            for (int i = 1; i <= 3; ++i) values.emplace_back(i);
            const auto sent = co_await mine.send_many(values);
            EXPECT_EQ(sent.error().why, expected);
            EXPECT_EQ(sent.error().sent, 2U);
            EXPECT_EQ(values[1].number(), -1);
            EXPECT_EQ(values[2].number(), 3);
        };
        work.spawn(sends_three, out, leat::send_failure::cancelled);
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        EXPECT_EQ(in.try_recv()->number(), 1);
        EXPECT_EQ(in.try_recv()->number(), 2);
        leat::scope other;
        other.spawn(sends_three, out, leat::send_failure::closed);
        co_await giving(0, 2);
        in.close();
        co_await other.join();
        std::vector<token> none;
        EXPECT_TRUE(co_await in.recv_many(none, 5));
        EXPECT_EQ(none.size(), 2U);
        const auto nothing = co_await out.send_many({});
        EXPECT_TRUE(nothing);
    });
}

TEST(channel, a_batch_through_a_rendezvous_meets_one_receiver_after_the_other) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(0);
        leat::scope work;
        work.spawn(
            [](leat::sender<int> mine) -> task<> {
                std::array<int, 3> values{1, 2, 3};
                EXPECT_TRUE(co_await mine.send_many(values));
            },
            out);
        for (int i = 1; i <= 3; ++i) {
            const auto item = co_await in.recv();
            EXPECT_EQ(*item, i);
        }
        co_await work.join();
    });
}

// --- Permits ---

TEST(channel, a_permit_is_room_that_nobody_else_takes) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(2);
        auto first = co_await out.reserve();
        EXPECT_TRUE(first);
        EXPECT_TRUE(out.try_send(1));
        EXPECT_EQ(out.try_send(2).error().why, why::full);
        EXPECT_EQ(out.try_reserve().error(), why::full);
        EXPECT_EQ(in.counts().reserved, 1U);
        leat::scope work;
        bool let_in = false;
        work.spawn(
            [&let_in](leat::sender<int> mine) -> task<> {
                auto next = co_await mine.reserve();
                EXPECT_TRUE(next);
                let_in = true;
            },
            out);
        co_await giving(0, 3);
        EXPECT_FALSE(let_in);
        first->release();  // the room goes to the one that waits
        co_await work.join();
        EXPECT_TRUE(let_in);
        auto last = out.try_reserve();  // which has dropped its permit
        EXPECT_TRUE(last->send(5));
        EXPECT_FALSE(*last);
        EXPECT_EQ(*in.try_recv(), 1);
        EXPECT_EQ(*in.try_recv(), 5);
        EXPECT_EQ(in.counts().reserved, 0U);
    });
}

TEST(channel, what_was_reserved_may_be_sent_after_close_and_fails_with_its_value_after_abort) {
    auto [out, in] = leat::channel<token>(4);
    auto first = out.try_reserve();
    auto second = out.try_reserve();
    auto third = out.try_reserve();
    out.close();
    EXPECT_EQ(out.try_reserve().error(), why::closed);
    EXPECT_EQ(in.try_recv().error(), recv_error::empty);  // not drained yet
    EXPECT_TRUE(first->send(token(1)));
    second->release();
    EXPECT_EQ(in.try_recv()->number(), 1);
    EXPECT_EQ(in.try_recv().error(), recv_error::empty);
    in.abort();
    const auto refused = third->send(token(3));
    EXPECT_EQ(refused.error().why, why::aborted);
    EXPECT_EQ(refused.error().value.number(), 3);
}

TEST(channel, a_permit_keeps_the_channel_open_when_the_last_sender_has_gone) {
    auto ends = leat::channel<int>(1);
    auto permit = ends.out.try_reserve();
    ends.out.reset();
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::empty);
    EXPECT_TRUE(permit->send(3));
    EXPECT_EQ(*ends.in.try_recv(), 3);
    EXPECT_EQ(ends.in.try_recv().error(), recv_error::closed);
}

TEST(channel, a_permit_in_bytes_refuses_what_is_heavier) {
    auto [out, in] = leat::byte_channel<std::string>(10, size_of_text);
    auto permit = out.try_reserve(4);
    EXPECT_EQ(out.try_send("1234567").error().why, why::full);
    EXPECT_TRUE(out.try_send("123456"));
    const auto heavy = permit->send("12345");
    EXPECT_EQ(heavy.error().why, why::full);
    EXPECT_EQ(heavy.error().value, "12345");
    EXPECT_TRUE(*permit);
    EXPECT_TRUE(permit->send("12"));
    EXPECT_EQ(in.counts().bytes, 8U);
}

TEST(channel, a_reservation_that_is_stopped_reports_it_and_takes_no_room) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(1);
        EXPECT_TRUE(out.try_send(1));
        leat::scope work;
        work.spawn(
            [](leat::sender<int> mine) -> task<> {
                const auto permit = co_await mine.reserve();
                EXPECT_EQ(permit.error(), why::cancelled);
            },
            out);
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        EXPECT_TRUE(in.try_recv());
        EXPECT_TRUE(out.try_send(2));
    });
}

TEST(channel, values_pass_those_who_wait_to_reserve_at_a_rendezvous) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(0);
        leat::scope work;
        bool reserved = false;
        work.spawn(
            [&reserved](leat::sender<int> mine) -> task<> {
                auto permit = co_await mine.reserve();
                reserved = permit.has_value();
            },
            out);
        work.spawn(sends, out, 1, 1, nullptr);
        co_await giving(0, 2);
        const auto item = co_await in.recv();
        EXPECT_EQ(*item, 1);
        EXPECT_FALSE(reserved);
        in.set_bounds(1);
        co_await work.join();
        EXPECT_TRUE(reserved);
    });
}

// --- Overflow ---

TEST(channel, drop_oldest_keeps_the_newest_and_counts) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<int>(2, leat::overflow::drop_oldest);
        for (int i = 1; i <= 5; ++i) EXPECT_TRUE(co_await out.send(i));
        EXPECT_EQ(in.counts().dropped, 3U);
        EXPECT_EQ(in.counts().sent, 5U);
        EXPECT_EQ(*in.try_recv(), 4);
        EXPECT_EQ(*in.try_recv(), 5);
        std::array<int, 3> batch{6, 7, 8};
        EXPECT_TRUE(co_await out.send_many(batch));
        EXPECT_EQ(*in.try_recv(), 7);
        in.set_bounds(0);
        EXPECT_TRUE(co_await out.send(9));  // drops 8, and then there is no room to make
        EXPECT_EQ(in.counts().depth, 0U);
        EXPECT_EQ(in.counts().dropped, 6U);
    });
}

TEST(channel, drop_oldest_makes_room_for_heavy_items_by_dropping_many) {
    auto [out, in] = leat::byte_channel<std::string>(6, size_of_text, leat::overflow::drop_oldest);
    for (const char* const each : {"aa", "bb", "cc"}) EXPECT_TRUE(out.try_send(each));
    EXPECT_TRUE(out.try_send("dddd"));
    EXPECT_EQ(*in.try_recv(), "cc");
    EXPECT_EQ(*in.try_recv(), "dddd");
    EXPECT_EQ(in.counts().dropped, 2U);
}

TEST(channel, drop_newest_consumes_the_value_and_counts_it) {
    int alive = 0;
    auto [out, in] = leat::channel<counted>(1, leat::overflow::drop_newest);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(out.try_send(counted(alive)));
    EXPECT_EQ(alive, 1);
    EXPECT_EQ(in.counts().dropped, 2U);
    EXPECT_EQ(in.counts().sent, 3U);
}

TEST(channel, fail_gives_the_value_back_instead_of_waiting) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(1, leat::overflow::fail);
        EXPECT_TRUE(co_await out.send(token(1)));
        const auto full = co_await out.send(token(2));
        EXPECT_EQ(full.error().why, leat::send_failure::full);
        EXPECT_EQ(full.error().value.number(), 2);
        EXPECT_EQ(in.counts().dropped, 0U);
    });
}

// Destroying what is dropped may come back to the channel: it is done outside the lock.
TEST(channel, what_is_dropped_may_use_the_channel_as_it_is_destroyed) {
    struct looks {
        leat::sender<std::unique_ptr<looks>>* at;
        std::size_t* depth;
        ~looks() { *depth = at->counts().depth; }
    };
    std::size_t depth = 99;
    auto [out, in] = leat::channel<std::unique_ptr<looks>>(1, leat::overflow::drop_oldest);
    EXPECT_TRUE(out.try_send(std::unique_ptr<looks>(new looks{&out, &depth})));
    EXPECT_TRUE(out.try_send(nullptr));
    EXPECT_EQ(depth, 1U);
    EXPECT_EQ(in.counts().dropped, 1U);
}

// --- Times, generators, readers from outside ---

TEST(channel, timed_ends_give_up_in_time_with_the_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(1);
        const auto nothing = co_await in.recv_for(1ms);
        EXPECT_EQ(nothing.error(), recv_error::timed_out);
        for (const leat::duration limit : {leat::duration(0), leat::duration(-1ms), leat::duration::min()}) {
            const auto empty = co_await in.recv_for(limit);
            EXPECT_EQ(empty.error(), recv_error::timed_out);
            EXPECT_TRUE(co_await out.send_for(token(1), limit));
            const auto full = co_await out.send_for(token(2), limit);
            EXPECT_EQ(full.error().why, leat::send_failure::timed_out);
            EXPECT_EQ(full.error().value.number(), 2);
            const auto item = co_await in.recv_for(limit);
            EXPECT_EQ(item->number(), 1);
        }
        EXPECT_TRUE(co_await out.send_for(token(1), std::chrono::hours::max()));
        const auto item = co_await in.recv_for(std::chrono::hours::max());
        EXPECT_EQ(item->number(), 1);
        out.close();
        const auto closed = co_await in.recv_for(1h);
        EXPECT_EQ(closed.error(), recv_error::closed);
        const auto late = co_await out.send_for(token(3), 1h);
        EXPECT_EQ(late.error().why, leat::send_failure::closed);
        EXPECT_EQ(late.error().value.number(), 3);
    });
}

TEST(channel, timed_ends_that_are_stopped_lose_nothing) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(0);
        leat::scope work;
        bool cancelled = false;
        work.spawn(
            [](leat::sender<token> mine) -> task<> {
                const auto sent = co_await mine.send_for(token(8), 1h);
                EXPECT_EQ(sent.error().why, leat::send_failure::cancelled);
                EXPECT_EQ(sent.error().value.number(), 8);
            },
            out);
        co_await giving(0, 2);
        work.stop();
        co_await work.join();
        leat::scope other;
        other.spawn(
            [&cancelled](leat::receiver<token> mine) -> task<> {
                try {
                    (void)co_await mine.recv_for(1h);
                } catch (const leat::cancelled&) {
                    cancelled = true;
                }
            },
            in);
        co_await giving(0, 2);
        other.stop();
        co_await other.join();
        EXPECT_TRUE(cancelled);
    });
}

TEST(channel, a_stream_gives_all_and_ends_at_close_and_throws_at_abort) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::channel<token>(3);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(out.try_send(token(i)));
        auto all = in.stream();
        for (int i = 0; i < 3; ++i) {
            const auto item = co_await all.next();
            EXPECT_EQ(item->number(), i);
        }
        out.close();
        const auto end = co_await all.next();
        EXPECT_FALSE(end);
        auto other = leat::channel<token>(3);
        auto aborted = other.in.stream();
        other.out.abort();
        bool thrown = false;
        try {
            (void)co_await aborted.next();
        } catch (const leat::channel_aborted&) {
            thrown = true;
        }
        EXPECT_TRUE(thrown);
    });
}

TEST(channel, an_observer_keeps_neither_side_from_ending_and_outlives_both) {
    auto ends = leat::channel<int>(3);
    const leat::channel_observer watch = ends.in.observe();
    EXPECT_TRUE(ends.out.try_send(1));
    EXPECT_TRUE(ends.out.try_send(2));
    EXPECT_EQ(watch.counts().depth, 2U);
    ends.out.reset();
    EXPECT_TRUE(ends.in.try_recv());
    ends.in.reset();
    const leat::channel_counts end = watch.counts();
    EXPECT_EQ(end.senders + end.receivers, 0U);
    EXPECT_EQ(end.sent, end.received + end.dropped);
    EXPECT_EQ(end.dropped, 1U);
}

TEST(channel_death, one_without_any_bound) {
    EXPECT_DEATH((void)leat::channel<int>(leat::channel_bounds::of_bytes(10)),
                 "bug: a channel without a size function needs a bound in items");
}

TEST(channel_death, a_permit_is_used_twice) {
    auto [out, in] = leat::channel<int>(2);
    auto permit = out.try_reserve();
    EXPECT_TRUE(permit->send(1));
    EXPECT_DEATH((void)permit->send(2), "bug: a permit that was used, moved from or given up was used");
}

TEST(channel_death, an_end_that_was_given_up_is_used) {
    auto [out, in] = leat::channel<int>(1);
    out.reset();
    EXPECT_DEATH((void)out.try_send(1), "bug: a sender that was moved from or given up was used");
    const leat::receiver<int> moved = std::move(in);
    EXPECT_DEATH((void)in.try_recv(), "bug: a receiver that was moved from or given up was used");  // NOLINT
}

}  // namespace
