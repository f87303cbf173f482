#include <leat/sync/rate_limiter.hpp>

#include <algorithm>
#include <cmath>

#include <leat/base/bug.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace {

constexpr double nothing = 1e-6;  // of a token: what rounding may make of none

double nanoseconds(duration time) noexcept { return std::chrono::duration<double, std::nano>(time).count(); }

}  // namespace

rate_limiter::rate_limiter(double tokens_per_second, double burst) noexcept
    : per_nanosecond_(tokens_per_second / 1e9), burst_(burst), inside_(burst) {
    if (!(tokens_per_second > 0) || !std::isfinite(tokens_per_second)) bug("a rate limiter: its rate is not positive");
    if (!(burst >= 1) || !std::isfinite(burst)) bug("a rate limiter: its burst is below one");
}

void rate_limiter::check(double tokens) const noexcept {
    if (!(tokens >= 0 && tokens <= burst_)) bug("a rate limiter: asked for a number of tokens that it never holds");
}

bool rate_limiter::take(double tokens, time_point now) noexcept {
    time_point& filled = filled_.write();
    double& inside = inside_.write();
    if (filled == time_point::min()) filled = now;
    if (now > filled) {  // a clock that lags gives nothing, and takes nothing
        inside = std::min(burst_, inside + nanoseconds(now - filled) * per_nanosecond_);
        filled = now;
    }
    if (inside < tokens - nothing) return false;
    inside -= tokens;
    return true;
}

time_point rate_limiter::when(double tokens) const noexcept {
    const double wait = std::ceil((tokens - inside_.read()) / per_nanosecond_);
    return time_limit(std::chrono::duration<double, std::nano>(wait)).from(filled_.read());
}

task<> rate_limiter::acquire(double tokens) { (void)co_await acquire_for(time_limit::never(), tokens); }

task<bool> rate_limiter::acquire_for(time_limit limit, double tokens) {
    check(tokens);
    if (tokens == 0) co_return true;
    const executor& where = (co_await this_task::line()).where();
    const time_point until = limit.from(where.now());
    const std::optional<mutex::guard> turn = co_await turn_.lock_until(until);
    if (!turn) co_return false;
    while (!take(tokens, where.now())) {
        const time_point there = when(tokens);
        if (there > until) co_return false;
        co_await sleep_until(there);
    }
    co_return true;
}

bool rate_limiter::try_acquire(double tokens, time_point now) noexcept {
    check(tokens);
    if (tokens == 0) return true;
    const std::optional<mutex::guard> turn = turn_.try_lock();
    return turn && take(tokens, now);
}

void rate_limiter::blocking_acquire(double tokens) noexcept { (void)blocking_acquire_for(time_limit::never(), tokens); }

bool rate_limiter::blocking_acquire_for(time_limit limit, double tokens) noexcept {
    check(tokens);
    if (tokens == 0) return true;
    const time_point until = limit.from(env::now());
    const std::optional<mutex::guard> turn = turn_.blocking_lock_for(until);
    if (!turn) return false;
    while (!take(tokens, env::now())) {
        const time_point there = when(tokens);
        if (there > until) return false;
        thread_line::sleep_until(there);
    }
    return true;
}

}  // namespace leat
