// select_arm: one of several things that a line waits for at once, of which one happens; and the wait itself. Users see
// select.hpp and the timed forms of channel.hpp; who writes an arm for another primitive begins here.
//
// How a select goes: first each arm is tried, without publishing anything. When none is ready the line prepares one wait and
// each arm publishes it where it belongs (a queue of a channel, a timer). An arm that finds, under its lock, that it could
// complete after all ends the line's own wait first (own_wait::end) and only then takes what is there: so whoever has taken
// the wait meanwhile has won, and nothing was moved twice. When what was there has left in between, the wait begins anew.
//
// Invariants:
//  1. One arm completes, or none when the line was asked to stop. All others have moved nothing.
//  2. Arms are published in the order of their places. Two selects that meet at two places therefore never both end their
//     own waits for each other's: one of them would have to have published against the order. So each beginning anew is
//     due to somebody who got on. The order has no part in what a single thread sees (a simulation): there nothing
//     happens between two arms.
//  3. No two locks are held at once.
//  4. An arm is taken back by its line before the line goes on: nodes and timers may live in its frame.
#pragma once

#include <cstdint>

#include <leat/sync/waiter_queue.hpp>
#include <leat/task/executor.hpp>

namespace leat {

// The wait that all arms of one select share, prepared and not yet committed.
class own_wait {
public:
    explicit own_wait(context& line) noexcept : line_(line), ticket_(line.current_ticket()) {}
    [[nodiscard]] context& line() const noexcept { return line_; }
    [[nodiscard]] context::ticket ticket() const noexcept { return ticket_; }
    // Ends it, for an arm that can complete at once. False when somebody else has ended it: then the arm takes nothing.
    [[nodiscard]] bool end() const noexcept { return line_.withdraw(ticket_, context::wake::ready); }

private:
    context& line_;
    context::ticket ticket_;
};

class select_arm {
public:
    enum class published : unsigned char {
        waits,      // it can be served from now on, by whoever claims the wait
        completed,  // it has ended the wait and completed
        lost,       // it could have, but somebody else has ended the wait
        anew,       // it has ended the wait, but what was there has gone
    };
    // When a fair select tries an arm.
    enum class turn : unsigned char {
        any,      // from a random start
        last,     // when no other is ready: timers
        default_  // after all others, in a biased select too, and it always is ready
    };

    virtual ~select_arm() = default;
    select_arm& operator=(const select_arm&) = delete;

    // Completes at once, or returns false and has changed nothing. May throw bad_alloc.
    [[nodiscard]] virtual bool try_now(context& line) = 0;
    // For a line whose try_now() was false for all arms. May throw bad_alloc before it has changed anything.
    [[nodiscard]] virtual published publish(const own_wait& wait) = 0;
    // After published::waits, when the wait has ended: takes it back. True when this arm was served.
    [[nodiscard]] virtual bool take_back(context& line) noexcept = 0;

    [[nodiscard]] bool is_enabled() const noexcept { return enabled_; }
    [[nodiscard]] turn when() const noexcept { return turn_; }

protected:
    // `place` is what is locked to publish it, or null.
    explicit select_arm(const void* place, turn when = turn::any) noexcept : place_(place), turn_(when) {}
    // Arms are moved and copied as descriptions, before they are awaited.
    select_arm(const select_arm& other) noexcept : place_(other.place_), turn_(other.turn_), enabled_(other.enabled_) {}
    void enable(bool on) noexcept { enabled_ = on; }

private:
    friend class select_wait;
    const void* place_;
    turn turn_;
    bool enabled_ = true;
    bool waits_ = false;          // published
    select_arm* next_ = nullptr;  // in the order of places
};

// One select, in the frame that awaits it.
class select_wait {
public:
    enum class order : unsigned char { fair, biased };
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    // Gives the arm at a place from 0 to count - 1.
    using arm_at = select_arm& (*)(void* arms, std::uint32_t place) noexcept;

    select_wait(void* arms, arm_at at, std::uint32_t count, order how) noexcept
        : arms_(arms), at_(at), count_(count), order_(how) {}
    select_wait(const select_wait&) = delete;
    select_wait& operator=(const select_wait&) = delete;

    // For await_suspend. Throws bad_alloc when an item finds no memory; then nothing has happened.
    [[nodiscard]] bool suspend(context& line, std::coroutine_handle<> at);
    // For await_resume: takes all arms back. The place of the one that has completed, or none when the line was stopped.
    [[nodiscard]] std::uint32_t finish() noexcept;

private:
    select_arm& arm(std::uint32_t place) const noexcept { return at_(arms_, place); }
    [[nodiscard]] std::uint32_t first_ready(context& line) const;
    [[nodiscard]] select_arm* in_order_of_places(std::uint32_t first, std::uint32_t last) const noexcept;
    [[nodiscard]] select_arm::published publish_all(const own_wait& wait);
    void take_all_back() noexcept;

    void* arms_;
    arm_at at_;
    std::uint32_t count_;
    order order_;
    bool published_ = false;  // some arm is
    context* line_ = nullptr;
    std::uint32_t won_ = none;
};

// A point in time, as an arm.
class time_arm final : public select_arm, private timer {
public:
    explicit time_arm(time_point until) noexcept : select_arm(nullptr, turn::last), timer(&over) { due = until; }
    explicit time_arm(duration time) noexcept
        : select_arm(nullptr, turn::last), timer(&over), length_(time), relative_(true) {}
    time_arm(const time_arm& other) noexcept
        : select_arm(other), timer(&over), length_(other.length_), relative_(other.relative_) {
        due = other.due;
    }
    [[nodiscard]] bool try_now(context& line) override;
    [[nodiscard]] published publish(const own_wait& wait) override;
    [[nodiscard]] bool take_back(context& line) noexcept override;
    // The arm as it is, or one that never is ready.
    [[nodiscard]] time_arm only_if(bool on) && noexcept {
        enable(on);
        return *this;
    }
    void take() noexcept {}

private:
    static void over(timer& self) noexcept;
    duration length_{};
    bool relative_ = false;  // `due` is not known yet
    bool fired_ = false;
    context* line_ = nullptr;
    context::ticket ticket_;
};

// An arm for something that becomes ready and is not used up by those who see it: an event, the end of a task. It has
//   bool watch(waiter&) noexcept;      // false when it is ready; else it claims the waiter's wait as it becomes ready
//   void unwatch(waiter&) noexcept;    // harmless when that has happened
// and IsReady; so `using event_arm = watch_arm<event, &event::is_set>;`. It outlives the select.
template <class Watched, bool (Watched::*IsReady)() const noexcept>
class watch_arm final : public select_arm {
public:
    explicit watch_arm(Watched& of) noexcept : select_arm(&of), of_(&of) {}
    watch_arm(const watch_arm& other) noexcept : select_arm(other), of_(other.of_) {}

    [[nodiscard]] bool try_now(context&) override { return (of_->*IsReady)(); }
    [[nodiscard]] published publish(const own_wait& wait) override {
        self_.line = &wait.line();
        self_.wait_as(wait.line());
        if (of_->watch(self_)) return published::waits;
        return wait.end() ? published::completed : published::lost;
    }
    [[nodiscard]] bool take_back(context&) noexcept override {
        of_->unwatch(self_);
        return self_.chosen;
    }
    [[nodiscard]] watch_arm only_if(bool on) && noexcept {
        enable(on);
        return *this;
    }
    void take() noexcept {}

private:
    Watched* of_;
    waiter self_;
};

}  // namespace leat
