// channel_core: what channels of all item types have in common: the lock, the two queues of waiters, the bounds, the ends.
// Users see channel.hpp.
//
// Invariants (under lock_):
//  1. Somebody waits to receive only while nothing is inside and no sender waits.
//  2. Somebody waits to send only while the first of them does not fit; nobody overtakes.
//  3. What an end's operation was claimed for is in its node (a value, or why there is none) before it is resumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <leat/sync/waiter_queue.hpp>

namespace leat {

// What a channel holds at most. An item heavier than `bytes` passes alone.
struct channel_bounds {
    std::size_t items = 64;                                       // 0: a rendezvous, every send waits for its receiver
    std::size_t bytes = std::numeric_limits<std::size_t>::max();  // by the size function given to the channel
    channel_bounds() = default;
    channel_bounds(std::size_t most_items) noexcept : items(most_items) {}  // NOLINT(google-explicit-constructor)
    channel_bounds(std::size_t most_items, std::size_t most_bytes) noexcept : items(most_items), bytes(most_bytes) {}
};

// A snapshot for a reader from outside.
struct channel_counts {
    std::size_t depth = 0;       // items inside
    std::size_t bytes = 0;       // their size, when the channel has a size function
    std::size_t capacity = 0;    // channel_bounds::items
    std::uint64_t sent = 0;      // items that went in
    std::uint64_t received = 0;  // items that came out
    std::size_t senders = 0;     // ends alive
    std::size_t receivers = 0;
};

namespace detail {

class channel_core {
public:
    enum class phase : unsigned char {
        open,
        closed,   // no more in; what is inside still comes out
        aborted,  // dropped, both sides woken; also when the last receiver has gone
    };
    enum class result : unsigned char { moved, closed, aborted };

    struct end_waiter : waiter {
        result how = result::moved;
        std::size_t weight = 0;
        bool waited = false;
        // Whether the wait was ended by a stop or a timer instead of by the channel.
        [[nodiscard]] bool gave_up() const noexcept { return waited && line->woken_by() != context::wake::ready; }
    };

    explicit channel_core(channel_bounds bounds) noexcept : bounds_(bounds) {}
    channel_core(const channel_core&) = delete;
    channel_core& operator=(const channel_core&) = delete;
    ~channel_core();

    void close() noexcept;
    [[nodiscard]] channel_counts counts() const noexcept;
    void add_sender() noexcept;
    void add_receiver() noexcept;

protected:
    [[nodiscard]] bool fits(std::size_t weight) const noexcept {
        if (depth_ >= bounds_.items) return false;
        return depth_ == 0 || (bytes_ <= bounds_.bytes && weight <= bounds_.bytes - bytes_);
    }
    void count_in(std::size_t weight) noexcept { ++depth_, bytes_ += weight, ++sent_; }
    void count_out(std::size_t weight) noexcept { --depth_, bytes_ -= weight, ++received_; }
    void count_passed() noexcept { ++sent_, ++received_; }

    // Ends the waits of all in `queue` with `why`.
    static void fail_all(waiter_queue& queue, result why, resume_list& failed) noexcept;
    // Makes the node wait in `queue`. False when a stop was requested. Lock held; the last thing before it is released.
    [[nodiscard]] static bool wait_in(waiter_queue& queue, end_waiter& self, context& line, std::coroutine_handle<> at,
                                      const char* what) noexcept;
    // The last sender closes. True when no end is left at all.
    [[nodiscard]] bool drop_sender() noexcept;
    // Lock held.
    void close_locked(resume_list& woken) noexcept;

    mutable env::mutex lock_;
    phase phase_ = phase::open;
    channel_bounds bounds_;
    std::size_t depth_ = 0;
    std::size_t bytes_ = 0;
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    std::size_t senders_ = 1;
    std::size_t receivers_ = 1;
    waiter_queue sending_;
    waiter_queue receiving_;
};

}  // namespace detail
}  // namespace leat
