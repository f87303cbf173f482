#include <flow/record_json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace leat {

bool is_utf8(std::string_view bytes) noexcept {
    const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
    const auto* const end = at + bytes.size();
    while (at != end) {
        if (end - at >= 8) {  // most text is ASCII
            std::uint64_t eight = 0;
            std::memcpy(&eight, at, 8);
            if ((eight & 0x8080808080808080U) == 0) {
                at += 8;
                continue;
            }
        }
        const unsigned char first = *at++;
        if (first < 0x80) continue;
        const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || end - at < more) return false;
        // The second byte excludes what is overlong, the surrogates, and what lies above U+10FFFF.
        const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (*at < low || *at > high) return false;
        for (int i = 1; i < more; ++i)
            if ((at[i] & 0xc0U) != 0x80) return false;
        at += more;
    }
    return true;
}

std::string to_utf8(std::string_view bytes) {
    if (is_utf8(bytes)) return std::string(bytes);
    std::string text;
    while (!bytes.empty()) {
        std::size_t length = 1;
        while (length < 4 && length < bytes.size() && !is_utf8(bytes.substr(0, length))) ++length;
        const std::string_view character = bytes.substr(0, length);
        text += is_utf8(character) ? character : std::string_view("\xef\xbf\xbd");
        bytes.remove_prefix(is_utf8(character) ? length : 1);
    }
    return text;
}

void append_json_string(std::string& to, std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    to += '"';
    std::size_t plain = 0;  // from here on nothing needs an escape
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        to.append(text, plain, i - plain);
        plain = i + 1;
        switch (c) {
            case '"':
                to += "\\\"";
                break;
            case '\\':
                to += "\\\\";
                break;
            case '\n':
                to += "\\n";
                break;
            case '\r':
                to += "\\r";
                break;
            case '\t':
                to += "\\t";
                break;
            default:
                to += "\\u00";
                to += digits[c >> 4U];
                to += digits[c & 15U];
        }
    }
    to.append(text, plain);
    to += '"';
}

void append_base64(std::string& to, std::string_view bytes) {
    static constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t bits = 0;
        for (std::size_t j = 0; j < 3; ++j)
            bits = bits << 8U | (j < have ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        for (std::size_t j = 0; j < 4; ++j) to += j <= have ? letters[bits >> (18 - 6 * j) & 63U] : '=';
    }
}

void append_json_member(std::string& to, std::string_view name, std::string_view other, std::string_view value) {
    const bool text = is_utf8(value);
    append_json_string(to, text ? name : other);
    to += ':';
    if (text) return append_json_string(to, value);
    to += '"';
    append_base64(to, value);
    to += '"';
}

void append_record_members(std::string& to, const record& what) {
    append_json_member(to, "key", "key_base64", what.key);
    to += ',';
    for (const bool as_text : {true, false}) {
        bool any = false;
        for (const auto& [name, value] : what.attributes) {
            if ((is_utf8(name) && is_utf8(value)) != as_text) continue;
            to += any ? "," : as_text ? "\"attributes\":{" : "\"attributes_base64\":{";
            any = true;
            std::string shown = name;  // a name comes from a flow file or the code of a stage
            std::replace_if(
                shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
            append_json_string(to, is_utf8(name) ? name : shown);
            to += ':';
            if (as_text) {
                append_json_string(to, value);
            } else {
                to += '"';
                append_base64(to, value);
                to += '"';
            }
        }
        if (any) to += "},";
    }
    append_json_member(to, "text", "base64", what.bytes);
}

}  // namespace leat
