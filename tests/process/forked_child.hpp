// For tests of what processes share: a fork of this one that runs a function and ends; made while no other thread runs.
#pragma once

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <leat/process/shared_memory.hpp>

namespace leat_test {

// What was made of shared memory; throws why it was not.
template <class T>
T made(leat::expected<T, leat::shared_error> what) {
    if (!what) throw std::runtime_error(what.error().message);
    return std::move(*what);
}

class forked_child {
public:
    // body() gives the exit code.
    template <class Body>
    explicit forked_child(Body body) : pid_(::fork()) {
        if (pid_ < 0) std::abort();
        if (pid_ != 0) return;
        int code = 99;
        try {
            code = body();
        } catch (...) {
            code = 98;
        }
        ::_exit(code);
    }
    forked_child(const forked_child&) = delete;
    forked_child& operator=(const forked_child&) = delete;
    ~forked_child() {
        kill();
        (void)wait();
    }
    void kill() const {
        if (pid_ > 0) ::kill(pid_, SIGKILL);
    }
    // The exit code; minus the signal.
    int wait() {
        if (pid_ <= 0) return ended_;
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = 0;
        return ended_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

private:
    pid_t pid_;
    int ended_ = 0;
};

}  // namespace leat_test
