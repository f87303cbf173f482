// broadcast: every value to every receiver, and what the slow ones miss.
#include <leat/channel/broadcast.hpp>

#include <core.hpp>
#include <memory>
#include <soak.hpp>
#include <thread>
#include <vector>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;
using why = leat::broadcast_error::reason;

task<> collects(leat::broadcast_receiver<int> in, std::vector<int>* got, std::uint64_t* missed) {
    for (;;) {
        const auto next = co_await in.recv();
        if (next) got->push_back(*next);
        else if (next.error().why == why::lagged) *missed += next.error().missed;
        else co_return;
    }
}

TEST(broadcast, every_receiver_gets_every_value) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::broadcast<int>(4);
        std::vector<int> first, second;
        std::uint64_t missed = 0;
        leat::scope work;
        work.spawn(collects, out.subscribe(), &first, &missed);
        work.spawn(collects, std::move(in), &second, &missed);
        for (int i = 0; i < 10; ++i) {
            const auto sent = out.send(i);
            EXPECT_EQ(*sent, 2U);
            co_await giving(0, 2);
        }
        out.reset();
        co_await work.join();
        EXPECT_EQ(first, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
        EXPECT_EQ(second, first);
        EXPECT_EQ(missed, 0U);
    });
}

TEST(broadcast, a_slow_receiver_learns_how_many_it_missed_and_goes_on_with_the_oldest_kept) {
    auto [out, in] = leat::broadcast<int>(3);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(out.send(i));
    const auto lagged = in.try_recv();
    EXPECT_EQ(lagged.error().why, why::lagged);
    EXPECT_EQ(lagged.error().missed, 2U);
    for (int i = 2; i < 5; ++i) EXPECT_EQ(*in.try_recv(), i);
    EXPECT_EQ(in.try_recv().error().why, why::empty);
}

TEST(broadcast, a_late_receiver_gets_what_is_sent_from_then_on_and_a_copy_starts_at_its_place) {
    auto [out, in] = leat::broadcast<int>(4);
    EXPECT_TRUE(out.send(1));
    EXPECT_TRUE(out.send(2));
    auto late = out.subscribe();
    EXPECT_EQ(*in.try_recv(), 1);
    auto copy = in;
    EXPECT_EQ(out.receivers(), 3U);
    EXPECT_TRUE(out.send(3));
    EXPECT_EQ(*late.try_recv(), 3);
    EXPECT_EQ(*copy.try_recv(), 2);
    EXPECT_EQ(*in.try_recv(), 2);
}

TEST(broadcast, close_lets_out_what_is_kept_and_gives_later_values_back) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::broadcast<int>(4);
        EXPECT_TRUE(out.send(1));
        out.close();
        const auto sent = out.send(2);
        EXPECT_EQ(sent.error().why, leat::send_error<int>::reason::closed);
        EXPECT_EQ(sent.error().value, 2);
        const auto kept = co_await in.recv();
        EXPECT_EQ(*kept, 1);
        const auto end = co_await in.recv();
        EXPECT_EQ(end.error().why, why::closed);
    });
}

TEST(broadcast, without_a_receiver_the_value_comes_back) {
    auto [out, in] = leat::broadcast<int>(4);
    in.reset();
    const auto sent = out.send(7);
    EXPECT_EQ(sent.error().why, leat::send_error<int>::reason::aborted);
    EXPECT_EQ(sent.error().value, 7);
    auto next = out.subscribe();
    EXPECT_EQ(*out.send(8), 1U);
    EXPECT_EQ(*next.try_recv(), 8);
}

TEST(broadcast, a_copy_that_throws_costs_its_receiver_nothing) {
    struct refuses {
        explicit refuses(bool* refuse) : now(refuse) {}
        refuses(refuses&&) noexcept = default;
        refuses(const refuses& other) : now(other.now) {
            if (*now) throw std::runtime_error("no copy");
        }
        bool* now;
    };
    bool now = true;
    auto [out, in] = leat::broadcast<refuses>(2);
    EXPECT_TRUE(out.send(refuses(&now)));
    EXPECT_THROW((void)in.try_recv(), std::runtime_error);
    now = false;
    EXPECT_TRUE(in.try_recv());
}

TEST(broadcast, threads_receive_in_order_and_account_for_all) {
    auto [out, in] = leat::broadcast<int>(64);
    std::vector<std::thread> receivers;
    std::vector<std::uint64_t> seen(3);
    for (auto& mine : seen)
        receivers.emplace_back([&mine, from = in]() mutable {
            for (int last = -1;;) {
                const auto next = from.blocking_recv();
                if (next) {
                    EXPECT_LT(last, *next);
                    last = *next;
                    ++mine;
                } else if (next.error().why == why::lagged) {
                    mine += next.error().missed;
                } else {
                    return;
                }
            }
        });
    in.reset();
    for (int i = 0; i < 20'000; ++i) EXPECT_TRUE(out.send(i));
    out.reset();
    for (auto& each : receivers) each.join();
    for (const auto count : seen) EXPECT_EQ(count, 20'000U);
}

task<> collects_with_timeouts(leat::broadcast_receiver<int> in, std::uint64_t* seen) {
    for (int last = -1;;) {
        try {
            auto operation = in.recv();
            const auto next =
                co_await leat::timeout(std::move(operation), std::chrono::microseconds(leat::sim::draw(20)));
            if (next) {
                EXPECT_LT(last, *next);
                last = *next;
                ++*seen;
            } else if (next.error().why == why::lagged) {
                *seen += next.error().missed;
            } else {
                co_return;
            }
        } catch (const leat::timed_out&) {
        }
    }
}

TEST(broadcast, soak_each_value_is_received_or_counted_as_missed_whatever_is_stopped) {
    for (leat_test::soak rounds(200); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::options how;
        how.seed = rounds.seed();
        std::uint64_t seen[2] = {};
        const auto result = leat::sim::run(how, [&]() -> task<> {
            auto [out, in] = leat::broadcast<int>(1 + leat::sim::draw(4));
            leat::scope work;
            work.spawn(collects_with_timeouts, in, &seen[0]);
            work.spawn(collects_with_timeouts, std::move(in), &seen[1]);
            for (int i = 0; i < 50; ++i) {
                EXPECT_TRUE(out.send(i));
                if (leat::sim::chance(60)) co_await leat::sleep_for(std::chrono::microseconds(leat::sim::draw(30)));
            }
            out.reset();
            co_await work.join();
        });
        EXPECT_TRUE(result.ok()) << result.report();
        EXPECT_EQ(seen[0], 50U);
        EXPECT_EQ(seen[1], 50U);
    }
}

TEST(broadcast_death, a_capacity_of_zero) {
    EXPECT_DEATH((void)leat::broadcast<int>(0), "bug: a broadcast keeps at least one value");
}

}  // namespace
