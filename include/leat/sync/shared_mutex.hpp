// shared_mutex: held by one alone, or by any number who share it. `auto held = co_await m.lock_shared();`
//
// As many permits as there may be: who shares it takes one, who wants it alone takes all. So it is first come, first served:
// a writer waits for those before it and for nobody behind it, and neither side starves. (So too, who shares it already and
// asks for a share again, behind a writer, waits for ever.)
#pragma once

#include <leat/sync/guard.hpp>
#include <leat/sync/permits.hpp>

namespace leat {

class shared_mutex : detail::permits {
    struct request;
    struct shared_request;
    using site = detail::lock_site;  // for the check of lock order
    static constexpr auto tries = detail::lock_attempt::kind::gives_up;

public:
    shared_mutex() noexcept : permits(this_kind, all, all) {}
    // Destroying one that is held or waited for is a bug.
    ~shared_mutex() {
        if (available() != all) bug_here("destroyed while it is locked");
        detail::lock_gone(*this);
    }

    // Both may be unlocked by another task or thread than locked them: moving them hands the lock over.
    using guard = detail::guard<shared_mutex, detail::hold::alone>;
    using shared_guard = detail::guard<shared_mutex, detail::hold::shared>;

    // As those of mutex, and as many tasks and threads at once: awaited, for a limited time, at once, by a plain thread.
    auto lock(site at = site::current()) noexcept { return detail::operation<request>({this, at}); }
    auto lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::timed_operation<request>({this, at, tries}, limit);
    }
    auto lock_until(time_point until, site at = site::current()) noexcept { return lock_for(until, at); }
    [[nodiscard]] std::optional<guard> try_lock(site at = site::current()) noexcept {
        if (!try_take(all)) return std::nullopt;
        return locked_by(context::current(), {at, tries});
    }
    guard blocking_lock(site at = site::current()) noexcept {
        return detail::block<request>({this, at}, "blocking_lock");
    }
    std::optional<guard> blocking_lock_for(time_limit limit, site at = site::current()) noexcept {
        return detail::block<request>({this, at, tries}, "blocking_lock_for", limit);
    }

    auto lock_shared(site at = site::current()) noexcept { return detail::operation<shared_request>({this, at}); }
    auto lock_shared_for(time_limit limit, site at = site::current()) noexcept {
        return detail::timed_operation<shared_request>({this, at, tries}, limit);
    }
    auto lock_shared_until(time_point until, site at = site::current()) noexcept { return lock_shared_for(until, at); }
    [[nodiscard]] std::optional<shared_guard> try_lock_shared(site at = site::current()) noexcept {
        if (!try_take(1)) return std::nullopt;
        return shared_guard(*this, context::current(), {at, tries});
    }
    shared_guard blocking_lock_shared(site at = site::current()) noexcept {
        return detail::block<shared_request>({this, at}, "blocking_lock_shared");
    }
    std::optional<shared_guard> blocking_lock_shared_for(time_limit limit, site at = site::current()) noexcept {
        return detail::block<shared_request>({this, at, tries}, "blocking_lock_shared_for", limit);
    }

    // Who holds it alone: a name for reports, see wait_place. Null when nobody does, or a plain thread.
    [[nodiscard]] const context* holder() const noexcept {
        return available() == 0 ? holder_.load(env::relaxed) : nullptr;  // relaxed: a report, orders nothing
    }

private:
    friend guard;
    friend shared_guard;

    static constexpr std::size_t all = unlimited;
    static const context* holder_of(const wait_place& place) noexcept {
        return static_cast<const shared_mutex&>(place).holder();
    }
    static constexpr kind this_kind{"a shared mutex", &holder_of};

    struct request : detail::lock_request {
        using asked = detail::lock_asked<shared_mutex>;
        explicit request(asked what) noexcept : lock_request(*what.lock, all, what.how) {}
        guard value() noexcept { return static_cast<shared_mutex&>(from).locked_by(owner(), how_asked); }
    };
    struct shared_request : detail::lock_request {
        using asked = detail::lock_asked<shared_mutex>;
        explicit shared_request(asked what) noexcept : lock_request(*what.lock, 1, what.how) {}
        shared_guard value() noexcept { return shared_guard(static_cast<shared_mutex&>(from), owner(), how_asked); }
    };

    guard locked_by(const context* line, const detail::lock_attempt& how) noexcept {
        holder_.store(line, env::relaxed);  // relaxed: a report, orders nothing
        return guard(*this, line, how);
    }
    void unlock(const guard&) noexcept { give(all); }
    void unlock(const shared_guard&) noexcept { give(1); }

    env::atomic<const context*> holder_{nullptr};  // while one holds it alone: which line
};

}  // namespace leat
