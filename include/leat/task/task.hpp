// task<T>: a lazy coroutine that gives a T. Nothing runs before it is awaited or spawned; awaiting transfers control to it
// and back without a queue in between, on the same context.
//
// A task is awaited once: a second time is a bug, and so is awaiting one that was moved from. One that is dropped unawaited
// destroys its arguments and never runs. Until it is awaited it belongs to no runtime, and it runs on the one where it is.
// Cancellation: a task ends with leat::cancelled at the first suspension after its context was asked to stop.
// GCC 12: do not create lambdas or aggregates inside a co_await expression; name them first (they are destroyed twice).
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/base/sanitizer.hpp>
#include <leat/task/context.hpp>
#include <leat/task/frame_cache.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T = void>
class task;

namespace detail {

// How many transfers may nest on one stack: where the compiler makes no tail call of a symmetric transfer each takes some.
// Clang always makes one when it optimises, GCC from -O2 on, but it does not tell -O1 and -Og from -O2. Part of the names
// of what it changes, since one program may hold translation units of several kinds.
#if !defined(__OPTIMIZE__)
constexpr int transfers_nested = context::nested_bound;
#elif defined(__clang__)
constexpr int transfers_nested = sanitizer::any ? context::nested_bound : 0;  // 0: as many as come
#else
constexpr int transfers_nested = (sanitizer::any ? 1 : 4) * context::nested_bound;  // optimised frames are small
#endif

// Where to go on for a symmetric transfer to `to` on `line`: `to` itself, or the run queue where nesting would eat the
// stack.
template <int Bound>
std::coroutine_handle<> transfer(context& line, std::coroutine_handle<> to) noexcept {
    if constexpr (Bound != 0) {
        if (!line.nest(Bound)) {
            line.post_at(to, false);
            return std::noop_coroutine();
        }
    }
    return to;
}

// What is common to the promises of all tasks, in two words. A frame is there for each task that waits, so nothing lies in it
// that can lie elsewhere:
//  1. How the task has ended is in the bits below the address of its line.
//  2. An exception takes the place of the continuation, which moves to the line: the place of a line's resumption is free
//     from the end of the body to that of the continuation's first step.
class promise_base {
public:
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    // For the body, which has not ended. NOLINTNEXTLINE(performance-no-int-to-ptr): and so the bits of ours are none
    context& leat_context() noexcept { return *reinterpret_cast<context*>(line_); }
    std::suspend_always initial_suspend() noexcept { return {}; }

    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

    // Who is resumed at the end, and the context to run on until then.
    void start_on(context& line, std::coroutine_handle<> continuation) noexcept {
        if (line_ != 0) bug("a task was awaited twice");
        line_ = reinterpret_cast<std::uintptr_t>(&line);
        continuation_ = continuation;
    }
    // Once it has ended: its error, where it has failed.
    [[nodiscard]] bool failed() const noexcept { return ended_as(ending::error); }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }

    void unhandled_exception() noexcept {
        if (current_exception_is_cancelled()) return end_as(ending::cancelled);
        leat_context().keep(continuation_);
        std::construct_at(&error_, std::current_exception());
        end_as(ending::error);
    }

    template <int Bound>
    struct final_awaiter {
        bool await_ready() noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
            promise_base& mine = self.promise();
            context& line = mine.line();
            return transfer<Bound>(line, mine.failed() ? line.kept() : mine.continuation_);
        }
        void await_resume() noexcept {}
    };
    final_awaiter<transfers_nested> final_suspend() noexcept { return {}; }

protected:
    enum class ending : std::uintptr_t { value = 1, error = 2, cancelled = 4 };  // each a bit; none before the end

    promise_base() noexcept {}
    ~promise_base() {
        if (failed()) std::destroy_at(&error_);
    }
    // Once. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): it does not see that a promise was constructed
    void end_as(ending how) noexcept { line_ |= static_cast<std::uintptr_t>(how); }
    [[nodiscard]] bool ended_as(ending how) const noexcept { return (line_ & static_cast<std::uintptr_t>(how)) != 0; }
    [[noreturn]] void rethrow() const {
        if (failed()) std::rethrow_exception(error_);
        throw_cancelled();
    }
    // The end as an outcome, without its value.
    void tell_failure(outcome_base& told) const noexcept {
        if (failed()) told.set_error(error_);
        else if (ended_as(ending::cancelled)) told.set_cancelled();
    }

private:
    context& line() const noexcept {
        return *reinterpret_cast<context*>(line_ & ~mask_ending);  // NOLINT(performance-no-int-to-ptr): bits of ours
    }

    static constexpr std::uintptr_t mask_ending = 7;
    static_assert(alignof(context) > mask_ending, "the bits below its address are ours");
    std::uintptr_t line_ = 0;
    union {
        std::coroutine_handle<> continuation_{};
        std::exception_ptr error_;  // once it has ended as error
    };
};

template <class T>
class promise : public promise_base {
public:
    promise() noexcept {}
    ~promise() {
        if (ended_as(ending::value)) std::destroy_at(std::addressof(value_));
    }
    task<T> get_return_object() noexcept;
    template <class U = T>
    void return_value(U&& value) {
        static_assert(!std::is_lvalue_reference_v<T> || std::is_lvalue_reference_v<U>,
                      "a task that gives a reference returns an object that outlives it, not a temporary");
        if constexpr (std::is_reference_v<T>) std::construct_at(std::addressof(value_), std::addressof(value));
        else std::construct_at(std::addressof(value_), std::forward<U>(value));
        end_as(ending::value);
    }
    // The value; throws how it ended otherwise.
    T take() {
        if (!ended_as(ending::value)) [[unlikely]]
            rethrow();
        if constexpr (std::is_reference_v<T>) return static_cast<T>(*value_);
        else return std::move(value_);
    }
    outcome<T> take_outcome() {
        outcome<T> told;
        if (ended_as(ending::value)) told.set_value(take());
        else tell_failure(told);
        return told;
    }
    [[nodiscard]] outcome<void> peek() const noexcept {
        outcome<void> told;
        if (ended_as(ending::value)) told.set_value();
        else tell_failure(told);
        return told;
    }

private:
    // A reference is kept as a pointer.
    using stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;
    union {
        stored value_;
    };
};

template <>
class promise<void> : public promise_base {
public:
    task<void> get_return_object() noexcept;
    void return_void() noexcept { end_as(ending::value); }
    void take() const {
        if (!ended_as(ending::value)) [[unlikely]]
            rethrow();
    }
    [[nodiscard]] outcome<void> peek() const noexcept {
        outcome<void> told;
        if (ended_as(ending::value)) told.set_value();
        else tell_failure(told);
        return told;
    }
    [[nodiscard]] outcome<void> take_outcome() const noexcept { return peek(); }
};

}  // namespace detail

template <class T>
class [[nodiscard]] task {
public:
    using value_type = T;
    using promise_type = detail::promise<T>;

    task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        task old(std::move(other));
        std::swap(frame_, old.frame_);
        return *this;
    }
    ~task() {
        if (frame_) frame_.destroy();
    }

    // Runs the task on the awaiting context; gives its value or throws what it threw.
    auto operator co_await() noexcept { return throwing_awaiter{{checked()}}; }
    // The same, but the end of the task, whichever it is, is a value: never throws.
    auto as_outcome() noexcept { return outcome_awaiter{{checked()}}; }

    // For what starts tasks: runs it on `line`, going on with `continuation` at its end; the caller resumes the handle.
    [[nodiscard]] std::coroutine_handle<> start_on(context& line, std::coroutine_handle<> continuation) {
        checked().promise().start_on(line, continuation);
        return frame_;
    }
    // For what started it, once the continuation ran.
    outcome<T> take_outcome() { return frame_.promise().take_outcome(); }
    // The same without the value, which stays.
    [[nodiscard]] outcome<void> peek_outcome() const noexcept { return frame_.promise().peek(); }
    // The same, where only an error is asked for.
    [[nodiscard]] const detail::promise_base& ended() const noexcept { return frame_.promise(); }
    // Ends the frame now: arguments and locals of a finished task are destroyed here.
    void reset() noexcept {
        if (frame_) std::exchange(frame_, nullptr).destroy();
    }

private:
    using handle = std::coroutine_handle<promise_type>;
    friend promise_type;
    explicit task(handle frame) noexcept : frame_(frame) {}
    handle checked() const noexcept {
        if (!frame_) bug("a task that was moved from was awaited");
        return frame_;
    }

    struct awaiter {
        handle frame;
        bool await_ready() const noexcept { return false; }
        template <has_context Promise, int Bound = detail::transfers_nested>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> parent) noexcept {
            context& line = parent.promise().leat_context();
            frame.promise().start_on(line, parent);
            return detail::transfer<Bound>(line, frame);
        }
    };
    struct throwing_awaiter : awaiter {
        T await_resume() { return this->frame.promise().take(); }
    };
    struct outcome_awaiter : awaiter {
        outcome<T> await_resume() { return this->frame.promise().take_outcome(); }
    };

    handle frame_;
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}
inline task<void> promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class T>
struct is_task : std::false_type {};
template <class T>
struct is_task<task<T>> : std::true_type {};

}  // namespace detail
}  // namespace leat
