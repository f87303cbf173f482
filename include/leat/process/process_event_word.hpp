// process_event_word: the part of a process_event that lies in shared memory. It knows no descriptors, so that the interleaving
// explorer can drive it in one process.
//
// Invariant: each set() that changes something counts. So who began to wait before it goes on, also when a reset() came between
// the set() and his look.
#pragma once

#include <leat/process/process_waiters.hpp>

namespace leat::detail {

class process_event_word : public process_waiters {
public:
    // `ring_bell()` is called when a task of some process waits.
    template <class Bell>
    void set(Bell&& ring_bell) noexcept {
        std::uint64_t seen = word_.load();
        while ((seen & bit_set) == 0 && !word_.compare_exchange_weak(seen, (seen + one_time) | bit_set)) {
        }
        // Also where it was set: who did that may have died before it called.
        call(ring_bell);
    }
    void reset() noexcept { word_.fetch_and(~bit_set); }

    // What a wait begins with.
    [[nodiscard]] std::uint64_t now() const noexcept { return word_.load(); }
    // Whether it has been set since then, or is.
    [[nodiscard]] bool has_come(std::uint64_t since) const noexcept {
        const std::uint64_t seen = word_.load();
        return (seen & bit_set) != 0 || seen / one_time != since / one_time;
    }

    static constexpr std::uint64_t bit_set = 1;

private:
    static constexpr std::uint64_t one_time = 2;
    env::atomic<std::uint64_t> word_{0};  // bit 0: it is set; from bit 1: how often it was set
};

}  // namespace leat::detail
