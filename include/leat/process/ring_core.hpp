// ring_core: the indices of a ring in shared memory, who sleeps until one of them moves, and how a ring ends. Users see
// shared_ring.hpp. It knows no descriptors and no bytes, so that the interleaving explorer can drive it in one process.
//
// Each index has one owner, who moves it (the sender its tail, the receiver its head), and one reader on the other side, who
// may sleep until it moves: a plain thread on the futex `calls`, a task on a bell, a descriptor that its event loop watches.
//
// Invariants:
//  1. An index shares its word with the bits of those who sleep and of the end. It moves by a compare-exchange that expects
//     none of them. So in the order of that one word either the move comes first and who wants to sleep sees it, or the bit
//     comes first and the mover sees that: no wake-up is lost, and who sleeps not costs no system call.
//  2. Nobody sleeps who has not announced it after he last looked; who takes a bit away calls.
//  3. What the other process wrote is a claim: users check each index that they read against the capacity.
//  4. An index that several move in turn is moved, and who sleeps called, under a turn (process_lock_word.hpp). Who inherits
//     the turn of a dead one calls in any case: that one may have died between the two.
#pragma once

#include <cstdint>

#include <leat/base/env.hpp>

namespace leat::detail {

// Futexes between processes: those of the seam are private to one, which is cheaper. As there: spurious returns are possible.
#if defined(LEAT_EXPLORE)
inline bool shared_futex_wait_until(const env::atomic<std::uint32_t>& word, std::uint32_t expected,
                                    time_point deadline) noexcept {
    if (deadline != time_point::max()) return env::futex_wait_until(word, expected, deadline);
    env::futex_wait(word, expected);
    return true;
}
inline void shared_futex_wake(const env::atomic<std::uint32_t>& word) noexcept { env::futex_wake(word, 1 << 20); }
#else
// Sleeps while `word` holds `expected`; false when `deadline` has passed.
[[nodiscard]] bool shared_futex_wait_until(const env::atomic<std::uint32_t>& word, std::uint32_t expected,
                                           time_point deadline) noexcept;
void shared_futex_wake(const env::atomic<std::uint32_t>& word) noexcept;
#endif

// How the other side sleeps, as bits of an index.
enum class ring_sleep : std::uint64_t { in_futex = 1, at_bell = 2 };

class ring_index {
public:
    enum class move_result : unsigned char { moved, ended, damaged };

    // --- For the owner ---

    // From `from`, where it is, to `to`: what was written before that is seen by who sees it there. `ring_bell()` is called
    // when a task of the other side has announced that it sleeps until then. An index that has ended stays where it is.
    template <class Bell>
    [[nodiscard]] move_result move(std::uint64_t from, std::uint64_t to, Bell&& ring_bell) noexcept {
        std::uint64_t expected = word_of(from);
        // release pairs with the acquire in look(). relaxed: the slow path looks again.
        if (word_.compare_exchange_strong(expected, word_of(to), env::release, env::relaxed)) [[likely]]
            return move_result::moved;
        return move_past_bits(from, to, false, ring_bell);
    }
    // The same, also when it has ended.
    template <class Bell>
    [[nodiscard]] move_result move_to_the_end(std::uint64_t from, std::uint64_t to, Bell&& ring_bell) noexcept {
        std::uint64_t expected = word_of(from);
        // as above: here the other side learns that what lay before `to` has been read
        if (word_.compare_exchange_strong(expected, word_of(to), env::release, env::relaxed)) [[likely]]
            return move_result::moved;
        return move_past_bits(from, to, true, ring_bell);
    }

    // --- For the other side ---

    // Where it is, and whether it stays there; sees what was written before it came there.
    struct sight {
        std::uint64_t position;
        bool ended;
    };
    [[nodiscard]] sight look() const noexcept {
        const std::uint64_t seen = word_.load(env::acquire);  // acquire pairs with the release in move()
        return {seen >> shift, (seen & bit_ended) != 0};
    }
    // A hint, for who looks again.
    [[nodiscard]] std::uint64_t position_hint() const noexcept { return word_.load(env::relaxed) >> shift; }

    // Announces that this side sleeps until the index is at `needed`. False when it is, or the ring has ended: look again.
    // Then sleep(ticket), or a wait for the bell. An announcement may stay when its sleeper gave up: one call too many.
    [[nodiscard]] bool announce(std::uint64_t needed, ring_sleep how, std::uint32_t& ticket) noexcept {
        ticket = calls_.load(env::relaxed);  // relaxed, both: the release below comes after them
        needed_.store(needed, env::relaxed);
        std::uint64_t seen = word_.load(env::relaxed);
        do {
            if ((seen & bit_ended) != 0 || static_cast<std::int64_t>((seen >> shift) - needed) >= 0) return false;
            // acq_rel: release pairs with the acquire of who finds the bit: its call comes after `ticket` was read, so that the
            // sleeper does not take that call for an old one; and it reads this `needed`. acquire pairs with the release in
            // nudge(): who announces too late to be called sees what it was to look at.
        } while (
            !word_.compare_exchange_weak(seen, seen | static_cast<std::uint64_t>(how), env::acq_rel, env::relaxed));
        return true;
    }
    // Sleeps until the call that follows on the announcement, or `deadline`: then false. May return early.
    [[nodiscard]] bool sleep(std::uint32_t ticket, time_point deadline) const noexcept {
        return shared_futex_wait_until(calls_, ticket, deadline);
    }

    // --- For anybody ---

    // It moves no more, and who sleeps is called.
    template <class Bell>
    void end(Bell&& ring_bell) noexcept {
        std::uint64_t seen = word_.load(env::relaxed);
        // acq_rel: acquire as in move_past_bits(); release for who learns from the bit that nothing follows.
        while (!word_.compare_exchange_weak(seen, (seen & ~bits_asleep) | bit_ended, env::acq_rel, env::relaxed)) {
        }
        call(seen, ring_bell);
    }
    // Calls who sleeps, to look at something else than the index.
    template <class Bell>
    void nudge(Bell&& ring_bell) noexcept {
        // acquire as in move_past_bits(); release: the sleeper sees what it is to look at.
        call(word_.fetch_and(~bits_asleep, env::acq_rel), ring_bell);
    }
    // Calls who may sleep without an announcement that is left, because a mover died before it called.
    template <class Bell>
    void call_again(Bell&& ring_bell) noexcept {
        call(bits_asleep, ring_bell);
    }

private:
    static constexpr std::uint64_t bits_asleep =
        static_cast<std::uint64_t>(ring_sleep::in_futex) | static_cast<std::uint64_t>(ring_sleep::at_bell);
    static constexpr std::uint64_t bit_ended = 4;
    static constexpr unsigned shift = 3;
    static constexpr std::uint64_t word_of(std::uint64_t position) noexcept { return position << shift; }

    template <class Bell>
    move_result move_past_bits(std::uint64_t from, std::uint64_t to, bool to_the_end, Bell& ring_bell) noexcept {
        std::uint64_t seen = word_.load(env::acquire);
        for (;;) {
            if (seen >> shift != from) return move_result::damaged;  // nobody else may move it
            if ((seen & bit_ended) != 0 && !to_the_end) return move_result::ended;
            // relaxed: the acquire that found the bits made it that of the sleeper, or of a later one.
            const bool enough = static_cast<std::int64_t>(to - needed_.load(env::relaxed)) >= 0;
            const std::uint64_t gone = enough ? bits_asleep : 0;
            // acq_rel: release as in move(); acquire pairs with the release in announce().
            if (word_.compare_exchange_strong(seen, word_of(to) | (seen & ~gone & (bits_asleep | bit_ended)),
                                              env::acq_rel, env::acquire)) {
                call(seen & gone, ring_bell);
                return move_result::moved;
            }
        }
    }
    template <class Bell>
    void call(std::uint64_t asleep, Bell& ring_bell) noexcept {
        if ((asleep & static_cast<std::uint64_t>(ring_sleep::in_futex)) != 0) {
            // relaxed: the futex orders it with the sleep, the word of the index with what is looked at.
            calls_.fetch_add(1, env::relaxed);
            shared_futex_wake(calls_);
        }
        if ((asleep & static_cast<std::uint64_t>(ring_sleep::at_bell)) != 0) ring_bell();
    }

    // Bit 0: a thread of the other side sleeps in calls_; bit 1: a task of it waits for its bell; bit 2: it has ended; from bit
    // 3: the position. Alone in its line, which the owner writes and the other side reads.
    alignas(64) env::atomic<std::uint64_t> word_{0};
    alignas(64) env::atomic<std::uint64_t> needed_{0};  // what the sleeper waits for
    env::atomic<std::uint32_t> calls_{0};               // how often sleepers were called
};

}  // namespace leat::detail
