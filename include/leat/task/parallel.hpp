// parallel_for, parallel_map, parallel_reduce: the same function over the elements of a range, on all threads of the
// awaiting task's executor. Awaited by tasks and by fork_tasks.
//
//   co_await leat::parallel_for(pixels, brighten);                        // brighten(pixel) for each
//   auto sizes = co_await leat::parallel_map(files, size_of);             // a vector, in the range's order
//   long sum = co_await leat::parallel_reduce(sizes, 0L, std::plus<>());  // in the range's order too
//
// Ranges are sized and have random access: containers, spans, std::views::iota(0, n). They, the function and what it
// refers to live until the await returns. The function is called from several threads at once, each element once.
//
// Chunks adapt: a piece of the range is only divided where no continuation is left to steal, so that a range costs a handful
// of forks where nobody is idle (lazy splitting: Tzannes, Caragea, Barua, Vishkin, Lazy Binary-Splitting, PPoPP 2010), and
// between two looks as many elements are done as take some tens of microseconds.
// Errors: the first stops the rest at their next chunk and is thrown by the await when all have ended. Cancellation: the
// same, with cancelled. Elements that were not begun then are left as they are.
#pragma once

#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <leat/task/fork.hpp>

namespace leat {

template <class Range>
concept parallel_range = std::ranges::random_access_range<Range> && std::ranges::sized_range<Range>;

namespace detail {

// What the pieces of one range share.
struct pieces {
    env::atomic<bool> failed{false};  // set by the first piece that fails; relaxed: a hint, the join brings the error
};

// How many elements to do between two looks around.
class chunk {
public:
    [[nodiscard]] std::ptrdiff_t size(std::ptrdiff_t left) const noexcept { return size_ < left ? size_ : left; }
    // Whether what is left should be divided now.
    [[nodiscard]] bool divide(std::ptrdiff_t left) const noexcept {
        return left > size_ && !fork_worker::here()->has_offers();
    }
    // Calls work(), which does a chunk; throws cancelled instead when the task was asked to stop.
    template <class Work>
    void run(pieces& all, Work work) {
        fork_worker::here()->check_stop();
        const time_point start = env::now();
        try {
            work();
        } catch (...) {
            all.failed.store(true, env::relaxed);
            throw;
        }
        const duration took = env::now() - start;
        if (took < shortest) size_ *= 2;
        else if (took > longest && size_ > 1) size_ /= 2;
    }

private:
    static constexpr duration shortest = std::chrono::microseconds(10), longest = std::chrono::microseconds(40);
    std::ptrdiff_t size_ = 1;
};

// body(from, to): does the elements of a chunk.
template <class Body>
fork_task<> for_piece(std::ptrdiff_t from, std::ptrdiff_t to, Body& body, pieces& all, chunk step) {
    while (from != to && !all.failed.load(env::relaxed)) {
        const std::ptrdiff_t left = to - from;
        if (step.divide(left)) {
            const std::ptrdiff_t middle = from + left / 2;
            co_await fork(for_piece<Body>, from, middle, body, all, step);
            from = middle;
            continue;
        }
        const std::ptrdiff_t end = from + step.size(left);
        step.run(all, [&] { body(from, end); });
        from = end;
    }
    co_await join();
}

// Empty when another piece has failed, whose error the join above this one throws.
// body(sum, from, to): combines the elements of a chunk into an optional sum.
template <class T, class Body, class Combine>
fork_task<std::optional<T>> reduce_piece(std::ptrdiff_t from, std::ptrdiff_t to, Body& body, Combine& combine,
                                         pieces& all, chunk step) {
    std::optional<T> sum;
    while (from != to) {
        if (all.failed.load(env::relaxed)) co_return std::nullopt;
        const std::ptrdiff_t left = to - from;
        if (step.divide(left)) {
            const std::ptrdiff_t middle = from + left / 2;
            std::optional<T> left_sum;
            co_await fork(&left_sum, reduce_piece<T, Body, Combine>, from, middle, body, combine, all, step);
            std::optional<T> right_sum =
                co_await call(reduce_piece<T, Body, Combine>, middle, to, body, combine, all, step);
            co_await join();
            if (!left_sum || !right_sum) co_return std::nullopt;
            if (sum) left_sum.emplace(std::invoke(combine, *std::move(sum), *std::move(left_sum)));
            co_return std::optional<T>(std::invoke(combine, *std::move(left_sum), *std::move(right_sum)));
        }
        const std::ptrdiff_t end = from + step.size(left);
        step.run(all, [&] { body(sum, from, end); });
        from = end;
    }
    co_return sum;
}

// range[at], whatever its iterators count with.
template <class Iterator>
decltype(auto) element(const Iterator& first, std::ptrdiff_t at) {
    return first[static_cast<std::iter_difference_t<Iterator>>(at)];
}

}  // namespace detail

// Calls fn(element) for each element.
template <parallel_range Range, class Function>
    requires std::invocable<Function&, std::ranges::range_reference_t<Range>>
fork_task<> parallel_for(Range&& range, Function fn) {
    const auto first = std::ranges::begin(range);
    auto body = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        for (; from != to; ++from) std::invoke(fn, detail::element(first, from));
    };
    detail::pieces all;
    co_await call(detail::for_piece<decltype(body)>, 0, static_cast<std::ptrdiff_t>(std::ranges::ssize(range)), body,
                  all, detail::chunk());
}

// Gives fn(element) for each element, in the order of the range. The values are default-initialised first.
template <parallel_range Range, class Function>
    requires std::invocable<Function&, std::ranges::range_reference_t<Range>>
auto parallel_map(Range&& range, Function fn)
    -> fork_task<std::vector<std::decay_t<std::invoke_result_t<Function&, std::ranges::range_reference_t<Range>>>>> {
    using value = std::decay_t<std::invoke_result_t<Function&, std::ranges::range_reference_t<Range>>>;
    static_assert(!std::is_same_v<value, bool>,
                  "the bits of a vector<bool> cannot be written in parallel: return a char");
    std::vector<value> values(static_cast<std::size_t>(std::ranges::ssize(range)));
    const auto first = std::ranges::begin(range);
    auto body = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        for (; from != to; ++from)
            values[static_cast<std::size_t>(from)] = std::invoke(fn, detail::element(first, from));
    };
    detail::pieces all;
    co_await call(detail::for_piece<decltype(body)>, 0, static_cast<std::ptrdiff_t>(std::ranges::ssize(range)), body,
                  all, detail::chunk());
    co_return values;
}

// Gives init, then transform(element) of each, all combined in the order of the range: combine is associative, and need
// not be commutative. The type is that of `init`.
template <parallel_range Range, class T, class Combine, class Transform = std::identity>
fork_task<T> parallel_reduce(Range&& range, T init, Combine combine, Transform transform = {}) {
    if (std::ranges::empty(range)) co_return init;
    const auto first = std::ranges::begin(range);
    auto body = [&](std::optional<T>& sum, std::ptrdiff_t from, std::ptrdiff_t to) {
        if (!sum) sum.emplace(std::invoke(transform, detail::element(first, from++)));
        for (; from != to; ++from)
            *sum = std::invoke(combine, *std::move(sum), std::invoke(transform, detail::element(first, from)));
    };
    detail::pieces all;
    std::optional<T> sum = co_await call(detail::reduce_piece<T, decltype(body), Combine>, 0, std::ranges::ssize(range),
                                         body, combine, all, detail::chunk());
    co_return std::invoke(combine, std::move(init), *std::move(sum));
}

}  // namespace leat
