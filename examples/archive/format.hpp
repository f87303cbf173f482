// What an archive looks like (README.md has it in ten lines): chunks, entries, the index, and how each is written and read.
//
// All numbers are little-endian. What is read is checked before it is believed: these functions throw `damaged`.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <xxhash.h>

namespace archive {

class damaged : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// XXH3-128.
struct hash128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const hash128&) const = default;
};
[[nodiscard]] hash128 hash_of(std::string_view bytes) noexcept;

// The same, of bytes that come one after the other.
class running_hash {
public:
    running_hash();
    void add(std::string_view bytes) noexcept;
    [[nodiscard]] hash128 value() const noexcept;

private:
    struct free_state {
        void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, free_state> state_;
};

// A chunk in the archive; chunks are numbered from 0 in the order in which they stand there.
struct chunk {
    std::uint64_t offset = 0;  // of the compressed bytes
    std::uint32_t stored = 0;  // how many these are
    std::uint32_t size = 0;    // of the content
    hash128 name;              // of the content
};

// `count` chunks from number `first` on.
struct chunk_run {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool operator==(const chunk_run&) const = default;
};

struct entry {
    enum class kind : char { file = 'f', folder = 'd', link = 'l' };
    kind what = kind::file;
    std::uint32_t mode = 0;  // the permissions
    std::int64_t modified_ns = 0;
    std::uint64_t size = 0;
    std::string path;    // relative, without . and ..
    std::string target;  // of a link
    std::vector<chunk_run> chunks;

    void add_chunk(std::uint32_t number);
};

// --- The parts of an archive ---

inline constexpr std::string_view header = "leatarc1";
inline constexpr std::size_t trailer_size = 48;

std::string encode(const entry& what);
entry decode_entry(std::string_view bytes);

// A record of the body: what stands in front of a chunk's compressed bytes, and an entry.
std::string encode_chunk_record(const chunk& what);
inline constexpr std::size_t chunk_record_size = 1 + 4 + 4 + 16;
std::string encode_entry_record(std::string_view encoded_entry);

struct index {
    std::vector<chunk> chunks;
    std::vector<entry> entries;
};
// `entries`: encoded, each behind its length.
std::string encode_index(const std::vector<chunk>& chunks, std::uint64_t entries, std::string_view encoded_entries);
index decode_index(std::string_view bytes);

struct trailer {
    std::uint64_t index_offset = 0;
    hash128 of_index;
    hash128 of_all;  // of everything before the trailer
};
std::string encode(const trailer& what);
trailer decode_trailer(std::string_view bytes);

// --- Bytes and numbers ---

template <class Number>
void put(std::string& to, Number value) {
    for (unsigned i = 0; i < sizeof(Number); ++i)
        to.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
}
void put(std::string& to, hash128 value);

class byte_reader {
public:
    explicit byte_reader(std::string_view bytes) : left_(bytes) {}
    std::string_view take(std::uint64_t count) {
        if (count > left_.size()) throw damaged("it ends too early");
        const std::string_view taken = left_.substr(0, count);
        left_.remove_prefix(count);
        return taken;
    }
    template <class Number>
    Number get() {
        std::uint64_t value = 0;
        unsigned shift = 0;
        for (const char each : take(sizeof(Number))) {
            value |= std::uint64_t{static_cast<unsigned char>(each)} << shift;
            shift += 8;
        }
        return static_cast<Number>(value);
    }
    hash128 get_hash();
    [[nodiscard]] std::size_t left() const noexcept { return left_.size(); }

private:
    std::string_view left_;
};

}  // namespace archive
