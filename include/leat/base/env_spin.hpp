// For threads that wait for others which run now: a lock, how long they look on before they sleep, and what to keep apart.
// Part of the seam: env.hpp.
#pragma once

#include <cstddef>

#include <leat/base/env.hpp>

namespace leat::env {

#if defined(LEAT_EXPLORE)

using busy_mutex = mutex;             // differs in what it costs alone
inline constexpr int spin_bound = 1;  // each is a step
// Not more than what every allocation gives: others would lie in another order in each schedule.
inline constexpr std::size_t cache_line = alignof(std::max_align_t);

#else

// How many pauses, of 10 to 45 ns each, it pays to wait for what a running thread may do, before one sleeps: some ten
// microseconds, about what it costs to sleep and be woken.
inline constexpr int spin_bound = 512;

// What moves between cores at once.
inline constexpr std::size_t cache_line = 64;

// A lock as env::mutex is one, for what several cores use all the time, such as a channel between them.
//
// It is unfair on purpose. Where two cores want it in turn, all that it protects moves between their caches each time, which
// costs ten times what is done under it; so who finds it held stays away for a while, in which the owner comes back many
// times, and who gets it then has a run of its own. Unlocking is a plain store and wakes nobody: who has waited in vain for a
// few microseconds (its owner does not run) sleeps for a short time, which ends by itself, and looks again.
class busy_mutex {
public:
    busy_mutex() = default;
    busy_mutex(const busy_mutex&) = delete;
    busy_mutex& operator=(const busy_mutex&) = delete;

    void lock() noexcept {
        // acquire pairs with the release in unlock(): the next owner sees what the last one wrote.
        if (state_.exchange(1, acquire) != 0) [[unlikely]]
            lock_slow();
    }
    [[nodiscard]] bool try_lock() noexcept { return state_.exchange(1, acquire) == 0; }
    // Touches the lock no more once it is free: the next owner may end what it is part of.
    void unlock() noexcept { state_.store(0, release); }

private:
    void lock_slow() noexcept;
    atomic<std::uint32_t> state_{0};  // 0: free; 1: held
};

#endif

}  // namespace leat::env
