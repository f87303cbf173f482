// One table, two processes: this one sets and clears bits, the sentinel reads them once this one is dead.
#include "sentinel.hpp"

#include <leat/base/env.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <utility>

#include "raw_calls.hpp"

namespace leat {

namespace {

constexpr std::size_t most_pids = std::size_t{1} << 22;  // the kernel's PID_MAX_LIMIT
constexpr std::size_t word_bits = 64;
constexpr std::size_t word_count = most_pids / word_bits;
constexpr std::size_t table_bytes = word_count * sizeof(std::uint64_t);  // touched where there are bits, and at the end

// The bit of an id, as a mask for its word.
constexpr std::uint64_t bit_of(pid_t group) noexcept {
    return std::uint64_t{1} << (static_cast<std::size_t>(group) % word_bits);
}

// Reads without the atomic type: sanitizers instrument that one. Nobody else is left to race with, save a child that is
// about to exec, and it is waited for.
LEAT_UNINSTRUMENTED void kill_groups(const std::uint64_t* groups) noexcept {
    for (std::size_t at = 0; at < word_count; ++at) {
        const std::uint64_t bits = *const_cast<const volatile std::uint64_t*>(groups + at);
        for (std::size_t bit = 0; bits != 0 && bit < word_bits; ++bit)
            if ((bits >> bit & 1) != 0) {
                const long leader = static_cast<long>(at * word_bits + bit);
                ::syscall(SYS_kill, -leader, SIGKILL);
                ::syscall(SYS_kill, leader, SIGKILL);  // it may have joined another group
            }
    }
}

// True when something happened on `fd` within the time.
LEAT_UNINSTRUMENTED bool wait_for(int fd, int timeout_ms) noexcept {
    pollfd one{fd, POLLIN, 0};
    timespec timeout{timeout_ms / 1000, 0};
    return ::syscall(SYS_ppoll, &one, 1, timeout_ms < 0 ? nullptr : &timeout, nullptr, raw::signal_set_bytes) > 0;
}

// The whole life of the sentinel's process.
[[noreturn]] LEAT_UNINSTRUMENTED void stand_guard(int pipe, int guarded, const std::uint64_t* groups) noexcept {
    ::syscall(SYS_setsid);
    ::syscall(SYS_chdir, "/");  // keeps no file system busy
    ::syscall(SYS_prctl, PR_SET_NAME, "leat-sentinel", 0, 0, 0);
    // Both above what they are moved to, so that neither is overwritten on the way.
    pipe = static_cast<int>(::syscall(SYS_fcntl, pipe, F_DUPFD, 2));
    guarded = static_cast<int>(::syscall(SYS_fcntl, guarded, F_DUPFD, 2));
    raw::install_descriptor(pipe, 0);
    raw::install_descriptor(guarded, 1);
    raw::end_descriptors(2, raw::descriptor_end::close_now);

    while (!wait_for(1, -1)) {
    }
    kill_groups(groups);
    // Usually at end of file already. A fork of the guarded process that never execs keeps the pipe open: hence the limit.
    constexpr int longest_exec_ms = 1000;
    wait_for(0, longest_exec_ms);
    kill_groups(groups);
    while (true) ::syscall(SYS_exit_group, 0);
}

// As fork(), but ends without a signal, so that nobody who waits for any child meets the sentinel.
LEAT_UNINSTRUMENTED pid_t clone_quietly() noexcept { return static_cast<pid_t>(::syscall(SYS_clone, 0, 0, 0, 0, 0)); }

struct start_slot {
    env::mutex lock;
    sentinel* current = nullptr;
    bool ends_at_exit = false;
};

start_slot& slot() noexcept {
    static start_slot only;
    return only;
}

}  // namespace

sentinel::word& sentinel::word_of(pid_t group) const noexcept {
    return groups_[static_cast<std::size_t>(group) % most_pids / word_bits];
}

LEAT_UNINSTRUMENTED void sentinel::watch(pid_t group) noexcept { word_of(group).fetch_or(bit_of(group)); }
void sentinel::forget(pid_t group) noexcept { word_of(group).fetch_and(~bit_of(group)); }
bool sentinel::watches(pid_t group) const noexcept { return (word_of(group).load() & bit_of(group)) != 0; }

expected<sentinel*, int> sentinel::of_this_process() noexcept {
    env::lock_guard held(slot().lock);
    sentinel*& current = slot().current;
    if (current != nullptr && current->owner_ == ::getpid() && !current->ended_) return current;
    auto started = start();
    if (!started) return started;
    (*started)->before_ = std::exchange(current, *started);
    if (!std::exchange(slot().ends_at_exit, true)) std::atexit(end_at_exit);
    return current;
}

expected<sentinel*, int> sentinel::start() noexcept {
    auto* const made = new (std::nothrow) sentinel;
    int ends[2] = {-1, -1};
    int self = -1;
    void* const table = ::mmap(nullptr, table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (made != nullptr && table != MAP_FAILED && ::pipe2(ends, O_CLOEXEC) == 0 &&
        (self = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))) >= 0) {
        made->groups_ = static_cast<word*>(table);
        made->owner_ = ::getpid();
        raw::signal_set before{};
        raw::set_signal_mask({~0ull}, &before);
        made->pid_ = clone_quietly();
        if (made->pid_ == 0) stand_guard(ends[0], self, static_cast<const std::uint64_t*>(table));
        const int error = errno;
        raw::set_signal_mask(before);
        errno = error;
    }
    const int error = made == nullptr ? ENOMEM : errno;
    ::close(self);
    ::close(ends[0]);
    if (made != nullptr && made->pid_ > 0) {
        made->pipe_ = ends[1];
        return made;
    }
    ::close(ends[1]);
    if (table != MAP_FAILED) ::munmap(table, table_bytes);
    delete made;
    return unexpected(error);
}

// A process that ends in order needs no sentinel, and where it is the init of a container nobody would reap one.
void sentinel::end_at_exit() noexcept {
    env::lock_guard held(slot().lock);
    sentinel* const current = slot().current;
    if (current == nullptr || current->owner_ != ::getpid() || std::exchange(current->ended_, true)) return;
    kill_groups(reinterpret_cast<const std::uint64_t*>(current->groups_));
    ::kill(current->pid_, SIGKILL);
    while (::waitpid(current->pid_, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    ::close(current->pipe_);
}

}  // namespace leat
