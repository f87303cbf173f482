// promise and future: one value, or one error, handed from one place to another, between any two of tasks and threads.
//
//   leat::promise<int> answer;
//   leat::future<int> asked = answer.get_future();
//   …                                                // somewhere, once: answer.set_value(42);
//   int n = co_await asked;                           // in a task; std::move(asked) moves the value out: see result.hpp
//   int n = asked.blocking_get();                     // in a thread that runs no tasks
//
// Of a task that a scope runs there is a handle already (task_handle.hpp); this is for all else: callbacks of other
// libraries, threads, requests that are answered later.
#pragma once

#include <exception>

#include <leat/sync/result.hpp>

namespace leat {

template <class T = void>
class promise;
template <class T = void>
class future;

// What a future throws when its promise was destroyed unset.
class broken_promise : public std::exception {
public:
    [[nodiscard]] const char* what() const noexcept override { return "a promise was destroyed before it was set"; }
};

namespace detail {

class promise_completion : public completion {
public:
    static constexpr const char* waits_for = "future";
    static constexpr const char* empty_used = "an empty future was used: its value was taken, or it was moved from";
    void taken() noexcept {}
    void dropped() noexcept {}
};

template <class T>
using promise_state = result_state<T, promise_completion>;

}  // namespace detail

template <class T>
class [[nodiscard]] future : public result_owner<detail::promise_state<T>> {
    using owner = result_owner<detail::promise_state<T>>;

public:
    future() noexcept = default;  // empty

    // Awaits and gives the value; throws what the promise was set to, or broken_promise.
    auto get() const& noexcept
        requires detail::shareable_value<T>
    {
        return typename owner::template shared_operation<detail::gives::value>(this->checked());
    }
    auto get() && noexcept {
        return typename owner::template taking_operation<detail::gives::value>(this->self_checked());
    }
    // co_await f is co_await f.get().
    auto operator co_await() const& noexcept
        requires detail::shareable_value<T>
    {
        return get().operator co_await();
    }
    auto operator co_await() && noexcept { return std::move(*this).get().operator co_await(); }
    // The same for threads that run no tasks.
    T blocking_get() const&
        requires detail::shareable_value<T>
    {
        return this->blocking_outcome().get();
    }
    T blocking_get() && { return std::move(*this).blocking_outcome().get(); }

private:
    friend promise<T>;
    explicit future(detail::counted<detail::promise_state<T>> state) noexcept : owner(std::move(state)) {}
};

// It would take the future along, and lose it when the time is over: timeout(f.get(), …), timeout(std::move(f).get(), …).
template <class T, class Rep, class Period>
void timeout(future<T>, std::chrono::duration<Rep, Period>) = delete;

template <class T>
class promise {
    using state = detail::promise_state<T>;

public:
    promise() : promise(detail::counted<state>::adopt(new state)) {}
    promise(promise&& other) noexcept = default;
    promise& operator=(promise&& other) noexcept {
        promise old(std::move(other));
        std::swap(state_, old.state_);
        std::swap(future_, old.future_);
        return *this;
    }
    // Unset: the future throws broken_promise.
    ~promise() {
        if (state_) set_exception(std::make_exception_ptr(broken_promise()));
    }

    // Once; before or after it is set.
    future<T> get_future() noexcept {
        if (!future_.valid()) bug("get_future() of a promise was called twice, or after it was moved from");
        return std::move(future_);
    }

    // Exactly one of these, once, from any thread: those who wait are posted, never resumed inside. A value that nobody
    // waits for any more is dropped. What making the value throws is thrown here, and the promise is as it was.
    template <class U = T>
    void set_value(U&& value)
        requires(!std::is_void_v<T>)
    {
        open().result().set_value(std::forward<U>(value));
        state_.release()->tell();
    }
    void set_value() noexcept
        requires std::is_void_v<T>
    {
        open().result().set_value();
        state_.release()->tell();
    }
    void set_exception(std::exception_ptr error) noexcept {
        if (!error) bug("a promise was set to a null exception");
        open().result().set_error(std::move(error));
        state_.release()->tell();
    }

private:
    explicit promise(detail::counted<state> fresh) noexcept : future_(fresh), state_(std::move(fresh)) {}
    state& open() noexcept {
        if (!state_) bug("a promise was set twice, or after it was moved from");
        return *state_;
    }
    future<T> future_;  // until it is asked for
    detail::counted<state> state_;
};

}  // namespace leat
