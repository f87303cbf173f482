// sentinel: a tiny process that outlives this one for a moment, to kill the children that it left behind when it died
// without clean-up (SIGKILL, a crash, _exit). Used by spawn and child_process; started once, at the first spawn.
//
// It learns what to kill from memory that both processes share: a bit for each process id. The child itself sets the bit of
// its group before exec, and the bit is cleared before the child is reaped. So there are no messages, and no wake-ups.
//
// Invariants:
//  1. A set bit is the group of a child that runs or is a zombie: the id cannot belong to a stranger.
//  2. Between clone and exec a child holds the write end of the sentinel's pipe, as this process does: end of file on it
//     means that no child is left that may still set its bit.
//  3. The sentinel holds no descriptor but the pipe's read end and a pidfd of this process, and lives in a session of its
//     own with all signals blocked: it neither keeps anyone's pipe open nor dies from a Ctrl-C at the terminal.
//
// The sentinel is a fork without exec, so it shares pages with this process, copied as this process writes to them: the
// earlier it starts, the less it holds.
#pragma once

#include <leat/base/expected.hpp>

#include <atomic>
#include <cstdint>
#include <sys/types.h>

namespace leat {

class sentinel {
public:
    // The sentinel of this process, started if there is none yet; or errno. Never destroyed, so children may refer to it
    // until the process is gone. A fork of this process starts one of its own. Any thread.
    static expected<sentinel*, int> of_this_process() noexcept;

    // The group dies with this process from now on. Async-signal-safe, for the child itself, before exec.
    void watch(pid_t group) noexcept;
    // To be called while `group` is still unreaped.
    void forget(pid_t group) noexcept;
    [[nodiscard]] bool watches(pid_t group) const noexcept;

    // The process that started it, and the sentinel's own process.
    [[nodiscard]] pid_t owner() const noexcept { return owner_; }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

private:
    // One bit for each process id. 0: not ours; 1: the group of an unreaped child.
    using word = std::atomic<std::uint64_t>;

    sentinel() = default;
    ~sentinel() = default;
    static expected<sentinel*, int> start() noexcept;
    static void end_at_exit() noexcept;
    word& word_of(pid_t group) const noexcept;

    word* groups_ = nullptr;  // shared with the sentinel's process, never unmapped
    int pipe_ = -1;           // the write end, never written to
    pid_t owner_ = 0;
    pid_t pid_ = 0;
    bool ended_ = false;          // at the exit of the program
    sentinel* before_ = nullptr;  // keeps an older one reachable for leak checkers
};

}  // namespace leat
