// The child shares the memory of this process until exec, on a stack of its own, while the calling thread waits: no page
// table is copied, and the child reports a failure by writing it where the parent reads. In return the child may do nothing
// but system calls: its memory is that of a running, multi-threaded program.
#include "start_child.hpp"

#include <leat/base/env.hpp>

#include <algorithm>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "raw_calls.hpp"
#include "sentinel.hpp"

// ThreadSanitizer puts itself before clone() and takes every clone for a fork with memory of its own. This is the same
// function under the C library's other name for it.
#if defined(__has_feature)
#    if __has_feature(thread_sanitizer)
#        define LEAT_CLONE_ALIAS __asm__("__clone")
#    endif
#endif
#if !defined(LEAT_CLONE_ALIAS)
#    define LEAT_CLONE_ALIAS __asm__("clone")
#endif
extern "C" int leat_clone(int (*body)(void*), void* stack, int flags, void* argument, ...) LEAT_CLONE_ALIAS;

namespace leat {

namespace {

// What parent and child share. Written by the child before exec only, read by the parent after.
struct launch {
    const child_plan& plan;
    sentinel& watcher;
    start_failure failure{start_step::exec, 0, 0};
};

LEAT_UNINSTRUMENTED bool failed(launch& launched, start_step step, int subject) noexcept {
    launched.failure.step = step;
    launched.failure.error = errno;
    launched.failure.subject = subject;
    return false;
}

// Only what was meant to be inherited is: a descriptor of ours that happens to have a standard number is close-on-exec.
LEAT_UNINSTRUMENTED bool open_across_exec(int fd) noexcept {
    const long flags = ::syscall(SYS_fcntl, fd, F_GETFD);
    return flags >= 0 && (flags & FD_CLOEXEC) == 0;
}

LEAT_UNINSTRUMENTED bool is_target(const launch& launched, int fd,
                                   const descriptor_mapping* except = nullptr) noexcept {
    const descriptor_mapping* const first = launched.plan.descriptors.data();
    for (auto* one = first; one != first + launched.plan.descriptors.size(); ++one)
        if (one != except && one->to == fd) return true;
    return false;
}

// A copy of `fd` that no mapping overwrites; -1 with errno.
LEAT_UNINSTRUMENTED int moved_aside(const launch& launched, int fd) noexcept {
    int copy = 2;
    do copy = static_cast<int>(::syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, copy + 1));
    while (copy >= 0 && is_target(launched, copy));
    return copy;
}

LEAT_UNINSTRUMENTED bool set_descriptors(launch& launched) noexcept {
    descriptor_mapping* const first = launched.plan.descriptors.data();
    descriptor_mapping* const last = first + launched.plan.descriptors.size();
    int devnull = -1;
    for (auto* one = first; one != last; ++one) {
        if (one->from == descriptor_mapping::kept)
            one->from = open_across_exec(one->to) ? one->to : descriptor_mapping::devnull;
        if (one->from != descriptor_mapping::devnull) continue;
        if (devnull < 0) devnull = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC));
        if (devnull < 0) return failed(launched, start_step::devnull, one->to);
        one->from = devnull;
    }
    for (auto* one = first; one != last; ++one) {
        if (!is_target(launched, one->from, one)) continue;
        const int source = one->from;
        one->from = moved_aside(launched, source);
        if (one->from < 0) return failed(launched, start_step::descriptor, source);
    }
    if (!raw::end_descriptors(3, raw::descriptor_end::close_on_exec))
        return failed(launched, start_step::close_others, 0);
    for (auto* one = first; one != last; ++one)
        if (!raw::install_descriptor(one->from, one->to)) return failed(launched, start_step::descriptor, one->from);
    return true;
}

// Never above what is in force: a limit can be made tighter without any right.
LEAT_UNINSTRUMENTED bool set_limits(launch& launched) noexcept {
    for (std::size_t at = 0; at != launched.plan.limits.size(); ++at) {
        const limit_setting& wanted = launched.plan.limits.data()[at];
        struct kernel_limit {
            std::uint64_t soft;
            std::uint64_t hard;
        } limit{};
        if (::syscall(SYS_prlimit64, 0, wanted.resource, nullptr, &limit) != 0)
            return failed(launched, start_step::limit, wanted.resource);
        if (wanted.hard < limit.hard) limit.hard = wanted.hard;
        if (wanted.soft < limit.soft) limit.soft = wanted.soft;
        if (limit.hard < limit.soft) limit.soft = limit.hard;
        if (::syscall(SYS_prlimit64, 0, wanted.resource, &limit, nullptr) != 0)
            return failed(launched, start_step::limit, wanted.resource);
    }
    return true;
}

LEAT_UNINSTRUMENTED bool enter_sandbox(launch& launched) noexcept {
    const sandbox_setting& sandbox = launched.plan.sandbox;
    if (!sandbox.wanted) return true;
    if (::syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed(launched, start_step::sandbox, 0);
    if (sandbox.ruleset >= 0 && ::syscall(raw::landlock_restrict_self, sandbox.ruleset, 0) != 0)
        return failed(launched, start_step::sandbox, 1);
    if (sandbox.socket_filter && !raw::refuse_sockets()) return failed(launched, start_step::sandbox, 2);
    return true;
}

LEAT_UNINSTRUMENTED bool become_program(launch& launched) noexcept {
    const child_plan& plan = launched.plan;
    ::syscall(SYS_setpgid, 0, 0);
    launched.watcher.watch(static_cast<pid_t>(::syscall(SYS_getpid)));
    // Before the mask opens: a handler of the parent must not run here.
    raw::reset_signal_actions();
    if (!set_descriptors(launched)) return false;
    if (plan.directory != nullptr && ::syscall(SYS_chdir, plan.directory) != 0)
        return failed(launched, start_step::directory, 0);
    if (!set_limits(launched)) return false;
    if (!enter_sandbox(launched)) return false;
    raw::set_signal_mask({0});
    ::syscall(SYS_execve, plan.program, plan.argv, plan.envp);
    return failed(launched, start_step::exec, 0);
}

LEAT_UNINSTRUMENTED int child_main(void* argument) noexcept {
    become_program(*static_cast<launch*>(argument));
    constexpr int never_seen = 127;
    while (true) ::syscall(SYS_exit_group, never_seen);
}

// A stack for one child until exec. The last ones are kept: making one costs the kernel a page to clear, and giving one back
// makes it interrupt the other processors.
class launch_stack {
public:
    launch_stack() noexcept {
        for (auto& each : kept)
            if (each.load(env::relaxed) != nullptr && (base_ = each.exchange(nullptr, env::acquire)) != nullptr) return;
        void* const fresh = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (fresh != MAP_FAILED) base_ = static_cast<char*>(fresh);
    }
    launch_stack(const launch_stack&) = delete;
    launch_stack& operator=(const launch_stack&) = delete;
    ~launch_stack() {
        for (auto& each : kept) {
            char* none = nullptr;
            // release: who takes it has its memory after us.
            if (base_ == nullptr || each.compare_exchange_strong(none, base_, env::release, env::relaxed)) return;
        }
        ::munmap(base_, bytes);
    }
    [[nodiscard]] explicit operator bool() const noexcept { return base_ != nullptr; }
    [[nodiscard]] void* top() const noexcept { return base_ + bytes; }

private:
    static constexpr std::size_t bytes = 64 * 1024;  // the child calls three functions deep
    static constexpr std::size_t most_kept = 4;
    static inline env::atomic<char*> kept[most_kept]{};  // each: nothing, or one that nobody uses

    char* base_ = nullptr;
};

}  // namespace

expected<started_child, start_failure> start_child(const child_plan& plan, sentinel& watcher) noexcept {
    const launch_stack stack;
    if (!stack) return unexpected(start_failure{start_step::clone, errno, 0});

    launch launched{plan, watcher};
    int pidfd = -1;
    raw::signal_set before{};
    raw::set_signal_mask({~0ull}, &before);
    const pid_t pid =
        leat_clone(child_main, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &launched, &pidfd);
    const int clone_error = errno;
    raw::set_signal_mask(before);

    if (pid < 0) return unexpected(start_failure{start_step::clone, clone_error, 0});
    if (launched.failure.error == 0) return started_child{pid, pidfd};
    watcher.forget(pid);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    ::close(pidfd);
    return unexpected(launched.failure);
}

}  // namespace leat
