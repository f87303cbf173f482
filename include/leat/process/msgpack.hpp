// MessagePack as codec.hpp writes and reads it (https://github.com/msgpack/msgpack/blob/master/spec.md). Ours, because the
// library of Debian 12 cannot be installed beside Boost 1.81, and the object that it makes of a message takes memory by what the
// message says of its length.
//
// Both are for one thread at a time. The reader trusts what it reads: only codec_detail::verify() may have accepted it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace leat::msgpack {

// The first byte of each item; "fix" ones carry a small number in their low bits.
namespace tag {
inline constexpr unsigned char fix_map = 0x80, fix_array = 0x90, fix_string = 0xa0, nil = 0xc0, reserved = 0xc1,
                               no = 0xc2, yes = 0xc3, bin8 = 0xc4, bin16 = 0xc5, bin32 = 0xc6, ext8 = 0xc7,
                               ext32 = 0xc9, real32 = 0xca, real64 = 0xcb, natural8 = 0xcc, natural16 = 0xcd,
                               natural32 = 0xce, natural64 = 0xcf, integer8 = 0xd0, integer16 = 0xd1, integer32 = 0xd2,
                               integer64 = 0xd3, fixext1 = 0xd4, fixext16 = 0xd8, string8 = 0xd9, string16 = 0xda,
                               string32 = 0xdb, array16 = 0xdc, array32 = 0xdd, map16 = 0xde, map32 = 0xdf,
                               negative_fix = 0xe0;
}  // namespace tag

// The big-endian number at `at`.
template <class N>
inline N load(const char* at) noexcept {
    N number;
    std::memcpy(&number, at, sizeof number);
    if constexpr (sizeof number == 2) return static_cast<N>(__builtin_bswap16(number));
    else if constexpr (sizeof number == 4) return __builtin_bswap32(number);
    else if constexpr (sizeof number == 8) return __builtin_bswap64(number);
    else return number;
}

// Appends to a string, each number in its shortest form. Between two calls the string holds more than was written;
// finish() cuts it. Throws not_encodable for a length that does not fit in 32 bits, and std::bad_alloc.
class writer {
public:
    explicit writer(std::string& out) : out_(out) { take_room(); }
    writer(const writer&) = delete;
    writer& operator=(const writer&) = delete;

    void nil() { *room(1) = static_cast<char>(tag::nil), ++at_; }
    void boolean(bool value) { *room(1) = static_cast<char>(value ? tag::yes : tag::no), ++at_; }
    void natural(std::uint64_t value) {
        if (value < 0x80) *room(1) = static_cast<char>(value), ++at_;
        else long_natural(value);
    }
    void integer(std::int64_t value) {
        if (value >= 0) natural(static_cast<std::uint64_t>(value));
        else negative(value);
    }
    void real(float value);
    void real(double value);
    void string(std::string_view text) {
        if (text.size() < 32) {
            char* const at = room(32);
            *at = static_cast<char>(tag::fix_string | text.size());
            if (!text.empty()) std::memcpy(at + 1, text.data(), text.size());
            at_ += 1 + text.size();
        } else {
            long_string(text);
        }
    }
    // Followed by as many items; twice as many for a map.
    void array(std::size_t count) {
        if (count < 16) *room(1) = static_cast<char>(tag::fix_array | count), ++at_;
        else length(count, tag::array16);
    }
    void map(std::size_t count) {
        if (count < 16) *room(1) = static_cast<char>(tag::fix_map | count), ++at_;
        else length(count, tag::map16);
    }
    // Followed by calls of raw() or bytes() that add up to `size`.
    void bin(std::size_t size);
    // Room for so many bytes, which the caller fills.
    char* raw(std::size_t size) {
        char* const at = room(size);
        at_ += size;
        return at;
    }
    void bytes(const void* data, std::size_t size);

    void finish() { out_.resize(used()); }

private:
    [[nodiscard]] std::size_t used() const noexcept { return static_cast<std::size_t>(at_ - out_.data()); }
    char* room(std::size_t size) {
        if (static_cast<std::size_t>(end_ - at_) < size) [[unlikely]]
            grow(size);
        return at_;
    }
    void take_room() noexcept { at_ = end_ = out_.data() + out_.size(); }
    void grow(std::size_t size);
    void long_natural(std::uint64_t value);
    void negative(std::int64_t value);
    void long_string(std::string_view text);
    template <class N>
    void put(unsigned char first, N value);
    void length(std::size_t count, unsigned char tag16);

    std::string& out_;
    char* at_ = nullptr;
    char* end_ = nullptr;
};

// Reads what verify() has accepted; of anything else it reads beyond the end.
class reader {
public:
    explicit reader(std::string_view message) noexcept : begin_(message.data()), at_(begin_) {}

    // Skips a nil if one is next.
    bool nil() noexcept {
        const bool is = first() == tag::nil;
        at_ += is;
        return is;
    }
    bool boolean() noexcept { return static_cast<unsigned char>(*at_++) == tag::yes; }
    // A number of either sign, widened to 64 bits.
    std::uint64_t integer() noexcept {
        const unsigned char tag = first();
        if (tag < 0x80 || tag >= tag::negative_fix)
            return static_cast<std::uint64_t>(std::int64_t{static_cast<signed char>(*at_++)});
        return long_integer();
    }
    // A real of 32 or of 64 bits.
    double real() noexcept;
    std::string_view string() noexcept {
        const unsigned char tag = first();
        const std::size_t size = (tag & 0xe0U) == tag::fix_string ? (++at_, tag & 0x1fU) : length(tag, tag::string8);
        return take(size);
    }
    std::string_view bin() noexcept { return take(length(first(), tag::bin8)); }
    std::size_t array() noexcept {
        const unsigned char tag = first();
        return (tag & 0xf0U) == tag::fix_array ? (++at_, tag & 0xfU) : length(tag, tag::array16 - 1);
    }
    std::size_t map() noexcept {
        const unsigned char tag = first();
        return (tag & 0xf0U) == tag::fix_map ? (++at_, tag & 0xfU) : length(tag, tag::map16 - 1);
    }
    // What is next, when it is no MessagePack: bytes that somebody else reads, from here to where they say.
    [[nodiscard]] const char*& at() noexcept { return at_; }
    [[nodiscard]] std::size_t offset() const noexcept { return static_cast<std::size_t>(at_ - begin_); }

private:
    [[nodiscard]] unsigned char first() const noexcept { return static_cast<unsigned char>(*at_); }
    // Of an item whose tags for 8, 16 and 32 bits follow each other; `tag8` is the first of them.
    std::size_t length(unsigned char tag, int tag8) noexcept;
    std::uint64_t long_integer() noexcept;
    std::string_view take(std::size_t size) noexcept {
        const char* const from = at_;
        at_ += size;
        return {from, size};
    }

    const char* begin_;
    const char* at_;
};

}  // namespace leat::msgpack
