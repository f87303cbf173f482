// wait_limit: a timer that ends a wait. sleep_for is a wait that nothing else ends; the timed forms of locks and signals set
// one beside their own.
#pragma once

#include <chrono>
#include <type_traits>

#include <leat/task/context.hpp>

namespace leat {

namespace detail {

// `time` as a duration of our clock. Where a century does not reach it is for ever: hours::max() has no value in it.
template <class Rep, class Period>
constexpr duration within_clock(std::chrono::duration<Rep, Period> time) noexcept {
    using seconds = std::chrono::duration<double>;
    constexpr std::chrono::hours century(24 * 36525);
    if constexpr (std::is_same_v<decltype(time), duration>) return time;
    if (seconds(time) > seconds(century)) return duration::max();
    if (seconds(time) < -seconds(century)) return -century;
    return std::chrono::duration_cast<duration>(time);
}

}  // namespace detail

// How long an operation may wait: a time, counted from where it is awaited, or a point of the executor's clock (of a plain
// thread: of env::now()). Zero or less does not wait at all; beyond the clock is for ever.
class time_limit {
public:
    template <class Rep, class Period>
    time_limit(std::chrono::duration<Rep, Period> time) noexcept  // NOLINT(google-explicit-constructor)
        : relative_(detail::within_clock(time)), is_relative_(true) {}
    time_limit(time_point until) noexcept : until_(until) {}  // NOLINT(google-explicit-constructor)
    static time_limit never() noexcept { return time_point::max(); }

    // The point in time, when it is `now`.
    [[nodiscard]] time_point from(time_point now) const noexcept {
        if (!is_relative_) return until_;
        return relative_ > time_point::max() - now ? time_point::max() : now + relative_;
    }

private:
    time_point until_{};
    duration relative_{};
    bool is_relative_ = false;
};

namespace detail {

class wait_limit : timer {
public:
    explicit wait_limit(time_limit limit) noexcept : timer(&end_wait), limit_(limit) {}

    // For await_suspend, when the line has prepared its wait and published it wherever else it may end: ends it in time,
    // and commits. What it returns await_suspend returns.
    [[nodiscard]] bool suspend(context& line, std::coroutine_handle<> at) noexcept;
    // For await_resume, before all else. Harmless when suspend() was not called.
    void cancel() noexcept {
        if (line_ != nullptr) line_->where().cancel(*this);
    }

private:
    static void end_wait(timer& self) noexcept;
    time_limit limit_;
    context* line_ = nullptr;
    context::ticket ticket_;
};

}  // namespace detail
}  // namespace leat
