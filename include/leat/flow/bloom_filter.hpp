// bloom_filter: whether a key may have been seen before, in some bits a key. "No" is certain; "yes" is wrong at a rate that
// is chosen. In front of an exact index it saves the look-ups of what is new.
//
//   leat::bloom_filter seen(10'000'000, 1e-4);                  // 28 MB
//   if (seen.insert_if_new(leat::bloom_filter::key_of(name))) …  // new for certain
//
// A split block Bloom filter: a key belongs to one block of 512 bits, a cache line, and sets one bit in each lane of the block,
// of which there are 8 of 64 bits, or 16 of 32. Blocks as in F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters" (WEA 2007); lanes, and the vector instructions for them, as in H. Lang, T. Neumann,
// A. Kemper, P. Boncz, "Performance-Optimal Filtering: Bloom Overtakes Cuckoo at High Throughput" (PVLDB 12, 2019).
//
// Blocks get unequal numbers of keys, which costs accuracy, so the size does not come from the textbook's formula. With n keys
// in b blocks a block has i keys with the Poisson probability P(i) for n / b, and each of its k lanes of w bits then has a
// given bit set with probability 1 - (1 - 1/w)^i, independently of the others:
//   rate(n, b) = sum over i of P(i) * (1 - (1 - 1/w)^i)^k
// A filter gets the fewest blocks for which that is the rate asked for, with the lanes that need fewer: from 10 bits a key at
// 1e-2 to 39 at 1e-6, where filters without blocks have 9.6 and 29.
//
// Any number of threads may ask at once while nobody inserts, merges, clears or moves; those need it for themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <leat/base/expected.hpp>

namespace leat {

namespace detail {

// What is done to a block, in the instructions that the machine has.
struct bloom_operations {
    bool (*contains)(const std::byte* block, std::uint64_t bits) noexcept;
    bool (*insert)(std::byte* block, std::uint64_t bits) noexcept;  // whether one was not set
    const char* name;
};

}  // namespace detail

class bloom_filter {
public:
    static constexpr std::uint64_t most_items = 100'000'000'000;
    static constexpr double least_rate = 1e-12;
    static constexpr double greatest_rate = 0.5;

    // For so many keys, of which a look-up of another one then is wrong at the rate `false_positives`. Memory is taken from
    // the system as it is written to. Throws std::invalid_argument for figures out of bounds, and std::bad_alloc.
    bloom_filter(std::uint64_t items, double false_positives);
    // What was moved from can only be destroyed and assigned to.
    bloom_filter(bloom_filter&&) noexcept = default;
    bloom_filter& operator=(bloom_filter&&) noexcept = default;

    // Keys are mixed inside: plain numbers will do. A text's is key_of() it.
    [[nodiscard]] bool contains(std::uint64_t key) const noexcept {
        const place at = place_of(key);
        return operations_->contains(at.block, at.bits);
    }
    void insert(std::uint64_t key) noexcept { (void)insert_if_new(key); }
    // True when the key was not in it, for certain; it is now.
    bool insert_if_new(std::uint64_t key) noexcept {
        const place at = place_of(key);
        const bool is_new = operations_->insert(at.block, at.bits);
        keys_ += is_new ? 1U : 0U;
        return is_new;
    }
    // XXH3 of 64 bits.
    [[nodiscard]] static std::uint64_t key_of(std::string_view bytes) noexcept;

    // Adds what `other` has. Throws std::invalid_argument when that was made for another number of items or another rate, so
    // that it has another shape.
    void merge(const bloom_filter& other);
    void clear() noexcept;

    // How many insertions it took for new ones; after merge() what is in both counts twice.
    [[nodiscard]] std::uint64_t keys() const noexcept { return keys_; }
    [[nodiscard]] std::uint64_t items() const noexcept { return items_; }
    [[nodiscard]] double false_positives() const noexcept { return rate_; }
    // By the formula above: with as many keys as it has now.
    [[nodiscard]] double expected_false_positives() const noexcept;
    [[nodiscard]] std::uint64_t bytes() const noexcept { return blocks_ * block_bytes; }
    [[nodiscard]] unsigned bits_per_key() const noexcept { return lanes_; }
    // "AVX2", or "plain".
    [[nodiscard]] const char* instructions() const noexcept { return operations_->name; }

    // Writes it to `path`, which is there whole or, when that throws std::system_error, as it was before. `mark` is given
    // back by load(): what the filter belongs to. Blocks.
    void save(const std::string& path, std::uint64_t mark = 0) const;
    struct saved;
    // Reads what save() has written. The error is a sentence that begins with the path: there is no such file, it is no saved
    // filter, of a newer version, truncated, damaged. Blocks.
    [[nodiscard]] static expected<saved, std::string> load(const std::string& path);
    // The same in a message: what save() would write. The error of from_bytes() is a sentence, too.
    [[nodiscard]] std::string to_bytes(std::uint64_t mark = 0) const;
    [[nodiscard]] static expected<saved, std::string> from_bytes(std::string_view bytes);

    bool operator==(const bloom_filter& other) const noexcept;

    static constexpr std::size_t block_bytes = 64;

private:
    struct place {
        std::byte* block;
        std::uint64_t bits;  // what decides them
    };
    struct deleter {
        void operator()(std::byte* memory) const noexcept;
    };
    struct shape {
        std::uint64_t blocks;
        unsigned lanes;
    };

    bloom_filter(std::uint64_t items, double rate, shape with);
    template <class Read>
    static expected<saved, std::string> read_saved(const std::string& name, std::uint64_t size, const Read& read);
    static shape shape_for(std::uint64_t items, double rate);
    [[nodiscard]] static bloom_filter checked(std::uint64_t items, double rate);

    __extension__ using product = unsigned __int128;
    [[nodiscard]] place place_of(std::uint64_t key) const noexcept {
        // The finaliser of MurmurHash3 (A. Appleby), a bijection; its upper bits choose the block, a further product the rest.
        key = (key ^ (key >> 33U)) * 0xff51afd7ed558ccdU;
        key = (key ^ (key >> 33U)) * 0xc4ceb9fe1a85ec53U;
        key ^= key >> 33U;
        const auto block = static_cast<std::uint64_t>((product{key} * blocks_) >> 64U);
        const product more = product{key} * 0x9e3779b97f4a7c15U;
        return {first_ + block * block_bytes,
                static_cast<std::uint64_t>(more) ^ static_cast<std::uint64_t>(more >> 64U)};
    }

    std::uint64_t items_;
    double rate_;
    std::uint64_t blocks_;
    unsigned lanes_;  // 8 or 16
    std::uint64_t keys_ = 0;
    const detail::bloom_operations* operations_;
    std::unique_ptr<std::byte, deleter> memory_;
    std::byte* first_;  // in memory_: the first block, at the begin of a cache line
};

struct bloom_filter::saved {
    bloom_filter filter;
    std::uint64_t mark;
};

}  // namespace leat
