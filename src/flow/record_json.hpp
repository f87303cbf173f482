// record_json: bytes as JSON. Text where they are UTF-8, base64 where they are not, so that nothing is lost.
#pragma once

#include <string>
#include <string_view>

#include <leat/flow/record.hpp>

namespace leat {

// Well-formed UTF-8: no surrogates, nothing overlong, nothing above U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view bytes) noexcept;
// `bytes` with U+FFFD for each byte that is part of no character: for names that people read.
[[nodiscard]] std::string to_utf8(std::string_view bytes);

// Appends `text`, which must be UTF-8, as a JSON string with its quotes.
void append_json_string(std::string& to, std::string_view text);
void append_base64(std::string& to, std::string_view bytes);

// Appends `"name":"text"`, or `"other":"base64…"` when `value` is not UTF-8. No comma.
void append_json_member(std::string& to, std::string_view name, std::string_view other, std::string_view value);

// Appends the members of a record: "key" (or "key_base64"), "attributes" (or "attributes_base64") when there are any, and
// "text" (or "base64"). No braces, no line end.
void append_record_members(std::string& to, const record& what);

}  // namespace leat
