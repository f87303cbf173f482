#include <leat/base/env_spin.hpp>

#if !defined(LEAT_EXPLORE)

#    include <algorithm>

namespace leat::env {

namespace {

// In pauses of some 10 to 45 ns, between two looks: the first is time for some ten to twenty short critical sections of the
// owner's. All looks together last a few microseconds; on one CPU, where the owner cannot go on meanwhile, that is all that
// is lost.
constexpr int first_absence = 8, longest_absence = 32, longest_wait = 160;
// Then the owner does not run, or others are as many as it takes to miss each free moment.
constexpr auto first_sleep = std::chrono::microseconds(50), longest_sleep = std::chrono::microseconds(400);

}  // namespace

void busy_mutex::lock_slow() noexcept {
    for (duration sleep = first_sleep;; sleep = std::min<duration>(2 * sleep, longest_sleep)) {
        int waited = 0;
        for (int absence = first_absence; waited < longest_wait; absence = std::min(2 * absence, longest_absence)) {
            for (int i = 0; i < absence; ++i) pause();
            waited += absence;
            // relaxed: only a hint, which leaves the owner its cache line; try_lock() brings the acquire.
            if (state_.load(relaxed) == 0 && try_lock()) return;
        }
        // Returns at once when it has become free; what it says about time and wake-ups is of no interest.
        (void)futex_wait_until(state_, 1, now() + sleep);
    }
}

}  // namespace leat::env

#endif
