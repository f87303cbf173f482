// The same function over a range: each element once, order kept, the first error stops the rest.
#include <atomic>
#include <core.hpp>
#include <numeric>
#include <ranges>
#include <span>
#include <string>
#include <vector>

#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>
#include <leat/task/parallel.hpp>

namespace {

using leat::fork_task;
using leat::task;

class parallel : public testing::TestWithParam<unsigned> {
protected:
    template <class Program>
    static decltype(auto) run(Program program) {
        std::unique_ptr<leat::runtime> where;
        if (GetParam() == 0) where = std::make_unique<leat::event_loop>();
        else where = std::make_unique<leat::thread_pool>(GetParam());
        return where->run(program());
    }
};
INSTANTIATE_TEST_SUITE_P(on, parallel, testing::Values(0U, 1U, 2U, 4U), [](const auto& threads) {
    return threads.param == 0 ? std::string("an_event_loop") : "a_pool_of_" + std::to_string(threads.param);
});

TEST_P(parallel, for_calls_the_function_once_for_each_element) {
    for (const std::size_t size : {0U, 1U, 2U, 7U, 1000U, 200'000U}) {
        std::vector<int> counts(size);
        run([&]() -> task<> {
            auto count = [](int& each) { ++each; };
            co_await leat::parallel_for(counts, count);
        });
        EXPECT_EQ(std::count(counts.begin(), counts.end(), 1), static_cast<std::ptrdiff_t>(size));
    }
}

TEST_P(parallel, for_takes_spans_and_numbers) {
    std::vector<std::atomic<int>> seen(1000);
    run([&]() -> task<> {
        auto mark = [&seen](int i) { ++seen[static_cast<std::size_t>(i)]; };
        co_await leat::parallel_for(std::views::iota(0, 1000), mark);
        auto again = [](std::atomic<int>& each) { ++each; };
        co_await leat::parallel_for(std::span(seen), again);
    });
    for (const std::atomic<int>& each : seen) EXPECT_EQ(each.load(), 2);
}

TEST_P(parallel, map_keeps_the_order) {
    std::vector<int> numbers(50'000);
    std::iota(numbers.begin(), numbers.end(), 0);
    const std::vector<std::string> texts = run([&]() -> task<std::vector<std::string>> {
        auto text_of = [](int number) { return std::to_string(number); };
        co_return co_await leat::parallel_map(numbers, text_of);
    });
    ASSERT_EQ(texts.size(), numbers.size());
    for (std::size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(texts[i], std::to_string(i));
}

TEST_P(parallel, reduce_combines_in_order) {
    std::vector<int> numbers(20'000);
    std::iota(numbers.begin(), numbers.end(), 0);
    std::string expected = ">";
    for (const int number : numbers) expected += std::to_string(number) + ",";
    const std::string joined = run([&]() -> task<std::string> {
        auto text_of = [](int number) { return std::to_string(number) + ","; };
        std::string start = ">";
        co_return co_await leat::parallel_reduce(numbers, std::move(start), std::plus<>(), text_of);
    });
    EXPECT_EQ(joined, expected);
    const std::vector<int> none;
    EXPECT_EQ(run([&]() -> task<int> { co_return co_await leat::parallel_reduce(none, 7, std::plus<>()); }), 7);
}

TEST_P(parallel, the_first_error_stops_the_rest) {
    std::atomic<int> begun = 0;
    constexpr int many = 10'000'000;
    const auto program = [&]() -> task<> {
        auto fails = [&begun](int i) {
            if (begun.fetch_add(1) == 1000) throw std::runtime_error("element");
            return i;
        };
        co_await leat::parallel_for(std::views::iota(0, many), fails);
    };
    try {
        run(program);
        ADD_FAILURE() << "no error came";
    } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "element");
    }
    EXPECT_LT(begun.load(), many);
}

TEST_P(parallel, a_stop_request_ends_it) {
    std::atomic<int> begun = 0;
    constexpr int many = 100'000'000;
    const auto program = [&]() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        auto stops = [&](int) {
            if (begun.fetch_add(1) == 1000) line.request_stop();
        };
        co_await leat::parallel_for(std::views::iota(0, many), stops);
    };
    EXPECT_THROW(run(program), leat::cancelled);
    EXPECT_LT(begun.load(), many);
}

fork_task<long> sum_of_rows(const std::vector<std::vector<int>>& rows) {
    auto sum_of = [](const std::vector<int>& row) { return std::accumulate(row.begin(), row.end(), 0L); };
    const std::vector<long> sums = co_await leat::parallel_map(rows, sum_of);
    co_return co_await leat::parallel_reduce(sums, 0L, std::plus<>());
}

TEST_P(parallel, awaited_by_a_fork_task) {
    const std::vector<std::vector<int>> rows(100, std::vector<int>(1000, 1));
    EXPECT_EQ(run([&]() -> task<long> { co_return co_await sum_of_rows(rows); }), 100'000);
}

}  // namespace
