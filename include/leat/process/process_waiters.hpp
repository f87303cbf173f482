// process_waiters: the part of a lock or signal between processes that says how many wait, and calls them. It lies in shared
// memory and knows no descriptors, so that the interleaving explorer can drive it in one process.
//
// Invariant: who waits counts itself first and then looks whether it may go on; who lets others go on changes first what they
// look at and then looks at the count: all sequentially consistent. So no call is lost, unless who should have made it died;
// waiters look again now and then.
#pragma once

#include <cstdint>

#include <leat/base/env.hpp>
#include <leat/process/ring_core.hpp>

namespace leat::detail {

class process_waiters {
public:
    enum class waits : std::uint32_t { in_futex = 1, at_bell = 1U << 16U };

    // Calls who waits; all of them, and who may not go on waits again. `ring_bell()` is called when a task of some process waits.
    template <class Bell>
    void call(Bell&& ring_bell) noexcept {
        const std::uint32_t waiting = waiting_.load();
        if (waiting % static_cast<std::uint32_t>(waits::at_bell) != 0) {
            calls_.fetch_add(1);
            shared_futex_wake(calls_);
        }
        if (waiting >= static_cast<std::uint32_t>(waits::at_bell)) ring_bell();
    }

    // By who waits: begin(), then in turns ticket(), a look, and sleep(ticket) or a wait for the bell; then end(). One that dies
    // meanwhile stays counted, which costs a call each time.
    void begin(waits how) noexcept { waiting_.fetch_add(static_cast<std::uint32_t>(how)); }
    void end(waits how) noexcept { waiting_.fetch_sub(static_cast<std::uint32_t>(how)); }
    [[nodiscard]] std::uint32_t ticket() const noexcept { return calls_.load(); }
    void sleep(std::uint32_t ticket, time_point deadline) const noexcept {
        (void)shared_futex_wait_until(calls_, ticket, deadline);
    }

private:
    env::atomic<std::uint32_t> waiting_{0};  // processes that wait: of threads, and from bit 16 of tasks
    env::atomic<std::uint32_t> calls_{0};    // how often waiting threads were called
};

}  // namespace leat::detail
