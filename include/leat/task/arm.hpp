// arm: a task on a context of its own below the line that waits for it. when_all, when_any, timeout, shield and with_scope
// are made of arms; what a scope spawns is like one, on the heap. Used by those headers, and by who writes another combinator.
//
// Invariants:
//  1. The line that owns the arms waits for all of them, uninterruptibly: stop requests reach the arms, which end.
//  2. An arm's last act is arrive(); the arms and the countdown may be gone when the last one returns from it.
#pragma once

#include <cstdint>
#include <utility>

#include <leat/task/context.hpp>
#include <leat/task/task.hpp>

namespace leat {

// Counts ends; one line waits for all of them.
class countdown {
public:
    explicit countdown(std::uint32_t arrivals) noexcept : left_(arrivals + 1) {}

    void add() noexcept { left_.fetch_add(1, env::relaxed); }  // relaxed: the caller's own share keeps it above zero
    // One end. Any thread. Touches nothing after the decrement unless it was the last one, which wakes the line.
    void arrive() noexcept {
        // acq_rel: the last one sees what all others wrote, and hands it to the line through the claim.
        if (left_.fetch_sub(1, env::acq_rel) != 1) return;
        context& line = *waiter_;
        if (line.claim(ticket_, context::wake::ready)) line.resume();
    }
    // For await_suspend of the one line that waits: false when everything has arrived already.
    [[nodiscard]] bool suspend(context& line, std::coroutine_handle<> at, const char* what) noexcept {
        if (!line.begin_wait(at, what, context::interruptible::no)) return false;
        waiter_ = &line;
        ticket_ = line.current_ticket();
        // acq_rel: release publishes waiter_ and ticket_ to the last arrival; acquire when that was before us.
        if (left_.fetch_sub(1, env::acq_rel) != 1) return true;
        (void)line.withdraw(ticket_, context::wake::ready);
        return false;
    }
    // Makes it usable again, after the wait.
    void reset() noexcept { left_.store(1, env::relaxed); }  // relaxed: nobody else holds a share
    // How many have not arrived, the waiting line's own share aside. A snapshot.
    [[nodiscard]] std::uint32_t pending() const noexcept {
        const std::uint32_t left = left_.load(env::relaxed);
        return left == 0 ? 0 : left - 1;
    }

private:
    env::atomic<std::uint32_t> left_;  // arrivals still due, plus one until the line waits
    context* waiter_ = nullptr;
    context::ticket ticket_;
};

// What is common to arms of all types.
class arm_base : public context, protected frame_stub {
public:
    // What runs when the body has ended, on whatever thread ended it; it must arrive() or otherwise let the owner go.
    using end_function = void (*)(arm_base& self) noexcept;
    template <end_function AtEnd>
    struct ends_with {};

    template <end_function AtEnd>
    arm_base(const context& parent, ends_with<AtEnd>) noexcept : context(parent), frame_stub(&ended<AtEnd>) {}
    // The same, on an executor and with a priority of its own.
    template <end_function AtEnd>
    arm_base(const context& parent, executor& where, priority how_urgent, ends_with<AtEnd>) noexcept
        : context(parent, where, how_urgent), frame_stub(&ended<AtEnd>) {}
    // A line without a parent: the root of a run.
    template <end_function AtEnd>
    arm_base(executor& where, const char* name, ends_with<AtEnd>) noexcept
        : context(where, name), frame_stub(&ended<AtEnd>) {}

protected:
    // Runs the body on this thread until it first waits or ends; or soon, when arms in arms would eat the stack.
    void start(std::coroutine_handle<> body) noexcept {
        context* const before = current();
        if (!nest_inside(before)) return post_at(body, false);
        enter();
        body.resume();
        env::this_thread(env::slot::context) = before;
    }
    // What the body continues with.
    std::coroutine_handle<> end() noexcept { return handle(); }

private:
    template <end_function AtEnd>
    static void ended(frame_stub* stub) noexcept {
        auto& self = static_cast<arm_base&>(*stub);
        self.unlink();
        AtEnd(self);
    }
};

// The wait of a line for its arms.
struct all_arrived {
    countdown& ends;
    const char* what;
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) noexcept {
        return ends.suspend(parent.promise().leat_context(), parent, what);
    }
    void await_resume() const noexcept {}
};

template <class T>
class arm : public arm_base {
public:
    template <arm_base::end_function AtEnd>
    arm(const context& parent, task<T> body, ends_with<AtEnd> at_end) noexcept
        : arm_base(parent, at_end), body_(std::move(body)) {}

    // Runs below `upstream` until the body first waits, or soon. Once.
    void start(stop_source& upstream) noexcept {
        attach(upstream);
        arm_base::start(body_.start_on(*this, end()));
    }
    // As start(), deaf to the requests above.
    void start_shielded() noexcept { arm_base::start(body_.start_on(*this, end())); }

    // At its end: how it ended, for at_end functions.
    [[nodiscard]] outcome<void> peek() const noexcept { return body_.peek_outcome(); }
    // Once it has arrived: the same, to keep. Destroys the body's frame.
    outcome<T> take() {
        outcome<T> result = body_.take_outcome();
        body_.reset();
        return result;
    }

private:
    task<T> body_;
};

// An arm that its line awaits by itself: `co_await body.arrived("what")`, then take().
template <class T>
class lone_arm : public arm<T> {
public:
    lone_arm(const context& line, task<T> body) noexcept
        : arm<T>(line, std::move(body), arm_base::ends_with<&at_end>()) {}
    [[nodiscard]] all_arrived arrived(const char* what) noexcept { return all_arrived{end_, what}; }

private:
    static void at_end(arm_base& self) noexcept { static_cast<lone_arm&>(self).end_.arrive(); }
    countdown end_{1};
};

}  // namespace leat
