// process_lock_word: the part of a process_mutex that lies in shared memory: which process holds it, and how many wait. It knows
// no descriptors, so that the interleaving explorer can drive it in one process.
//
// Invariants:
//  1. Who holds the lock is written in the lock itself, by the same step that takes it: there is no moment at which a process
//     could die and leave a lock behind of which nobody knows whose it is.
//  2. Who waits for it does so as process_waiters says.
#pragma once

#include <leat/process/process_waiters.hpp>

namespace leat::detail {

class process_lock_word : public process_waiters {
public:
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

private:
    bool replace(std::uint64_t before, std::uint64_t me) noexcept { return owner_.compare_exchange_strong(before, me); }

    alignas(64) env::atomic<std::uint64_t> owner_{0};  // the identity of the process; 0: nobody
};

}  // namespace leat::detail
