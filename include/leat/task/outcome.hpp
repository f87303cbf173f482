// outcome<T>: how a task ended: with a value, an exception, or cancelled. What a task leaves behind and what joins read.
#pragma once

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <leat/task/cancelled.hpp>

namespace leat {

namespace detail {
// Whether the exception being handled is leat::cancelled: asked of the runtime, since a rethrow costs a microsecond.
[[nodiscard]] bool current_exception_is_cancelled() noexcept;
[[noreturn]] void throw_cancelled();
}  // namespace detail

// What is common to all: the end without a value.
class outcome_base {
public:
    [[nodiscard]] bool is_value() const noexcept { return state_ == state::value; }
    [[nodiscard]] bool is_error() const noexcept { return state_ == state::error; }
    [[nodiscard]] bool is_cancelled() const noexcept { return state_ == state::cancelled; }
    // The exception; null unless is_error().
    [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }

    void set_current_exception() noexcept {
        if (detail::current_exception_is_cancelled()) {
            state_ = state::cancelled;
        } else {
            error_ = std::current_exception();
            state_ = state::error;
        }
    }
    // For an outcome that has none yet.
    void set_error(std::exception_ptr error) noexcept {
        error_ = std::move(error);
        state_ = state::error;
    }
    void set_cancelled() noexcept { state_ = state::cancelled; }

protected:
    enum class state : unsigned char { none, value, error, cancelled };
    outcome_base() = default;
    void rethrow_unless_value() const {
        if (state_ == state::error) std::rethrow_exception(error_);
        if (state_ != state::value) detail::throw_cancelled();
    }
    std::exception_ptr error_;
    state state_ = state::none;
};

template <class T>
class outcome : public outcome_base {
    // A reference is kept as a pointer.
    using stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;

public:
    outcome() noexcept {}
    outcome(outcome&& other) noexcept(std::is_nothrow_move_constructible_v<stored>) {
        if (other.is_value()) std::construct_at(std::addressof(value_), std::move(other.value_));
        error_ = std::move(other.error_);
        state_ = other.state_;
    }
    // When moving the value throws, this is left without an end.
    outcome& operator=(outcome&& other) noexcept(std::is_nothrow_move_constructible_v<stored>) {
        if (this == &other) return *this;
        if (is_value()) std::destroy_at(std::addressof(value_));
        state_ = state::none;
        if (other.is_value()) std::construct_at(std::addressof(value_), std::move(other.value_));
        error_ = std::move(other.error_);
        state_ = other.state_;
        return *this;
    }
    ~outcome() {
        if (is_value()) std::destroy_at(std::addressof(value_));
    }
    // The same end once more.
    [[nodiscard]] outcome clone() const
        requires std::is_copy_constructible_v<stored>
    {
        outcome copy;
        if (is_value()) std::construct_at(std::addressof(copy.value_), value_);
        copy.error_ = error_;
        copy.state_ = state_;
        return copy;
    }

    template <class U>
    void set_value(U&& value) {
        if constexpr (std::is_reference_v<T>) std::construct_at(std::addressof(value_), std::addressof(value));
        else std::construct_at(std::addressof(value_), std::forward<U>(value));
        state_ = state::value;
    }

    // The value; throws the exception, or cancelled, when there is none.
    T get() && {
        rethrow_unless_value();
        if constexpr (std::is_reference_v<T>) return static_cast<T>(*value_);
        else return std::move(value_);
    }

private:
    union {
        stored value_;
    };
};

template <>
class outcome<void> : public outcome_base {
public:
    outcome() noexcept {}
    [[nodiscard]] outcome clone() const noexcept { return *this; }
    void set_value() noexcept { state_ = state::value; }
    void get() && { rethrow_unless_value(); }
};

}  // namespace leat
