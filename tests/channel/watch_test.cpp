// watch: the latest value, and the wait for a newer one.
#include <leat/channel/watch.hpp>

#include <core.hpp>
#include <string>
#include <thread>
#include <vector>

#include <leat/task/scope.hpp>

namespace {

using leat::recv_error;
using leat::task;
using leat_test::giving;
using leat_test::on_one_thread;

task<> follows(leat::watch_receiver<int> in, std::vector<int>* seen) {
    for (;;) {
        const auto news = co_await in.changed();
        if (!news) co_return;
        seen->push_back(in.get());
    }
}

TEST(watch, the_initial_value_is_there_and_counts_as_seen) {
    auto [out, in] = leat::watch<std::string>("first");
    EXPECT_EQ(*in.borrow(), "first");
    EXPECT_EQ(*out.borrow(), "first");
    EXPECT_EQ(in.try_changed().error(), recv_error::empty);
}

TEST(watch, who_waits_is_woken_by_a_newer_value_and_skips_those_between) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::watch(0);
        std::vector<int> one, other;
        leat::scope work;
        work.spawn(follows, in, &one);
        work.spawn(follows, std::move(in), &other);
        co_await giving(0, 2);
        out.send(1);
        co_await giving(0, 3);
        out.send(2);
        out.send(3);
        co_await giving(0, 3);
        out.reset();
        co_await work.join();
        EXPECT_EQ(one, (std::vector<int>{1, 3}));
        EXPECT_EQ(other, one);
    });
}

TEST(watch, a_value_that_was_looked_at_is_no_news) {
    auto [out, in] = leat::watch(0);
    out.send(1);
    auto copy = in;
    EXPECT_EQ(in.get(), 1);
    EXPECT_EQ(in.try_changed().error(), recv_error::empty);
    EXPECT_TRUE(copy.try_changed());
    auto late = out.subscribe();
    EXPECT_EQ(late.try_changed().error(), recv_error::empty);
    EXPECT_EQ(out.receivers(), 3U);
}

TEST(watch, who_has_borrowed_a_value_keeps_it) {
    auto [out, in] = leat::watch(1);
    const auto before = in.borrow();
    out.send(2);
    EXPECT_EQ(*before, 1);
    EXPECT_EQ(in.get(), 2);
}

TEST(watch, the_last_value_is_seen_before_the_end) {
    on_one_thread([]() -> task<> {
        auto [out, in] = leat::watch(1);
        auto second = out;
        out.send(2);
        out.reset();
        second.reset();
        EXPECT_TRUE(co_await in.changed());
        EXPECT_EQ(in.get(), 2);
        const auto end = co_await in.changed();
        EXPECT_EQ(end.error(), recv_error::closed);
        EXPECT_EQ(in.get(), 2);
    });
}

TEST(watch, threads_see_values_in_order_and_all_see_the_last) {
    auto [out, in] = leat::watch(0);
    std::vector<std::thread> receivers;
    for (int i = 0; i < 3; ++i)
        receivers.emplace_back([from = in]() mutable {
            int last = 0;
            while (from.blocking_changed()) {
                const int now = from.get();
                EXPECT_LE(last, now);
                last = now;
            }
            EXPECT_EQ(from.get(), 5'000);
        });
    for (int i = 1; i <= 5'000; ++i) out.send(i);
    out.reset();
    for (auto& each : receivers) each.join();
}

}  // namespace
