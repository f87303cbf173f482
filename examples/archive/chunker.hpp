// Where a file is cut into chunks: by its content, so that bytes put in at one place change the chunks there and no others.
//
// FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX ATC
// 2016): a gear hash, no cut below the least length, and normalized chunking: a harder condition below the usual length and an
// easier one above it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace archive {

struct chunk_lengths {
    std::size_t least;
    std::size_t usual;  // a power of two
    std::size_t most;
};
inline constexpr chunk_lengths default_lengths{std::size_t{16} << 10U, std::size_t{64} << 10U, std::size_t{256} << 10U};

namespace detail {

// A random number for each byte. Archives of the same files are only equal where these are.
constexpr std::array<std::uint64_t, 256> make_gear() {
    std::array<std::uint64_t, 256> gear{};
    std::uint64_t state = 0;
    for (std::uint64_t& each : gear) {  // SplitMix64
        std::uint64_t mixed = state += 0x9e3779b97f4a7c15U;
        mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
        each = mixed ^ (mixed >> 31U);
    }
    return gear;
}
inline constexpr std::array<std::uint64_t, 256> gear = make_gear();

}  // namespace detail

// How long the first chunk of `data` is: at most lengths.most, and all of it where it has no place for a cut. The answer
// depends on the first lengths.most bytes alone, so give at least as many unless the file ends before.
inline std::size_t first_chunk(std::string_view data, const chunk_lengths& lengths = default_lengths) noexcept {
    constexpr unsigned normalization = 2;  // bits more, or fewer, than the usual length asks for
    // The highest bits of the hash depend on the most bytes.
    const auto highest = [](unsigned bits) { return ~std::uint64_t{0} << (64U - bits); };
    const auto bits = static_cast<unsigned>(std::countr_zero(lengths.usual));
    const std::uint64_t hard = highest(bits + normalization);
    const std::uint64_t easy = highest(bits - normalization);

    const std::size_t end = std::min(data.size(), lengths.most);
    const std::size_t usual = std::min(end, lengths.usual);
    std::uint64_t hash = 0;
    std::size_t at = lengths.least;
    const auto is_cut = [&](std::uint64_t mask) {
        hash = (hash << 1U) + detail::gear[static_cast<unsigned char>(data[at])];
        return (hash & mask) == 0;
    };
    for (; at < usual; ++at)
        if (is_cut(hard)) return at + 1;
    for (; at < end; ++at)
        if (is_cut(easy)) return at + 1;
    return end;
}

}  // namespace archive
