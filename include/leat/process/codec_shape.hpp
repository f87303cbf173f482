// A shape says in data what the codec's templates know in types, so that one function that is no template can look through a
// message before anything is built from it. Used by codec.hpp alone.
//
// Invariant: what verify() has accepted for shape_of<T>, the reading of a T takes apart without a check of its own. Whoever
// changes how a kind is written changes three places: write() and read() in codec.hpp, and verify().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include <leat/process/codec_error.hpp>
#include <leat/process/codec_kind.hpp>

namespace leat::codec_detail {

struct shape {
    enum class form : unsigned char {
        boolean,
        integer,  // signed, of `bytes`; with `valid`, an enumeration
        natural,  // unsigned, likewise
        real,     // of `bytes`: 4 or 8
        string,
        optional,         // nil, or parts[0]
        nested_optional,  // an array of none or one of parts[0], which may itself be nil
        variant,          // an index into parts, and that part
        fields,           // `count` parts, one after the other
        repeated,         // `count` times parts[0]
        list,             // any number of parts[0]
        blob,             // any number of parts[0], which are bytes, end to end
        map,              // any number of parts[0] with parts[1]
    };
    using check = bool (*)(std::uint64_t widened);

    form how = form::boolean;
    bool as_bytes = false;  // the message is `bytes` bytes, which are those of the parts; MessagePack else
    bool plain = false;     // and any will do
    std::size_t bytes = 0;
    std::size_t count = 0;
    const shape* const* parts = nullptr;
    check valid = nullptr;
};

template <class T>
consteval shape make_shape();

template <class T>
inline constexpr shape shape_of = make_shape<T>();

template <class... Part>
inline constexpr std::array<const shape*, sizeof...(Part)> shapes_of = {&shape_of<Part>...};

// What holds any number of T, each of the same number of bytes in one block.
template <class T>
consteval bool is_blob() {
    if constexpr (kind_of<T>() == kind::sequence && std::ranges::contiguous_range<T>) {
        if constexpr (is_bytes<typename T::value_type>()) return bytes_of<typename T::value_type>() > 0;
    }
    return false;
}

template <class T>
consteval shape make_shape() {
    using enum shape::form;
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::own) {
        return make_shape<packed_as<T>>();
    } else if constexpr (k == kind::time) {
        return make_shape<typename T::rep>();
    } else {
        shape made;
        []<class... Part>(types<Part...>, shape& into) {
            into.parts = shapes_of<Part...>.data();
            into.count = sizeof...(Part);
        }(parts<T>{}, made);
        if constexpr (is_bytes<T>()) {
            made.as_bytes = true;
            made.plain = is_plain<T>();
            made.bytes = bytes_of<T>();
        }
        if constexpr (k == kind::boolean) {
            made.how = boolean;
        } else if constexpr (k == kind::integer) {
            made.how = std::is_signed_v<T> ? integer : natural;
        } else if constexpr (k == kind::enumeration) {
            made.how = std::is_signed_v<std::underlying_type_t<T>> ? integer : natural;
            if (!any_enum_value<T>) made.valid = is_enumerator<T>;
        } else if constexpr (k == kind::real) {
            made.how = real;
        } else if constexpr (k == kind::string) {
            made.how = string;
        } else if constexpr (k == kind::optional) {
            made.how = is_nullable<typename T::value_type>() ? nested_optional : optional;
        } else if constexpr (k == kind::variant) {
            made.how = variant;
        } else if constexpr (k == kind::tuple || k == kind::aggregate) {
            made.how = fields;
        } else if constexpr (k == kind::array) {
            made.how = repeated;
            made.count = std::tuple_size_v<T>;
        } else if constexpr (k == kind::sequence || k == kind::set) {
            made.how = is_blob<T>() ? blob : list;
        } else if constexpr (k == kind::map) {
            made.how = map;
        }
        return made;
    }
}

// Deeper values are neither written nor read: the stack of a reader must not be the sender's to use up.
inline constexpr unsigned max_nesting = 128;

// What is wrong with the message as one of this shape; nothing when it can be read. Allocates nothing.
[[nodiscard]] std::optional<codec_error> verify(const shape& expected, std::string_view message);

// Equal for types whose messages mean the same; see codec_type_hash().
[[nodiscard]] std::uint64_t hash_of(const shape& all);

}  // namespace leat::codec_detail
