#include <leat/task/interval.hpp>

#include <leat/base/bug.hpp>

namespace leat {

namespace {

time_point later(time_point from, duration time) noexcept {
    return from > time_point::max() - time ? time_point::max() : from + time;
}

}  // namespace

interval::interval(duration period, missed_ticks policy, time_point first) noexcept
    : period_(period), policy_(policy), due_(first) {
    if (period <= duration::zero()) bug("an interval of no time: its ticks would never end");
}

task<time_point> interval::next() {
    if (due_ == time_point::min()) due_ = co_await this_task::now();
    co_await sleep_until(due_);
    const time_point tick = due_;
    pass(co_await this_task::now());
    co_return tick;
}

void interval::pass(time_point now) noexcept {
    const time_point following = later(due_, period_);
    if (following > now || policy_ == missed_ticks::burst) {
        due_ = following;
    } else if (policy_ == missed_ticks::delay) {
        due_ = later(now, period_);
    } else {
        // A first tick may have been asked for at the clock's beginning.
        const duration late = due_ < now - duration::max() ? duration::max() : now - due_;
        due_ = later(now, period_ - late % period_);
    }
}

}  // namespace leat
