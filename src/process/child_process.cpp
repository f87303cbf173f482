// The end of a child: seen first, then forgotten by the sentinel, then reaped, in this order (invariants 1 and 2).
#include <leat/base/bug.hpp>
#include <leat/process/child_process.hpp>

#include <cerrno>
#include <csignal>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sentinel.hpp"

namespace leat {

namespace {

constexpr auto by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, which the C library of Debian 11 does not name

// waitid with the usage, which only the system call itself gives. 0, or errno.
int wait_id(int pidfd, int flags, siginfo_t& info, rusage* usage = nullptr) noexcept {
    info.si_pid = 0;
    while (::syscall(SYS_waitid, by_pidfd, pidfd, &info, flags, usage) != 0)
        if (errno != EINTR) return errno;
    return 0;
}

resource_usage usage_of(const rusage& from) noexcept {
    const auto time = [](const timeval& value) {
        return std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
    };
    resource_usage usage;
    usage.user_time = time(from.ru_utime);
    usage.system_time = time(from.ru_stime);
    usage.max_rss_bytes = static_cast<std::uint64_t>(from.ru_maxrss) * 1024;
    return usage;
}

exit_status status_of(const siginfo_t& info, const rusage& usage) noexcept {
    if (info.si_code == CLD_EXITED) return exit_status::exited(info.si_status, usage_of(usage));
    return exit_status::signalled(info.si_status, info.si_code == CLD_DUMPED, usage_of(usage));
}

}  // namespace

void child_process::swap(child_process& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    std::swap(watcher_, other.watcher_);
    std::swap(sandboxed_, other.sandboxed_);
    std::swap(status_, other.status_);
}

child_process::~child_process() {
    if (unreaped() && watcher_->owner() == ::getpid()) {
        signal_group(SIGKILL);
        wait();
    }
    if (pidfd_ >= 0) ::close(pidfd_);
}

bool child_process::signal_group(int signal) noexcept {
    if (!unreaped()) return false;
    siginfo_t info;
    if (wait_id(pidfd_, WEXITED | WNOHANG | WNOWAIT, info) != 0) return false;  // reaped by others
    const bool group_reached = ::kill(-pid_, signal) == 0;
    if (::getpgid(pid_) == pid_) return group_reached;
    return ::kill(pid_, signal) == 0 || group_reached;  // it has joined another group
}

std::optional<exit_status> child_process::try_wait() noexcept {
    if (!status_) status_ = reap(WNOHANG);
    return status_;
}

exit_status child_process::wait() noexcept {
    if (!status_) status_ = reap(0);
    return *status_;
}

std::optional<exit_status> child_process::reap(int flags) noexcept {
    if (pid_ == 0) bug("a child_process without a process was waited for");
    siginfo_t info;
    rusage usage{};
    const int error = wait_id(pidfd_, WEXITED | WNOWAIT | flags, info);
    if (error == 0 && info.si_pid == 0) return std::nullopt;  // runs
    watcher_->forget(pid_);
    if (error != 0 || wait_id(pidfd_, WEXITED | WNOHANG, info, &usage) != 0 || info.si_pid == 0)
        return exit_status::lost();
    return status_of(info, usage);
}

}  // namespace leat
