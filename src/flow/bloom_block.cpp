#include <flow/bloom_block.hpp>

#if defined(__x86_64__)
#    include <immintrin.h>
#endif

namespace leat::detail {

namespace {

constexpr unsigned factors = 8;
// Odd, of no further meaning: the lower halves of SplitMix64's outputs for the seed 0, with the lowest bit set.
alignas(32) constexpr std::uint32_t factor[factors] = {0x7b1dcdaf, 0xa1b965f5, 0x8009454f, 0x724c81ed,
                                                       0x51a8749b, 0x747ea2eb, 0x1f4532e1, 0xc916ab3d};

constexpr std::uint32_t lower(std::uint64_t bits) noexcept { return static_cast<std::uint32_t>(bits); }
constexpr std::uint32_t upper(std::uint64_t bits) noexcept { return static_cast<std::uint32_t>(bits >> 32U); }

// --- Plain code ---

constexpr std::uint64_t bit_of_8(std::uint64_t bits, unsigned lane) noexcept {
    return std::uint64_t{1} << ((lower(bits) * factor[lane]) >> 26U);
}
constexpr std::uint32_t bit_of_16(std::uint64_t bits, unsigned lane) noexcept {
    const std::uint32_t half = lane < factors ? lower(bits) : upper(bits);
    return std::uint32_t{1} << ((half * factor[lane % factors]) >> 27U);
}

template <class Word, auto BitOf>
bool plain_contains(const std::byte* block, std::uint64_t bits) noexcept {
    const auto* const lanes = reinterpret_cast<const Word*>(block);
    for (unsigned i = 0; i < bloom_filter::block_bytes / sizeof(Word); ++i)
        if ((lanes[i] & BitOf(bits, i)) == 0) return false;
    return true;
}

template <class Word, auto BitOf>
bool plain_insert(std::byte* block, std::uint64_t bits) noexcept {
    auto* const lanes = reinterpret_cast<Word*>(block);
    Word missing = 0;
    for (unsigned i = 0; i < bloom_filter::block_bytes / sizeof(Word); ++i) {
        missing |= BitOf(bits, i) & ~lanes[i];
        lanes[i] |= BitOf(bits, i);
    }
    return missing != 0;
}

constexpr bloom_operations plain_8{&plain_contains<std::uint64_t, bit_of_8>, &plain_insert<std::uint64_t, bit_of_8>,
                                   "plain"};
constexpr bloom_operations plain_16{&plain_contains<std::uint32_t, bit_of_16>, &plain_insert<std::uint32_t, bit_of_16>,
                                    "plain"};

// --- AVX2 ---

#if defined(__x86_64__)

// The bits of a block that a key has, in two halves.
struct halves {
    __m256i first;
    __m256i second;
};

[[gnu::target("avx2")]] inline halves mask_of_8(std::uint64_t bits) noexcept {
    const __m256i by = _mm256_load_si256(reinterpret_cast<const __m256i*>(factor));
    const __m256i all = _mm256_set1_epi32(static_cast<int>(lower(bits)));
    const __m256i shifts = _mm256_srli_epi32(_mm256_mullo_epi32(all, by), 26);
    const __m256i one = _mm256_set1_epi64x(1);
    return {_mm256_sllv_epi64(one, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(shifts))),
            _mm256_sllv_epi64(one, _mm256_cvtepu32_epi64(_mm256_extracti128_si256(shifts, 1)))};
}
[[gnu::target("avx2")]] inline halves mask_of_16(std::uint64_t bits) noexcept {
    const __m256i by = _mm256_load_si256(reinterpret_cast<const __m256i*>(factor));
    const __m256i low = _mm256_set1_epi32(static_cast<int>(lower(bits)));
    const __m256i high = _mm256_set1_epi32(static_cast<int>(upper(bits)));
    const __m256i one = _mm256_set1_epi32(1);
    return {_mm256_sllv_epi32(one, _mm256_srli_epi32(_mm256_mullo_epi32(low, by), 27)),
            _mm256_sllv_epi32(one, _mm256_srli_epi32(_mm256_mullo_epi32(high, by), 27))};
}

template <auto MaskOf>
[[gnu::target("avx2")]] bool avx2_contains(const std::byte* block, std::uint64_t bits) noexcept {
    const auto* const lanes = reinterpret_cast<const __m256i*>(block);
    const halves mask = MaskOf(bits);
    return (_mm256_testc_si256(_mm256_load_si256(lanes), mask.first) &
            _mm256_testc_si256(_mm256_load_si256(lanes + 1), mask.second)) != 0;
}

template <auto MaskOf>
[[gnu::target("avx2")]] bool avx2_insert(std::byte* block, std::uint64_t bits) noexcept {
    auto* const lanes = reinterpret_cast<__m256i*>(block);
    const halves mask = MaskOf(bits);
    const __m256i first = _mm256_load_si256(lanes);
    const __m256i second = _mm256_load_si256(lanes + 1);
    _mm256_store_si256(lanes, _mm256_or_si256(first, mask.first));
    _mm256_store_si256(lanes + 1, _mm256_or_si256(second, mask.second));
    return (_mm256_testc_si256(first, mask.first) & _mm256_testc_si256(second, mask.second)) == 0;
}

constexpr bloom_operations avx2_8{&avx2_contains<mask_of_8>, &avx2_insert<mask_of_8>, "AVX2"};
constexpr bloom_operations avx2_16{&avx2_contains<mask_of_16>, &avx2_insert<mask_of_16>, "AVX2"};

#endif

}  // namespace

const bloom_operations& plain_bloom_operations(unsigned lanes) noexcept { return lanes == 8 ? plain_8 : plain_16; }

const bloom_operations* vector_bloom_operations(unsigned lanes) noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") != 0) return lanes == 8 ? &avx2_8 : &avx2_16;
#endif
    (void)lanes;
    return nullptr;
}

}  // namespace leat::detail
