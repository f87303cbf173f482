// generator<T>: a lazy coroutine that gives a sequence of T, one at a time, to a plain loop. It runs in the caller, inside
// begin() and ++; nothing runs before begin(). An input range and a view, so that the adaptors of <ranges> take it.
//
//   leat::generator<int> numbers(int from) { for (;;) co_yield from++; }
//   for (int each : numbers(1)) …
//
//   leat::generator<const node&> walk(const node& top) {
//       co_yield top;
//       for (const node& below : top.children) co_yield leat::elements_of(walk(below));
//   }
//
// T is a value or a reference, as in std::generator (P2502): iterators of generator<T> give T&&, those of generator<T&> T&.
// What an iterator gives is valid until the next ++: it lies in the body's frame. A copy is made only where the body yields
// an lvalue that the caller may move from.
//
// Exceptions of the body come out of begin() or ++, after which the generator is at its end. Dropping a generator destroys
// the bodies that it is suspended in, innermost first, on a flat stack. The body cannot co_await; in a fiber it may call
// leat::await. One thread at a time uses it and everything it nests.
//
// Invariants:
//  1. The outermost generator of a chain holds where the chain is: the innermost body, which alone is resumed. An element
//     costs the same at any depth.
//  2. Bodies never resume each other: beginning and ending a nested one returns to advance(). The stack stays flat in
//     builds that make no tail calls, too.
#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/task/frame_cache.hpp>

namespace leat {

template <class T>
class generator;

// co_yield elements_of(range): each element of a range in turn. A generator of the same type, given as an rvalue, is nested
// (invariant 1), any other range is iterated. Holds an rvalue, refers to an lvalue.
template <class Range>
struct elements_of {
    explicit elements_of(Range&& elements) : range(std::forward<Range>(elements)) {}
    Range range;
};
template <class Range>
elements_of(Range&&) -> elements_of<Range>;

namespace detail {

// What a body yields, and what reaches the caller, for a generator of T.
template <class T>
using yielded_t = std::conditional_t<std::is_reference_v<T>, T, T&&>;

// Whether a yielded lvalue must be copied first: the caller gets an rvalue, and may move from it.
template <class T>
concept yields_copies = std::is_rvalue_reference_v<yielded_t<T>> && std::copy_constructible<std::remove_cvref_t<T>>;

template <class T>
class generator_promise {
    using value = std::remove_cvref_t<T>;
    using handle = std::coroutine_handle<generator_promise>;

public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

    generator<T> get_return_object() noexcept { return generator<T>(handle::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() noexcept { return ended(); }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { error_ = std::current_exception(); }
    template <class Awaitable>
    void await_transform(Awaitable&&) = delete;  // a generator cannot wait: use an async_generator

    std::suspend_always yield_value(yielded_t<T> element) noexcept {
        outermost_->current_ = std::addressof(element);
        return {};
    }
    auto yield_value(const value& element)
        requires yields_copies<T>
    {
        return yields_copy(element);
    }
    auto yield_value(elements_of<generator<T>> nested) noexcept { return nests(std::move(nested.range)); }
    template <class Range>
        requires std::ranges::input_range<Range>
    auto yield_value(elements_of<Range> elements) {
        return nests(each_of<Range>(std::forward<Range>(elements.range)));
    }

    // Runs to the next element, or to the end; rethrows what the outermost body threw. Outermost only.
    void advance() {
        current_ = nullptr;
        do handle::from_promise(*innermost_).resume();
        while (current_ == nullptr && innermost_ != nullptr);
        if (innermost_ == nullptr && error_) std::rethrow_exception(std::exchange(error_, nullptr));
    }
    [[nodiscard]] bool at_end() const noexcept { return innermost_ == nullptr; }
    [[nodiscard]] yielded_t<T> current() const noexcept { return static_cast<yielded_t<T>>(*current_); }
    [[nodiscard]] bool begin() noexcept { return !std::exchange(begun_, true); }

    // Destroys the frames nested in this one, innermost first: each would destroy the next, and so eat the stack.
    void drop_nested() noexcept {
        while (innermost_ != nullptr && innermost_ != this) {
            generator_promise& last = *std::exchange(innermost_, innermost_->outer_);
            last.holder_->frame_ = nullptr;
            handle::from_promise(last).destroy();
        }
    }

private:
    struct ended {
        bool await_ready() const noexcept { return false; }
        void await_suspend(handle self) const noexcept {
            generator_promise& mine = self.promise();
            mine.outermost_->innermost_ = mine.outer_;
        }
        void await_resume() const noexcept {}
    };
    struct yields_copy {
        explicit yields_copy(const value& element) : copy(element) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(handle self) noexcept { self.promise().outermost_->current_ = std::addressof(copy); }
        void await_resume() const noexcept {}
        value copy;
    };
    struct nests {
        explicit nests(generator<T>&& elements) noexcept : nested(std::move(elements)) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(handle self) noexcept {
            generator_promise& mine = nested.begun();
            mine.outermost_ = self.promise().outermost_;
            mine.outer_ = &self.promise();
            mine.holder_ = &nested;
            mine.outermost_->innermost_ = &mine;
        }
        void await_resume() {
            if (std::exception_ptr& error = nested.frame_.promise().error_) std::rethrow_exception(std::move(error));
        }
        generator<T> nested;
    };
    template <class Range>
    static generator<T> each_of(Range range) {
        for (auto&& each : range) co_yield std::forward<decltype(each)>(each);
    }

    generator_promise* outermost_ = this;
    generator_promise* innermost_ = this;                 // outermost only; nullptr at the end
    std::add_pointer_t<yielded_t<T>> current_ = nullptr;  // outermost only; nullptr while a body runs
    generator_promise* outer_ = nullptr;                  // nested only: who yields our elements
    generator<T>* holder_ = nullptr;  // nested only: what would destroy this frame, in that of outer_
    std::exception_ptr error_;
    bool begun_ = false;
};

}  // namespace detail

template <class T>
class [[nodiscard]] generator : public std::ranges::view_interface<generator<T>> {
public:
    using promise_type = detail::generator_promise<T>;

    class iterator {
    public:
        using value_type = std::remove_cvref_t<T>;
        using difference_type = std::ptrdiff_t;

        iterator(iterator&& other) noexcept : body_(std::exchange(other.body_, nullptr)) {}
        iterator& operator=(iterator&& other) noexcept {
            body_ = std::exchange(other.body_, nullptr);
            return *this;
        }
        detail::yielded_t<T> operator*() const noexcept { return body_->current(); }
        iterator& operator++() {
            body_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& self, std::default_sentinel_t) noexcept { return self.body_->at_end(); }

    private:
        friend generator;
        explicit iterator(promise_type& body) noexcept : body_(&body) {}
        promise_type* body_;
    };

    generator(generator&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    generator& operator=(generator&& other) noexcept {
        generator old(std::move(other));
        std::swap(frame_, old.frame_);
        return *this;
    }
    ~generator() {
        if (!frame_) return;
        frame_.promise().drop_nested();
        frame_.destroy();
    }

    // Runs the body to its first element. Once: there is no way back.
    [[nodiscard]] iterator begin() {
        promise_type& body = begun();
        body.advance();
        return iterator(body);
    }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
    using handle = std::coroutine_handle<promise_type>;
    friend promise_type;
    explicit generator(handle frame) noexcept : frame_(frame) {}
    promise_type& begun() const noexcept {
        if (!frame_) bug("a generator that was moved from was iterated");
        if (!frame_.promise().begin()) bug("a generator was iterated twice");
        return frame_.promise();
    }

    handle frame_;
};

}  // namespace leat
