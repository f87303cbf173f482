#include <leat/channel/spsc_core.hpp>

#include <algorithm>

namespace leat::detail {

namespace {

// An address that no other thread has.
const void* name_of_thread() noexcept { return static_cast<const void*>(&env::this_thread(env::slot::worker)); }

}  // namespace

spsc_core::spsc_core(std::size_t capacity) noexcept : capacity_(capacity) {
    if (capacity == 0) bug("an spsc_channel holds at least one item: leat::channel has rendezvous");
}

channel_counts spsc_core::snapshot() const noexcept {
    channel_counts all;
    // In this order, and acquire, so that none is seen as it was before the one that it counts up to: it is never behind.
    all.dropped = dropped_.load(env::acquire);
    const std::uint64_t taken = index(received_.load(env::acquire));
    all.sent = index(sent_.load(env::acquire));
    all.received = taken - all.dropped;
    all.capacity = capacity_;
    all.depth = std::min(static_cast<std::size_t>(all.sent - taken), all.capacity);
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
        claim_all(sender_.queue, woken);
        claim_all(receiver_.queue, woken);
    }
    woken.resume_all();
}

bool spsc_core::publish_to_waiter(std::uint64_t tail) noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        if (phase_ != phase::open) return false;
        sent_.store(word(tail), env::release);  // as in publish(); the bits do not change under the lock
        claim_all(receiver_.queue, woken);
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
        if (sender_.queue.empty()) return;
        if (head >= sender_needs_) claim_all(sender_.queue, woken);
        else wakes_at_ = sender_needs_;
    }
    woken.resume_all();
}

bool spsc_core::wait_for_room(context& line, std::coroutine_handle<> at, std::uint64_t wanted) noexcept {
    sender_.node.line = &line;
    sender_.node.waited = false;
    const std::uint64_t needs = tail() + wanted - capacity_;
    if (comes_soon(sender_, receiver_, received_, needs)) return false;
    env::lock_guard held(lock_);
    std::uint64_t seen = received_.load(env::relaxed);  // relaxed: who finds room looks again
    if (phase_ != phase::open || index(seen) >= needs) return false;
    sender_needs_ = needs;
    if (!wait_in(sender_.queue, sender_.node, at, "send to an spsc_channel")) return false;
    do {
        if (index(seen) >= needs) {
            sender_.queue.remove(sender_.node);
            // False: a stop has ended it, and resumes.
            return !line.withdraw(line.current_ticket(), context::wake::ready);
        }
        // relaxed, both: invariant 2 is about this word alone.
    } while (!received_.compare_exchange_weak(seen, seen | bit_waited_for, env::relaxed, env::relaxed));
    return true;
}

bool spsc_core::wait_for_item(context& line, std::coroutine_handle<> at) noexcept {
    receiver_.node.line = &line;
    receiver_.node.waited = false;
    std::uint64_t head = 0;
    if (!this->head(head) || comes_soon(receiver_, sender_, sent_, head + 1)) return false;
    env::lock_guard held(lock_);
    std::uint64_t seen = sent_.load(env::relaxed);  // relaxed: who finds an item looks again
    if (phase_ != phase::open || index(seen) != head) return false;
    if (!wait_in(receiver_.queue, receiver_.node, at, "receive from an spsc_channel")) return false;
    do {
        if (index(seen) != head) {
            receiver_.queue.remove(receiver_.node);
            return !line.withdraw(line.current_ticket(), context::wake::ready);  // as above
        }
    } while (!sent_.compare_exchange_weak(seen, seen | bit_waited_for, env::relaxed, env::relaxed));  // as above
    return true;
}

bool spsc_core::gave_up(side& mine) noexcept {
    if (!mine.node.gave_up()) return false;
    env::lock_guard held(lock_);
    mine.queue.remove(mine.node);
    return true;
}

bool spsc_core::yields(side& mine, context& line, std::coroutine_handle<> at) noexcept {
    if (mine.units_left >= 0) return false;
    mine.units_left = units;
    mine.thread.store(name_of_thread(), env::relaxed);  // relaxed: a hint
    return line.yields_at(at, units);
}

// Where the other side runs on another thread, what is missing often comes within less than it costs to sleep and be woken
// (competitive spinning: Karlin, Li, Manasse and Owicki, SOSP 1991). Each look takes the cache line from its writer, so looks
// become rarer, and a short time passes before the first: then there is not one item but many. On one thread the other side
// cannot run meanwhile.
bool spsc_core::comes_soon(side& mine, const side& other, const env::atomic<std::uint64_t>& index_of_other,
                           std::uint64_t needed) noexcept {
    const void* const here = name_of_thread();
    mine.thread.store(here, env::relaxed);  // relaxed, both: hints
    const void* const there = other.thread.load(env::relaxed);
    if (there == nullptr || there == here) return false;
    int spent = 0;
    for (int pauses = least_patience; spent < mine.patience; pauses *= 2) {
        for (int i = 0; i < pauses; ++i) env::pause();
        spent += pauses;
        const std::uint64_t seen = index_of_other.load(env::relaxed);  // relaxed: who finds something looks again
        if (index(seen) >= needed) {
            mine.patience = std::min(2 * mine.patience, most_patience);
            return true;
        }
        if ((seen & bit_ended) != 0) break;
    }
    mine.patience = std::max(mine.patience / 2, least_patience);
    return false;
}

}  // namespace leat::detail
