// async_generator<T>: a lazy coroutine that gives a sequence of T and may wait between two of them. It runs on the context
// of the task that asks for the next element, only while that task asks.
//
//   leat::async_generator<std::string> lines(leat::receiver<chunk> in) { … co_yield line; … }
//   auto all = lines(std::move(in));
//   while (auto line = co_await all.next()) use(*line);
//
// Cancellation: the body's waits are waits of the asking task. When that is asked to stop, they throw cancelled inside the
// body; yielding is no such wait. A body that lets cancelled out has ended by it: so after timeout(all.next(), 1s) has
// stopped the body, all later calls of next() throw cancelled. To go on after a time limit put the limit inside the body,
// around what it waits for. No element is lost in either case: one that was yielded is given to the call that asked for it,
// stopped or not.
//
// The asking task may be another one each time, but what the body binds to its task (a bare scope, a timeout around it)
// must not live over a co_yield then. One call of next() at a time. An async_generator is dropped between two calls: that
// destroys what the body has alive. Dropping it during a call, or a second call during one, is a bug.
#pragma once

#include <optional>

#include <leat/task/task.hpp>

namespace leat {

template <class T>
class [[nodiscard]] async_generator {
    static_assert(!std::is_void_v<T> && !std::is_rvalue_reference_v<T>,
                  "an async_generator gives values, or references to lvalues");

public:
    class promise_type;
    // What next() gives: empty at the end, else *item is the element. For a reference: a pointer.
    using item = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, std::optional<T>>;

    async_generator(async_generator&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    async_generator& operator=(async_generator&& other) noexcept {
        async_generator old(std::move(other));
        std::swap(frame_, old.frame_);
        return *this;
    }
    ~async_generator() {
        if (!frame_) return;
        if (frame_.promise().asked_) bug("an async_generator was destroyed while its next element was awaited");
        frame_.destroy();
    }

    // Runs the body to its next element, or its end, on the awaiting task's context, and resumes there. Gives the element;
    // an empty item at the end, and ever after. Throws what the body threw, then and ever after; cancelled is no exception.
    auto next() noexcept { return next_operation(checked()); }

private:
    using handle = std::coroutine_handle<promise_type>;
    explicit async_generator(handle frame) noexcept : frame_(frame) {}
    handle checked() const noexcept {
        if (!frame_) bug("an async_generator that was moved from was asked for its next element");
        return frame_;
    }

    struct awaiter {
        handle body;
        bool await_ready() const noexcept {
            if (body.promise().asked_) bug("an async_generator was asked for its next element twice at a time");
            return body.done();
        }
        template <has_context Promise, int Bound = detail::transfers_nested>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> parent) noexcept {
            promise_type& mine = body.promise();
            mine.asked_ = true;
            mine.line_ = &parent.promise().leat_context();
            mine.continuation_ = parent;
            return detail::transfer<Bound>(*mine.line_, body);
        }
        item await_resume() { return body.promise().take(); }
    };
    struct [[nodiscard]] next_operation {
        explicit next_operation(handle frame) noexcept : body(frame) {}
        awaiter operator co_await() const noexcept { return awaiter{body}; }
        handle body;
    };

    handle frame_;
};

template <class T>
class async_generator<T>::promise_type {
    using element = std::remove_reference_t<T>;

public:
    static void* operator new(std::size_t size) { return detail::allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { detail::free_frame(frame, size); }

    context& leat_context() noexcept { return *line_; }
    async_generator get_return_object() noexcept { return async_generator(handle::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    void return_void() noexcept { end_.set_value(); }
    void unhandled_exception() noexcept { end_.set_current_exception(); }

    // Suspends the body, and goes on with the task that asked.
    template <int Bound>
    struct hands_over {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(handle self) noexcept {
            promise_type& mine = self.promise();
            mine.asked_ = false;
            return detail::transfer<Bound>(*mine.line_, mine.continuation_);
        }
        void await_resume() const noexcept {}
    };
    template <int Bound>
    struct hands_over_copy : hands_over<Bound> {
        explicit hands_over_copy(const element& value) : copy(value) {}
        std::coroutine_handle<> await_suspend(handle self) noexcept {
            self.promise().current_ = std::addressof(copy);
            return hands_over<Bound>::await_suspend(self);
        }
        element copy;
    };
    hands_over<detail::transfers_nested> final_suspend() const noexcept { return {}; }

    // The element stays where it is, in the body's frame, until the task that asked takes it.
    template <int Bound = detail::transfers_nested>
    hands_over<Bound> yield_value(std::conditional_t<std::is_reference_v<T>, T, T&&> value) noexcept {
        current_ = std::addressof(value);
        return {};
    }
    template <int Bound = detail::transfers_nested>
    hands_over_copy<Bound> yield_value(const element& value)
        requires(!std::is_reference_v<T> && std::copy_constructible<T>)
    {
        return hands_over_copy<Bound>(value);
    }

private:
    friend async_generator;

    item take() {
        element* const value = std::exchange(current_, nullptr);
        if (value == nullptr) {
            outcome<void>(end_).get();
            return {};
        }
        if constexpr (std::is_reference_v<T>) return value;
        else return item(std::move(*value));
    }

    context* line_ = nullptr;  // of the call under way
    std::coroutine_handle<> continuation_;
    element* current_ = nullptr;
    bool asked_ = false;  // a call is under way
    outcome<void> end_;
};

}  // namespace leat
