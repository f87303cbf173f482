// spsc_core: what SPSC channels of all item types have in common: the two indices, who waits for which, and how it ends.
// Users see spsc_channel.hpp.
//
// A ring with one index a side, each written by its side and read by the other (Lamport, "Specifying Concurrent Program
// Modules", TOPLAS 1983). Each side keeps what it last saw of the other's index and looks again only when that does not
// suffice, so that a cache line moves once for many items (as in MCRingBuffer: Lee, Bu and Chandranmenon, IPDPS 2010).
//
// Invariants:
//  1. Items at [received, sent) are inside. The sender alone moves `sent` and writes the slots at [sent, received +
//     capacity); the receiver alone moves `received` and takes from [received, sent).
//  2. Each index shares its word with two bits of the other side: "I wait for this to move", and "it moves no more". An index
//     moves by a compare-exchange that expects neither. So in the order of that one word either the move comes first and
//     who wants to wait sees it, or the bit comes first and the mover sees that: no wake-up is lost, and nothing is sent into
//     a closed channel, whatever the orders of other words.
//  3. Bits are set, and moves that met one are made, under lock_; so are waits begun, claimed and left.
//  4. Who is woken takes for itself: nothing is handed over, so there is nothing that a stopped line could lose.
#pragma once

#include <cstddef>
#include <cstdint>

#include <leat/channel/channel.hpp>
#include <leat/channel/channel_end.hpp>

namespace leat::detail {

class spsc_core {
public:
    enum class phase : unsigned char {
        open,
        closed,   // no more in; what is inside still comes out
        aborted,  // neither; the receiver drops what is inside when it next looks, or goes
    };

    explicit spsc_core(std::size_t capacity) noexcept;
    spsc_core(const spsc_core&) = delete;
    spsc_core& operator=(const spsc_core&) = delete;

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] channel_counts snapshot() const noexcept;
    [[nodiscard]] phase now() const noexcept;
    void end(phase how) noexcept;
    // Why there was no room; Why is an enum of such reasons.
    template <class Why>
    [[nodiscard]] Why why_not_sent() const noexcept {
        const phase it_is = now();
        return it_is == phase::open ? Why::full : it_is == phase::closed ? Why::closed : Why::aborted;
    }
    // Why there was no item.
    [[nodiscard]] recv_error why_not_received() const noexcept {
        const phase it_is = now();
        return it_is == phase::open     ? recv_error::empty
               : it_is == phase::closed ? recv_error::closed
                                        : recv_error::aborted;
    }

    // --- For the sender ---

    // Where the next item goes.
    [[nodiscard]] std::uint64_t tail() const noexcept { return index(sent_.load(env::relaxed)); }  // its own word
    // Room for at most `wanted` items behind `tail`, as far as is known without a wait.
    [[nodiscard]] std::uint64_t room(std::uint64_t tail, std::uint64_t wanted) noexcept {
        std::uint64_t free = head_seen_ + capacity_ - tail;
        if (free < wanted) {
            // acquire pairs with the release in retire(): the receiver has left the slots.
            head_seen_ = index(received_.load(env::acquire));
            free = head_seen_ + capacity_ - tail;
        }
        return free < wanted ? free : wanted;
    }
    // Makes `count` items visible that were written at `tail`. False when the channel has ended: they are not inside then.
    [[nodiscard]] bool publish(std::uint64_t tail, std::uint64_t count) noexcept {
        std::uint64_t expected = word(tail);
        // release pairs with the acquire in ready(): the receiver sees the items. relaxed: the slow path has the lock.
        if (sent_.compare_exchange_strong(expected, word(tail + count), env::release, env::relaxed)) [[likely]]
            return true;
        return publish_to_waiter(tail + count);
    }
    // Waits for room for `wanted` items (capacity() at most). For await_suspend: false when there is room or the channel has
    // ended or (send_gave_up()) a stop was requested.
    [[nodiscard]] bool wait_for_room(context& line, std::coroutine_handle<> at, std::uint64_t wanted) noexcept;
    // After a wait: whether it was ended by a stop or a timer. Then the node is out of the queue.
    [[nodiscard]] bool send_gave_up() noexcept { return gave_up(sender_); }
    // A unit of the budget; false when it is time to give the context's (see context::yields_at).
    [[nodiscard]] bool send_may_go_on() noexcept { return --sender_.units_left >= 0; }
    [[nodiscard]] bool send_yields(context& line, std::coroutine_handle<> at) noexcept {
        return yields(sender_, line, at);
    }

    // --- For the receiver ---

    // Where the next item is; false when the channel was aborted.
    [[nodiscard]] bool head(std::uint64_t& at) const noexcept {
        const std::uint64_t mine = received_.load(env::relaxed);  // its own word
        at = index(mine);
        return (mine & bit_ended) == 0;
    }
    // How many items, at most `wanted`, are ready at `head`, as far as is known without a wait.
    [[nodiscard]] std::uint64_t ready(std::uint64_t head, std::uint64_t wanted) noexcept {
        // acquire pairs with the release in publish().
        if (tail_seen_ == head) tail_seen_ = index(sent_.load(env::acquire));
        return tail_seen_ - head < wanted ? tail_seen_ - head : wanted;
    }
    // Gives back the slots of `count` items that were taken at `head`.
    void retire(std::uint64_t head, std::uint64_t count) noexcept {
        std::uint64_t expected = word(head);
        // release pairs with the acquire in room(): the sender finds the slots left. relaxed: as in publish().
        const bool alone = received_.compare_exchange_strong(expected, word(head + count), env::release, env::relaxed);
        if (!alone || head + count >= wakes_at_) [[unlikely]]
            retire_to_waiter(head + count);
    }
    // So many of those that it has taken were dropped.
    void count_dropped(std::uint64_t count) noexcept {
        dropped_.fetch_add(count, env::release);  // pairs with the acquire in snapshot(): they count as taken before
    }
    [[nodiscard]] bool wait_for_item(context& line, std::coroutine_handle<> at) noexcept;
    [[nodiscard]] bool receive_gave_up() noexcept { return gave_up(receiver_); }
    [[nodiscard]] bool receive_may_go_on() noexcept { return --receiver_.units_left >= 0; }
    [[nodiscard]] bool receive_yields(context& line, std::coroutine_handle<> at) noexcept {
        return yields(receiver_, line, at);
    }

    // One of the two ends has gone. True for the last.
    static constexpr std::uint32_t sender_end = 1, receiver_end = 2;
    [[nodiscard]] bool drop(std::uint32_t which) noexcept {
        return ends_.fetch_and(~which, env::acq_rel) == which;  // acq_rel: the last one frees what the other has used
    }

private:
    static constexpr std::uint64_t bit_waited_for = 1, bit_ended = 2;
    static constexpr unsigned shift_index = 2;
    static constexpr std::uint64_t never = ~std::uint64_t{0};
    static constexpr int units = 64;  // of the budget of an end, between two looks at that of the context
    // In pauses of some 10 to 30 ns: at most about as long as half of what it costs to put a thread to sleep and wake it.
    static constexpr int least_patience = 16, most_patience = 512;

    static constexpr std::uint64_t word(std::uint64_t index) noexcept { return index << shift_index; }
    static constexpr std::uint64_t index(std::uint64_t word) noexcept { return word >> shift_index; }

    bool publish_to_waiter(std::uint64_t tail) noexcept;
    void retire_to_waiter(std::uint64_t head) noexcept;

    // What is the same for both sides. Its owner's, but for `thread` and what is under lock_.
    struct side {
        int units_left = units;
        int patience = most_patience;  // how many pauses it looks on before it waits: twice as many after a success
        env::atomic<const void*> thread{nullptr};  // a hint: names the thread that it was last seen on; null: not yet
        wait_node node;                            // under lock_, as is the queue: a side has one line at a time
        waiter_queue queue;
    };
    bool gave_up(side& mine) noexcept;
    static bool yields(side& mine, context& line, std::coroutine_handle<> at) noexcept;
    static bool comes_soon(side& mine, const side& other, const env::atomic<std::uint64_t>& index_of_other,
                           std::uint64_t needed) noexcept;

    const std::uint64_t capacity_;
    env::atomic<std::uint32_t> ends_{sender_end | receiver_end};  // that are alive

    // The sender's. Both words: bit 0: the other side waits; bit 1: the channel has ended; from bit 2: the index.
    alignas(64) env::atomic<std::uint64_t> sent_{0};  // bit 1: closed or aborted
    std::uint64_t head_seen_ = 0;
    side sender_;

    // The receiver's.
    alignas(64) env::atomic<std::uint64_t> received_{0};  // bit 1: aborted
    std::uint64_t tail_seen_ = 0;
    std::uint64_t wakes_at_ = never;  // what `received` must come to before the sender has the room that it waits for
    side receiver_;
    env::atomic<std::uint64_t> dropped_{0};  // how many of `received` were dropped instead, by an abort

    // Of those who wait.
    alignas(64) mutable env::mutex lock_;
    phase phase_ = phase::open;
    std::uint64_t sender_needs_ = 0;  // as wakes_at_, written by the sender
};

}  // namespace leat::detail
