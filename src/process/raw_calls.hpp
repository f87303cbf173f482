// System calls for code that runs between clone and exec, or in a process cloned without exec: there, another thread may
// have held any lock of the C library or of a sanitizer, so nothing but the kernel may be relied on.
// Used by start_child and sentinel.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Keeps sanitizers out of a function: their runtime is not to be called there either.
#if defined(__clang__)
#    define LEAT_UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#else
#    define LEAT_UNINSTRUMENTED __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

namespace leat::raw {

constexpr std::size_t signal_set_bytes = 8;  // the kernel's, not the C library's sigset_t

// The kernel's set of signals; the C library's calls leave out two signals of its own.
struct signal_set {
    unsigned long long bits;
};

LEAT_UNINSTRUMENTED inline void set_signal_mask(signal_set mask, signal_set* before = nullptr) noexcept {
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, before, signal_set_bytes);
}

LEAT_UNINSTRUMENTED inline void reset_signal_actions() noexcept {
    constexpr int last_signal = 64;
    // The kernel's struct sigaction: all zero is SIG_DFL without flags on every architecture.
    const unsigned long long default_action[8] = {};
    for (int signal = 1; signal <= last_signal; ++signal)
        if (signal != SIGKILL && signal != SIGSTOP)
            ::syscall(SYS_rt_sigaction, signal, default_action, nullptr, signal_set_bytes);
}

// Installs a copy of `from` as `to`, open across exec. False, with errno, when that fails.
LEAT_UNINSTRUMENTED inline bool install_descriptor(int from, int to) noexcept {
    if (from == to) return ::syscall(SYS_fcntl, to, F_SETFD, 0) == 0;
    return ::syscall(SYS_dup3, from, to, 0) == to;
}

// Marks every descriptor from `first` on as close-on-exec, or closes it. False, with errno, when neither way works.
enum class descriptor_end { close_on_exec, close_now };
bool end_descriptors(int first, descriptor_end how) noexcept;
// The way of kernels before 5.11: reads /proc/self/fd. Apart for the tests.
bool end_descriptors_one_by_one(int first, descriptor_end how) noexcept;

// Landlock, which the headers of Debian 12 know in part only; the numbers are those of every architecture.
constexpr long landlock_create_ruleset = 444;
constexpr long landlock_add_rule = 445;
constexpr long landlock_restrict_self = 446;

// Whether refuse_sockets() is written for this architecture.
#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool has_socket_filter = true;
#else
constexpr bool has_socket_filter = false;
#endif
// From now on this thread and what it starts get no socket but local ones (AF_UNIX). Needs "no new privileges" before it.
// False, with errno, when that fails.
bool refuse_sockets() noexcept;

}  // namespace leat::raw
