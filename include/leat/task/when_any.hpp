// when_any: several tasks at once, the end of the first.
#pragma once

#include <optional>

#include <leat/task/when_all.hpp>

namespace leat {

namespace detail {

struct race_group : arm_group {
    using arm_group::arm_group;
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    env::atomic<std::uint32_t> winner{none};  // none, then the place of the first arm that ended by itself
};

template <class T>
class race_arm : public member_arm<T> {
public:
    struct init {
        context& parent;
        race_group& group;
        std::uint32_t place;
        task<T> body;
        init(context& line, race_group& shared, std::uint32_t where, task<T> work)
            : parent(line), group(shared), place(where), body(std::move(work)) {}
    };
    explicit race_arm(init from) noexcept
        : member_arm<T>(from.parent, std::move(from.body), arm_base::ends_with<&at_end>()),
          group_(from.group),
          place_(from.place) {}
    void start() noexcept { arm<T>::start(group_.stop); }

private:
    static void at_end(arm_base& self) noexcept {
        auto& mine = static_cast<race_arm&>(self);
        mine.keep_outcome();
        std::uint32_t none = race_group::none;
        // relaxed: only decides; the outcome travels through the countdown.
        if (!mine.peek().is_cancelled() &&
            mine.group_.winner.compare_exchange_strong(none, mine.place_, env::relaxed, env::relaxed))
            mine.group_.stop.request_stop();
        mine.group_.ends.arrive();
    }
    race_group& group_;
    std::uint32_t place_;
};

}  // namespace detail

// What when_any over a vector gives: which task ended first, and its value.
template <class T>
struct first_of {
    std::size_t index;
    T value;
};

// Runs the tasks at once; when the first has ended with a value or an error, stops the others and waits for them. Gives
// the winner's value in a variant whose index is its place (std::monostate for void), or rethrows its error. Values of
// losers that won after all are dropped. Stopping the awaiting task stops all, and cancelled is thrown.
template <class... T>
    requires(sizeof...(T) > 0)
task<std::variant<detail::value_or_unit<T>...>> when_any(task<T>... tasks) {
    using result = std::variant<detail::value_or_unit<T>...>;
    context& line = co_await this_task::line();
    detail::race_group group(line, sizeof...(T));
    auto arms = [&]<std::size_t... I>(std::index_sequence<I...>) {
        return std::tuple<detail::race_arm<T>...>(
            typename detail::race_arm<T>::init(line, group, static_cast<std::uint32_t>(I), std::move(tasks))...);
    }(std::index_sequence_for<T...>{});
    std::apply([](auto&... each) { (each.start(), ...); }, arms);
    co_await all_arrived{group.ends, "when_any"};
    const std::uint32_t winner = group.winner.load(env::relaxed);  // relaxed: all arms have arrived
    std::optional<result> value;
    const auto collect = [&]<std::size_t... I>(std::index_sequence<I...>) {
        const auto look = [&]<std::size_t At>(std::integral_constant<std::size_t, At>) {
            auto end = std::get<At>(arms).take();
            if (At == winner) value.emplace(std::in_place_index<At>, detail::take_value(std::move(end)));
        };
        (look(std::integral_constant<std::size_t, I>{}), ...);
    };
    collect(std::index_sequence_for<T...>{});
    if (!value) detail::throw_cancelled();
    co_return std::move(*value);
}

// The same for any number of tasks of one type; at least one.
template <class T>
task<first_of<detail::value_or_unit<T>>> when_any(std::vector<task<T>> tasks) {
    if (tasks.empty()) bug("when_any of nothing would wait for ever");
    context& line = co_await this_task::line();
    detail::race_group group(line, static_cast<std::uint32_t>(tasks.size()));
    std::vector<std::unique_ptr<detail::race_arm<T>>> arms;
    arms.reserve(tasks.size());
    for (task<T>& each : tasks) {
        typename detail::race_arm<T>::init from(line, group, static_cast<std::uint32_t>(arms.size()), std::move(each));
        arms.push_back(std::make_unique<detail::race_arm<T>>(std::move(from)));
    }
    for (auto& each : arms) each->start();
    co_await all_arrived{group.ends, "when_any"};
    const std::uint32_t winner = group.winner.load(env::relaxed);  // relaxed: all arms have arrived
    if (winner == detail::race_group::none) detail::throw_cancelled();
    outcome<T> end = arms[winner]->take();
    arms.clear();
    co_return first_of<detail::value_or_unit<T>>{winner, detail::take_value(std::move(end))};
}

}  // namespace leat
