// result: what task_handle and future have in common: one end on the heap (a value, an error, or cancelled), and one owner
// of it who waits and takes.
//
// Who may take what:
//  1. An lvalue shares: any number of tasks and threads at once may wait, and each gets a copy of the value, or the error.
//     For that T is copyable, a reference, or void.
//  2. An rvalue takes: `co_await std::move(h).join()` moves the value out and leaves h empty, for any T. One at a time; while
//     others still share the value they keep it, and this one gets a copy too.
//  3. Who is stopped, or runs out of time, has taken nothing: h is as it was, also as an rvalue.
//  4. wait() takes nothing and throws no error of what it waits for: any number at once, for any T.
// What has ended is not waited for: then all of these go on at once, even when the task was asked to stop. All resume on the
// awaiting task's executor, and throw cancelled when it was stopped while it waited.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/sync/completion.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

namespace detail {

template <class T>
concept shareable_value = std::is_void_v<T> || std::is_reference_v<T> || std::is_copy_constructible_v<T>;

// A completion with its value. Base says what it is called, and what becomes of an error:
//   taken()    an operation has got the end
//   dropped()  its owner is gone
template <class T, class Base>
class result_state final : public Base {
    static_assert(std::is_void_v<T> || std::is_reference_v<T> || std::is_nothrow_move_constructible_v<T>,
                  "a result moves without throwing: give a std::unique_ptr of other types");

public:
    using value_type = T;
    using Base::Base;

    // By the one that makes it: the end, then tell(), which gives up a reference.
    outcome<T>& result() noexcept { return end_.write(); }
    void tell() noexcept { this->complete(end_.read()); }

    // Once it is complete.
    outcome<T> copy() {
        this->taken();
        return end_.read().clone();
    }
    // `references`: those of the owner and of who asks.
    outcome<T> take(std::uint32_t references) {
        this->taken();
        if constexpr (shareable_value<T>)
            if (!this->shared_by(references)) return end_.read().clone();
        return std::move(end_.write());
    }

private:
    env::shared<outcome<T>> end_;
};

enum class gives : unsigned char { value, outcome };

}  // namespace detail

// The owner of a result. Moved, not copied; used by one at a time as an rvalue, and when it is moved or destroyed. It may be
// destroyed while others share or wait: they get the end all the same. What takes needs it until it has taken.
template <class State>
class result_owner {
    using T = typename State::value_type;
    using counted = detail::counted<State>;

public:
    using value_type = T;

    result_owner(result_owner&& other) noexcept = default;
    result_owner& operator=(result_owner&& other) noexcept {
        result_owner old(std::move(other));
        std::swap(state_, old.state_);
        return *this;
    }
    ~result_owner() { reset(); }

    // False when it is empty: never filled, moved from, or its value was moved out. All else is a bug then.
    [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(state_); }
    // Whether it has ended. Any thread.
    [[nodiscard]] bool done() const noexcept { return checked()->is_complete(); }
    // Awaits the end, and takes nothing.
    auto wait() const noexcept { return wait_operation(checked()); }
    // Awaits and gives the end, whichever it is, as an outcome; throws only when the awaiting task itself is stopped. So this
    // tells "what I wait for was cancelled" from "I was".
    auto as_outcome() const& noexcept
        requires detail::shareable_value<T>
    {
        return shared_operation<detail::gives::outcome>(checked());
    }
    auto as_outcome() && noexcept { return taking_operation<detail::gives::outcome>(self_checked()); }

    // The same for threads that run no tasks: block them, and take nothing. False when the time was over first.
    void blocking_wait() const noexcept { (void)checked()->block_until(time_point::max(), State::waits_for); }
    template <class Rep, class Period>
    [[nodiscard]] bool blocking_wait_for(std::chrono::duration<Rep, Period> time) const noexcept {
        const time_point now = env::now();
        const duration left = detail::within_clock(time);
        return blocking_wait_until(left > time_point::max() - now ? time_point::max() : now + left);
    }
    [[nodiscard]] bool blocking_wait_until(time_point deadline) const noexcept {
        return checked()->block_until(deadline, State::waits_for);
    }
    outcome<T> blocking_outcome() const&
        requires detail::shareable_value<T>
    {
        const counted pinned = checked();
        pinned->block_until(time_point::max(), State::waits_for);
        return pinned->copy();
    }
    outcome<T> blocking_outcome() && {
        blocking_wait();
        return take();
    }

    // For select and others that wait for several things. It lives as long as this does.
    [[nodiscard]] completion& completes() const noexcept { return *checked(); }

protected:
    explicit result_owner(counted state) noexcept : state_(std::move(state)) {}
    result_owner() noexcept = default;

    const counted& checked() const noexcept {
        if (!state_) bug(State::empty_used);
        return state_;
    }
    result_owner& self_checked() noexcept { return (void)checked(), *this; }
    void reset() noexcept {
        if (!state_) return;
        state_->dropped();
        state_ = counted();
    }
    // The end of what is complete. Empty afterwards.
    outcome<T> take(std::uint32_t others = 0) {
        outcome<T> end = checked()->take(1 + others);
        reset();
        return end;
    }

    struct wait_awaiter : detail::completion_awaiter {
        explicit wait_awaiter(const counted& of) noexcept
            : completion_awaiter(detail::counted<completion>(of), State::waits_for) {}
    };
    struct [[nodiscard]] wait_operation {
        explicit wait_operation(const counted& which) noexcept : of(which) {}
        wait_awaiter operator co_await() const noexcept { return wait_awaiter(of); }
        counted of;
    };

    template <detail::gives What>
    using given_t = std::conditional_t<What == detail::gives::outcome, outcome<T>, T>;
    template <detail::gives What>
    static given_t<What> given(outcome<T> end) {
        if constexpr (What == detail::gives::outcome) return end;
        else return std::move(end).get();
    }
    template <detail::gives What>
    struct shared_awaiter : wait_awaiter {
        explicit shared_awaiter(const counted& which) noexcept : wait_awaiter(which), of(*which) {}
        given_t<What> await_resume() {
            wait_awaiter::await_resume();
            return given<What>(of.copy());
        }
        State& of;
    };
    template <detail::gives What>
    struct [[nodiscard]] shared_operation {
        explicit shared_operation(const counted& which) noexcept : of(which) {}
        shared_awaiter<What> operator co_await() const noexcept { return shared_awaiter<What>(of); }
        counted of;
    };
    template <detail::gives What>
    struct taking_awaiter : wait_awaiter {
        explicit taking_awaiter(result_owner& which) noexcept : wait_awaiter(which.checked()), from(which) {}
        given_t<What> await_resume() {
            wait_awaiter::await_resume();
            return given<What>(from.take(1));
        }
        result_owner& from;
    };
    template <detail::gives What>
    struct [[nodiscard]] taking_operation {
        explicit taking_operation(result_owner& which) noexcept : from(&which) {}
        taking_awaiter<What> operator co_await() const noexcept { return taking_awaiter<What>(*from); }
        result_owner* from;
    };

private:
    counted state_;
};

}  // namespace leat
