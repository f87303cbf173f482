// Compiled with -O1 (cmake/tests.cmake), at which GCC makes no tail call of a transfer between coroutines: the stack stays
// flat there too, beside translation units of other kinds in one program.
#include <core.hpp>

namespace {

leat::task<int> one() { co_return 1; }

TEST(no_tail_calls, a_million_awaits_do_not_eat_the_stack) {
    const int sum = leat_test::on_one_thread([]() -> leat::task<int> {
        int total = 0;
        for (int i = 0; i < 1'000'000; ++i) total += co_await one();
        co_return total;
    });
    EXPECT_EQ(sum, 1'000'000);
}

leat::task<int> deep(int levels) {
    if (levels == 0) co_return 0;
    const int below = co_await deep(levels - 1);
    co_return below + 1;
}

TEST(no_tail_calls, nor_does_a_deep_recursion) { EXPECT_EQ(leat_test::on_one_thread(deep, 300'000), 300'000); }

}  // namespace
