#include <leat/channel/spsc_core.hpp>

#include <algorithm>

namespace leat::detail {

spsc_core::spsc_core(std::size_t capacity) noexcept : capacity_(capacity) {
    if (capacity == 0) bug("an spsc_channel holds at least one item: leat::channel has rendezvous");
}

channel_counts spsc_core::snapshot() const noexcept {
    channel_counts all;
    // `received` first, and acquire, so that `sent` is not seen as it was before that: it is never behind.
    all.received = index(received_.load(env::acquire));
    all.sent = index(sent_.load(env::acquire));
    all.capacity = capacity_;
    all.depth = std::min(static_cast<std::size_t>(all.sent - all.received), all.capacity);
    const std::uint32_t alive = ends_.load(env::relaxed);
    all.senders = (alive & sender_end) != 0 ? 1 : 0;
    all.receivers = (alive & receiver_end) != 0 ? 1 : 0;
    return all;
}

spsc_core::phase spsc_core::now() const noexcept {
    env::lock_guard held(lock_);
    return phase_;
}

void spsc_core::end(phase how) noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        if (phase_ >= how) return;
        phase_ = how;
        // relaxed, both: the words decide by their own order, and what belongs to the bit is under the lock.
        sent_.fetch_or(bit_ended, env::relaxed);
        if (how == phase::aborted) received_.fetch_or(bit_ended, env::relaxed);
        claim_all(sender_queue_, woken);
        claim_all(receiver_queue_, woken);
    }
    woken.resume_all();
}

bool spsc_core::publish_to_waiter(std::uint64_t tail) noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        if (phase_ != phase::open) return false;
        sent_.store(word(tail), env::release);  // as in publish(); the bits do not change under the lock
        claim_all(receiver_queue_, woken);
    }
    woken.resume_all();
    return true;
}

void spsc_core::retire_to_waiter(std::uint64_t head) noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        // relaxed load: the bits do not change under the lock. release as in retire().
        received_.store(word(head) | (received_.load(env::relaxed) & bit_ended), env::release);
        wakes_at_ = never;
        if (sender_queue_.empty()) return;
        if (head >= sender_needs_) claim_all(sender_queue_, woken);
        else wakes_at_ = sender_needs_;
    }
    woken.resume_all();
}

bool spsc_core::wait_for_room(context& line, std::coroutine_handle<> at, std::uint64_t wanted) noexcept {
    sending_.line = &line;
    sending_.waited = false;
    env::lock_guard held(lock_);
    const std::uint64_t needs = tail() + wanted - capacity_;
    std::uint64_t seen = received_.load(env::relaxed);  // relaxed: who finds room looks again
    if (phase_ != phase::open || index(seen) >= needs) return false;
    sender_needs_ = needs;
    if (!wait_in(sender_queue_, sending_, at, "send to an spsc_channel")) return false;
    do {
        if (index(seen) >= needs) {
            sender_queue_.remove(sending_);
            return !line.withdraw(sending_.wait, context::wake::ready);  // else a stop has ended the wait, and resumes
        }
        // relaxed, both: invariant 2 is about this word alone.
    } while (!received_.compare_exchange_weak(seen, seen | bit_waited_for, env::relaxed, env::relaxed));
    return true;
}

bool spsc_core::wait_for_item(context& line, std::coroutine_handle<> at) noexcept {
    receiving_.line = &line;
    receiving_.waited = false;
    env::lock_guard held(lock_);
    std::uint64_t head = 0;
    std::uint64_t seen = sent_.load(env::relaxed);  // relaxed: who finds an item looks again
    if (!this->head(head) || phase_ != phase::open || index(seen) != head) return false;
    if (!wait_in(receiver_queue_, receiving_, at, "receive from an spsc_channel")) return false;
    do {
        if (index(seen) != head) {
            receiver_queue_.remove(receiving_);
            return !line.withdraw(receiving_.wait, context::wake::ready);  // as above
        }
    } while (!sent_.compare_exchange_weak(seen, seen | bit_waited_for, env::relaxed, env::relaxed));  // as above
    return true;
}

bool spsc_core::gave_up(wait_node& node, waiter_queue& queue) noexcept {
    if (!node.gave_up()) return false;
    env::lock_guard held(lock_);
    queue.remove(node);
    return true;
}

bool spsc_core::yields(int& units_left, context& line, std::coroutine_handle<> at) noexcept {
    if (units_left >= 0) return false;
    units_left = units;
    return line.yields_at(at, units);
}

}  // namespace leat::detail
