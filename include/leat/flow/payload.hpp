// payload: the value of an item, of any type, small ones in place. What lets the engine be one piece of code for all flows
// while stages stay typed.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <leat/base/bug.hpp>

namespace leat {

// How much an item of type T counts for bounds in bytes. Specialise or overload for types that own memory.
template <class T>
std::size_t weight_of(const T& value) {
    if constexpr (requires {
                      { value.weight() } -> std::convertible_to<std::size_t>;
                  })
        return value.weight();
    else if constexpr (requires {
                           { value.size() * sizeof(*value.data()) } -> std::convertible_to<std::size_t>;
                       })
        return sizeof(T) + value.size() * sizeof(*value.data());
    else return sizeof(T);
}

// What an item of type T is called in messages and lists of unfinished items; empty when it has no name.
template <class T>
std::string name_of(const T& value) {
    if constexpr (requires {
                      { value.name() } -> std::convertible_to<std::string>;
                  })
        return value.name();
    else if constexpr (std::is_convertible_v<const T&, std::string>) return value;
    else if constexpr (std::is_arithmetic_v<T>) return std::to_string(value);
    else return {};
}

// How many items a value of type T stands for in the account of a flow: more than 1 where lines go through it in blocks.
template <class T>
std::uint64_t items_in(const T& value) {
    if constexpr (requires {
                      { value.items() } -> std::convertible_to<std::uint64_t>;
                  })
        return value.items();
    else return 1;
}

class payload {
public:
    payload() = default;
    template <class T>
        requires(!std::is_same_v<std::decay_t<T>, payload>)
    explicit payload(T&& value) : type_(&type_for<std::decay_t<T>>) {
        using stored = std::decay_t<T>;
        if constexpr (in_place<stored>) std::construct_at(reinterpret_cast<stored*>(room_), std::forward<T>(value));
        else *reinterpret_cast<stored**>(room_) = new stored(std::forward<T>(value));
    }
    payload(payload&& other) noexcept : type_(std::exchange(other.type_, nullptr)) {
        if (type_ != nullptr) type_->move(room_, other.room_);
    }
    payload& operator=(payload&& other) noexcept {
        if (this != &other) {
            reset();
            type_ = std::exchange(other.type_, nullptr);
            if (type_ != nullptr) type_->move(room_, other.room_);
        }
        return *this;
    }
    ~payload() { reset(); }

    [[nodiscard]] bool has_value() const noexcept { return type_ != nullptr; }
    template <class T>
    [[nodiscard]] bool is() const noexcept {
        return type_ == &type_for<T>;
    }
    // The value; asking for another type than it has is a bug.
    template <class T>
    [[nodiscard]] T& as() {
        if (!is<T>()) bug("an item was taken for another type than it has");
        if constexpr (in_place<T>) return *std::launder(reinterpret_cast<T*>(room_));
        else return **reinterpret_cast<T**>(room_);
    }
    // A copy, when the type can be copied; an empty payload otherwise.
    [[nodiscard]] payload copy() const {
        payload fresh;
        if (type_ != nullptr && type_->copy != nullptr) {
            type_->copy(fresh.room_, room_);
            fresh.type_ = type_;
        }
        return fresh;
    }
    [[nodiscard]] std::size_t weight() const { return type_ == nullptr ? 0 : type_->weight(room_); }
    [[nodiscard]] std::uint64_t items() const { return type_ == nullptr ? 1 : type_->items(room_); }
    [[nodiscard]] std::string name() const { return type_ == nullptr ? std::string() : type_->name(room_); }
    void reset() noexcept {
        if (type_ != nullptr) std::exchange(type_, nullptr)->destroy(room_);
    }

private:
    static constexpr std::size_t room = 112;  // a record fits
    template <class T>
    static constexpr bool in_place =
        sizeof(T) <= room && alignof(T) <= alignof(std::max_align_t) && std::is_nothrow_move_constructible_v<T>;

    struct type {
        void (*move)(std::byte* to, std::byte* from) noexcept;  // and destroys `from`
        void (*destroy)(std::byte* place) noexcept;
        void (*copy)(std::byte* to, const std::byte* from);  // null: cannot be copied
        std::size_t (*weight)(const std::byte* place);
        std::uint64_t (*items)(const std::byte* place);
        std::string (*name)(const std::byte* place);
    };
    template <class T>
    static T& at(std::byte* place) noexcept {
        if constexpr (in_place<T>) return *std::launder(reinterpret_cast<T*>(place));
        else return **reinterpret_cast<T**>(place);
    }
    template <class T>
    static const T& at(const std::byte* place) noexcept {
        return at<T>(const_cast<std::byte*>(place));
    }
    template <class T>
    static constexpr type make_type() {
        type made{};
        made.move = [](std::byte* to, std::byte* from) noexcept {
            if constexpr (in_place<T>) {
                std::construct_at(reinterpret_cast<T*>(to), std::move(at<T>(from)));
                std::destroy_at(&at<T>(from));
            } else {
                *reinterpret_cast<T**>(to) = *reinterpret_cast<T**>(from);
            }
        };
        made.destroy = [](std::byte* place) noexcept {
            if constexpr (in_place<T>) std::destroy_at(&at<T>(place));
            else delete &at<T>(place);
        };
        if constexpr (std::is_copy_constructible_v<T>) {
            made.copy = [](std::byte* to, const std::byte* from) {
                if constexpr (in_place<T>) std::construct_at(reinterpret_cast<T*>(to), at<T>(from));
                else *reinterpret_cast<T**>(to) = new T(at<T>(from));
            };
        }
        made.weight = [](const std::byte* place) { return weight_of(at<T>(place)); };
        made.items = [](const std::byte* place) { return items_in(at<T>(place)); };
        made.name = [](const std::byte* place) { return name_of(at<T>(place)); };
        return made;
    }
    template <class T>
    static constexpr type type_for = make_type<T>();

    const type* type_ = nullptr;
    alignas(std::max_align_t) std::byte room_[room];
};

}  // namespace leat
