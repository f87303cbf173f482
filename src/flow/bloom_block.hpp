// bloom_block: what a bloom_filter does to one of its blocks, in plain code and in the vector instructions of the machine. Both
// set and ask the same bits; a test compares them.
//
// Of the 64 bits that decide, a block of 8 lanes takes the lower half, x; the lane j of 64 bits has the bit (x * factor[j]) >> 26.
// Of one of 16 lanes of 32 bits the first 8 take the lower half and the others the upper one, each the bit (x * factor[j % 8])
// >> 27: multiply-shift hashing (M. Dietzfelbinger et al., "A Reliable Randomized Algorithm for the Closest-Pair Problem",
// 1997).
#pragma once

#include <leat/flow/bloom_filter.hpp>

namespace leat::detail {

// For blocks of so many lanes: 8 or 16.
[[nodiscard]] const bloom_operations& plain_bloom_operations(unsigned lanes) noexcept;
// Null where this machine has none that we know.
[[nodiscard]] const bloom_operations* vector_bloom_operations(unsigned lanes) noexcept;

}  // namespace leat::detail
