#include <leat/runtime/local_queue.hpp>

namespace leat {

bool local_queue::push(work_item& item) noexcept {
    const std::uint64_t tail = tail_.load(env::relaxed);  // relaxed: the owner's own
    // acquire pairs with the thief's exchange: it has read the slot that is written next.
    if (tail - head_.load(env::acquire) == room) return false;
    at(tail).store(&item, env::relaxed);
    // seq_cst: publishes the slot, and stands before the owner's look at the sleepers (see thread_pool::notify).
    tail_.store(tail + 1, env::seq_cst);
    return true;
}

void local_queue::push(work_item& item, inbox& rest) noexcept {
    while (!push(item)) {
        constexpr std::uint64_t half = room / 2;
        work_item* older[half];
        std::uint64_t head = head_.load(env::acquire);
        // relaxed, all three: the owner's own tail, and slots that only the owner fills.
        if (tail_.load(env::relaxed) - head < half) continue;  // thieves have made room
        for (std::uint64_t i = 0; i < half; ++i) older[i] = at(head + i).load(env::relaxed);
        // acq_rel: as in pop().
        if (!head_.compare_exchange_strong(head, head + half, env::acq_rel, env::acquire)) continue;
        item_list chain;
        for (work_item* const each : older) chain.push(*each);
        rest.push_all(chain, half);
    }
}

work_item* local_queue::refill(inbox& rest, std::size_t n) noexcept {
    ready_queue some;
    rest.take_some(some, n, room / 2);
    work_item* const first = some.pop();
    while (work_item* const each = some.pop()) (void)push(*each);  // there is room: the queue was empty
    return first;
}

work_item* local_queue::pop() noexcept {
    const std::uint64_t tail = tail_.load(env::relaxed);  // relaxed: the owner's own
    std::uint64_t head = head_.load(env::acquire);
    while (head != tail) {
        work_item* const item = at(head).load(env::relaxed);
        if (head_.compare_exchange_weak(head, head + 1, env::acq_rel, env::acquire)) return item;
    }
    return nullptr;
}

work_item* local_queue::steal_from(local_queue& victim) noexcept {
    const std::uint64_t mine = tail_.load(env::relaxed);  // relaxed: the owner's own
    for (;;) {
        std::uint64_t head = victim.head_.load(env::acquire);
        const std::uint64_t tail = victim.tail_.load(env::acquire);  // pairs with push(): the slots are filled
        const std::uint64_t there = tail - head;
        if (there == 0 || there > room) {
            if (there == 0) return nullptr;
            continue;  // head was read before others moved it past this tail
        }
        const std::uint64_t half = there - there / 2;
        // Copied before the claim, since the owner may overwrite them after it; a failed claim drops the copies.
        for (std::uint64_t i = 0; i + 1 < half; ++i)
            at(mine + i).store(victim.at(head + i).load(env::relaxed), env::relaxed);
        work_item* const last = victim.at(head + half - 1).load(env::relaxed);
        // acq_rel: the victim's next push into these slots comes after the reads above.
        if (!victim.head_.compare_exchange_strong(head, head + half, env::acq_rel, env::acquire)) continue;
        if (half > 1) tail_.store(mine + half - 1, env::seq_cst);
        return last;
    }
}

}  // namespace leat
