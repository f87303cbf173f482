// rate_limiter: a bucket of tokens that fills at a constant rate up to `burst`; acquire(n) takes n out, and waits for them in
// order of arrival.
//
//   leat::rate_limiter requests(100, 20);          // a hundred a second, twenty at once after a pause
//   co_await requests.acquire();
//
// Time is that of the awaiting task's executor (virtual in a simulation), of env::now() for plain threads; use it from
// executors of one clock. It outlives all calls.
//
// Invariant: the bucket belongs to who holds turn_: the first of those who wait keeps it while its tokens drip in, takes
// them at once, and passes it on. One that is stopped or out of time before has taken nothing.
#pragma once

#include <leat/sync/mutex.hpp>
#include <leat/task/task.hpp>

namespace leat {

class rate_limiter {
public:
    // Begins full. A rate that is not a positive number, and a burst below one, are bugs.
    rate_limiter(double tokens_per_second, double burst) noexcept;

    // Awaits `tokens`. Throws cancelled when stopped while it waits; then none was taken. Resumes on the awaiting task's
    // executor. More than `burst` at once is a bug, as is a number that is negative or none. Zero does not wait.
    task<> acquire(double tokens = 1);
    // The same for a limited time: false, as soon as that is known, when it is over before there are enough.
    task<bool> acquire_for(time_limit limit, double tokens = 1);
    task<bool> acquire_until(time_point until, double tokens = 1) { return acquire_for(until, tokens); }
    // Tokens at once or not at all; `now` is the time by the clock of those who wait. Overtakes nobody. Any thread.
    [[nodiscard]] bool try_acquire(double tokens = 1, time_point now = env::now()) noexcept;
    // As acquire(), for threads that run no tasks.
    void blocking_acquire(double tokens = 1) noexcept;
    bool blocking_acquire_for(time_limit limit, double tokens = 1) noexcept;

private:
    void check(double tokens) const noexcept;
    // Fills the bucket up to `now`; then takes the tokens, or says when they will be there. With turn_.
    [[nodiscard]] bool take(double tokens, time_point now) noexcept;
    [[nodiscard]] time_point when(double tokens) const noexcept;

    const double per_nanosecond_;
    const double burst_;
    mutex turn_;
    env::shared<double> inside_;
    env::shared<time_point> filled_{time_point::min()};  // up to when
};

}  // namespace leat
