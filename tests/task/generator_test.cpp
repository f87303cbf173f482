// generator: laziness, elements of every kind, nesting at any depth, errors, and what dropping one destroys.
#include <leat/task/generator.hpp>

#include <core.hpp>
#include <memory>
#include <ranges>
#include <stack_gauge.hpp>
#include <vector>

namespace {

using leat::elements_of;
using leat::generator;
using leat_test::counted;

static_assert(std::ranges::input_range<generator<int>>);
static_assert(std::ranges::view<generator<int>>);
static_assert(!std::copyable<generator<int>>);
static_assert(std::same_as<std::ranges::range_reference_t<generator<int>>, int&&>);
static_assert(std::same_as<std::ranges::range_reference_t<generator<const int&>>, const int&>);
static_assert(std::same_as<std::ranges::range_value_t<generator<const int&>>, int>);

// All elements, in order.
template <class T>
std::vector<std::remove_cvref_t<T>> all_of(generator<T> from) {
    std::vector<std::remove_cvref_t<T>> all;
    for (auto&& each : from) all.push_back(std::forward<decltype(each)>(each));
    return all;
}

generator<int> counting(int from, int below) {
    for (; from < below; ++from) co_yield int(from);
}

TEST(generator, gives_its_elements_in_order_and_ends) {
    EXPECT_EQ(all_of(counting(1, 5)), (std::vector{1, 2, 3, 4}));
    EXPECT_TRUE(all_of(counting(1, 1)).empty());
}

generator<int> tells(std::vector<std::string>& log) {
    log.emplace_back("begun");
    co_yield 1;
    log.emplace_back("asked again");
    co_yield 2;
    log.emplace_back("ended");
}

TEST(generator, runs_only_when_it_is_asked) {
    std::vector<std::string> log;
    auto gives = tells(log);
    EXPECT_TRUE(log.empty());
    auto at = gives.begin();
    EXPECT_EQ(*at, 1);
    EXPECT_EQ(log, (std::vector<std::string>{"begun"}));
    ++at;
    EXPECT_EQ(*at, 2);
    EXPECT_FALSE(at == gives.end());
    ++at;
    EXPECT_TRUE(at == gives.end());
    EXPECT_EQ(log.back(), "ended");
}

generator<int> endless() {
    for (int i = 0;; ++i) co_yield i;
}

TEST(generator, is_a_view_that_adaptors_take) {
    std::vector<int> squares;
    for (const int each : endless() | std::views::filter([](int i) { return i % 2 != 0; }) |
                              std::views::transform([](int i) { return i * i; }) | std::views::take(3))
        squares.push_back(each);
    EXPECT_EQ(squares, (std::vector{1, 9, 25}));
}

generator<std::unique_ptr<int>> boxes() {
    co_yield std::make_unique<int>(1);
    auto named = std::make_unique<int>(2);
    co_yield std::move(named);
    EXPECT_EQ(named, nullptr);  // the caller took it
}

TEST(generator, gives_values_that_can_only_be_moved) {
    const auto all = all_of(boxes());
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(*all[1], 2);
}

generator<std::string> words() {
    const std::string kept = "kept";
    co_yield "converted";
    co_yield kept;
    co_yield kept;
}

TEST(generator, copies_an_lvalue_that_the_caller_may_move_from) {
    EXPECT_EQ(all_of(words()), (std::vector<std::string>{"converted", "kept", "kept"}));
}

generator<int&> references(std::vector<int>& to) {
    for (int& each : to) co_yield each;
}
generator<const std::string&> views(const std::vector<std::string>& of) {
    for (const std::string& each : of) co_yield each;
    co_yield "a temporary";
}

TEST(generator, gives_references_without_a_copy) {
    std::vector numbers{1, 2, 3};
    for (int& each : references(numbers)) each *= 10;
    EXPECT_EQ(numbers, (std::vector{10, 20, 30}));
    const std::vector<std::string> texts{"one"};
    auto looks = views(texts);
    auto at = looks.begin();
    EXPECT_EQ(&*at, &texts[0]);
    ++at;
    EXPECT_EQ(*at, "a temporary");
}

generator<int> throws_after(int count) {
    for (int i = 0; i < count; ++i) co_yield int(i);
    throw std::runtime_error("broken");
}

TEST(generator, an_error_comes_out_of_the_loop_and_ends_it) {
    auto broken = throws_after(2);
    auto at = broken.begin();
    ++at;
    EXPECT_THROW(++at, std::runtime_error);
    EXPECT_TRUE(at == broken.end());
    auto at_once = throws_after(0);
    EXPECT_THROW((void)at_once.begin(), std::runtime_error);
}

// --- Nesting ---

generator<int> nested(int from, int depth) {
    co_yield int(from);
    if (depth > 0) co_yield elements_of(nested(from + 1, depth - 1));
    co_yield int(-from);
}

TEST(generator, nested_elements_come_in_between) {
    EXPECT_EQ(all_of(nested(1, 2)), (std::vector{1, 2, 3, -3, -2, -1}));
}

generator<int> of_ranges(const std::vector<int>& kept) {
    co_yield elements_of(kept);
    co_yield elements_of(std::vector<int>(2, 7));
    auto begun = counting(0, 2);
    co_yield elements_of(begun);  // an lvalue: iterated
}

TEST(generator, nests_any_range) {
    const std::vector kept{1, 2};
    EXPECT_EQ(all_of(of_ranges(kept)), (std::vector{1, 2, 7, 7, 0, 1}));
}

generator<int> catches() {
    try {
        co_yield elements_of(throws_after(1));
    } catch (const std::runtime_error&) {
    }
    co_yield 5;
    co_yield elements_of(throws_after(1));
}

TEST(generator, an_error_of_a_nested_one_comes_out_where_it_is_nested) {
    auto all = catches();
    auto at = all.begin();
    EXPECT_EQ(*at, 0);
    EXPECT_EQ(*++at, 5);
    EXPECT_EQ(*++at, 0);
    EXPECT_THROW(++at, std::runtime_error);
    EXPECT_TRUE(at == all.end());
}

generator<int> left_deep(int depth) {
    if (depth > 0) co_yield elements_of(left_deep(depth - 1));
    co_yield int(depth);
}

TEST(generator, a_chain_of_a_hundred_thousand_is_walked_on_a_flat_stack) {
    int expected = 0;
    for (const int each : left_deep(100'000)) EXPECT_EQ(each, expected++);
    EXPECT_EQ(expected, 100'001);
}

generator<int> looks_at(leat_test::stack_gauge& gauge, int count) {
    for (int i = 0; i < count; ++i) {
        gauge.look();
        co_yield elements_of(counting(0, 0));
        co_yield elements_of(counting(i, i + 1));
    }
}

TEST(generator, ten_million_nested_ones_leave_the_stack_flat) {
    leat_test::stack_gauge gauge;
    std::int64_t count = 0;
    for ([[maybe_unused]] const int each : looks_at(gauge, 5'000'000)) ++count;
    EXPECT_EQ(count, 5'000'000);
    EXPECT_LT(gauge.span_bytes(), leat_test::flat_bytes);
}

// --- Dropping ---

// Writes its number when it is destroyed.
struct writes_at_end {
    writes_at_end(std::vector<int>& to, int n) noexcept : log(to), number(n) {}
    writes_at_end(const writes_at_end&) = delete;
    writes_at_end& operator=(const writes_at_end&) = delete;
    ~writes_at_end() { log.push_back(number); }
    std::vector<int>& log;
    int number;
};

generator<int> holds(std::vector<int>& log, int depth) {
    const writes_at_end local(log, depth);
    if (depth > 0) co_yield elements_of(holds(log, depth - 1));
    co_yield int(depth);
}

TEST(generator, dropping_it_destroys_the_frames_innermost_first) {
    std::vector<int> log;
    {
        auto dropped = holds(log, 3);
        EXPECT_EQ(*dropped.begin(), 0);
        EXPECT_TRUE(log.empty());
    }
    EXPECT_EQ(log, (std::vector{0, 1, 2, 3}));
}

TEST(generator, dropping_a_long_chain_leaves_the_stack_flat) {
    std::vector<int> log;
    constexpr int depth = 200'000;
    {
        auto dropped = holds(log, depth);
        EXPECT_EQ(*dropped.begin(), 0);
    }
    EXPECT_EQ(log.size(), depth + 1U);
    EXPECT_TRUE(std::ranges::is_sorted(log));
}

generator<int> owns(counted) { co_yield 1; }

TEST(generator, one_that_never_ran_destroys_its_arguments) {
    int alive = 0;
    {
        const auto dropped = owns(counted(alive));
        EXPECT_EQ(alive, 1);
    }
    EXPECT_EQ(alive, 0);
}

TEST(generator, assigning_drops_what_was_there) {
    int alive = 0;
    auto assigned = owns(counted(alive));
    EXPECT_EQ(*assigned.begin(), 1);
    assigned = owns(counted(alive));
    EXPECT_EQ(alive, 1);
    EXPECT_EQ(*assigned.begin(), 1);
}

TEST(generator_death, iterating_twice_or_after_a_move_is_a_bug) {
    auto twice = counting(0, 3);
    EXPECT_EQ(*twice.begin(), 0);
    EXPECT_DEATH((void)twice.begin(), "iterated twice");
    auto moved = std::move(twice);
    EXPECT_DEATH((void)twice.begin(), "moved from");  // NOLINT(bugprone-use-after-move)
}

}  // namespace
