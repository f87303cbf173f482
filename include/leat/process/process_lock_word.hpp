// process_lock_word: the part of a process_mutex that lies in shared memory: which process holds it, and how many wait. It knows
// no descriptors, so that the interleaving explorer can drive it in one process.
//
// Invariants:
//  1. Who holds the lock is written in the lock itself, by the same step that takes it: there is no moment at which a process
//     could die and leave a lock behind of which nobody knows whose it is.
//  2. Who waits counts itself first and then looks at the owner; who unlocks clears the owner first and then looks at the count:
//     all sequentially consistent. So no call is lost, unless who should have made it died; waiters look again now and then.
#pragma once

#include <cstdint>

#include <leat/base/env.hpp>
#include <leat/process/ring_core.hpp>

namespace leat::detail {

class process_lock_word {
public:
    enum class waits : std::uint32_t { in_futex = 1, at_bell = 1U << 16U };

    // `me` holds it now, if nobody did.
    [[nodiscard]] bool take(std::uint64_t me) noexcept { return replace(0, me); }
    // `me` holds it now, if `dead` did: of several who find it dead, one inherits.
    [[nodiscard]] bool inherit(std::uint64_t dead, std::uint64_t me) noexcept { return replace(dead, me); }
    [[nodiscard]] std::uint64_t owner() const noexcept { return owner_.load(); }

    // By the owner. `ring_bell()` is called when a task of some process waits.
    template <class Bell>
    void give(Bell&& ring_bell) noexcept {
        owner_.store(0);
        call(ring_bell);
    }
    // Calls who waits; all of them, and who has lost waits again.
    template <class Bell>
    void call(Bell&& ring_bell) noexcept {
        const std::uint32_t waiting = waiting_.load();
        if (waiting % static_cast<std::uint32_t>(waits::at_bell) != 0) {
            calls_.fetch_add(1);
            shared_futex_wake(calls_);
        }
        if (waiting >= static_cast<std::uint32_t>(waits::at_bell)) ring_bell();
    }

    // By who waits: begin(), then in turns ticket(), take(), and sleep(ticket) or a wait for the bell; then end(). One that dies
    // meanwhile stays counted, which costs a call at each unlocking.
    void begin(waits how) noexcept { waiting_.fetch_add(static_cast<std::uint32_t>(how)); }
    void end(waits how) noexcept { waiting_.fetch_sub(static_cast<std::uint32_t>(how)); }
    [[nodiscard]] std::uint32_t ticket() const noexcept { return calls_.load(); }
    void sleep(std::uint32_t ticket, time_point deadline) const noexcept {
        (void)shared_futex_wait_until(calls_, ticket, deadline);
    }

private:
    bool replace(std::uint64_t before, std::uint64_t me) noexcept { return owner_.compare_exchange_strong(before, me); }

    alignas(64) env::atomic<std::uint64_t> owner_{0};  // the identity of the process; 0: nobody
    env::atomic<std::uint32_t> waiting_{0};            // processes that wait: of threads, and from bit 16 of tasks
    env::atomic<std::uint32_t> calls_{0};              // how often waiting threads were called
};

}  // namespace leat::detail
