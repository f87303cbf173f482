// select: waits for several things at once and does exactly one of them.
//
//   std::string reply = …;
//   auto won = co_await leat::select(leat::on_recv(requests), leat::on_send(replies, reply), leat::after(50ms));
//   switch (won.index()) {
//       case 0: if (won.get<0>()) use(*won.get<0>()); break;      // expected<T, recv_error>, as recv() gives
//       case 1: …                                                // expected<void, send_failure>; `reply` was moved
//       case 2: …                                                // the time is over
//       default: co_return;                                      // asked to stop: won.cancelled()
//   }
//
// Arms: receives, sends, reservations, points in time, events, the ends of tasks and futures, `otherwise()`; and those of
// other layers (select_arm.hpp). Any number of tasks and threads may select over the same things, in any order, also against
// each other.
//
// * An arm that loses has moved nothing: on_send takes its value by reference and moves it only when it wins, so that an
//   item which has found no receiver is still there for the next select, or for another arm of the same one.
// * An end of a channel that has ended is ready, always: switch its arm off (`on_recv(a).only_if(open)`) or leave the loop.
// * select tries the arms from a random start in a random direction, so that none starves; timers come after all others:
//   after(0ms) asks whether anything is ready now. select_biased tries them in the order given, timers too. otherwise() comes
//   last in both.
// * Stopping the waiting task does not throw: the result is cancelled(), and all values are where they were. An arm that is
//   ready completes even then. A loop around select must look at cancelled(), or it never ends: a task that was asked to
//   stop does not wait any more.
// * Resumes on the awaiting task's executor. block_on(select(…)) is the same for a thread that runs no tasks.
//
// Nothing is allocated. What arms refer to (ends, values) outlives the select.
#pragma once

#include <ranges>
#include <variant>

#include <leat/channel/channel.hpp>
#include <leat/sync/completion.hpp>
#include <leat/sync/event.hpp>

namespace leat {

template <class T>
using recv_arm = typename detail::channel_operations<T>::recv_arm;
template <class T>
using send_arm = typename detail::channel_operations<T>::send_arm;
template <class T>
using reserve_arm = typename detail::channel_operations<T>::reserve_arm;

// Gives what recv() gives.
template <class T>
[[nodiscard]] recv_arm<T> on_recv(const receiver<T>& from) noexcept {
    return recv_arm<T>(from);
}
// Gives expected<void, send_failure>; on success `value` was moved from. On a channel with an overflow policy other than
// wait it is always ready, as its send() is.
template <class T>
[[nodiscard]] send_arm<T> on_send(const sender<T>& to, std::type_identity_t<T>& value) noexcept {
    return send_arm<T>(to, value);
}
// Gives what reserve() gives.
template <class T>
[[nodiscard]] reserve_arm<T> on_reserve(const sender<T>& to, std::size_t bytes = 0) noexcept {
    return reserve_arm<T>(to, bytes);
}
// Ready when the time is over, counted from the beginning of the select; or at the point of the executor's clock. A time of
// zero or less is over at once, one beyond the clock never. Gives nothing (std::monostate).
template <class Rep, class Period>
[[nodiscard]] time_arm after(std::chrono::duration<Rep, Period> time) noexcept {
    return time_arm(detail::within_clock(time));
}
[[nodiscard]] inline time_arm at(time_point until) noexcept { return time_arm(until); }

// Ready when the event is set; leaves it as it is. Gives nothing.
using event_arm = watch_arm<event, &event::is_set>;
[[nodiscard]] inline event_arm on_event(event& which) noexcept { return event_arm(which); }

// Ready when the task of a handle, or the promise of a future, has come to its end, whichever that is; takes nothing out of
// it: join() or get() does not wait then. The handle stays, and keeps its value, until the select is over. Gives nothing.
using done_arm = watch_arm<completion, &completion::is_complete>;
template <detail::has_completion Owner>
[[nodiscard]] done_arm on_done(const Owner& of) noexcept {
    return done_arm(of.completes());
}

// Ready when nothing else is: a select with it never waits.
class otherwise final : public select_arm {
public:
    otherwise() noexcept : select_arm(nullptr, turn::default_) {}
    [[nodiscard]] bool try_now(context&) override { return true; }
    [[nodiscard]] published publish(const own_wait& wait) override {
        return wait.end() ? published::completed : published::lost;
    }
    [[nodiscard]] bool take_back(context&) noexcept override { return false; }
    void take() noexcept {}
};

template <class A>
concept selectable = std::derived_from<A, select_arm> && std::copy_constructible<A> && requires(A& arm) { arm.take(); };

namespace detail {

template <class Arm>
using taken_t = std::conditional_t<std::is_void_v<decltype(std::declval<Arm&>().take())>, std::monostate,
                                   decltype(std::declval<Arm&>().take())>;

template <class Arm>
taken_t<Arm> take_from(Arm& arm) {
    if constexpr (std::is_void_v<decltype(arm.take())>) return arm.take(), std::monostate{};
    else return arm.take();
}

template <class Operation>
class select_awaiter;
template <class... Arm>
class select_operation;
template <class Arm>
class select_range_operation;

}  // namespace detail

// What a select has come to: which arm, by its place, and what that arm gives.
template <class... Value>
class [[nodiscard]] selected {
public:
    static constexpr std::size_t npos = static_cast<std::size_t>(-1);
    // npos when cancelled.
    [[nodiscard]] std::size_t index() const noexcept { return value_.index() - 1; }
    // The awaiting task was asked to stop before any arm was ready.
    [[nodiscard]] bool cancelled() const noexcept { return value_.index() == 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return !cancelled(); }

    // What the arm at place I has given; a bug when it was another.
    template <std::size_t I>
    auto& get() & {
        return *checked<I>();
    }
    template <std::size_t I>
    auto&& get() && {
        return std::move(*checked<I>());
    }
    // Calls the function at the place of the arm with what it has given; none when cancelled.
    template <class... Function>
        requires(sizeof...(Function) == sizeof...(Value))
    void match(Function&&... functions) {
        match_in(std::index_sequence_for<Value...>{}, functions...);
    }

private:
    template <class... Arm>
    friend class detail::select_operation;
    selected() noexcept = default;
    template <std::size_t I>
    auto* checked() {
        auto* const found = std::get_if<I + 1>(&value_);
        if (found == nullptr) bug("what another arm of a select would have given was read");
        return found;
    }
    template <std::size_t... I, class... Function>
    void match_in(std::index_sequence<I...>, Function&... functions) {
        (void)((index() == I && (functions(std::move(*checked<I>())), true)) || ...);
    }
    std::variant<std::monostate, Value...> value_;
};

// The same for a range of arms.
template <class Value>
class [[nodiscard]] selected_of {
public:
    static constexpr std::size_t npos = static_cast<std::size_t>(-1);
    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    [[nodiscard]] bool cancelled() const noexcept { return index_ == npos; }
    [[nodiscard]] explicit operator bool() const noexcept { return !cancelled(); }
    // A bug when cancelled.
    [[nodiscard]] Value& get() {
        if (!value_) bug("the value of a select that was cancelled was read");
        return *value_;
    }

private:
    template <class Arm>
    friend class detail::select_range_operation;
    selected_of() noexcept = default;
    selected_of(std::size_t index, Value value) noexcept : index_(index), value_(std::move(value)) {}
    std::size_t index_ = npos;
    std::optional<Value> value_;
};

namespace detail {

// What is awaited: it has the arms, or knows where they are, and outlives its awaiter.
template <class... Arm>
class [[nodiscard]] select_operation {
public:
    using result = selected<taken_t<Arm>...>;
    explicit select_operation(select_wait::order how, const Arm&... arms) noexcept : arms_(arms...), order_(how) {}
    awaits<select_awaiter<select_operation>> operator co_await() && noexcept {
        return awaits<select_awaiter<select_operation>>(*this, order_, static_cast<std::uint32_t>(sizeof...(Arm)));
    }

private:
    friend class select_awaiter<select_operation>;
    static select_arm& at(void* self, std::uint32_t place) noexcept {
        auto& mine = *static_cast<select_operation*>(self);
        return [&]<std::size_t... I>(std::index_sequence<I...>) -> select_arm& {
            select_arm* found = nullptr;
            ((found = place == I ? &std::get<I>(mine.arms_) : found), ...);
            return *found;
        }(std::index_sequence_for<Arm...>{});
    }
    result take(std::uint32_t won) noexcept {
        result value;
        const auto look = [&]<std::size_t I>(std::integral_constant<std::size_t, I>) {
            if (won == I) value.value_.template emplace<I + 1>(take_from(std::get<I>(arms_)));
        };
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (look(std::integral_constant<std::size_t, I>{}), ...);
        }(std::index_sequence_for<Arm...>{});
        return value;
    }
    std::tuple<Arm...> arms_;
    select_wait::order order_;
};

template <class Arm>
class [[nodiscard]] select_range_operation {
public:
    using result = selected_of<taken_t<Arm>>;
    explicit select_range_operation(select_wait::order how, std::span<Arm> arms) noexcept : arms_(arms), order_(how) {}
    awaits<select_awaiter<select_range_operation>> operator co_await() && noexcept {
        return awaits<select_awaiter<select_range_operation>>(*this, order_, static_cast<std::uint32_t>(arms_.size()));
    }

private:
    friend class select_awaiter<select_range_operation>;
    static select_arm& at(void* self, std::uint32_t place) noexcept {
        return static_cast<select_range_operation*>(self)->arms_[place];
    }
    result take(std::uint32_t won) noexcept {
        if (won == select_wait::none) return {};
        return {won, take_from(arms_[won])};
    }
    std::span<Arm> arms_;
    select_wait::order order_;
};

template <class Operation>
class select_awaiter {
public:
    select_awaiter(Operation& what, select_wait::order how, std::uint32_t count) noexcept
        : what_(what), wait_(&what, &Operation::at, count, how) {}
    bool suspend(context& line, std::coroutine_handle<> at) { return wait_.suspend(line, at); }
    typename Operation::result await_resume() noexcept { return what_.take(wait_.finish()); }

private:
    Operation& what_;
    select_wait wait_;
};

template <class Range>
concept range_of_arms = std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
                        selectable<std::ranges::range_value_t<Range>>;

}  // namespace detail

// Fair, and in the order given.
template <selectable... Arm>
auto select(const Arm&... arms) noexcept {
    return detail::select_operation<Arm...>(select_wait::order::fair, arms...);
}
template <selectable... Arm>
auto select_biased(const Arm&... arms) noexcept {
    return detail::select_operation<Arm...>(select_wait::order::biased, arms...);
}
// Over arms that the caller keeps (a vector of recv_arm, say), which can be used again and again, by one select at a time.
// The time is linear in their number. None at all wait until they are stopped.
template <detail::range_of_arms Range>
auto select(Range& arms) noexcept {
    using arm = std::ranges::range_value_t<Range>;
    return detail::select_range_operation<arm>(select_wait::order::fair, std::span<arm>(arms));
}
template <detail::range_of_arms Range>
auto select_biased(Range& arms) noexcept {
    using arm = std::ranges::range_value_t<Range>;
    return detail::select_range_operation<arm>(select_wait::order::biased, std::span<arm>(arms));
}

}  // namespace leat
