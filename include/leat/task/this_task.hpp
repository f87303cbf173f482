// What a task can ask of and about itself: co_await this_task::stop_token(), yield(), sleep_for(…).
#pragma once

#include <leat/task/task.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

namespace detail {

template <class Get>
struct [[nodiscard]] ask_context {
    Get get;
    context* line = nullptr;
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        line = &self.promise().leat_context();
        return false;
    }
    decltype(auto) await_resume() const noexcept { return get(*line); }
};

// A wait for a point in time.
class sleeper {
public:
    explicit sleeper(time_limit until) noexcept : limit_(until) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        return suspend(self.promise().leat_context(), self);
    }
    // Throws cancelled when the task was asked to stop.
    void await_resume();

private:
    bool suspend(context& line, std::coroutine_handle<> at) noexcept;
    wait_limit limit_;
    context* line_ = nullptr;
};

// What sleep_for and sleep_until give: a description that can be moved; the awaiter is made in the awaiting frame.
struct [[nodiscard]] sleep_operation {
    time_limit until;
    explicit sleep_operation(time_limit end) noexcept : until(end) {}
    sleeper operator co_await() const noexcept { return sleeper(until); }
};

struct [[nodiscard]] yielder {
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
        self.promise().leat_context().post_at(self, true);
    }
    void await_resume() const noexcept {}
};

}  // namespace detail

namespace this_task {

// The token of the awaiting task; does not suspend.
inline auto stop_token() noexcept {
    return detail::ask_context{[](context& line) noexcept { return leat::stop_token(line.stop()); }};
}
// The context of the awaiting task; does not suspend. For those who write awaitables.
inline auto line() noexcept {
    return detail::ask_context{[](context& self) noexcept -> context& { return self; }};
}
// Changes how urgent the awaiting task is, from the next time that it is resumed on, with those that it awaits and begins
// from now on; does not suspend. Gives what it was.
inline auto set_priority(priority urgency) noexcept {
    return detail::ask_context{[urgency](context& line) noexcept { return std::exchange(line.urgency, urgency); }};
}
// The time by the executor's clock, which is virtual in a simulation; does not suspend.
inline auto now() noexcept {
    return detail::ask_context{[](const context& self) noexcept { return self.where().now(); }};
}
// Lets everything that is ready run first. Resumes on the same executor. Not a cancellation point.
inline auto yield() noexcept { return detail::yielder{}; }

}  // namespace this_task

// Waits for a time or until a point of the executor's clock. Resumes on the same executor; throws cancelled when stopped.
// A time of zero or less does not wait (but lets others run now and then); one beyond the clock waits for ever.
template <class Rep, class Period>
auto sleep_for(std::chrono::duration<Rep, Period> time) noexcept {
    return detail::sleep_operation(time);
}
inline auto sleep_until(time_point until) noexcept { return detail::sleep_operation(until); }

}  // namespace leat
