// The futexes of ring_core.hpp: as those of the seam, but known by the memory and not by its address in one process.
#include <leat/process/ring_core.hpp>

#include <cerrno>
#include <chrono>
#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace leat::detail {

bool shared_futex_wait_until(const env::atomic<std::uint32_t>& word, std::uint32_t expected,
                             time_point deadline) noexcept {
    const bool is_limited = deadline != time_point::max();
    const auto since_boot = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
    if (since_boot <= 0) return false;
    const timespec until{static_cast<time_t>(since_boot / 1'000'000'000),
                         static_cast<long>(since_boot % 1'000'000'000)};
    return ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, is_limited ? &until : nullptr, nullptr,
                     FUTEX_BITSET_MATCH_ANY) == 0 ||
           errno != ETIMEDOUT;
}

void shared_futex_wake(const env::atomic<std::uint32_t>& word) noexcept {
    ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace leat::detail
