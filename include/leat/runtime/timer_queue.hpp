// timer_queue: the timers of one runtime, the earliest first: a binary heap whose timers know their place, so that one can
// be cancelled in O(log n). Thread-safe.
//
// Invariant: timers fire under the lock, so cancel() returns only when the timer is not firing.
#pragma once

#include <vector>

#include <leat/task/executor.hpp>

namespace leat {

class timer_queue {
public:
    // True when it is now the earliest: whoever sleeps until the former earliest must be woken.
    [[nodiscard]] bool start(timer& which) noexcept;
    void cancel(timer& which) noexcept;
    // Fires what is due. True when something was.
    bool fire(time_point now) noexcept;
    // When the earliest is due; time_point::max() when there is none. A snapshot.
    [[nodiscard]] time_point next() const noexcept { return time_point(duration(next_.load(env::seq_cst))); }
    [[nodiscard]] bool empty() const noexcept { return next() == time_point::max(); }

private:
    void place(std::size_t at, timer* which) noexcept;
    void sift_up(std::size_t at) noexcept;
    void sift_down(std::size_t at) noexcept;
    void remove(std::size_t at) noexcept;
    void publish() noexcept;

    env::mutex lock_;
    std::vector<timer*> heap_;
    env::atomic<duration::rep> next_{duration::max().count()};  // the earliest due time; max: none
};

}  // namespace leat
