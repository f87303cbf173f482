// timeout: an operation that ends in time, or is stopped; shield: one that requests from above do not reach; finally: a
// clean-up that may wait.
#pragma once

#include <leat/task/arm.hpp>
#include <leat/task/awaiter_of.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

// A source that is asked to stop when a time is over.
class deadline : public timer {
public:
    explicit deadline(context& line) noexcept : timer(&fire_stop), stop(line.stop()), line_(line) {}
    void set(duration limit) noexcept {
        const time_point start = line_.where().now();
        due = limit > time_point::max() - start ? time_point::max() : start + limit;
        if (limit <= duration::zero()) fire_stop(*this);
        else line_.where().start(*this);
    }
    // After the arm has arrived. True when the time was over before that.
    [[nodiscard]] bool is_over() noexcept {
        line_.where().cancel(*this);
        return fired_.load(env::relaxed);  // relaxed: cancel() has synchronised with the firing
    }
    child_stop_source stop;

private:
    static void fire_stop(timer& self) noexcept {
        auto& mine = static_cast<deadline&>(self);
        mine.fired_.store(true, env::relaxed);
        mine.stop.request_stop();
    }
    context& line_;
    env::atomic<bool> fired_{false};  // false; true once the time was over
};

// Operations are descriptions that can be moved; their awaiter is made where they are awaited.
template <class Operation>
using awaited_t = decltype(awaiter_of(std::declval<Operation>()).await_resume());

template <class Operation>
task<awaited_t<Operation>> as_task(Operation operation) {
    co_return co_await std::move(operation);
}

template <class T>
task<T> run_in_time(task<T> operation, duration limit) {
    context& line = co_await this_task::line();
    deadline limited(line);
    lone_arm<T> body(line, std::move(operation));
    limited.set(limit);
    body.start(limited.stop);
    co_await body.arrived("timeout");
    const bool over = limited.is_over();
    outcome<T> end = body.take();
    if (over && end.is_cancelled() && !line.stop_requested()) throw timed_out();
    co_return std::move(end).get();
}

}  // namespace detail

// Runs `operation` for at most `limit`; then stops it and waits for it to end. Gives its value if it won after all, its
// error if it failed, and throws timed_out otherwise. A limit of zero or less stops it at its first wait; one beyond the
// clock never does. Stopping the awaiting task stops the operation; then its outcome, usually cancelled, comes out.
template <class T, class Rep, class Period>
task<T> timeout(task<T> operation, std::chrono::duration<Rep, Period> limit) {
    return detail::run_in_time(std::move(operation), detail::within_clock(limit));
}

// The same for any operation of the library that is not a task, e.g. timeout(inbox.recv(), 5s). One that reports a stop in
// its result instead of throwing (send) does so here too.
template <class Operation, class Rep, class Period>
    requires(!detail::is_task<Operation>::value)
auto timeout(Operation operation, std::chrono::duration<Rep, Period> limit) {
    return timeout(detail::as_task(std::move(operation)), limit);
}

// Runs `operation` deaf to the stop requests that reach the awaiting task: for clean-up. Its own sub-tasks can be stopped
// by it as usual.
template <class T>
task<T> shield(task<T> operation) {
    context& line = co_await this_task::line();
    lone_arm<T> body(line, std::move(operation));
    body.start_shielded();
    co_await body.arrived("shield");
    co_return body.take().get();
}

// Awaits `operation`, then on every path (value, error, cancelled) the task that cleanup() returns, shielded; then gives
// the value or rethrows. An error of the clean-up itself replaces the outcome.
template <class T, class Cleanup>
task<T> finally(task<T> operation, Cleanup cleanup) {
    outcome<T> end = co_await operation.as_outcome();
    co_await shield(cleanup());
    co_return std::move(end).get();
}

}  // namespace leat
