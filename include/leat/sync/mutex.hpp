// mutex: mutual exclusion between tasks (and plain threads), held over suspensions. `auto held = co_await m.lock();` The
// guard unlocks.
//
// One permit with the words of a lock. Locking a free one and unlocking one that nobody waits for are a compare-exchange
// each. First come, first served: unlock hands the lock to the first waiter, which is posted; nobody overtakes it, so a lock
// that is fought for passes through the run queue each time. Where that is too slow, hold it for less, or use fewer.
//
// In a build with the option LEAT_LOCK_ORDER, as our debug preset is, two locks that are taken in different orders are logged
// with all four places, whether they met or not: see lock_order.hpp. The parameter `at` of what locks is for that: it is where
// the call stands, and empty in other builds.
#pragma once

#include <leat/sync/guard.hpp>
#include <leat/sync/permits.hpp>

namespace leat {

class condition_variable;

class mutex : detail::permits {
    struct request;
    using site = detail::lock_site;  // for the check of lock order
    static constexpr auto tries = detail::lock_attempt::kind::gives_up;

public:
    mutex() noexcept : permits(this_kind, 1, 1) {}
    // Destroying one that is held or waited for is a bug.
    ~mutex() {
        if (is_locked()) bug_here("destroyed while it is locked");
        detail::lock_gone(*this);
    }

    // Holds the lock. May be unlocked by another task or thread than locked it: moving it hands the lock over.
    using guard = detail::guard<mutex>;

    // Awaits the lock; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits, without the
    // lock; one that is free it gives even to a task that was asked to stop. Locking it again while one holds it waits for
    // ever. Any number of tasks at once.
    auto lock(site at = site::current()) noexcept { return detail::operation<request>({this, at}); }
    // The same for a limited time: std::nullopt when it was over first.
    auto lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::timed_operation<request>({this, at, tries}, limit);
    }
    auto lock_until(time_point until, site at = site::current()) noexcept { return lock_for(until, at); }
    // The lock at once, or none. Does not overtake waiters. Any thread.
    [[nodiscard]] std::optional<guard> try_lock(site at = site::current()) noexcept {
        if (!try_take(1)) return std::nullopt;
        return locked_by(context::current(), {at, tries});
    }
    // As lock(), for threads that run no tasks.
    guard blocking_lock(site at = site::current()) noexcept {
        return detail::block<request>({this, at}, "blocking_lock");
    }
    std::optional<guard> blocking_lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::block<request>({this, at, tries}, "blocking_lock_for", limit);
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

    struct request : detail::lock_request {
        using asked = detail::lock_asked<mutex>;
        explicit request(asked what) noexcept : lock_request(*what.lock, 1, what.how) {}
        guard value() noexcept { return static_cast<mutex&>(from).locked_by(owner(), how_asked); }
    };
    // Waits for the lock whatever stop requests say.
    struct deaf_request : request {
        explicit deaf_request(asked what) noexcept : request(what) { how = context::interruptible::no; }
    };
    auto lock_deaf(site at) noexcept { return detail::operation<deaf_request>({this, at}); }
    // Where the lock that `held` holds was locked.
    static site locked_at(const guard& held) noexcept { return held.hold_.at(); }

    guard locked_by(const context* line, const detail::lock_attempt& how) noexcept {
        holder_.store(line, env::relaxed);  // relaxed: a report, orders nothing
        return guard(*this, line, how);
    }
    void unlock(const guard&) noexcept {
        holder_.store(nullptr,
                      env::relaxed);  // relaxed: likewise; now, since who it is handed to says so when it goes on
        give(1);
    }

    env::atomic<const context*> holder_{nullptr};  // while it is locked: by which line
};

}  // namespace leat
