// parcel: many items, or what became of them, in one message.
//
// A message begins with four letters that say what it is and in which version, and the number of its parts in four bytes; then
// come the parts, each with its length in four bytes in front of it. A part is made by the codec, when its item comes, so that
// making a parcel is copying bytes. Numbers have their least significant byte first.
//
// Invariant: a message is looked through before anything is made of it; what is not as described is told in a sentence.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/flow/item_codec.hpp>

namespace leat::cluster {

// An item on its way to a worker.
struct parcel_item {
    std::uint64_t id = 0;        // its lineage: of this segment and run, given once
    std::uint64_t sequence = 0;  // the number of its source item
    wire_value value;
};

enum class item_end : std::uint8_t {
    done,    // what came of it is in the outputs; none: it was left out
    failed,  // for good, or something that came of it
    dead,    // it was given up: those who tried it died of it
};

struct failure_note {
    std::string stage;
    std::string error;
    std::uint32_t attempts = 1;
};

// What became of an item.
struct result_item {
    std::uint64_t id = 0;
    item_end how = item_end::done;
    std::uint32_t retried = 0;  // attempts beyond the first of each
    std::vector<wire_value> outputs;
    std::vector<failure_note> failures;
};

enum class parcel_kind : std::uint8_t { items, results };

// The part that an item is in a parcel; it takes the place of what is in `to`. Throws what the codec throws.
void encode_part(const parcel_item& what, std::string& to);
[[nodiscard]] std::string encode_part(const parcel_item& what);
[[nodiscard]] std::string encode_part(const result_item& what);

// What a part takes beside its own bytes, and a parcel beside its parts.
inline constexpr std::size_t part_overhead = 4;
inline constexpr std::size_t parcel_overhead = 8;

// Puts a message together part by part.
class parcel_writer {
public:
    explicit parcel_writer(parcel_kind kind);
    void add(std::string_view part);
    [[nodiscard]] std::size_t parts() const noexcept { return parts_; }
    [[nodiscard]] std::size_t size() const noexcept { return message_.size(); }
    [[nodiscard]] std::string take();

private:
    std::string message_;
    std::uint32_t parts_ = 0;
};

// The error is a sentence.
[[nodiscard]] expected<std::vector<parcel_item>, std::string> decode_items(std::string_view message);
[[nodiscard]] expected<std::vector<result_item>, std::string> decode_results(std::string_view message);

}  // namespace leat::cluster
