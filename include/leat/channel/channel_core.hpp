// channel_core: what channels of all item types have in common: the lock, the two queues of waiters, the bounds, the ends.
// Users see channel.hpp.
//
// Invariants (under lock_):
//  1. Somebody waits to receive only while nothing is inside and nobody waits with a value to send. (One may wait to
//     reserve: that needs room, and a receiver brings none.)
//  2. Somebody waits to send or to reserve only while the first of them does not fit; nobody overtakes, except that a
//     waiting receiver is given the first value, and that sends which never wait (overflow) take what room there is.
//  3. What an end's operation was claimed for is in its node (a value, or why there is none) before it is resumed.
//  4. What was sent is inside, or was received or dropped: so it is not counted.
//  5. The ring has room for every permit, so that one that is used needs no memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <leat/base/env_spin.hpp>
#include <leat/sync/waiter_queue.hpp>

namespace leat {

// What a channel holds at most, permits included. An item heavier than `bytes` passes alone.
struct channel_bounds {
    static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
    std::size_t items = 64;         // 0: a rendezvous, every send waits for its receiver
    std::size_t bytes = unlimited;  // by the size function given to the channel; each item counts as one at least
    channel_bounds() = default;
    channel_bounds(std::size_t most_items) noexcept : items(most_items) {}  // NOLINT(google-explicit-constructor)
    channel_bounds(std::size_t most_items, std::size_t most_bytes) noexcept : items(most_items), bytes(most_bytes) {}
    // No limit on items: only for channels with a size function (a bug otherwise: nothing in leat is unbounded).
    static channel_bounds of_bytes(std::size_t most) noexcept { return {unlimited, most}; }
};

// What a send does where there is no room. All but `wait` never wait; what they drop is counted.
enum class overflow : unsigned char {
    wait,
    drop_oldest,  // makes room by dropping what is inside, the oldest first; where nothing is, drops the value itself
    drop_newest,  // drops the value itself; the send counts as done
    fail,         // fails with reason full, as try_send does
};

// A snapshot for a reader from outside.
struct channel_counts {
    std::size_t depth = 0;       // items inside
    std::size_t bytes = 0;       // their size, when the channel has a size function
    std::size_t capacity = 0;    // channel_bounds::items
    std::uint64_t sent = 0;      // items that were accepted
    std::uint64_t received = 0;  // items that came out
    std::uint64_t dropped = 0;   // accepted and then dropped, by an overflow or an abort
    std::size_t reserved = 0;    // permits held
    std::size_t senders = 0;     // ends alive, permits included
    std::size_t receivers = 0;
};

namespace detail {

class channel_core {
public:
    enum class phase : unsigned char {
        open,
        closed,   // no more in, but what permits were given for; what is inside still comes out
        aborted,  // dropped, both sides woken; also when the last receiver has gone
    };
    // How an operation has ended; none: not by the channel.
    enum class result : unsigned char { none, moved, closed, aborted, full };

    struct end_waiter : waiter {
        result how = result::none;
    };

    channel_core(channel_bounds bounds, overflow policy, bool has_size) noexcept;
    channel_core(const channel_core&) = delete;
    channel_core& operator=(const channel_core&) = delete;
    virtual ~channel_core();

    void close() noexcept;
    [[nodiscard]] channel_counts counts() const noexcept;
    void add_sender() noexcept;
    void add_receiver() noexcept;
    void add_observer() noexcept;
    // The last sender closes. All drop functions free the channel with the last of them all.
    void drop_sender() noexcept;
    void drop_observer() noexcept;

protected:
    [[nodiscard]] bool fits(std::size_t weight) const noexcept {
        const std::size_t held = depth_ + reserved_;
        if (held >= bounds_.items) return false;
        const std::size_t taken = bytes_ + reserved_bytes_;
        return held == 0 || (taken <= bounds_.bytes && weight <= bounds_.bytes - taken);
    }
    void count_in(std::size_t weight) noexcept { ++depth_, bytes_ += weight; }
    void count_out(std::size_t weight) noexcept { --depth_, bytes_ -= weight, ++received_; }
    void count_passed() noexcept { ++received_; }
    // A permit: it is a sender too, so that the channel waits for it.
    void reserve(std::size_t weight) noexcept { ++reserved_, reserved_bytes_ += weight, ++senders_; }
    void unreserve(std::size_t weight) noexcept { --reserved_, reserved_bytes_ -= weight; }

    // Why a receiver that finds nothing need not wait: nothing will come any more.
    [[nodiscard]] result end_for_receivers() const noexcept {
        if (phase_ == phase::aborted) return result::aborted;
        return phase_ == phase::closed && reserved_ == 0 ? result::closed : result::none;
    }
    [[nodiscard]] result end_for_senders() const noexcept {
        return phase_ == phase::open ? result::none : phase_ == phase::closed ? result::closed : result::aborted;
    }

    // Ends the waits of all in `queue` with `why`.
    static void fail_all(waiter_queue& queue, result why, resume_list& failed) noexcept;
    // Makes the node wait in `queue`. False when a stop was requested. Lock held; the last thing before it is released.
    [[nodiscard]] static bool wait_in(waiter_queue& queue, end_waiter& self, context& line, std::coroutine_handle<> at,
                                      const char* what) noexcept;
    // Makes the node one place of a select. Lock held.
    static void wait_in(waiter_queue& queue, end_waiter& self, context& line) noexcept;
    // Whether somebody else than `line` has a node in `queue`.
    [[nodiscard]] static bool waits_another(const waiter_queue& queue, const context& line) noexcept;
    void check_bounds(channel_bounds bounds) const noexcept;
    // Lock held.
    void close_locked(resume_list& woken) noexcept;
    void end_receivers_if_drained(resume_list& woken) noexcept;
    [[nodiscard]] bool unused() const noexcept { return senders_ == 0 && receivers_ == 0 && observers_ == 0; }

    // In pauses of some 10 to 45 ns. Each look takes what the lock protects from the other side's core, so looks become rarer.
    static constexpr int first_look = 8, least_patience = env::spin_bound / 8, most_patience = env::spin_bound / 2;
    struct side {
        const executor* where = nullptr;  // on which it last found nothing to do, or somebody who waits; only a name
        int patience = most_patience;     // how many pauses it looks on before it waits: twice as many after a success
    };
    // For one side that finds nothing to do, where the other is on another executor, and so may well run now: looks again and
    // again, for a few microseconds at most, as long as `stands` tells that nothing has changed. Lock held, but released
    // between two looks.
    template <class Stands>
    void linger(side& mine, const side& other, context& line, Stands stands) noexcept {
        mine.where = &line.where().host();
        if (other.where == nullptr || other.where == mine.where) return;
        int spent = 0;
        for (int pauses = first_look; spent + pauses <= mine.patience; pauses *= 2) {
            lock_.unlock();
            for (int i = 0; i < pauses; ++i) env::pause();
            spent += pauses;
            lock_.lock();
            if (stands()) continue;
            mine.patience = std::min(2 * mine.patience, most_patience);
            return;
        }
        mine.patience = std::max(mine.patience / 2, least_patience);
    }

    // Before the lock is taken: where another core was the last to have it, both lines come at once instead of in turn.
    void fetch_ahead() const noexcept { __builtin_prefetch(&sending_, 1); }

    // What each send and receive touches, with the ring behind the queues, lies in two cache lines.
    alignas(env::cache_line) mutable env::busy_mutex lock_;
    phase phase_ = phase::open;
    const overflow policy_;
    const bool has_size_;
    channel_bounds bounds_;
    std::size_t depth_ = 0;
    std::size_t bytes_ = 0;
    std::size_t reserved_ = 0;
    std::uint64_t received_ = 0;

    alignas(env::cache_line) std::size_t reserved_bytes_ = 0;
    std::uint64_t dropped_ = 0;
    std::size_t senders_ = 1;
    std::size_t receivers_ = 1;
    std::size_t observers_ = 0;
    side sending_side_;
    side receiving_side_;

    alignas(env::cache_line) waiter_queue sending_;  // with a value, or to reserve
    waiter_queue receiving_;
};

}  // namespace detail

// Looks at a channel from outside without being one of its ends: it keeps neither side from ending. Any thread.
class channel_observer {
public:
    explicit channel_observer(detail::channel_core& of) noexcept : of_(&of) { of_->add_observer(); }
    channel_observer(const channel_observer& other) noexcept : channel_observer(*other.of_) {}
    channel_observer& operator=(const channel_observer& other) noexcept {
        channel_observer copy(other);
        std::swap(of_, copy.of_);
        return *this;
    }
    ~channel_observer() { of_->drop_observer(); }
    [[nodiscard]] channel_counts counts() const noexcept { return of_->counts(); }

private:
    detail::channel_core* of_;
};

}  // namespace leat
