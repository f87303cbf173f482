#include <leat/runtime/parker.hpp>

#include <algorithm>

namespace leat {

// All orders here are acq_rel or the half of it: the sleeper sees what was written before the unpark that woke it.

// About as long as a sleep and a wake-up take where that has paid, else a sixteenth of it (competitive spinning: Karlin, Li,
// Manasse and Owicki, SOSP 1991).
bool parker::hears_soon() noexcept {
    for (int i = 0; i < patience_; ++i) {
        if (state_.load(env::acquire) == notified) {
            state_.exchange(awake, env::acq_rel);                             // as in park()
            if (i > 0) patience_ = std::min(2 * patience_, env::spin_bound);  // else it was for what is done already
            return true;
        }
        env::pause();
    }
    patience_ = std::max(patience_ / 2, (env::spin_bound + 15) / 16);
    return false;
}

void parker::park(time_point deadline) noexcept {
    std::uint32_t expected = awake;
    if (!state_.compare_exchange_strong(expected, on_futex, env::acq_rel, env::acquire)) {
        state_.exchange(awake, env::acq_rel);  // notified: consumes it, and sees all that came before a second one too
        return;
    }
    while (state_.load(env::acquire) == on_futex) {
        if (deadline == time_point::max()) env::futex_wait(state_, on_futex);
        else if (!env::futex_wait_until(state_, on_futex, deadline)) break;
    }
    state_.exchange(awake, env::acq_rel);
}

void parker::park_in(poller& events, time_point deadline) noexcept {
    if (events_ != &events) events_ = &events;  // once: an unpark that was overtaken may still read it
    std::uint32_t expected = awake;
    // release: unpark() that sees in_poller sees events_.
    if (state_.compare_exchange_strong(expected, in_poller, env::acq_rel, env::acquire)) events.wait(deadline);
    state_.exchange(awake, env::acq_rel);
}

void parker::unpark() noexcept {
    switch (state_.exchange(notified, env::acq_rel)) {
        case on_futex:
            env::futex_wake(state_, 1);
            break;
        case in_poller:
            events_->interrupt();
            break;
        default:
            break;
    }
}

}  // namespace leat
