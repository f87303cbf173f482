// child_process: a running child, made by spawn() (spawn.hpp). It owns the child: destroyed while the child runs, it kills
// the child with its group and waits for the end, so that no process and no zombie outlives its object.
//
// The child leads a process group of its own, whose id is the pid of the child. Processes that the child starts are in the
// group too unless they leave it on purpose; signal_group() reaches them all, even those that outlive the child, until the
// child has been waited for.
//
// Invariants:
//  1. From spawn to the wait that succeeds, the pid is the child or its zombie and never another process.
//  2. The sentinel knows the group exactly while 1 holds, and kills it when this process dies without clean-up.
// Both rest on nobody else in the process reaping the child: SIGCHLD must not be ignored and wait() for any child not be
// called. Where that is broken, the outcome is exit_status::lost and nobody is signalled any more.
//
// Not thread-safe: one caller at a time for one object. pidfd() may be polled by anyone.
#pragma once

#include <leat/process/exit_status.hpp>
#include <leat/process/sandbox.hpp>

#include <optional>
#include <sys/types.h>
#include <utility>

namespace leat {

class sentinel;

class child_process {
public:
    // Of no process: pid() is 0, waiting on it is a bug.
    child_process() noexcept = default;
    child_process(child_process&& other) noexcept { swap(other); }
    child_process& operator=(child_process&& other) noexcept {
        child_process(std::move(other)).swap(*this);
        return *this;
    }
    // Kills the group with SIGKILL when the child has not been waited for, and waits for the child: a blocking call, brief
    // unless the child sits in the kernel (a dead network disk). In a fork of the process that spawned, it only forgets.
    ~child_process();

    // The pid, also after the end; 0 for an empty or moved-from object.
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    // Readable (POLLIN) once the child has ended. Close-on-exec; owned by this object and open as long as it lives.
    [[nodiscard]] int pidfd() const noexcept { return pidfd_; }
    // Whether the child has not been waited for yet.
    [[nodiscard]] bool unreaped() const noexcept { return pid_ != 0 && !status_; }

    // What is in force of the sandbox and the limits that it was started with.
    [[nodiscard]] sandbox_report sandboxed() const noexcept { return sandboxed_; }

    // Sends `signal` to every process of the group, and to the child if it has joined another one. False when the child has been waited for, or was reaped by others:
    // the group may then be someone else's, so nothing is sent. To end what a finished child left running, call this
    // after pidfd() is readable and before try_wait().
    bool signal_group(int signal) noexcept;

    // The outcome if the child has ended, without waiting. Once there is one, each later call returns the same.
    [[nodiscard]] std::optional<exit_status> try_wait() noexcept;
    // Blocks the calling thread until the child has ended.
    exit_status wait() noexcept;

private:
    friend struct child_process_maker;
    child_process(pid_t pid, int pidfd, sentinel& watcher, sandbox_report sandboxed) noexcept
        : pid_(pid), pidfd_(pidfd), watcher_(&watcher), sandboxed_(sandboxed) {}
    void swap(child_process& other) noexcept;
    std::optional<exit_status> reap(int flags) noexcept;

    pid_t pid_ = 0;
    int pidfd_ = -1;
    sentinel* watcher_ = nullptr;
    sandbox_report sandboxed_;
    std::optional<exit_status> status_;
};

}  // namespace leat
