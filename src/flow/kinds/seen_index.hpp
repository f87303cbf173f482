// seen_index: which keys have been seen, exactly, by a hash of 128 bits. Used by the kind `dedup`.
//
// Invariants (under lock_):
//  1. A key is unknown, in flight (its first item is on its way), or seen (its first item was committed). Only its first
//     item's end takes it out of flight: to seen when that was committed, else back to unknown.
//  2. There is room for every key in flight among the seen: settle() allocates nothing.
//  3. Seen and in flight together are at most `bound` keys.
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <leat/flow/ack.hpp>

namespace leat {

class seen_index : public std::enable_shared_from_this<seen_index> {
public:
    struct hash {
        std::uint64_t low = 0;
        std::uint64_t high = 0;
        bool operator==(const hash&) const = default;
    };
    [[nodiscard]] static hash hash_of(std::string_view key) noexcept;

    explicit seen_index(std::uint64_t bound) : bound_(bound) {}

    enum class place : unsigned char { first, in_flight, seen, full };
    // What the key is for an item that comes now. first: it is in flight from now on, and the item's account must go below
    // watch(). in_flight: another reference to `duplicate` is kept until the first item's end: then it is skipped when that
    // was committed, and shares its fate otherwise; the caller skips its own. full: one key too many, nothing is changed.
    place look(hash key, const ack_ref& duplicate);
    // The account of a first item, which ends as `of` does and tells this index.
    [[nodiscard]] ack_ref watch(hash key, ack_ref of);

private:
    class first_item;
    struct hash_bits {
        std::size_t operator()(const hash& of) const noexcept { return of.low; }
    };

    [[nodiscard]] std::vector<ack_ref> settle(hash key, fate how) noexcept;
    [[nodiscard]] bool is_seen(hash key) const noexcept;
    void put(hash key) noexcept;
    void make_room(std::size_t keys);

    std::uint64_t bound_;
    std::mutex lock_;
    std::vector<hash> table_;  // open addressing, a power of two, at most 3/4 full; {0, 0} is empty
    std::size_t seen_ = 0;
    std::unordered_map<hash, std::vector<ack_ref>, hash_bits> in_flight_;  // and the duplicates that wait for the end
};

}  // namespace leat
