// deadlock: how a runtime in which every task waits for another finds out, and ends with a report instead of hanging.
//
// Proven: nothing is ready, no timer is set, the poller has no operation under way, no call is on the blocking pool, and the
// process has no thread but those of this runtime and bystanders. Then nothing can wake a task any more: run() logs who waits
// for what, stops the tasks, and throws `deadlocked` when they have ended. A task that sleeps for ever waits for a stop, on
// purpose: with one of those there is no deadlock.
// Suspected: the same, but something outside could still wake a task, such as a thread that holds the end of a channel. Said
// in the log when run_options::suspect_deadlock_after asks for it, without who holds what, and nothing is stopped.
// Not seen: a signal handler or another process that would wake a task without an operation of the poller.
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include <leat/task/context.hpp>

namespace leat {

// Thrown by run() when all its tasks waited for each other; what() is the report.
class deadlocked : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

// Whether what lines wait at may be looked at: only while nobody can resume one of them.
enum class holders : unsigned char { told, unknown };

// The tree of lines below `root`, a line of text each: who it is, what it waits for, and who holds that. `ready` are items that
// wait to run. For lines that all stand still.
[[nodiscard]] std::string report_lines(context& root, holders of, std::span<work_item* const> ready = {});

// Whether one of the lines below `root`, or it itself, is not held up by another: it sleeps, or waits for nothing, since it runs or
// is about to. For the same lines.
[[nodiscard]] bool any_goes_on(context& root);

// For as long as it lives, one thread of the process is known to wake no task by itself.
class bystander {
public:
    bystander() noexcept { count.fetch_add(1, env::relaxed); }
    bystander(const bystander&) = delete;
    ~bystander() { count.fetch_sub(1, env::relaxed); }
    // relaxed: a thread that goes to sleep after the look was busy when the threads were counted.
    [[nodiscard]] static unsigned all() noexcept { return count.load(env::relaxed); }

private:
    static env::atomic<unsigned> count;
};

// When a runtime that stands still looks for a deadlock: after a tenth of a second, when that could not prove one after
// longer (a thread that could have woken somebody may have gone), and at last not any more, until something has run.
class stillness {
public:
    explicit stillness(duration suspect_after = {}) noexcept : suspect_after_(suspect_after) {}

    // Something has run. Any thread.
    void moved() noexcept {
        if (enabled && look_.load(env::relaxed) != 0)
            look_.store(0, env::relaxed);  // relaxed: a hint, and a later look does no harm
    }
    // When to look next; time_point::max(): never. By the one thread that sleeps with a deadline, at `now`.
    [[nodiscard]] time_point next_look(time_point now) noexcept;
    // Whether it is time; then it is not again before the next. By the same thread.
    [[nodiscard]] bool is_due(time_point now) noexcept;
    // How long nothing has run.
    [[nodiscard]] duration age(time_point now) const noexcept { return now - since_; }
    // Whether a deadlock that cannot be proven is to be told of now: once for each time that the runtime stands still.
    [[nodiscard]] bool tells_suspicion(time_point now) noexcept;

private:
#ifdef LEAT_EXPLORE
    static constexpr bool enabled = false;  // the explorer finds deadlocks itself, and would only see more schedules
#else
    static constexpr bool enabled = true;
#endif
    [[nodiscard]] time_point at(unsigned look) const noexcept;

    duration suspect_after_;         // zero: never
    env::atomic<unsigned> look_{0};  // 0: moves; else the number of the next look
    time_point since_{};             // this and the next: of the thread that looks, while look_ is not 0
    bool told_ = false;
};

}  // namespace detail
}  // namespace leat
