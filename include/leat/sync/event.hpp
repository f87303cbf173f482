// event: set or not; wait() waits until it is. It stays set until reset(). auto_reset_event: each set() lets one through.
//
//   leat::event ready;
//   co_await ready.wait();     // any number of tasks
//   ready.set();               // lets all of them go on, and all that come later
#pragma once

#include <leat/sync/permits.hpp>

namespace leat {

class event : detail::waiting_room {
    struct request;

public:
    explicit event(bool is_set = false) noexcept : event(this_kind, is_set) {}
    // Destroying one with waiters is a bug. Who has seen that it is set may destroy it.
    ~event() = default;

    // Lets all who wait go on (they are posted, never resumed inside), and all that come before the next reset(). What was
    // done before set() is seen by whoever waits or resets after it, also where it was set already. Any thread.
    void set() noexcept {
        std::uint32_t word = word_.load(env::relaxed);  // relaxed: the exchange decides
        while ((word & bit_waited) == 0) {
            // release pairs with the acquire of wait() and reset(); an exchange also where it changes nothing, since a
            // reset may come in between.
            if (word_.compare_exchange_weak(word, bit_set, env::release, env::relaxed)) return;
        }
        set_slow();
    }
    // Any thread.
    void reset() noexcept { word_.fetch_and(~bit_set, env::acquire); }  // acquire: as said at set()
    [[nodiscard]] bool is_set() const noexcept { return (word_.load(env::acquire) & bit_set) != 0; }

    // Awaits that it is set; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits.
    auto wait() noexcept { return detail::operation<request>(this); }
    // The same for a limited time: false when it was over first.
    auto wait_for(time_limit limit) noexcept { return detail::timed_operation<request>(this, limit); }
    auto wait_until(time_point until) noexcept { return wait_for(until); }
    [[nodiscard]] bool try_wait() const noexcept { return is_set(); }
    // As wait(), for threads that run no tasks.
    void blocking_wait() noexcept { detail::block<request>(this, "blocking_wait"); }
    bool blocking_wait_for(time_limit limit) noexcept {
        return detail::block<request>(this, "blocking_wait_for", limit);
    }

    // For whoever waits for several things at once, and writes the awaiter himself: the line has prepared its wait
    // (context::prepare_wait), `self` names it (waiter::line, then wait_as()), and it commits the wait when it has told all.
    // False when the event is set: then the waiter was not taken, and the line withdraws. Else set() ends the wait as
    // `ready`, and `self.chosen` tells that it was this one. Afterwards unwatch(), whoever ended the wait.
    [[nodiscard]] bool watch(waiter& self) noexcept;
    void unwatch(waiter& self) noexcept;

    // For primitives that are made of one: reported under a name of theirs.
    event(const kind& reported_as, bool is_set) noexcept : waiting_room(reported_as), word_(is_set ? bit_set : 0) {}

private:
    static constexpr kind this_kind{"an event"};
    // word_: bit_set: it is set; bit_waited: somebody may be in waiters_, and the word becomes set under lock_ alone. Never
    // both.
    static constexpr std::uint32_t bit_set = 1, bit_waited = 2;

    struct request : detail::request {
        using asked = event*;
        explicit request(event* which) noexcept : at(*which) {}
        bool begin(context& who, std::coroutine_handle<> point) noexcept {
            line = &who;
            return !at.is_set() && at.join(*this, point);
        }
        bool end() noexcept { return !waited || at.has_ended_well(*this); }
        void value() noexcept {}
        event& at;
    };

    bool announce_waiter() noexcept;
    bool join(request& self, std::coroutine_handle<> at) noexcept;
    void set_slow() noexcept;

    env::atomic<std::uint32_t> word_;
};

class auto_reset_event : detail::permits {
    struct request;

public:
    explicit auto_reset_event(bool is_set = false) noexcept : permits(this_kind, is_set ? 1 : 0, 1) {}
    // Destroying one with waiters is a bug.
    ~auto_reset_event() = default;

    // Lets the first who waits go on; or, when nobody waits, the next one that comes. Set twice it is set once. Any thread.
    void set() noexcept { give_if_none(); }
    void reset() noexcept { (void)try_take(1); }
    [[nodiscard]] bool is_set() const noexcept { return available() != 0; }

    // As those of event, each for one set(), in order of arrival; one that is stopped or out of time leaves the event to
    // the next.
    auto wait() noexcept { return detail::operation<request>(this); }
    auto wait_for(time_limit limit) noexcept { return detail::timed_operation<request>(this, limit); }
    auto wait_until(time_point until) noexcept { return wait_for(until); }
    [[nodiscard]] bool try_wait() noexcept { return try_take(1); }
    void blocking_wait() noexcept { detail::block<request>(this, "blocking_wait"); }
    bool blocking_wait_for(time_limit limit) noexcept {
        return detail::block<request>(this, "blocking_wait_for", limit);
    }

private:
    static constexpr kind this_kind{"an auto-reset event"};
    struct request : permits::request {
        using asked = auto_reset_event*;
        explicit request(auto_reset_event* which) noexcept : permits::request(*which, 1) {}
        void value() noexcept {}
    };
};

}  // namespace leat
