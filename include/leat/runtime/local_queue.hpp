// local_queue: the run queue of one worker: the owner pushes and pops, others steal half. Bounded; what does not fit goes
// to the pool's inbox. A ring whose head is shared and whose tail is the owner's, as in the schedulers of Go and Tokio.
//
// Invariants:
//  1. Items at [head_, tail_) are in the queue. Only the owner moves tail_; who moves head_ by compare-exchange owns what it
//     passed.
//  2. A slot is written only when head_ has passed its former content, so a thief that read a stale slot fails its exchange.
#pragma once

#include <leat/runtime/inbox.hpp>

namespace leat {

class local_queue {
public:
    // False when full. Owner only.
    [[nodiscard]] bool push(work_item& item) noexcept;
    // As push(), which cannot fail: a full queue gives the older half to `rest`, whose lock is so taken once for many.
    void push(work_item& item, inbox& rest) noexcept;
    // Takes about an n-th of what is in `rest` into this queue, which is empty, and returns one of it; null when there was
    // nothing. Owner only.
    [[nodiscard]] work_item* refill(inbox& rest, std::size_t n) noexcept;
    // The oldest, or null. Owner only.
    [[nodiscard]] work_item* pop() noexcept;
    // Takes half of what `victim` has into this queue, which is empty, and returns one of it; null when there was nothing.
    // Owner of this queue only.
    [[nodiscard]] work_item* steal_from(local_queue& victim) noexcept;
    // seq_cst pairs with a sleeper's announcement: see thread_pool.
    [[nodiscard]] bool empty() const noexcept { return head_.load(env::seq_cst) == tail_.load(env::seq_cst); }

private:
    static constexpr std::uint64_t room = 256;
    env::atomic<work_item*>& at(std::uint64_t index) noexcept { return slots_[index % room]; }

    alignas(64) env::atomic<std::uint64_t> head_{0};  // grows; the next to be taken
    alignas(64) env::atomic<std::uint64_t> tail_{0};  // grows; the next to be filled
    env::atomic<work_item*> slots_[room] = {};        // relaxed: published by tail_, claimed by head_
};

}  // namespace leat
