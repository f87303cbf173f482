// mutex: mutual exclusion between tasks (and plain threads), held over suspensions. `auto held = co_await m.lock();` The
// guard unlocks.
//
// One permit with the words of a lock. Locking a free one and unlocking one that nobody waits for are a compare-exchange
// each. First come, first served: unlock hands the lock to the first waiter, which is posted; nobody overtakes it, so a lock
// that is fought for passes through the run queue each time. Where that is too slow, hold it for less, or use fewer.
#pragma once

#include <leat/sync/guard.hpp>
#include <leat/sync/permits.hpp>

namespace leat {

class condition_variable;

class mutex : detail::permits {
    struct request;

public:
    mutex() noexcept : permits(this_kind, 1, 1) {}
    // Destroying one that is held or waited for is a bug.
    ~mutex() {
        if (is_locked()) bug_here("destroyed while it is locked");
    }

    // Holds the lock. May be unlocked by another task or thread than locked it: moving it hands the lock over.
    using guard = detail::guard<mutex>;

    // Awaits the lock; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits, without the
    // lock; one that is free it gives even to a task that was asked to stop. Locking it again while one holds it waits for
    // ever. Any number of tasks at once.
    auto lock() noexcept { return detail::operation<request>(this); }
    // The same for a limited time: std::nullopt when it was over first.
    auto lock_for(time_limit limit) noexcept { return detail::timed_operation<request>(this, limit); }
    auto lock_until(time_point until) noexcept { return lock_for(until); }
    // The lock at once, or none. Does not overtake waiters. Any thread.
    [[nodiscard]] std::optional<guard> try_lock() noexcept {
        if (!try_take(1)) return std::nullopt;
        return locked_by(context::current());
    }
    // As lock(), for threads that run no tasks.
    guard blocking_lock() noexcept { return detail::block<request>(this, "blocking_lock"); }
    std::optional<guard> blocking_lock_for(time_limit limit) noexcept {
        return detail::block<request>(this, "blocking_lock_for", limit);
    }

    // A snapshot.
    [[nodiscard]] bool is_locked() const noexcept { return available() == 0; }
    // Who locked it: a name for reports, see wait_place. Null when it is free or a plain thread has it.
    [[nodiscard]] const context* holder() const noexcept {
        return is_locked() ? holder_.load(env::relaxed) : nullptr;  // relaxed: a report, orders nothing
    }

private:
    friend guard;
    friend condition_variable;

    static const context* holder_of(const wait_place& place) noexcept {
        return static_cast<const mutex&>(place).holder();
    }
    static constexpr kind this_kind{"a mutex", &holder_of};

    struct request : permits::request {
        using asked = mutex*;
        explicit request(mutex* which) noexcept : permits::request(*which, 1) {}
        guard value() noexcept { return static_cast<mutex&>(from).locked_by(plain_thread ? nullptr : line); }
    };
    // Waits for the lock whatever stop requests say.
    struct deaf_request : request {
        explicit deaf_request(mutex* which) noexcept : request(which) { how = context::interruptible::no; }
    };
    auto lock_deaf() noexcept { return detail::operation<deaf_request>(this); }

    guard locked_by(const context* line) noexcept {
        holder_.store(line, env::relaxed);  // relaxed: a report, orders nothing
        return guard(*this);
    }
    void unlock(const guard&) noexcept { give(1); }

    env::atomic<const context*> holder_{nullptr};  // while it is locked: by which line
};

}  // namespace leat
