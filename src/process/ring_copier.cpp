#include <leat/process/ring_copier.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>

#include <leat/base/env.hpp>

#if defined(__x86_64__)
#    include <emmintrin.h>
#endif

namespace leat::detail {

namespace {

#if defined(__x86_64__)
constexpr bool can_go_past_caches = true;

void copy_past_caches(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    constexpr std::size_t line = 64;
    // Whole lines past the caches: they are written to memory as they are complete.
    const std::size_t head = std::min(bytes, (line - reinterpret_cast<std::uintptr_t>(to) % line) % line);
    std::memcpy(to, from, head);
    std::size_t at = head;
    for (; at + line <= bytes; at += line) {
        const auto* const source = reinterpret_cast<const __m128i*>(from + at);
        auto* const place = reinterpret_cast<__m128i*>(to + at);
        const __m128i a = _mm_loadu_si128(source);
        const __m128i b = _mm_loadu_si128(source + 1);
        const __m128i c = _mm_loadu_si128(source + 2);
        const __m128i d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(place, a);
        _mm_stream_si128(place + 1, b);
        _mm_stream_si128(place + 2, c);
        _mm_stream_si128(place + 3, d);
    }
    std::memcpy(to + at, from + at, bytes - at);
    _mm_sfence();  // a release does not wait for such stores
}
#else
constexpr bool can_go_past_caches = false;
void copy_past_caches(std::byte*, const std::byte*, std::size_t) noexcept {}
#endif

void copy_one_way(bool past_caches, std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (past_caches) copy_past_caches(to, from, bytes);
    else std::memcpy(to, from, bytes);
}

}  // namespace

void ring_copier::copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (!can_go_past_caches || bytes < least) {
        std::memcpy(to, from, bytes);
        return;
    }
    if (phase_ == phase::decided) {
        copy_one_way(past_caches_, to, from, bytes);
    } else {
        const time_point start = env::now();
        copy_one_way(phase_ == phase::past_caches, to, from, bytes);
        const double time = std::chrono::duration<double, std::nano>(env::now() - start).count();
        time_ += std::min(time, worst_);
        worst_ = std::max(time, worst_);
    }
    bytes_ += bytes;
    ++copies_;
    if (copies_ >= least_copies && bytes_ >= (phase_ == phase::decided ? laps_ * lap_ : lap_)) next_phase();
}

void ring_copier::next_phase() noexcept {
    const double time = time_ / static_cast<double>(bytes_);
    bytes_ = 0;
    copies_ = 0;
    time_ = worst_ = 0;
    switch (phase_) {
        case phase::before:
            phase_ = phase::through_caches;
            break;
        case phase::through_caches:
            through_caches_time_ = time;
            phase_ = phase::past_caches;
            break;
        case phase::past_caches:
            past_caches_ = time < through_caches_time_;
            phase_ = phase::decided;
            break;
        case phase::decided:
            laps_ = std::min(8 * laps_, most_laps);
            phase_ = phase::before;
            break;
    }
}

}  // namespace leat::detail
