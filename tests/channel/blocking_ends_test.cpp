// The blocking ends of a channel, for plain threads, and the end of a runtime that such a thread has just called into.
#include <leat/channel/channel.hpp>

#include <core.hpp>
#include <numeric>
#include <thread>
#include <vector>

#include <leat/task/scope.hpp>

namespace {

using leat::task;

TEST(blocking_ends, two_plain_threads_exchange_everything_in_order) {
    for (const std::size_t capacity : {0U, 1U, 16U}) {
        auto [out, in] = leat::channel<int>(capacity);
        std::vector<int> got;
        std::thread consumer([&got, mine = std::move(in)]() mutable {
            while (auto item = mine.blocking_recv()) got.push_back(*item);
        });
        {
            leat::sender<int> mine = std::move(out);
            for (int i = 0; i < 5000; ++i) EXPECT_TRUE(mine.blocking_send(i));
        }
        consumer.join();
        std::vector<int> expected(5000);
        std::iota(expected.begin(), expected.end(), 0);
        EXPECT_EQ(got, expected);
    }
}

// Each side looks again for a while before it waits, as long as the other runs elsewhere.
TEST(blocking_ends, two_plain_threads_answer_each_other) {
    constexpr int rounds = 5000;
    auto [ask, asked] = leat::channel<int>(1);
    auto [answer, answered] = leat::channel<int>(1);
    std::thread other([in = std::move(asked), out = std::move(answer)]() mutable {
        while (auto item = in.blocking_recv()) EXPECT_TRUE(out.blocking_send(*item + 1));
    });
    int wrong = 0;
    for (int i = 0; i < rounds; ++i) {
        EXPECT_TRUE(ask.blocking_send(i));
        const auto back = answered.blocking_recv();
        if (!back || *back != i + 1) ++wrong;
    }
    ask.reset();
    other.join();
    EXPECT_EQ(wrong, 0);
}

TEST(blocking_ends, a_thread_that_looks_for_items_hears_of_the_end) {
    for (int round = 0; round < 500; ++round) {
        auto [out, in] = leat::channel<int>(1);
        std::thread other([mine = std::move(in)]() mutable {
            int got = 0;
            while (mine.blocking_recv()) ++got;
            EXPECT_EQ(got, 2);
        });
        EXPECT_TRUE(out.blocking_send(1));
        EXPECT_TRUE(out.blocking_send(2));
        out.close();
        other.join();
    }
}

TEST(blocking_ends, fail_with_the_value_when_the_other_side_has_gone) {
    auto [out, in] = leat::channel<leat_test::token>(0);
    std::thread leaver([mine = std::move(in)]() mutable { mine.reset(); });
    const auto sent = out.blocking_send(leat_test::token(3));
    leaver.join();
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().why, leat::send_error<leat_test::token>::reason::aborted);
    EXPECT_EQ(sent.error().value.number(), 3);
}

TEST(blocking_ends, plain_threads_feed_tasks_and_are_fed_by_them) {
    for (const unsigned threads : {1U, 4U}) {
        auto [numbers_out, numbers_in] = leat::channel<int>(4);
        auto [squares_out, squares_in] = leat::channel<int>(4);
        std::thread feeder([out = std::move(numbers_out)]() mutable {
            for (int i = 1; i <= 1000; ++i) EXPECT_TRUE(out.blocking_send(i));
        });
        std::int64_t sum = 0;
        std::thread drain([&sum, in = std::move(squares_in)]() mutable {
            while (const auto item = in.blocking_recv()) sum += *item;
        });
        leat_test::on_threads(threads, [&]() -> task<> {
            const leat::receiver<int> in = std::move(numbers_in);
            const leat::sender<int> out = std::move(squares_out);
            leat::scope work;
            for (int i = 0; i < 3; ++i)
                work.spawn(
                    [](leat::receiver<int> from, leat::sender<int> to) -> task<> {
                        for (;;) {
                            const auto item = co_await from.recv();
                            if (!item) co_return;
                            EXPECT_TRUE(co_await to.send(*item * *item));
                        }
                    },
                    in, out);
            co_await work.join();
        });
        feeder.join();
        drain.join();
        EXPECT_EQ(sum, 333'833'500);
    }
}

// The program ends, and its runtime with it, as soon as the thread's value is there, while the thread may still be inside
// the call that woke the program.
TEST(blocking_ends, a_runtime_may_end_while_a_thread_is_still_in_the_call_that_woke_it) {
    for (int round = 0; round < 300; ++round) {
        for (const unsigned threads : {1U, 2U}) {
            auto [out, in] = leat::channel<int>(0);
            std::thread feeder([mine = std::move(out)]() mutable { EXPECT_TRUE(mine.blocking_send(1)); });
            const int got = leat_test::on_threads(threads, [&]() -> task<int> {
                const auto item = co_await in.recv();
                co_return item ? *item : 0;
            });
            EXPECT_EQ(got, 1);
            feeder.join();
        }
    }
}

TEST(blocking_ends, give_up_in_time) {
    auto [out, in] = leat::channel<leat_test::token>(1);
    EXPECT_EQ(in.blocking_recv_for(std::chrono::milliseconds(1)).error(), leat::recv_error::timed_out);
    EXPECT_TRUE(out.blocking_send_for(leat_test::token(1), std::chrono::milliseconds(1)));
    const auto full = out.blocking_send_for(leat_test::token(2), std::chrono::milliseconds(1));
    EXPECT_EQ(full.error().why, leat::send_failure::timed_out);
    EXPECT_EQ(full.error().value.number(), 2);
    EXPECT_EQ(in.blocking_recv_for(std::chrono::hours(1))->number(), 1);
    auto permit = out.blocking_reserve();
    EXPECT_TRUE(permit->send(leat_test::token(3)));
}

TEST(blocking_ends, pass_batches) {
    auto [out, in] = leat::channel<int>(7);
    std::thread consumer([mine = std::move(in)]() mutable {
        std::vector<int> got;
        while (mine.blocking_recv_many(got, 5)) {
        }
        EXPECT_EQ(got.size(), 3000U);
        for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<int>(i));
    });
    {
        leat::sender<int> mine = std::move(out);
        std::vector<int> batch(30);
        for (int first = 0; first < 3000; first += 30) {
            std::iota(batch.begin(), batch.end(), first);
            EXPECT_TRUE(mine.blocking_send_many(batch));
        }
    }
    consumer.join();
}

TEST(blocking_ends_death, inside_a_task) {
    EXPECT_DEATH(leat_test::on_one_thread([]() -> task<> {
                     auto [out, in] = leat::channel<int>(0);
                     (void)in.blocking_recv();
                     co_return;
                 }),
                 "bug: a blocking operation was called on a thread that runs tasks");
}

}  // namespace
