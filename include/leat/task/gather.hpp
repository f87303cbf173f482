// gather: a task for each element of a range, so many at once, and all results in the order of the range.
//
//   auto pages = co_await leat::gather(urls, fetch, 8);               // task<page> fetch(const std::string&)
//   auto ends = co_await leat::gather_outcomes(urls, fetch, 8);       // those that failed too
//
// For tasks that wait; what only computes is for parallel_map (parallel.hpp).
#pragma once

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <utility>
#include <vector>

#include <leat/task/when_all.hpp>

namespace leat {

namespace detail {

template <class View, class Function>
using gathered_t = typename std::invoke_result_t<Function&, std::ranges::range_reference_t<View>>::value_type;

// What the workers of one gather share: each takes the next element until there are none.
template <class View, class Function>
struct gathering {
    using value = gathered_t<View, Function>;
    using iterator = std::ranges::iterator_t<View>;
    static_assert(!std::is_reference_v<value>, "gather keeps values: let the task give a pointer");

    gathering(View& all, Function& function, bool fails) : fn(function), fails_fast(fails) {
        if constexpr (std::ranges::random_access_range<View> && std::ranges::sized_range<View>) {
            first = std::ranges::begin(all);
            ends = std::vector<outcome<value>>(static_cast<std::size_t>(std::ranges::ssize(all)));
        } else {
            for (auto each = std::ranges::begin(all); each != std::ranges::end(all); ++each) places.push_back(each);
            ends = std::vector<outcome<value>>(places.size());
        }
    }
    decltype(auto) element(std::size_t at) {
        if constexpr (std::ranges::random_access_range<View> && std::ranges::sized_range<View>)
            return first[static_cast<std::iter_difference_t<iterator>>(at)];
        else return *places[at];
    }

    Function& fn;
    bool fails_fast;
    iterator first{};
    std::vector<iterator> places;
    std::vector<outcome<value>> ends;  // each written by the worker that has taken its number
    env::atomic<std::size_t> next{0};  // relaxed: only deals out; the countdown publishes the rest
};

template <class View, class Function>
task<> gather_worker(gathering<View, Function>& all) {
    co_await this_task::yield();  // so that others can run it
    const leat::stop_token stop = co_await this_task::stop_token();
    while (!stop.stop_requested()) {
        const std::size_t at = all.next.fetch_add(1, env::relaxed);
        if (at >= all.ends.size()) co_return;
        auto& end = all.ends[at];
        try {
            auto one = std::invoke(all.fn, all.element(at));
            end = co_await one.as_outcome();
        } catch (...) {
            end.set_current_exception();
        }
        if (all.fails_fast && !end.is_value()) throw_cancelled();  // stops the others; the outcome tells why
    }
}

template <class View, class Function>
task<std::vector<outcome<gathered_t<View, Function>>>> gather_ends(View elements, Function fn, std::size_t limit,
                                                                   bool fails_fast) {
    context& line = co_await this_task::line();
    gathering<View, Function> all(elements, fn, fails_fast);
    const std::size_t workers = std::min(limit, all.ends.size());
    arm_group group(line, static_cast<std::uint32_t>(workers));
    std::vector<std::unique_ptr<group_arm<void>>> arms;
    arms.reserve(workers);
    for (std::size_t i = 0; i < workers; ++i) {
        group_arm<void>::init from(line, group, gather_worker(all));
        arms.push_back(std::make_unique<group_arm<void>>(std::move(from)));
    }
    for (auto& each : arms) each->start();
    co_await all_arrived{group.ends, "gather"};
    for (auto& each : all.ends)
        if (!each.is_value() && !each.is_error()) each.set_cancelled();  // not begun
    co_return std::move(all.ends);
}

template <class View, class Function>
task<std::vector<value_or_unit<gathered_t<View, Function>>>> gather_values(View elements, Function fn,
                                                                           std::size_t limit) {
    using value = gathered_t<View, Function>;
    auto running = gather_ends(std::move(elements), std::move(fn), limit, true);
    auto ends = co_await std::move(running);
    first_failure failure;
    for (auto& each : ends) failure.look_at(each);
    failure.rethrow();
    std::vector<value_or_unit<value>> values;
    values.reserve(ends.size());
    for (auto& each : ends) values.push_back(take_value<value>(std::move(each)));
    co_return values;
}

inline std::size_t at_least_one(std::size_t limit) noexcept {
    if (limit == 0) bug("gather with a limit of 0 would never begin");
    return limit;
}

}  // namespace detail

// Calls fn(element) for each element of a forward range and runs the tasks that it returns, at most `limit` at once (0 is a
// bug), begun in the order of the range. Gives their values in that order (std::monostate for void). The first failure stops
// the others, and no more are begun; when all have ended, the error of the first failed element is rethrown. Stopping the
// awaiting task stops all, and throws cancelled.
// fn is called by several threads at once, each element once. A range given as an lvalue, and what fn refers to, live until
// the await returns; one given as an rvalue is kept.
template <class Range, class Function>
    requires std::ranges::forward_range<Range> && std::ranges::viewable_range<Range>
auto gather(Range&& range, Function fn, std::size_t limit) {
    return detail::gather_values(std::views::all(std::forward<Range>(range)), std::move(fn),
                                 detail::at_least_one(limit));
}

// The same, but the end of each task, whichever it is, is a value: a failure stops nobody and is not thrown. When the awaiting
// task is stopped, the outcomes of those that had not ended, or begun, are cancelled.
template <class Range, class Function>
    requires std::ranges::forward_range<Range> && std::ranges::viewable_range<Range>
auto gather_outcomes(Range&& range, Function fn, std::size_t limit) {
    return detail::gather_ends(std::views::all(std::forward<Range>(range)), std::move(fn), detail::at_least_one(limit),
                               false);
}

}  // namespace leat
