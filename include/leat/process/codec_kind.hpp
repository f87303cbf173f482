// What may cross to another process, known when compiling: each type is of one kind, and some kinds are refused. Used by
// codec.hpp, which has the rules in words, and by each function that sends a value away:
//
//     template <class T> requires crosses_processes<T> ...     chooses
//     static_assert(leat::must_cross_processes<T>);            explains: which part of T cannot cross, and what to do
//
// Nothing here exists at run time.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <leat/process/codec_fields.hpp>

namespace leat {

// To be specialised for a type of your own: what is sent in its place. See codec.hpp.
template <class T>
struct codec;

// To be specialised as true for an enumeration each of whose bit patterns is a value, such as a set of flags. Of others, the
// enumerators from -128 to 255 are known, and nothing else is a value.
template <class E>
inline constexpr bool any_enum_value = false;
template <>
inline constexpr bool any_enum_value<std::byte> = true;

namespace codec_detail {

enum class kind : unsigned char {
    own,  // codec<T> is specialised
    boolean,
    integer,
    real,
    enumeration,
    time,  // a duration or a time_point
    string,
    optional,
    variant,
    tuple,  // also a pair
    array,
    sequence,
    set,
    map,
    aggregate,
    // Refused from here on: must_cross says why.
    reference,
    pointer,
    owning_pointer,
    view,
    c_array,
    union_,
    long_double,
    unknown_enumerators,
    unassignable,
    unknown,
};

template <class T>
concept own = requires(const T& value) { codec<T>::pack(value); };

// What codec<T>::pack gives.
template <own T>
using packed_as = std::remove_cvref_t<decltype(codec<T>::pack(std::declval<const T&>()))>;

template <class T, template <class...> class Of>
inline constexpr bool is_a = false;
template <class... A, template <class...> class Of>
inline constexpr bool is_a<Of<A...>, Of> = true;

template <class T>
inline constexpr bool is_std_array = false;
template <class E, std::size_t N>
inline constexpr bool is_std_array<std::array<E, N>> = true;

template <class T>
concept counted = requires(const T& value) {
    typename T::value_type;
    { value.size() } -> std::convertible_to<std::size_t>;
    value.begin();
    value.end();
};
template <class T>
concept map_like = counted<T> && requires(T& value) {
    typename T::key_type;
    typename T::mapped_type;
    value.emplace_hint(value.end(), std::declval<typename T::key_type>(), std::declval<typename T::mapped_type>());
};
template <class T>
concept set_like = counted<T> && requires(T& value) {
    typename T::key_type;
    value.emplace_hint(value.end(), std::declval<typename T::key_type>());
};
template <class T>
concept sequence_like = counted<T> && requires(T& value) { value.push_back(std::declval<typename T::value_type>()); };

// The enumerators of E, found by how the compiler spells a value of E: "E::red" where it has a name, "(E)5" where not.
template <class E, auto Value>
consteval bool has_name() {
    const std::string_view text = __PRETTY_FUNCTION__;  // "... [with E = colour; auto Value = colour::red]"
    std::size_t end = text.size();
    while (end > 0 && (text[end - 1] == ']' || text[end - 1] == ')')) --end;
    std::size_t begin = end;
    const auto in_name = [](char c) {
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               static_cast<signed char>(c) < 0;
    };
    while (begin > 0 && in_name(text[begin - 1])) --begin;
    return begin < end && !(text[begin] >= '0' && text[begin] <= '9');
}
inline constexpr int first_known = -128;
inline constexpr int last_known = 255;

template <class E>
inline constexpr auto enumerators = []<int... I>(std::integer_sequence<int, I...>) {
    using base = std::underlying_type_t<E>;
    return std::array<bool, sizeof...(I)>{[] {
        constexpr int value = I + first_known;
        if constexpr (std::is_same_v<base, bool>) return value == 0 || value == 1;
        else if constexpr (std::in_range<base>(value))
            return has_name<E, std::bit_cast<E>(static_cast<base>(value))>();  // a cast may be out of range
        else return false;
    }()...};
}(std::make_integer_sequence<int, last_known - first_known + 1>());

// Whether the number, widened to 64 bits by its sign, is a value of E.
template <class E>
constexpr bool is_enumerator(std::uint64_t widened) {
    if constexpr (any_enum_value<E>) return true;
    const std::uint64_t index = widened - static_cast<std::uint64_t>(first_known);
    return index < enumerators<E>.size() && enumerators<E>[index];
}

template <class E>
consteval bool has_known_enumerators() {
    if constexpr (any_enum_value<E>) return true;
    for (const bool known : enumerators<E>)
        if (known) return true;
    return false;
}

template <class T>
consteval kind kind_of() {
    if constexpr (own<T>) return kind::own;
    else if constexpr (std::is_reference_v<T> || is_a<T, std::reference_wrapper>) return kind::reference;
    else if constexpr (std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T>)
        return kind::pointer;
    else if constexpr (std::is_same_v<T, bool>) return kind::boolean;
    else if constexpr (std::is_integral_v<T>) return kind::integer;
    else if constexpr (std::is_same_v<T, long double>) return kind::long_double;
    else if constexpr (std::is_floating_point_v<T>) return kind::real;
    else if constexpr (std::is_enum_v<T>)
        return has_known_enumerators<T>() ? kind::enumeration : kind::unknown_enumerators;
    else if constexpr (std::is_array_v<T>) return kind::c_array;
    else if constexpr (std::is_union_v<T>) return kind::union_;
    else if constexpr (std::is_same_v<T, std::string>) return kind::string;
    else if constexpr (is_a<T, std::chrono::duration> || is_a<T, std::chrono::time_point>) return kind::time;
    else if constexpr (is_a<T, std::optional>) return kind::optional;
    else if constexpr (is_a<T, std::variant>) return kind::variant;
    else if constexpr (is_a<T, std::tuple> || is_a<T, std::pair>) return kind::tuple;
    else if constexpr (is_std_array<T>) return kind::array;
    else if constexpr (is_a<T, std::unique_ptr> || is_a<T, std::shared_ptr> || is_a<T, std::weak_ptr>)
        return kind::owning_pointer;
    else if constexpr (std::ranges::view<T> || std::ranges::borrowed_range<T> || is_a<T, std::initializer_list>)
        return kind::view;
    else if constexpr (map_like<T>) return kind::map;
    else if constexpr (set_like<T>) return kind::set;
    else if constexpr (sequence_like<T>) return kind::sequence;
    else if constexpr (std::is_aggregate_v<T>)
        return std::is_move_assignable_v<T> ? kind::aggregate : kind::unassignable;
    else return kind::unknown;  // also void and functions
}

template <class... T>
struct types {};

// What a T consists of.
template <class T>
consteval auto parts_of() {
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::own) {
        return types<packed_as<T>>{};
    } else if constexpr (k == kind::time) {
        return types<typename T::rep>{};
    } else if constexpr (k == kind::variant || k == kind::tuple) {
        return []<template <class...> class Of, class... Part>(std::type_identity<Of<Part...>>) {
            return types<std::remove_cv_t<Part>...>{};
        }(std::type_identity<T>{});
    } else if constexpr (k == kind::map) {
        return types<typename T::key_type, typename T::mapped_type>{};
    } else if constexpr (k == kind::optional || k == kind::array || k == kind::sequence || k == kind::set) {
        return types<typename T::value_type>{};
    } else if constexpr (k == kind::aggregate) {
        return []<std::size_t... I>(std::index_sequence<I...>) {
            return types<field_type<T, I>...>{};
        }(std::make_index_sequence<field_count<T>>());
    } else {
        return types<>{};
    }
}
template <class T>
using parts = decltype(parts_of<T>());

// A type that contains itself crosses if its other parts do: Outer are those that are being looked at.
template <class T, class... Outer>
consteval bool crosses() {
    if constexpr ((std::is_same_v<T, Outer> || ...)) return true;
    else if constexpr (kind_of<T>() >= kind::reference) return false;
    else return []<class... Part>(types<Part...>) { return (crosses<Part, T, Outer...>() && ...); }(parts<T>{});
}

// The same with a message. The compiler names the types on the way from the outermost to the one that is refused.
template <class T, class... Outer>
struct must_cross {
    static constexpr kind k = kind_of<T>();
    static_assert(k != kind::reference,
                  "leat: a reference cannot cross to another process: send the object itself, by value");
    static_assert(
        k != kind::pointer,
        "leat: a pointer cannot cross to another process, where its address means nothing: send what it points to");
    static_assert(k != kind::owning_pointer,
                  "leat: a smart pointer cannot cross to another process: send the object, or a std::optional of it");
    static_assert(
        k != kind::view,
        "leat: a view cannot cross to another process, where what it looks at is not: send the owner, such as "
        "std::string for std::string_view and std::vector for std::span");
    static_assert(k != kind::c_array, "leat: a C array cannot cross to another process: use std::array or std::string");
    static_assert(
        k != kind::union_,
        "leat: a union cannot cross to another process, since nothing says which member is alive: use std::variant");
    static_assert(k != kind::long_double,
                  "leat: a long double cannot cross to another process, since its bytes differ by machine: use double");
    static_assert(
        k != kind::unknown_enumerators,
        "leat: this enumeration has no enumerators from -128 to 255, so that its values could be checked: specialise "
        "leat::any_enum_value for it when each number is a value, or else leat::codec");
    static_assert(
        k != kind::unassignable,
        "leat: this aggregate has a member that is a reference, const, or otherwise cannot be assigned, and so cannot "
        "cross to another process: make it a plain value, or specialise leat::codec");
    static_assert(
        k != kind::unknown,
        "leat: this type cannot cross to another process: it is neither a number, a string, a container, nor an "
        "aggregate of such. Specialise leat::codec for it");

    static constexpr bool value = [] {
        if constexpr ((std::is_same_v<T, Outer> || ...)) return true;
        else if constexpr (k >= kind::reference) return false;
        else
            return
                []<class... Part>(types<Part...>) { return (must_cross<Part, T, Outer...>::value && ...); }(parts<T>{});
    }();
};

template <class T>
consteval bool is_scalar() {
    constexpr kind k = kind_of<T>();
    return k == kind::boolean || k == kind::integer || k == kind::real || k == kind::enumeration || k == kind::time;
}

// Whether a T goes as bytes: a scalar, or an array or trivially copyable aggregate of such.
template <class T>
consteval bool is_bytes() {
    if constexpr (is_scalar<T>()) return true;
    else if constexpr (kind_of<T>() == kind::array) return is_bytes<typename T::value_type>();
    else if constexpr (kind_of<T>() == kind::aggregate && std::is_trivially_copyable_v<T>)
        return []<class... Part>(types<Part...>) { return (is_bytes<Part>() && ...); }(parts<T>{});
    else return false;
}

// How many: those of the scalars one after the other, without the padding.
template <class T>
consteval std::size_t bytes_of() {
    static_assert(is_bytes<T>());
    if constexpr (is_scalar<T>()) return sizeof(T);
    else if constexpr (kind_of<T>() == kind::array)
        return std::tuple_size_v<T> == 0 ? 0 : std::tuple_size_v<T> * bytes_of<typename T::value_type>();
    else return []<class... Part>(types<Part...>) { return (std::size_t{0} + ... + bytes_of<Part>()); }(parts<T>{});
}

// Whether any bytes make a T: it has no bool and no enumeration of which some numbers are no values.
template <class T>
consteval bool is_plain() {
    if constexpr (kind_of<T>() == kind::boolean) return false;
    else if constexpr (kind_of<T>() == kind::enumeration) return any_enum_value<T>;
    else return []<class... Part>(types<Part...>) { return (is_plain<Part>() && ...); }(parts<T>{});
}

// Whether the object is its message, byte for byte.
template <class T>
consteval bool is_copied() {
    if constexpr (is_bytes<T>()) return is_plain<T>() && bytes_of<T>() == sizeof(T);
    else return false;
}

// Whether T's message may be MessagePack's nil.
template <class T>
consteval bool is_nullable() {
    if constexpr (kind_of<T>() == kind::own) return is_nullable<packed_as<T>>();
    else return kind_of<T>() == kind::optional;
}

}  // namespace codec_detail

// Whether a T can be encoded and decoded, so that it may go to another process. For choosing an overload; where there is no
// choice, static_assert(must_cross_processes<T>) tells the user why not. The type must be complete.
template <class T>
concept crosses_processes = codec_detail::crosses<std::remove_cv_t<T>>();

template <class T>
inline constexpr bool must_cross_processes = codec_detail::must_cross<std::remove_cv_t<T>>::value;

}  // namespace leat
