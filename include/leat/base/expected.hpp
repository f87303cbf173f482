// expected<T, E>: a value or the reason why there is none. Every outcome that a caller must foresee (closed, full, timed
// out) is returned in one; failures of user code are exceptions instead.
//
// Ours rather than std::expected (C++23) for one property: the class is [[nodiscard]], so that a dropped failed send is
// a warning in the caller's build. The interface is the standard's, cut to what the library uses.
//
// Invariant: exactly one of value and error is alive. Moving from an expected moves its content and leaves the same
// alternative alive, so the state never changes after construction except by assignment.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>

namespace leat {

// Wraps an error so that it converts to any expected<T, E>: `return unexpected(recv_error::closed);`
template <class E>
class unexpected {
public:
    constexpr explicit unexpected(E error) : error_(std::move(error)) {}
    constexpr E& error() & noexcept { return error_; }
    constexpr const E& error() const& noexcept { return error_; }
    constexpr E&& error() && noexcept { return std::move(error_); }

private:
    E error_;
};

template <class T, class E>
class [[nodiscard]] expected {
    static_assert(!std::is_reference_v<T> && !std::is_reference_v<E>, "expected holds objects, not references");

public:
    using value_type = T;
    using error_type = E;

    // NOLINTNEXTLINE(google-explicit-constructor)
    constexpr expected(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(true) {
        std::construct_at(std::addressof(value_), std::move(value));
    }
    template <class G>
        requires std::is_constructible_v<E, G&&>
    constexpr expected(unexpected<G> error)  // NOLINT(google-explicit-constructor)
        : has_value_(false) {
        std::construct_at(std::addressof(error_), std::move(error).error());
    }
    constexpr expected(expected&& other) noexcept(std::is_nothrow_move_constructible_v<T> &&
                                                  std::is_nothrow_move_constructible_v<E>)
        : has_value_(other.has_value_) {
        take(std::move(other));
    }
    constexpr expected(const expected& other)
        requires std::is_copy_constructible_v<T> && std::is_copy_constructible_v<E>
        : has_value_(other.has_value_) {
        if (has_value_) std::construct_at(std::addressof(value_), other.value_);
        else std::construct_at(std::addressof(error_), other.error_);
    }
    // Leaves *this valueless only while it runs: content must move without throwing to be assigned.
    constexpr expected& operator=(expected&& other) noexcept {
        static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_constructible_v<E>,
                      "assignment needs content whose move does not throw");
        if (this != &other) {
            destroy();
            has_value_ = other.has_value_;
            take(std::move(other));
        }
        return *this;
    }
    constexpr ~expected() { destroy(); }

    constexpr bool has_value() const noexcept { return has_value_; }
    constexpr explicit operator bool() const noexcept { return has_value_; }

    // The value. Calling one of these on an error is a bug in the caller, reported with its place.
    constexpr T& operator*() & { return check_value(), value_; }
    constexpr const T& operator*() const& { return check_value(), value_; }
    constexpr T&& operator*() && { return check_value(), std::move(value_); }
    constexpr T* operator->() { return check_value(), std::addressof(value_); }
    constexpr const T* operator->() const { return check_value(), std::addressof(value_); }
    constexpr T& value() & { return **this; }
    constexpr const T& value() const& { return **this; }
    constexpr T&& value() && { return *std::move(*this); }
    template <class U>
    constexpr T value_or(U&& other) && {
        return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(other));
    }

    // The error. Calling it on a value is a bug in the caller.
    constexpr E& error() & { return check_error(), error_; }
    constexpr const E& error() const& { return check_error(), error_; }
    constexpr E&& error() && { return check_error(), std::move(error_); }

private:
    constexpr void check_value() const {
        if (!has_value_) bug("the value of an expected that holds an error was read");
    }
    constexpr void check_error() const {
        if (has_value_) bug("the error of an expected that holds a value was read");
    }
    constexpr void take(expected&& other) {
        if (has_value_) std::construct_at(std::addressof(value_), std::move(other.value_));
        else std::construct_at(std::addressof(error_), std::move(other.error_));
    }
    constexpr void destroy() noexcept {
        if (has_value_) std::destroy_at(std::addressof(value_));
        else std::destroy_at(std::addressof(error_));
    }

    union {
        T value_;
        E error_;
    };
    bool has_value_;
};

// The outcome of an operation that yields no value.
template <class E>
class [[nodiscard]] expected<void, E> {
public:
    using value_type = void;
    using error_type = E;

    constexpr expected() noexcept : has_value_(true) {}
    template <class G>
        requires std::is_constructible_v<E, G&&>
    constexpr expected(unexpected<G> error)  // NOLINT(google-explicit-constructor)
        : has_value_(false) {
        std::construct_at(std::addressof(error_), std::move(error).error());
    }
    constexpr expected(expected&& other) noexcept(std::is_nothrow_move_constructible_v<E>)
        : has_value_(other.has_value_) {
        if (!has_value_) std::construct_at(std::addressof(error_), std::move(other.error_));
    }
    constexpr expected(const expected& other)
        requires std::is_copy_constructible_v<E>
        : has_value_(other.has_value_) {
        if (!has_value_) std::construct_at(std::addressof(error_), other.error_);
    }
    constexpr expected& operator=(expected&& other) noexcept {
        static_assert(std::is_nothrow_move_constructible_v<E>, "assignment needs an error whose move does not throw");
        if (this != &other) {
            destroy();
            has_value_ = other.has_value_;
            if (!has_value_) std::construct_at(std::addressof(error_), std::move(other.error_));
        }
        return *this;
    }
    constexpr ~expected() { destroy(); }

    constexpr bool has_value() const noexcept { return has_value_; }
    constexpr explicit operator bool() const noexcept { return has_value_; }
    constexpr void value() const {
        if (!has_value_) bug("the value of an expected that holds an error was read");
    }
    constexpr E& error() & { return check_error(), error_; }
    constexpr const E& error() const& { return check_error(), error_; }
    constexpr E&& error() && { return check_error(), std::move(error_); }

private:
    constexpr void check_error() const {
        if (has_value_) bug("the error of an expected that holds a value was read");
    }
    constexpr void destroy() noexcept {
        if (!has_value_) std::destroy_at(std::addressof(error_));
    }
    union {
        E error_;
        char none_;
    };
    bool has_value_;
};

}  // namespace leat
