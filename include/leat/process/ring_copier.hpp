// ring_copier: copies messages into a ring, past the caches of this core where that is faster. Used by the sending ends of
// byte_ring.
//
// What the receiver has read lies in the caches of its core, and each line that is to be written must be fetched from there
// first. Where the cores share a cache that costs nothing; where they do not, several times the copy. A store past the caches
// fetches nothing, but what it wrote is read from memory. Which way is faster nobody tells, and threads move: so it is measured,
// now and then.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leat::detail {

class ring_copier {
public:
    // For less it is not worth while.
    static constexpr std::size_t least = 4096;

    explicit ring_copier(std::uint64_t ring_bytes) noexcept : lap_(ring_bytes) {}
    // What was copied is seen by who sees what this thread publishes afterwards.
    void copy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

private:
    // Each a lap of the ring, but the last. The first makes the lines what they are in the second.
    enum class phase : unsigned char { before, through_caches, past_caches, decided };
    static constexpr unsigned most_laps = 512;   // until it is measured again
    static constexpr unsigned least_copies = 4;  // of a phase

    void next_phase() noexcept;

    const std::uint64_t lap_;
    phase phase_ = phase::before;
    bool past_caches_ = false;  // what was decided
    unsigned laps_ = 32;        // decided
    std::uint64_t bytes_ = 0;   // of this phase
    unsigned copies_ = 0;       // likewise
    // In nanoseconds, without the worst, which something else has disturbed.
    double time_ = 0;
    double worst_ = 0;
    double through_caches_time_ = 0;  // a byte
};

}  // namespace leat::detail
