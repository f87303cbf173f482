// codec: values as messages to another process, and back. Used by whatever crosses a process's border.
//
//     std::string message = leat::encode(value);
//     leat::expected<T, leat::codec_error> again = leat::decode<T>(message);
//
// What may cross (leat::crosses_processes<T>), and as what:
//   * As bytes: numbers, bool, enumerations, durations and time points; std::array and trivially copyable aggregates of these.
//     The message is those bytes one after the other, without padding, and always of codec_bytes<T> bytes.
//   * As MessagePack: std::string; sequences, sets and maps (anything with push_back, or with emplace_hint and a key);
//     pair, tuple, variant, optional; and aggregates of all that, found by reflection (Boost.PFR), by position. Also types
//     that contain themselves, such as a tree. Inside such a message a contiguous sequence or an aggregate of the first form is
//     one block of bytes.
//   * A type of your own, by one specialisation, which says what crosses in its place:
//
//         template <>
//         struct leat::codec<std::filesystem::path> {
//             static const std::string& pack(const std::filesystem::path& path) { return path.native(); }
//             static std::filesystem::path unpack(std::string text) { return text; }
//         };
//
//     unpack may return a std::optional of the type: none refuses the message. What it throws comes out of decode().
//
// What may not is refused when compiling, with a message that begins with "leat:" and says what to use instead: pointers, smart
// pointers, references and views; long double; unions; C arrays; enumerations without enumerators that could be checked
// (leat::any_enum_value); aggregates with const or reference members. In Boost.PFR's words instead: aggregates with bases, bit
// fields or C arrays (use std::array), or with more than 100 members.
//
// The messages are for this machine, and for the same program: the bytes are in its order, an aggregate has no names of its
// members. codec_type_hash() tells whether two programs mean the same; compare it once, where they meet.
//
// Thread-safe: nothing is shared between calls.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <leat/base/expected.hpp>
#include <leat/process/codec_error.hpp>
#include <leat/process/codec_fields.hpp>
#include <leat/process/codec_kind.hpp>
#include <leat/process/codec_shape.hpp>
#include <leat/process/msgpack.hpp>

namespace leat {

namespace codec_detail {

// Thrown by read() for what only the value shows, and caught by decode().
struct refused_value {
    codec_error why;
};

[[noreturn]] void throw_unknown_enumerator();
[[noreturn]] void throw_valueless_variant();
[[noreturn]] void throw_too_deep();
[[noreturn]] void throw_key_twice(std::size_t offset);
[[noreturn]] void throw_refused_by_unpack(std::size_t offset);

// --- bytes: T of is_bytes() ---

template <class T>
void put_bytes(char*& at, const T& value) {
    if constexpr (is_copied<T>() || is_scalar<T>()) {
        if constexpr (kind_of<T>() == kind::enumeration) {
            if (!is_enumerator<T>(static_cast<std::uint64_t>(static_cast<std::underlying_type_t<T>>(value))))
                throw_unknown_enumerator();
        }
        std::memcpy(at, &value, sizeof value);
        at += sizeof value;
    } else if constexpr (kind_of<T>() == kind::array) {
        for (const auto& element : value) put_bytes(at, element);
    } else {
        for_each_field(value, [&](const auto& field) { put_bytes(at, field); });
    }
}

template <class T, class Make, std::size_t... I>
T make_array(std::index_sequence<I...>, const Make& make) {
    return T{{((void)I, make())...}};
}

// An array of what `make` returns, first to last.
template <class T, class Make>
T array_from(const Make& make) {
    using element = typename T::value_type;
    if constexpr (std::is_default_constructible_v<element> && std::is_move_assignable_v<element>) {
        T made{};
        for (element& each : made) each = make();
        return made;
    } else {
        return make_array<T>(std::make_index_sequence<std::tuple_size_v<T>>(), make);
    }
}

template <class T>
T get_bytes(const char*& at) {
    if constexpr (is_copied<T>() || is_scalar<T>()) {
        const char* const from = std::exchange(at, at + sizeof(T));
        if constexpr (std::is_trivially_default_constructible_v<T>) {
            T value;
            std::memcpy(&value, from, sizeof value);
            return value;
        } else {
            std::array<char, sizeof(T)> raw;
            std::memcpy(raw.data(), from, sizeof raw);
            return std::bit_cast<T>(raw);
        }
    } else if constexpr (kind_of<T>() == kind::array) {
        return array_from<T>([&] { return get_bytes<typename T::value_type>(at); });
    } else {
        return [&]<class... Part>(types<Part...>) { return T{get_bytes<Part>(at)...}; }(parts<T>{});
    }
}

// A container of values that lie end to end at any address. In pieces through an aligned buffer, since a container can be
// filled without being filled with zeros first only from objects, and there are none at an odd address.
template <class Container>
Container copied_from(std::string_view bytes) {
    using element = typename Container::value_type;
    constexpr std::size_t most = std::max<std::size_t>(1, 4096 / sizeof(element));
    alignas(element) std::array<char, most * sizeof(element)> piece;
    Container made;
    if constexpr (requires { made.reserve(most); }) made.reserve(bytes.size() / sizeof(element));
    for (std::size_t size = 0; !bytes.empty(); bytes.remove_prefix(size)) {
        size = bytes.copy(piece.data(), piece.size());
        const auto* const first = reinterpret_cast<const element*>(piece.data());
        made.insert(made.end(), first, first + size / sizeof(element));
    }
    return made;
}

// --- MessagePack ---

template <class T>
void write(msgpack::writer& out, const T& value, unsigned depth);

template <class Container>
void write_blob(msgpack::writer& out, const Container& values) {
    using element = typename Container::value_type;
    out.bin(values.size() * bytes_of<element>());
    if constexpr (is_copied<element>()) {
        out.bytes(values.data(), values.size() * sizeof(element));
    } else {
        for (const element& each : values) {
            char* at = out.raw(bytes_of<element>());
            put_bytes(at, each);
        }
    }
}

template <class T>
void write_scalar(msgpack::writer& out, const T& value) {
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::boolean) {
        out.boolean(value);
    } else if constexpr (k == kind::real) {
        out.real(value);
    } else if constexpr (k == kind::enumeration) {
        const auto number = static_cast<std::underlying_type_t<T>>(value);
        if (!is_enumerator<T>(static_cast<std::uint64_t>(number))) throw_unknown_enumerator();
        if constexpr (std::is_signed_v<decltype(number)>) out.integer(number);
        else out.natural(number);
    } else if constexpr (k == kind::time) {
        if constexpr (is_a<T, std::chrono::duration>) write_scalar(out, value.count());
        else write_scalar(out, value.time_since_epoch().count());
    } else if constexpr (std::is_signed_v<T>) {
        out.integer(value);
    } else {
        out.natural(value);
    }
}

template <class T>
void write(msgpack::writer& out, const T& value, unsigned depth) {
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::own) {
        write<packed_as<T>>(out, codec<T>::pack(value), depth);
    } else if constexpr (is_scalar<T>()) {
        write_scalar(out, value);
    } else if constexpr (k == kind::string) {
        out.string(value);
    } else if constexpr (is_bytes<T>()) {
        out.bin(bytes_of<T>());
        char* at = out.raw(bytes_of<T>());
        put_bytes(at, value);
    } else if constexpr (is_blob<T>()) {
        write_blob(out, value);
    } else {
        if (depth == max_nesting) throw_too_deep();
        ++depth;
        if constexpr (k == kind::optional) {
            if constexpr (is_nullable<typename T::value_type>()) out.array(value.has_value());
            else if (!value) out.nil();
            if (value) write<typename T::value_type>(out, *value, depth);
        } else if constexpr (k == kind::variant) {
            if (value.valueless_by_exception()) throw_valueless_variant();
            out.array(2);
            out.natural(value.index());
            std::visit([&]<class Alternative>(const Alternative& alive) { write<Alternative>(out, alive, depth); },
                       value);
        } else if constexpr (k == kind::map) {
            out.map(value.size());
            for (const auto& [key, mapped] : value) {
                write<typename T::key_type>(out, key, depth);
                write<typename T::mapped_type>(out, mapped, depth);
            }
        } else if constexpr (k == kind::aggregate) {
            out.array(field_count<T>);
            for_each_field(value, [&]<class Field>(const Field& field) { write<Field>(out, field, depth); });
        } else if constexpr (k == kind::tuple) {
            out.array(std::tuple_size_v<T>);
            std::apply([&]<class... Part>(const Part&... part) { (write<Part>(out, part, depth), ...); }, value);
        } else {  // an array, a sequence or a set
            out.array(value.size());
            for (const auto& element : value) write<typename T::value_type>(out, element, depth);
        }
    }
}

template <class T>
T read(msgpack::reader& in);

template <class T>
T read_scalar(msgpack::reader& in) {
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::boolean) return in.boolean();
    else if constexpr (k == kind::real) return static_cast<T>(in.real());
    else if constexpr (k == kind::time && is_a<T, std::chrono::duration>) return T(read_scalar<typename T::rep>(in));
    else if constexpr (k == kind::time) return T(read_scalar<typename T::duration>(in));
    else return static_cast<T>(in.integer());
}

// The message is one of the alternatives; which one is known at run time only.
template <class T, std::size_t... I>
T read_variant(msgpack::reader& in, std::index_sequence<I...>) {
    using read_one = T (*)(msgpack::reader&);
    static constexpr read_one readers[] = {+[](msgpack::reader& from) {
        return T(std::in_place_index<I>, read<std::variant_alternative_t<I, T>>(from));
    }...};
    in.array();
    return readers[in.integer()](in);
}

template <class T>
concept insertable = requires(T& made, const typename T::value_type* from) { made.insert(made.end(), from, from); };

template <class T>
T read_sequence(msgpack::reader& in) {
    using element = typename T::value_type;
    if constexpr (is_blob<T>()) {
        const std::string_view all = in.bin();
        if constexpr (is_copied<element>() && insertable<T>) {
            return copied_from<T>(all);
        } else {
            T made;
            const std::size_t count = all.size() / bytes_of<element>();
            if constexpr (requires { made.reserve(count); }) made.reserve(count);
            for (const char* at = all.data(); at != all.data() + all.size();) made.push_back(get_bytes<element>(at));
            return made;
        }
    } else {
        T made;
        std::size_t count = in.array();
        if constexpr (requires { made.reserve(count); }) made.reserve(count);
        for (; count > 0; --count) made.push_back(read<element>(in));
        return made;
    }
}

template <class T>
T read_keyed(msgpack::reader& in) {
    using key = typename T::key_type;
    T made;
    std::size_t count = kind_of<T>() == kind::map ? in.map() : in.array();
    if constexpr (requires { made.reserve(count); }) made.reserve(count);
    for (std::size_t size = 1; size <= count; ++size) {
        const std::size_t offset = in.offset();
        if constexpr (kind_of<T>() == kind::map) {
            key first = read<key>(in);  // named, since the two calls below have no order among arguments
            made.emplace_hint(made.end(), std::move(first), read<typename T::mapped_type>(in));
        } else {
            made.emplace_hint(made.end(), read<key>(in));
        }
        if (made.size() != size) throw_key_twice(offset);
    }
    return made;
}

template <class T>
T unpacked(auto&& packed, std::size_t offset) {
    auto value = codec<T>::unpack(std::forward<decltype(packed)>(packed));
    if constexpr (std::is_same_v<decltype(value), std::optional<T>>) {
        if (!value) throw_refused_by_unpack(offset);
        return *std::move(value);
    } else {
        return value;
    }
}

template <class T>
T read(msgpack::reader& in) {
    constexpr kind k = kind_of<T>();
    if constexpr (k == kind::own) {
        const std::size_t offset = in.offset();
        return unpacked<T>(read<packed_as<T>>(in), offset);
    } else if constexpr (is_scalar<T>()) {
        return read_scalar<T>(in);
    } else if constexpr (k == kind::string) {
        return T(in.string());
    } else if constexpr (is_bytes<T>()) {
        const char* at = in.bin().data();
        return get_bytes<T>(at);
    } else if constexpr (k == kind::optional) {
        if constexpr (is_nullable<typename T::value_type>()) {
            if (in.array() == 0) return std::nullopt;
        } else {
            if (in.nil()) return std::nullopt;
        }
        return T(std::in_place, read<typename T::value_type>(in));
    } else if constexpr (k == kind::variant) {
        return read_variant<T>(in, std::make_index_sequence<std::variant_size_v<T>>());
    } else if constexpr (k == kind::map || k == kind::set) {
        return read_keyed<T>(in);
    } else if constexpr (k == kind::sequence) {
        return read_sequence<T>(in);
    } else if constexpr (k == kind::array) {
        in.array();
        return array_from<T>([&] { return read<typename T::value_type>(in); });
    } else {  // an aggregate or a tuple
        in.array();
        return [&]<class... Part>(types<Part...>) { return T{read<Part>(in)...}; }(parts<T>{});  // braces: in order
    }
}

// Of a message that verify() has accepted.
template <class T>
T read_whole(std::string_view message) {
    if constexpr (own<T>) {
        return unpacked<T>(read_whole<packed_as<T>>(message), 0);
    } else if constexpr (is_bytes<T>()) {
        const char* at = message.data();
        return get_bytes<T>(at);
    } else {
        msgpack::reader in(message);
        return read<T>(in);
    }
}

}  // namespace codec_detail

// Whether a T's message is its bytes, and how many these always are: for places of a fixed size, such as slots of a ring.
template <class T>
inline constexpr bool codec_is_bytes = codec_detail::is_bytes<T>();
template <class T>
    requires codec_is_bytes<T>
inline constexpr std::size_t codec_bytes = codec_detail::bytes_of<T>();

// Equal where messages of one type can be read as the other: not for the same names, but for the same structure.
template <class T>
[[nodiscard]] std::uint64_t codec_type_hash() {
    static_assert(must_cross_processes<T>);
    return codec_detail::hash_of(codec_detail::shape_of<T>);
}

// Appends the message of `value` to `out`. Throws not_encodable when the value has an enumerator that is none, a variant
// without a value, strings or containers of 2^32 or more, or containers, optionals, variants and aggregates nested more than 128
// deep; also what codec<T>::pack throws, and std::bad_alloc. `out` then ends with rubbish.
template <class T>
void encode_to(std::string& out, const T& value) {
    static_assert(must_cross_processes<T>);
    if constexpr (codec_detail::own<T>) {
        encode_to<codec_detail::packed_as<T>>(out, codec<T>::pack(value));
    } else if constexpr (codec_detail::is_copied<T>()) {
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else if constexpr (codec_detail::is_bytes<T>()) {
        const std::size_t before = out.size();
        out.resize(before + codec_bytes<T>);
        char* at = out.data() + before;
        codec_detail::put_bytes(at, value);
    } else {
        msgpack::writer writer(out);
        codec_detail::write(writer, value, 0);
        writer.finish();
    }
}

// The message of `value`; throws like encode_to().
template <class T>
[[nodiscard]] std::string encode(const T& value) {
    std::string message;
    encode_to(message, value);
    return message;
}

// The same where the message is bytes, into a place that was made for it.
template <class T>
    requires codec_is_bytes<T>
void encode_bytes(std::span<char, codec_bytes<T>> out, const T& value) {
    char* at = out.data();
    codec_detail::put_bytes(at, value);
}

// The value of a message, all of it: what follows the value is an error too. The message may be anything at all. Before
// something is built it is looked through, so that a malformed one allocates nothing, whatever lengths it claims. What only
// the value can show is found later: a key that is there twice, and what codec<T>::unpack refuses.
//
// A value may take more memory than its message: up to sizeof(E) times as much for containers of E.
template <class T>
[[nodiscard]] expected<T, codec_error> decode(std::string_view message) {
    static_assert(must_cross_processes<T>);
    if constexpr (codec_detail::is_copied<T>()) {
        if (message.size() == sizeof(T)) [[likely]] {
            const char* at = message.data();
            return codec_detail::get_bytes<T>(at);
        }
    }
    if (const auto wrong = codec_detail::verify(codec_detail::shape_of<T>, message)) return unexpected(*wrong);
    try {
        return codec_detail::read_whole<T>(message);
    } catch (const codec_detail::refused_value& refused) {
        return unexpected(refused.why);
    }
}

}  // namespace leat
