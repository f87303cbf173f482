#include <leat/process/msgpack.hpp>

#include <algorithm>
#include <bit>
#include <leat/process/codec_error.hpp>
#include <limits>

namespace leat::msgpack {

static_assert(std::endian::native == std::endian::little, "load() and put() swap, and bytes travel as they lie");

namespace {

template <class N>
void store(char* at, N value) noexcept {
    const N swapped = load<N>(reinterpret_cast<const char*>(&value));
    std::memcpy(at, &swapped, sizeof swapped);
}

}  // namespace

void writer::grow(std::size_t size) {
    const std::size_t written = used();
    out_.resize(std::max({written + size, written * 2, std::size_t{256}}));
    at_ = out_.data() + written;
    end_ = out_.data() + out_.size();
}

template <class N>
void writer::put(unsigned char first, N value) {
    char* const at = room(1 + sizeof value);
    *at = static_cast<char>(first);
    store(at + 1, value);
    at_ += 1 + sizeof value;
}

void writer::long_natural(std::uint64_t value) {
    if (value <= 0xff) put(tag::natural8, static_cast<std::uint8_t>(value));
    else if (value <= 0xffff) put(tag::natural16, static_cast<std::uint16_t>(value));
    else if (value <= 0xffff'ffff) put(tag::natural32, static_cast<std::uint32_t>(value));
    else put(tag::natural64, value);
}

void writer::negative(std::int64_t value) {
    if (value >= -32) *room(1) = static_cast<char>(value), ++at_;
    else if (value >= std::numeric_limits<std::int8_t>::min()) put(tag::integer8, static_cast<std::uint8_t>(value));
    else if (value >= std::numeric_limits<std::int16_t>::min()) put(tag::integer16, static_cast<std::uint16_t>(value));
    else if (value >= std::numeric_limits<std::int32_t>::min()) put(tag::integer32, static_cast<std::uint32_t>(value));
    else put(tag::integer64, static_cast<std::uint64_t>(value));
}

void writer::real(float value) { put(tag::real32, std::bit_cast<std::uint32_t>(value)); }
void writer::real(double value) { put(tag::real64, std::bit_cast<std::uint64_t>(value)); }

// tag16 is followed by the tag for 32 bits in each family.
void writer::length(std::size_t count, unsigned char tag16) {
    if (count > 0xffff'ffff) throw not_encodable("a length does not fit in 32 bits");
    if (count <= 0xffff) put(tag16, static_cast<std::uint16_t>(count));
    else put(static_cast<unsigned char>(tag16 + 1), static_cast<std::uint32_t>(count));
}

void writer::long_string(std::string_view text) {
    if (text.size() <= 0xff) put(tag::string8, static_cast<std::uint8_t>(text.size()));
    else length(text.size(), tag::string16);
    bytes(text.data(), text.size());
}

void writer::bin(std::size_t size) {
    if (size <= 0xff) put(tag::bin8, static_cast<std::uint8_t>(size));
    else length(size, tag::bin16);
}

void writer::bytes(const void* data, std::size_t size) {
    constexpr std::size_t many = 1024;  // to be appended, which does not fill with zeros first as room() does
    if (size >= many) {
        out_.resize(used());
        out_.append(static_cast<const char*>(data), size);
        take_room();
    } else if (size > 0) {
        std::memcpy(raw(size), data, size);
    }
}

std::size_t reader::length(unsigned char tag, int tag8) noexcept {
    const char* const number = at_ + 1;
    switch (tag - tag8) {
        case 0:
            return at_ += 2, static_cast<unsigned char>(*number);
        case 1:
            return at_ += 3, load<std::uint16_t>(number);
        default:
            return at_ += 5, load<std::uint32_t>(number);
    }
}

std::uint64_t reader::long_integer() noexcept {
    const unsigned char tag = first();
    const char* const number = at_ + 1;
    const auto signed_of = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
    switch (tag) {
        case tag::natural8:
            return at_ += 2, static_cast<unsigned char>(*number);
        case tag::natural16:
            return at_ += 3, load<std::uint16_t>(number);
        case tag::natural32:
            return at_ += 5, load<std::uint32_t>(number);
        case tag::integer8:
            return at_ += 2, signed_of(static_cast<signed char>(*number));
        case tag::integer16:
            return at_ += 3, signed_of(static_cast<std::int16_t>(load<std::uint16_t>(number)));
        case tag::integer32:
            return at_ += 5, signed_of(static_cast<std::int32_t>(load<std::uint32_t>(number)));
        default:
            return at_ += 9, load<std::uint64_t>(number);
    }
}

double reader::real() noexcept {
    const char* const number = at_ + 1;
    if (first() == tag::real32) return at_ += 5, double{std::bit_cast<float>(load<std::uint32_t>(number))};
    return at_ += 9, std::bit_cast<double>(load<std::uint64_t>(number));
}

}  // namespace leat::msgpack
