// priority_channel: what comes out first, who is let in, and how it ends.
#include <leat/channel/priority_channel.hpp>

#include <algorithm>
#include <core.hpp>
#include <memory>
#include <numeric>
#include <soak.hpp>
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

struct job {
    int rank;
    int number;
};
struct lower_rank {
    bool operator()(const job& a, const job& b) const noexcept { return a.rank < b.rank; }
};
using why = leat::send_error<job>::reason;

auto jobs(std::size_t capacity) { return leat::priority_channel<job, lower_rank>(capacity); }

TEST(priority_channel, gives_the_highest_first_and_equals_in_the_order_of_sending) {
    leat_test::dice draw(1);
    auto [out, in] = jobs(64);
    std::vector<job> model;
    for (int number = 0; number < 20'000; ++number) {
        if (draw(2) == 0 && model.size() < 64) {
            const job next{static_cast<int>(draw(5)), number};
            EXPECT_TRUE(out.try_send(next));
            model.push_back(next);
        } else if (!model.empty()) {
            const auto highest = std::max_element(model.begin(), model.end(), lower_rank());  // the first of equals
            const auto got = in.try_recv();
            ASSERT_EQ(got->number, highest->number);
            model.erase(highest);
        } else {
            EXPECT_EQ(in.try_recv().error(), recv_error::empty);
        }
        ASSERT_EQ(in.counts().depth, model.size());
    }
}

TEST(priority_channel, takes_another_order_and_items_that_only_move) {
    using box = std::unique_ptr<int>;
    const auto longer = [](const box& a, const box& b) noexcept { return *a > *b; };
    auto [out, in] = leat::priority_channel<box>(8, longer);
    for (const int i : {3, 1, 2}) EXPECT_TRUE(out.try_send(std::make_unique<int>(i)));
    for (const int i : {1, 2, 3}) EXPECT_EQ(**in.try_recv(), i);
}

task<> sends(leat::priority_sender<job, lower_rank> out, job what, bool* sent) {
    const auto result = co_await out.send(what);
    *sent = result.has_value();
}

TEST(priority_channel, lets_waiting_senders_in_in_order_of_arrival) {
    on_one_thread([]() -> task<> {
        auto [out, in] = jobs(1);
        EXPECT_TRUE(out.try_send({1, 1}));
        leat::scope work;
        bool low = false, high = false;
        work.spawn(sends, out, job{0, 2}, &low);
        work.spawn(sends, out, job{9, 3}, &high);
        co_await giving(0, 3);
        EXPECT_EQ(out.try_send({5, 4}).error().why, why::full);
        EXPECT_EQ(in.try_recv()->number, 1);
        co_await giving(0, 3);
        EXPECT_TRUE(low);
        EXPECT_FALSE(high);
        EXPECT_EQ(in.try_recv()->number, 2);
        const auto last = co_await in.recv();
        EXPECT_EQ(last->number, 3);
        co_await work.join();
        EXPECT_EQ(in.counts().sent, 3U);
        EXPECT_EQ(in.counts().received, 3U);
    });
}

struct held {
    explicit held(int& alive) : one(std::make_unique<counted>(alive)) {}
    std::unique_ptr<counted> one;
};
struct all_equal {
    bool operator()(const held&, const held&) const noexcept { return false; }
};

TEST(priority_channel, abort_and_the_loss_of_the_last_receiver_drop_what_is_inside) {
    int alive = 0;
    for (const bool abort : {true, false}) {
        auto [out, in] = leat::priority_channel<held, all_equal>(4);
        for (int i = 0; i < 3; ++i) EXPECT_TRUE(out.try_send(held(alive)));
        EXPECT_EQ(alive, 3);
        auto copy = in;
        in.reset();
        EXPECT_EQ(alive, 3);
        if (abort) copy.abort();
        else copy.reset();
        EXPECT_EQ(alive, 0);
        EXPECT_EQ(out.try_send(held(alive)).error().why, leat::send_error<held>::reason::aborted);
    }
}

TEST(priority_channel, plain_threads_share_the_work) {
    auto [out, in] = leat::priority_channel<int>(8);
    std::vector<std::thread> threads;
    std::vector<std::int64_t> sums(2);
    for (auto& sum : sums)
        threads.emplace_back([&sum, from = in]() mutable {
            while (const auto item = from.blocking_recv()) sum += *item;
        });
    for (int half = 0; half < 2; ++half)
        threads.emplace_back([half, to = out]() mutable {
            for (int i = 1 + half; i <= 4'000; i += 2) EXPECT_TRUE(to.blocking_send(i));
        });
    out.reset();
    in.reset();
    for (auto& each : threads) each.join();
    EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), std::int64_t{0}), 8'002'000);
}

task<> sends_with_timeouts(leat::priority_sender<int> out, std::vector<int>* back, int first, int last) {
    for (int i = first; i <= last; ++i) {
        auto operation = out.send(i);
        auto sent = co_await leat::timeout(std::move(operation), std::chrono::microseconds(leat::sim::draw(20)));
        if (!sent) back->push_back(sent.error().value);
    }
}
task<> receives_with_timeouts(leat::priority_receiver<int> in, std::vector<int>* got) {
    for (;;) {
        try {
            auto operation = in.recv();
            const auto item =
                co_await leat::timeout(std::move(operation), std::chrono::microseconds(leat::sim::draw(20)));
            if (!item) co_return;
            got->push_back(*item);
        } catch (const leat::timed_out&) {
        }
        if (leat::sim::chance(30)) co_await leat::sleep_for(std::chrono::microseconds(leat::sim::draw(30)));
    }
}

TEST(priority_channel, soak_each_item_is_received_once_or_comes_back) {
    for (leat_test::soak rounds(200); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::sim::options how;
        how.seed = rounds.seed();
        std::vector<int> all;
        const auto result = leat::sim::run(how, [&]() -> task<> {
            auto [out, in] = leat::priority_channel<int>(1 + leat::sim::draw(4));
            leat::scope work;
            for (int i = 0; i < 2; ++i) {
                work.spawn(sends_with_timeouts, out, &all, i * 30, i * 30 + 29);
                work.spawn(receives_with_timeouts, in, &all);
            }
            out.reset();
            in.reset();
            co_await work.join();
        });
        EXPECT_TRUE(result.ok()) << result.report();
        std::vector<int> expected(60);
        std::iota(expected.begin(), expected.end(), 0);
        std::sort(all.begin(), all.end());
        EXPECT_EQ(all, expected);
    }
}

TEST(priority_channel_death, a_capacity_of_zero) {
    EXPECT_DEATH((void)leat::priority_channel<int>(0), "bug: a priority_channel holds at least one item");
}

}  // namespace
