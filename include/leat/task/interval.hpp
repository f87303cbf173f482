// interval: a ticker. next() waits for the next point of a grid on the executor's clock, which is virtual in a simulation.
//
//   leat::interval every(100ms);
//   for (;;) { co_await every.next(); sample(); }
//
// What runs between two ticks counts: the grid does not drift. A tick that comes late by a period or more has missed others;
// `missed_ticks` says what then becomes of those.
#pragma once

#include <leat/task/this_task.hpp>

namespace leat {

enum class missed_ticks : unsigned char {
    burst,  // come one after the other without a wait, until the grid is caught up with: no tick is lost
    skip,   // are left out: the next tick is the next point of the grid
    delay,  // are left out: the next tick is a period after this one, and the grid moves
};

class interval {
public:
    // Both: a period of zero or less is a bug; after one beyond the clock no tick comes.
    // The first next() begins the grid, and gives a tick at once.
    template <class Rep, class Period>
    explicit interval(std::chrono::duration<Rep, Period> period, missed_ticks policy = missed_ticks::burst) noexcept
        : interval(detail::within_clock(period), policy, time_point::min()) {}
    // The first tick is at `first`, a point of the executor's clock.
    template <class Rep, class Period>
    interval(time_point first, std::chrono::duration<Rep, Period> period,
             missed_ticks policy = missed_ticks::burst) noexcept
        : interval(detail::within_clock(period), policy, first) {}

    // Awaits the next tick and gives the point of the grid that it stands for, which is past when it is late. Resumes on the
    // awaiting task's executor. Throws cancelled when stopped: then no tick is lost. One call at a time.
    [[nodiscard]] task<time_point> next();

    [[nodiscard]] duration period() const noexcept { return period_; }

private:
    interval(duration period, missed_ticks policy, time_point first) noexcept;
    void pass(time_point now) noexcept;

    duration period_;
    missed_ticks policy_;
    time_point due_;  // of the next tick; min(): when it is asked for
};

}  // namespace leat
