// payload: the value of an item, of any type, small ones in place. What lets the engine be one piece of code for all flows
// while stages stay typed.
//
// An item is moved at each hop, so a value that is larger than a string lies in a block of its own, from the cache of its
// thread, and only its address moves.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <leat/base/bug.hpp>
#include <leat/task/frame_cache.hpp>

namespace leat {

namespace detail {

// A container of what may own memory itself: strings, records.
template <class T>
concept holds_objects = requires(const T& value) {
    typename T::value_type;
    requires std::is_same_v<std::decay_t<decltype(*value.begin())>, typename T::value_type>;
    requires !std::is_trivially_copyable_v<typename T::value_type>;
};

}  // namespace detail

// How much an item of type T counts for bounds in bytes. Specialise or overload for types that own memory.
template <class T>
std::size_t weight_of(const T& value) {
    if constexpr (requires {
                      { value.weight() } -> std::convertible_to<std::size_t>;
                  })
        return value.weight();
    else if constexpr (detail::holds_objects<T>) {
        std::size_t all = sizeof(T);
        for (const auto& each : value) all += weight_of(each);
        return all;
    } else if constexpr (requires {
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

// Whether a T may be moved by copying its bytes, and left as it is.
template <class T>
inline constexpr bool moves_as_bytes = std::is_trivially_copyable_v<T>;
template <class T>
inline constexpr bool moves_as_bytes<std::unique_ptr<T>> = true;
template <class T>
inline constexpr bool moves_as_bytes<std::shared_ptr<T>> = true;
template <class T>
inline constexpr bool moves_as_bytes<std::vector<T>> = true;

class payload {
public:
    payload() = default;
    template <class T>
        requires(!std::is_same_v<std::decay_t<T>, payload>)
    explicit payload(T&& value) : type_(&type_for<std::decay_t<T>>) {
        using stored = std::decay_t<T>;
        if constexpr (in_place<stored>) std::construct_at(reinterpret_cast<stored*>(room_), std::forward<T>(value));
        else *reinterpret_cast<stored**>(room_) = boxed<stored>(std::forward<T>(value));
    }
    payload(payload&& other) noexcept : type_(std::exchange(other.type_, nullptr)) { take_room(other); }
    payload& operator=(payload&& other) noexcept {
        if (this != &other) {
            reset();
            type_ = std::exchange(other.type_, nullptr);
            take_room(other);
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
        return at<T>(room_);
    }
    // Replaces the value, of type T, by another; the new one may be made of the old one.
    template <class T, class Value>
    void replace(Value&& value) {
        using stored = std::decay_t<Value>;
        if constexpr (std::is_same_v<T, stored> && std::is_nothrow_move_assignable_v<T>) {
            as<T>() = std::forward<Value>(value);
        } else {
            payload fresh(std::forward<Value>(value));
            *this = std::move(fresh);
        }
    }
    // A copy, when the type can be copied; an empty payload otherwise.
    [[nodiscard]] payload copy() const {
        payload fresh;
        if (can_be_copied()) {
            type_->copy(fresh.room_, room_);
            fresh.type_ = type_;
        }
        return fresh;
    }
    [[nodiscard]] bool can_be_copied() const noexcept { return type_ != nullptr && type_->copy != nullptr; }
    [[nodiscard]] std::size_t weight() const {
        if (type_ == nullptr) return 0;
        return type_->weight == nullptr ? type_->size : type_->weight(room_);
    }
    [[nodiscard]] std::uint64_t items() const {
        return type_ == nullptr || type_->items == nullptr ? 1 : type_->items(room_);
    }
    [[nodiscard]] std::string name() const {
        return type_ == nullptr || type_->name == nullptr ? std::string() : type_->name(room_);
    }
    // Whether the value alone says as much about itself as an account made when it came in would: a number, or something
    // without a name; and it is one item.
    [[nodiscard]] bool is_plain() const noexcept { return type_ == nullptr || type_->plain; }
    void reset() noexcept {
        if (type_ == nullptr) return;
        const type* const was = std::exchange(type_, nullptr);
        if (was->destroy != nullptr) was->destroy(room_);
    }

private:
    static constexpr std::size_t room = 32;  // a string fits
    template <class T>
    static constexpr bool in_place =
        sizeof(T) <= room && alignof(T) <= alignof(void*) && std::is_nothrow_move_constructible_v<T>;
    // Above the blocks' alignment they come from the heap.
    template <class T>
    static constexpr bool from_cache = alignof(T) <= detail::frame_cache::granule;

    struct type {
        void (*move)(std::byte* to, std::byte* from) noexcept;  // and destroys `from`; null: the bytes are copied
        void (*destroy)(std::byte* place) noexcept;             // null: nothing to do
        void (*copy)(std::byte* to, const std::byte* from);     // null: cannot be copied
        std::size_t (*weight)(const std::byte* place);          // null: its size
        std::uint64_t (*items)(const std::byte* place);         // null: 1
        std::string (*name)(const std::byte* place);            // null: none
        std::size_t size;
        bool plain;
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
    template <class T, class Value>
    static T* boxed(Value&& value) {
        if constexpr (!from_cache<T>) {
            return new T(std::forward<Value>(value));
        } else {
            void* const block = detail::allocate_frame(sizeof(T));
            try {
                return new (block) T(std::forward<Value>(value));
            } catch (...) {
                detail::free_frame(block, sizeof(T));
                throw;
            }
        }
    }
    void take_room(payload& other) noexcept {
        if (type_ == nullptr) return;
        if (type_->move != nullptr) [[unlikely]]
            type_->move(room_, other.room_);
        else std::memcpy(room_, other.room_, room);
    }
    template <class T>
    static constexpr type make_type() {
        type made{};
        made.size = sizeof(T);
        if constexpr (in_place<T> && !moves_as_bytes<T>) {
            made.move = [](std::byte* to, std::byte* from) noexcept {
                std::construct_at(reinterpret_cast<T*>(to), std::move(at<T>(from)));
                std::destroy_at(&at<T>(from));
            };
        }
        if constexpr (!in_place<T>) {
            made.destroy = [](std::byte* place) noexcept {
                T* const value = &at<T>(place);
                if constexpr (from_cache<T>) {
                    std::destroy_at(value);
                    detail::free_frame(value, sizeof(T));
                } else {
                    delete value;
                }
            };
        } else if constexpr (!std::is_trivially_destructible_v<T>) {
            made.destroy = [](std::byte* place) noexcept { std::destroy_at(&at<T>(place)); };
        }
        if constexpr (std::is_copy_constructible_v<T>) {
            made.copy = [](std::byte* to, const std::byte* from) {
                if constexpr (in_place<T>) std::construct_at(reinterpret_cast<T*>(to), at<T>(from));
                else *reinterpret_cast<T**>(to) = boxed<T>(at<T>(from));
            };
        }
        constexpr bool is_number = std::is_arithmetic_v<T>;
        constexpr bool has_items = requires(const T& value) { value.items(); };
        if constexpr (!is_number) made.weight = [](const std::byte* place) { return weight_of(at<T>(place)); };
        if constexpr (has_items) made.items = [](const std::byte* place) { return items_in(at<T>(place)); };
        made.name = [](const std::byte* place) { return name_of(at<T>(place)); };
        constexpr bool has_name =
            requires(const T& value) { value.name(); } || std::is_convertible_v<const T&, std::string>;
        made.plain = is_number || (!has_items && !has_name);
        return made;
    }
    template <class T>
    static constexpr type type_for = make_type<T>();

    const type* type_ = nullptr;
    alignas(void*) std::byte room_[room];
};

}  // namespace leat
