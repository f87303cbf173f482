// timer_queue: the timers of one worker or one event loop, made for timers that are cancelled: hierarchical timing wheels
// (Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, scheme 7). Thread-safe.
//
// A wheel has 64 slots; a slot of one level is as long as the whole wheel below it, and one of the lowest is one tick of the
// clock, so that eleven levels reach as far as the clock does and nothing is rounded. A timer stands in the level of the
// highest digit (six bits) in which its due time differs from `current_`. Setting and cancelling are a few steps, however
// many timers there are; a timer that fires has gone down at most ten levels before, one that is cancelled usually none.
//
// Invariants:
//  1. Timers fire under the lock, so cancel() returns only when the timer is not firing.
//  2. Against `current_`, the timers of a level have the same digits above the level's own and a greater one there (at
//     level 0, where what is overdue stands too: the same or a greater one). So the first slot in use of the lowest level
//     in use holds the earliest. `current_` moves to the beginning of that slot at most.
//  3. next_ is never later than the earliest due time. So whoever sleeps until it, and is woken when start() says so, is
//     never late.
#pragma once

#include <array>
#include <cstdint>

#include <leat/task/executor.hpp>

namespace leat {

class timer_queue {
public:
    // Sets a timer, which is not set. True when it is now the earliest: whoever sleeps until the former earliest must be
    // woken. One that is due at time_point::max() never fires and costs nothing.
    [[nodiscard]] bool start(timer& which) noexcept;
    // For a timer that was set here, if anywhere.
    void cancel(timer& which) noexcept;
    // Cancels a timer that was set in any queue, or in none.
    static void cancel_at_home(timer& which) noexcept {
        if (which.home != nullptr) static_cast<timer_queue*>(which.home)->cancel(which);
    }
    // Fires what is due, in the order of the due times (but for what was overdue when it was set). True when something was.
    // Lets go of the lock now and then when it is much.
    bool fire(time_point now) noexcept;
    // When to call fire() again: the earliest due time, or, where very many are close together, a time not long before it;
    // time_point::max() when there is none. A snapshot.
    [[nodiscard]] time_point next() noexcept;
    // The same without a lock, and as early as an earlier timer that has been cancelled: for those who would rather wake once
    // in vain than be woken whenever a timer that is about to be cancelled is the earliest.
    [[nodiscard]] time_point not_before() const noexcept { return time_point(duration(next_.load(env::seq_cst))); }
    [[nodiscard]] bool empty() noexcept { return next() == time_point::max(); }

private:
    using ticks = std::uint64_t;  // since the clock's epoch; before it counts as it

    static constexpr unsigned digit_bits = 6, slots = 1U << digit_bits;
    static constexpr unsigned levels = (64 + digit_bits - 1) / digit_bits;
    static constexpr std::size_t moving = std::size_t{levels} * slots;  // the place of what is on its way down

    // The first slot in use. Only when there is one.
    struct place {
        unsigned level;
        unsigned slot;
        ticks begin;
    };
    [[nodiscard]] place first_in_use() const noexcept;

    void insert(timer& which) noexcept;
    void push(timer*& list, timer& which) noexcept;
    void unlink(timer& which) noexcept;
    bool fire_some(ticks now, bool& any) noexcept;
    void find_next() noexcept;

    env::mutex lock_;
    bool next_was_cancelled_ = false;                           // next_ may be too early
    std::uint32_t levels_in_use_ = 0;                           // a bit a level with timers
    env::atomic<duration::rep> next_{duration::max().count()};  // see invariant 3; max: none
    ticks current_ = 0;                                         // the time that the wheels stand at
    std::array<std::uint64_t, levels> in_use_{};                // a bit a slot with timers
    std::array<timer*, moving + 1> lists_{};                    // by level and slot; the last: `moving`
};

}  // namespace leat
