#include <cluster/parcel.hpp>

#include <cstring>

#include <fmt/format.h>

namespace leat::cluster {

namespace {

constexpr std::string_view magic_of(parcel_kind kind) noexcept { return kind == parcel_kind::items ? "LPI1" : "LPR1"; }
// Of the same kind, in any version.
constexpr std::size_t magic_without_version = 3;
constexpr std::uint32_t most_parts = 1U << 20U;

void put_number(std::string& to, std::uint32_t number) {
    for (unsigned i = 0; i < 4; ++i) to.push_back(static_cast<char>((number >> (8 * i)) & 0xFFU));
}
std::uint32_t number_at(std::string_view from) noexcept {
    std::uint32_t number = 0;
    for (unsigned i = 0; i < 4; ++i)
        number |= static_cast<std::uint32_t>(static_cast<unsigned char>(from[i])) << (8 * i);
    return number;
}

template <class Part>
expected<std::vector<Part>, std::string> decode_parts(std::string_view message, parcel_kind kind) {
    const std::string_view magic = magic_of(kind);
    if (message.size() < parcel_overhead || message.substr(0, magic_without_version) != magic.substr(0, 3))
        return unexpected(fmt::format("a message of {} bytes that is no parcel of {}", message.size(),
                                      kind == parcel_kind::items ? "items" : "results"));
    if (message.substr(0, magic.size()) != magic)
        return unexpected(
            fmt::format("a parcel of format {:?}, made by another version of leat; this one reads format {:?}",
                        message.substr(magic_without_version, 1), magic.substr(magic_without_version)));
    const std::uint32_t parts = number_at(message.substr(magic.size()));
    std::string_view rest = message.substr(parcel_overhead);
    if (parts > most_parts || rest.size() / part_overhead < parts)
        return unexpected(fmt::format("a parcel that claims {} parts in {} bytes", parts, message.size()));
    std::vector<Part> all;
    all.reserve(parts);
    for (std::uint32_t i = 0; i < parts; ++i) {
        if (rest.size() < part_overhead) return unexpected(fmt::format("a parcel that ends before its part {}", i));
        const std::uint32_t size = number_at(rest);
        rest.remove_prefix(part_overhead);
        if (rest.size() < size) return unexpected(fmt::format("a parcel that ends within its part {}", i));
        auto part = decode<Part>(rest.substr(0, size));
        if (!part) return unexpected(fmt::format("part {} of a parcel: {}", i, part.error().text()));
        all.push_back(std::move(*part));
        rest.remove_prefix(size);
    }
    if (!rest.empty()) return unexpected(fmt::format("a parcel with {} bytes behind its last part", rest.size()));
    return all;
}

}  // namespace

void encode_part(const parcel_item& what, std::string& to) {
    to.clear();
    encode_to(to, what);
}
std::string encode_part(const parcel_item& what) { return encode(what); }
std::string encode_part(const result_item& what) { return encode(what); }

parcel_writer::parcel_writer(parcel_kind kind) : message_(magic_of(kind)) { put_number(message_, 0); }

void parcel_writer::add(std::string_view part) {
    put_number(message_, static_cast<std::uint32_t>(part.size()));
    message_ += part;
    ++parts_;
}

std::string parcel_writer::take() {
    std::string count;
    put_number(count, parts_);
    message_.replace(magic_of(parcel_kind::items).size(), count.size(), count);
    return std::move(message_);
}

expected<std::vector<parcel_item>, std::string> decode_items(std::string_view message) {
    return decode_parts<parcel_item>(message, parcel_kind::items);
}
expected<std::vector<result_item>, std::string> decode_results(std::string_view message) {
    return decode_parts<result_item>(message, parcel_kind::results);
}

}  // namespace leat::cluster
