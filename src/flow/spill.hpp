// spill: items for which there is no room in front of a stage, until there is: their values as bytes in temporary files, their
// accounts in memory. First in, first out.
//
// Invariant: what is put down together lies in one file. A file ends when all of it was taken, so that the room on disk is that
// of what waits, but for part of the first file.
// Not thread-safe: one caller at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <leat/flow/item_codec.hpp>
#include <leat/flow/stage.hpp>
#include <leat/process/spool.hpp>

namespace leat {

class spill {
public:
    // Holds so many items, and so many bytes of them; the last that is taken in may be beyond.
    spill(const item_codec& how, std::size_t most_items, std::uint64_t most_bytes) noexcept
        : how_(how),
          most_items_(most_items),
          most_bytes_(most_bytes),
          file_bytes_(std::max(least_file_bytes, most_bytes / most_files)) {}
    spill(const spill&) = delete;
    spill& operator=(const spill&) = delete;
    ~spill() { abandon(); }
    // What is left is abandoned; the first of them are called by their names.
    void abandon() noexcept;

    [[nodiscard]] bool empty() const noexcept { return kept_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return kept_.size(); }
    [[nodiscard]] bool has_room() const noexcept { return kept_.size() < most_items_ && bytes_ < most_bytes_; }

    // The first of some items, as they are put down.
    struct parcel {
        std::string bytes;
        std::vector<std::uint32_t> sizes;
    };
    // As many as there is room for, one at least where has_room(). Throws what the codec throws.
    [[nodiscard]] parcel pack(std::vector<item>& items) const;
    // Whether put() leaves the disk alone.
    [[nodiscard]] bool stays_in_memory(const parcel& what) const noexcept;
    // Puts them down and removes them from `items`, of which they were packed. Throws spool_error; then nothing has happened.
    // Blocks on the disk.
    void put(const parcel& what, std::vector<item>& items);

    // Whether take() leaves the disk alone.
    [[nodiscard]] bool begins_in_memory() const noexcept {
        return !files_.empty() && files_.front().content.in_memory();
    }
    // Appends the first items to `to`, at most so many, one at least where there is any. Throws spool_error and what the codec
    // throws; then nothing has happened. Blocks on the disk.
    void take(std::vector<item>& to, std::size_t most);

private:
    static constexpr std::size_t memory_bytes = std::size_t{256} << 10U;  // of a file, before it is one
    static constexpr std::uint64_t least_file_bytes = std::uint64_t{1} << 20U;
    static constexpr std::uint64_t most_files = 64;
    static constexpr std::size_t taken_bytes = std::size_t{1} << 20U;  // at a time
    struct kept {
        ack_ref ack;
        std::uint32_t key;
        std::uint32_t port;
        std::uint32_t size;
    };
    struct file {
        spool content{memory_bytes};
        std::uint64_t read = 0;
    };
    const item_codec& how_;
    std::size_t most_items_;
    std::uint64_t most_bytes_;
    std::uint64_t file_bytes_;  // a file with so many gets no more
    std::uint64_t bytes_ = 0;   // of what is kept
    std::deque<kept> kept_;
    std::deque<file> files_;
};

}  // namespace leat
