// recursive_mutex: a mutex that its owner may lock again. The owner is a line of execution: a task together with those that
// it awaits one after the other; or a plain thread. What runs on a line of its own is another owner, and waits, though its
// parent waits for it: a spawned task, the arms of when_all, and the operation given to timeout, shield, stop_when or on. (So
// within a limit use lock_for here, and not timeout.)
#pragma once

#include <leat/sync/guard.hpp>
#include <leat/sync/permits.hpp>

namespace leat {

class recursive_mutex : detail::permits {
    struct request;
    using site = detail::lock_site;  // for the check of lock order
    static constexpr auto tries = detail::lock_attempt::kind::gives_up;

public:
    recursive_mutex() noexcept : permits(this_kind, 1, 1) {}
    // Destroying one that is held or waited for is a bug.
    ~recursive_mutex() {
        if (available() == 0) bug_here("destroyed while it is locked");
        detail::lock_gone(*this);
    }

    // Holds the lock once. It is the owner's: unlocking it anywhere else is a bug. The last one that goes unlocks.
    using guard = detail::guard<recursive_mutex>;

    // As those of mutex; at once for the owner.
    auto lock(site at = site::current()) noexcept { return detail::operation<request>({this, at}); }
    auto lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::timed_operation<request>({this, at, tries}, limit);
    }
    auto lock_until(time_point until, site at = site::current()) noexcept { return lock_for(until, at); }
    [[nodiscard]] std::optional<guard> try_lock(site at = site::current()) noexcept {
        const void* const me = caller();
        if (!is_owned_by(me) && !try_take(1)) return std::nullopt;
        return locked_by(me, context::current(), {at, tries});
    }
    guard blocking_lock(site at = site::current()) noexcept {
        return detail::block<request>({this, at}, "blocking_lock");
    }
    std::optional<guard> blocking_lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::block<request>({this, at, tries}, "blocking_lock_for", limit);
    }

    // Whether the caller owns it.
    [[nodiscard]] bool is_mine() const noexcept { return is_owned_by(caller()); }
    // Who owns it: a name for reports, see wait_place. No line when it is a plain thread.
    [[nodiscard]] const context* holder() const noexcept {
        return static_cast<const context*>(owner_.load(env::relaxed));  // relaxed: a report, orders nothing
    }

private:
    friend guard;

    static const context* holder_of(const wait_place& place) noexcept {
        return static_cast<const recursive_mutex&>(place).holder();
    }
    static constexpr kind this_kind{"a recursive mutex", &holder_of};

    struct request : detail::lock_request {
        using asked = detail::lock_asked<recursive_mutex>;
        explicit request(asked what) noexcept : lock_request(*what.lock, 1, what.how) {}
        bool begin(context& who, std::coroutine_handle<> at) noexcept {
            me = plain_thread ? caller() : &who;
            line = &who;
            return !mutex().is_owned_by(me) && lock_request::begin(who, at);
        }
        guard value() noexcept { return mutex().locked_by(me, owner(), how_asked); }
        recursive_mutex& mutex() noexcept { return static_cast<recursive_mutex&>(from); }
        const void* me = nullptr;
    };

    // Names whoever calls: the line, or a place that only this thread has.
    static const void* caller() noexcept {
        void* const& here = env::this_thread(env::slot::context);
        return here != nullptr ? here : static_cast<const void*>(&here);
    }
    // relaxed: only the owner finds its own name there, which it wrote itself.
    bool is_owned_by(const void* who) const noexcept { return owner_.load(env::relaxed) == who; }
    guard locked_by(const void* who, const context* line, const detail::lock_attempt& how) noexcept;
    void unlock(const guard&) noexcept;

    env::atomic<const void*> owner_{nullptr};  // null: free, or handed to a line that does not know it yet
    env::shared<std::size_t> depth_{0};        // the owner's
};

}  // namespace leat
