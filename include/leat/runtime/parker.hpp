// parker: where one worker sleeps, on a futex or inside the poller, and how it is woken without a lost wake-up.
//
// Invariant: unpark() before park() makes the next park() return at once; several unparks count as one.
#pragma once

#include <leat/base/env_spin.hpp>
#include <leat/task/executor.hpp>

namespace leat {

class parker {
public:
    // Whether an unpark() is due, or comes within a few microseconds; then it counts as heard. Before a park() of an owner who is
    // often woken at once by a thread that runs: costs less than to sleep and be woken. Only the owner.
    [[nodiscard]] bool hears_soon() noexcept;
    // Sleeps until unpark() or `deadline`. Only the owner.
    void park(time_point deadline = time_point::max()) noexcept;
    // Sleeps inside `events`, always the same. Only the owner, and only while it alone may wait there.
    void park_in(poller& events, time_point deadline) noexcept;
    // Any thread.
    void unpark() noexcept;

private:
    // 0: awake, nothing is due; 1: sleeps on this word; 2: sleeps in the poller; 3: an unpark is due.
    static constexpr std::uint32_t awake = 0, on_futex = 1, in_poller = 2, notified = 3;
    env::atomic<std::uint32_t> state_{awake};
    poller* events_ = nullptr;        // written before in_poller is published
    int patience_ = env::spin_bound;  // the owner's: how many pauses it listens for
};

}  // namespace leat
