// descriptor: waits until a file descriptor is ready. For pipes, pidfds, eventfds and whatever else epoll takes; a regular
// file counts as always ready.
//
//   leat::io::descriptor exit(child.pidfd());
//   if (co_await exit.readable(deadline) == leat::context::wake::timed_out) …
#pragma once

#include <system_error>

#include <leat/io/foreign_wait.hpp>

namespace leat::io {

class descriptor {
    struct state;

public:
    // Does not own `fd`, which stays open as long as this, and which must be non-blocking or not care: Asio makes it so.
    explicit descriptor(int fd) noexcept;
    descriptor(descriptor&& other) noexcept;
    descriptor& operator=(descriptor&& other) noexcept;
    // Before the executor on which it was waited for ends; not during a wait.
    ~descriptor();

    [[nodiscard]] int fd() const noexcept { return fd_; }

    class ready_wait;
    enum class direction : bool { read, write };
    // What readable() and writable() give: a description that can be moved; the awaiter is made in the awaiting frame.
    struct ready_operation {
        ready_operation(descriptor& which, direction where_to, time_point until, bool ignores_stop) noexcept
            : on(which), way(where_to), deadline(until), deaf(ignores_stop) {}
        ready_wait operator co_await() const noexcept;
        descriptor& on;
        direction way;
        time_point deadline;
        bool deaf;
    };

    // Waits until reading (writing) would not block, the end of file and errors included. Gives how the wait ended: ready,
    // timed_out at `deadline`, cancelled by a stop request (it throws no leat::cancelled). Resumes on the awaiting task's
    // executor, always the same one for one descriptor. Throws std::system_error when the system cannot watch `fd`.
    // One wait at a time.
    [[nodiscard]] ready_operation readable(time_point deadline = time_point::max()) noexcept {
        return {*this, direction::read, deadline, false};
    }
    [[nodiscard]] ready_operation writable(time_point deadline = time_point::max()) noexcept {
        return {*this, direction::write, deadline, false};
    }
    // The same without regard to stop requests: for clean-up.
    [[nodiscard]] ready_operation readable_deaf(time_point deadline = time_point::max()) noexcept {
        return {*this, direction::read, deadline, true};
    }

private:
    bool watched_by(service& by, std::error_code& error);

    int fd_;
    std::unique_ptr<state> state_;  // null until the first wait
};

class descriptor::ready_wait : private foreign_wait {
public:
    explicit ready_wait(const ready_operation& from) noexcept;
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) {
        return suspend(self.promise().leat_context(), self);
    }
    leat::context::wake await_resume();

private:
    struct handler;
    struct memory;
    bool suspend(leat::context& line, std::coroutine_handle<> at);

    ready_operation what_;
    bool waited_ = false;
    bool aborted_ = false;
    std::error_code error_;
    bool memory_taken_ = false;
    alignas(16) unsigned char memory_[160];  // for the operation of Asio: see handler
};

inline descriptor::ready_wait descriptor::ready_operation::operator co_await() const noexcept {
    return ready_wait(*this);
}

}  // namespace leat::io
