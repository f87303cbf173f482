// The stack stays flat however long or deep tasks await each other, in builds with and without tail calls.
#include <core.hpp>
#include <stack_gauge.hpp>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace {

using leat::task;
using leat_test::flat_bytes;
using leat_test::on_one_thread;
using leat_test::stack_gauge;

task<int> looks(stack_gauge& gauge, int value) {
    gauge.look();
    co_return value;
}

TEST(stack, ten_million_awaits_in_a_loop) {
    stack_gauge gauge;
    const std::int64_t sum = on_one_thread([&]() -> task<std::int64_t> {
        std::int64_t total = 0;
        for (int i = 0; i < 10'000'000; ++i) {
            total += co_await looks(gauge, 1);
            gauge.look();
        }
        co_return total;
    });
    EXPECT_EQ(sum, 10'000'000);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

TEST(stack, the_same_on_a_pool) {
    const std::int64_t sum = leat_test::on_threads(2, []() -> task<std::int64_t> {
        std::int64_t total = 0;
        stack_gauge unused;
        for (int i = 0; i < 1'000'000; ++i) total += co_await looks(unused, 1);
        co_return total;
    });
    EXPECT_EQ(sum, 1'000'000);
}

task<int> deep(int levels, stack_gauge& gauge) {
    gauge.look();
    if (levels == 0) co_return 0;
    const int below = co_await deep(levels - 1, gauge);
    gauge.look();
    co_return below + 1;
}

TEST(stack, a_recursion_of_two_hundred_thousand_awaits) {
    stack_gauge gauge;
    EXPECT_EQ(on_one_thread(deep, 200'000, gauge), 200'000);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

task<int> deep_error(int levels, stack_gauge& gauge) {
    gauge.look();
    if (levels == 0) throw std::runtime_error("bottom");
    const int below = co_await deep_error(levels - 1, gauge);
    co_return below;
}

TEST(stack, an_error_through_ten_thousand_awaits) {
    stack_gauge gauge;
    EXPECT_THROW(on_one_thread(deep_error, 10'000, gauge), std::runtime_error);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

task<int> deep_timeouts(int levels, stack_gauge& gauge) {
    gauge.look();
    if (levels == 0) co_return 0;
    task<int> inner = deep_timeouts(levels - 1, gauge);
    const int below = co_await leat::timeout(std::move(inner), std::chrono::hours(1));
    gauge.look();
    co_return below + 1;
}

TEST(stack, a_recursion_of_timeouts) {
    stack_gauge gauge;
    EXPECT_EQ(on_one_thread(deep_timeouts, 20'000, gauge), 20'000);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

task<int> deep_groups(int levels, stack_gauge& gauge) {
    gauge.look();
    if (levels == 0) co_return 0;
    task<int> left = deep_groups(levels - 1, gauge);
    task<int> right = leat_test::giving(1);
    const auto both = co_await leat::when_all(std::move(left), std::move(right));
    gauge.look();
    co_return std::get<0>(both) + std::get<1>(both);
}

TEST(stack, a_recursion_of_groups) {
    stack_gauge gauge;
    EXPECT_EQ(on_one_thread(deep_groups, 20'000, gauge), 20'000);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

task<int> deep_scopes(leat::scope&, int levels, stack_gauge* gauge) {
    gauge->look();
    if (levels == 0) co_return 0;
    const int below = co_await leat::with_scope(deep_scopes, levels - 1, gauge);
    gauge->look();
    co_return below + 1;
}

TEST(stack, a_recursion_of_scopes) {
    stack_gauge gauge;
    const int levels =
        on_one_thread([&]() -> task<int> { co_return co_await leat::with_scope(deep_scopes, 20'000, &gauge); });
    EXPECT_EQ(levels, 20'000);
    EXPECT_LT(gauge.span_bytes(), flat_bytes);
}

}  // namespace
