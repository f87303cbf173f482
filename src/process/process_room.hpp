// process_room: how this process waits at a process_waiters in shared memory. One task or thread of it waits there, on behalf
// of those who wait for `within`: so these are served in order of arrival. Used by the locks, signals and queues between
// processes.
//
// Who waits looks again every 50 ms by itself: for a process that died with what is waited for, or before it could call.
#pragma once

#include <algorithm>
#include <chrono>

#include <leat/io/descriptor.hpp>
#include <leat/process/process_waiters.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/task.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/thread_line.hpp>

#include "bell.hpp"

namespace leat {

// What is passed on of a lock or a signal, in this order: its memory, and the bell at which tasks wait.
struct room_parts {
    [[nodiscard]] static expected<room_parts, shared_error> make(std::size_t bytes);
    // Takes the descriptors `first` and `first` + 1, also when it fails. `least`: bytes that must be there.
    [[nodiscard]] static expected<room_parts, shared_error> attach(int first, std::size_t least);

    shared_memory memory;
    io::unique_fd bell;
};

class process_room {
    using waits = detail::process_waiters::waits;

public:
    explicit process_room(io::unique_fd bell) noexcept : bell_(std::move(bell)) {}

    [[nodiscard]] int bell() const noexcept { return bell_.get(); }
    // Those who wait here, in all processes, look again.
    void call(detail::process_waiters& who) const noexcept {
        who.call([this] { ring_bell(bell_.get()); });
    }

    // By who holds `within`: waits until `ready(look_for_the_dead)`; false when it was not so at `deadline`.
    // Throws cancelled when stopped while it waits, and std::system_error when the system cannot watch the bell.
    template <class Ready>
    task<bool> wait(detail::process_waiters& at, time_point deadline, Ready ready) {
        watch();
        io::descriptor rung(events_.get());
        const counted waiting(at, waits::at_bell);
        for (bool look_for_the_dead = true;;) {
            silence();  // before the look: what rings after it is waited for below
            if (ready(look_for_the_dead)) co_return true;
            const time_point now = co_await this_task::now();
            if (now >= deadline) co_return false;
            const auto ended = co_await rung.readable(std::min(deadline, now + look_every));
            if (ended == context::wake::cancelled) detail::throw_cancelled();
            look_for_the_dead = ended == context::wake::timed_out;
        }
    }
    // The same on a thread that runs no tasks: a bug on others. `name` is a literal, for its report.
    template <class Ready>
    bool blocking_wait(detail::process_waiters& at, time_point deadline, const char* name, Ready ready) {
        const thread_line none(name);
        const counted waiting(at, waits::in_futex);
        for (time_point looked{};;) {
            const std::uint32_t ticket = at.ticket();
            const time_point now = env::now();
            const bool look_for_the_dead = now - looked >= look_every;
            if (look_for_the_dead) looked = now;
            if (ready(look_for_the_dead)) return true;
            if (now >= deadline) return false;
            at.sleep(ticket, std::min(deadline, now + look_every));
        }
    }

    static constexpr auto look_every = std::chrono::milliseconds(50);
    leat::mutex within;

private:
    struct counted {
        counted(detail::process_waiters& where, waits which) noexcept : at(where), how(which) { at.begin(how); }
        counted(const counted&) = delete;
        counted& operator=(const counted&) = delete;
        ~counted() { at.end(how); }
        detail::process_waiters& at;
        waits how;
    };

    // The bell is heard through an epoll of this process, by its edges, and never read: so each of the processes that wait hears
    // each ring, and none takes it from another.
    void watch();
    void silence() const noexcept;

    io::unique_fd bell_;
    io::unique_fd events_;
    pid_t events_of_ = 0;  // a fork would share them with its parent, and makes its own
};

}  // namespace leat
