// item_codec: the value of an item as bytes, for its way between machines or to a disk and back. A record of a flow file keeps its
// key and attributes; a value of a C++ flow is what the codec makes of it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <leat/flow/payload.hpp>
#include <leat/flow/policy.hpp>
#include <leat/process/codec.hpp>

namespace leat {

// Crosses like any aggregate.
struct wire_value {
    std::string bytes;
    std::string key;
    std::vector<std::pair<std::string, std::string>> attributes;
    std::uint64_t sequence = 0;  // as in record

    friend bool operator==(const wire_value&, const wire_value&) = default;
};

// How payloads of one type become such values, and come back. The functions may be called from any thread.
struct item_codec {
    // With `may_consume` the payload may be emptied. Throws permanent_error for a payload of another type, and what the codec
    // throws.
    wire_value (*pack)(payload& value, bool may_consume) = nullptr;
    // Throws permanent_error for a value that is none of this type.
    payload (*unpack)(wire_value&& value) = nullptr;
    std::uint64_t type = 0;  // equal where both sides mean the same
};

// Of records.
[[nodiscard]] const item_codec& record_codec() noexcept;

// Of values that leat/process/codec.hpp can encode.

template <class T>
[[nodiscard]] const item_codec& codec_of() {
    static const item_codec made{
        [](payload& value, bool) {
            if (!value.is<T>()) throw permanent_error("an item is not of the type that was said");
            wire_value packed;
            encode_to(packed.bytes, value.as<T>());
            return packed;
        },
        [](wire_value&& value) {
            auto made_of = decode<T>(value.bytes);
            if (!made_of)
                throw permanent_error("an item that is not of the function's type: " + made_of.error().text());
            return payload(std::move(*made_of));
        },
        codec_type_hash<T>()};
    return made;
}

}  // namespace leat
