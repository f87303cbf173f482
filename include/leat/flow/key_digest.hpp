// key_digest: a key as it is kept where only its identity counts, and how dedup keeps keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace leat {

// XXH3 of 128 bits; never {0, 0}.
struct key_digest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const key_digest&) const = default;
};
[[nodiscard]] key_digest digest_of(std::string_view bytes) noexcept;

struct dedup_options {
    // How many different keys there may be in memory, where one more is an error; on disk how many the filter is made for.
    std::uint64_t items = 10'000'000;
    // Of the filter in front of an index on disk, or that takes its place.
    double false_positives = 1e-4;
    // false: what the filter knows counts as seen, and so, at that rate, an item that is new.
    bool exact = true;
    // The index on disk, or without `exact` the saved filter; empty: in memory.
    std::string path;
    // Keys of earlier runs count as seen. Otherwise a run begins without keys, unless it goes on with one that was ended.
    bool keep = false;
};

}  // namespace leat
