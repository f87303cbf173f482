// policy: how a stage runs, in the same words for every kind of stage.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace leat {

// An error that a retry cannot mend: the stage says so by throwing this. Everything else is worth the retries the policy
// allows.
class permanent_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// An error that is not the item's but the stage's, which cannot go on: it fails the flow, whatever the policy says of items
// that fail, and the item is unfinished.
class stage_failed : public permanent_error {
public:
    using permanent_error::permanent_error;
};

enum class order : std::uint8_t {
    input,  // outputs leave in the order of the inputs
    key,    // those of one key do: a key is always handled by the same worker; see key_by
    none,   // as they are done
};

// What becomes of an item for which a branch has no room.
enum class when_full : std::uint8_t {
    wait,         // it waits, and what comes behind it
    spill,        // it lies on disk until there is room, up to a bound; then it waits
    drop_newest,  // it is left out of this branch: counted as skipped
    drop_oldest,  // the one that has waited longest is
};

// What becomes of an item whose attempts have all failed.
enum class on_error : std::uint8_t {
    fail,         // the item fails and so does the flow: it stops, what is in flight is unfinished
    skip,         // counted as skipped
    dead_letter,  // kept with its error where flow_options::dead_letters says
    keep_going,   // the item fails, the flow goes on
};

struct retry_policy {
    unsigned max = 0;                                                       // attempts beyond the first
    std::chrono::nanoseconds first_delay = std::chrono::milliseconds(200);  // doubled for each further one
    std::chrono::nanoseconds longest_delay = std::chrono::seconds(10);
    double jitter = 0.2;  // each delay is multiplied by a random factor in [1 - jitter, 1 + jitter]
};

struct item_codec;

struct stage_policy {
    static constexpr unsigned automatic = 0;
    static constexpr unsigned most_jobs = 4096;

    unsigned jobs = automatic;     // items of this stage at work at a time; automatic: the effective CPUs
    unsigned least_jobs = 0;       // not 0: the flow sizes the stage itself, between this and `jobs`
    std::size_t buffer_items = 0;  // of the queue in front of the stage; 0: max(64, 2 * jobs)
    std::size_t buffer_bytes = std::size_t{64} << 20U;
    bool own_buffer = false;  // a queue was asked for: the stage is not fused with the one before it
    when_full full = when_full::wait;
    const item_codec* spilled_as = nullptr;                // with when_full::spill: how items become bytes
    std::size_t spill_bytes = std::size_t{1} << 30U;       // the most of them on disk; see spill_items
    static constexpr std::size_t spill_items = 1'000'000;  // whose accounts stay in memory, some 200 bytes each
    std::size_t window = 0;               // how far its output may lag behind the first item not done; 0: the flow's
    std::chrono::nanoseconds timeout{0};  // of one attempt; 0: none
    double rate = 0;                      // attempts a second, of all workers together; 0: no limit
    std::string pool;                     // the concurrency pool it takes a place of for each attempt; empty: none
    retry_policy retry;
    on_error error = on_error::fail;
    std::optional<order> ordered;  // of what leaves the stage; none: the flow's
};

// Whether a stage with the policy `next` may share a hop with the one in front of it, which has `before`: items that fail end
// alike, and nothing is set for `next` that holds between the two.
[[nodiscard]] inline bool needs_no_hop(const stage_policy& before, const stage_policy& next) noexcept {
    return before.error == next.error && before.ordered == next.ordered && !next.own_buffer &&
           next.full == when_full::wait && next.rate == 0 && next.pool.empty();
}

}  // namespace leat
