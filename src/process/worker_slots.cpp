#include "worker_slots.hpp"

#include <algorithm>

namespace leat {

worker_slots::worker_slots(unsigned count, unsigned window) : window_(window) {
    slots_.reserve(count);
    for (unsigned i = 0; i < count; ++i) slots_.push_back(std::make_unique<worker_slot>());
}

void worker_slots::add(pool_item_ptr item) {
    auto& queue = item->alone ? alone_ : queue_;
    queue.push_back(std::move(item));
}

void worker_slots::put_back(std::deque<pool_item_ptr>& items) {
    for (; !items.empty(); items.pop_back()) {
        if (items.back()->abandoned) continue;
        auto& queue = items.back()->alone ? alone_ : queue_;
        queue.push_front(std::move(items.back()));
    }
}

bool worker_slots::withdraw(const pool_item_ptr& item) {
    auto& queue = item->alone ? alone_ : queue_;
    const auto place = std::find(queue.begin(), queue.end(), item);
    if (place == queue.end()) return false;
    queue.erase(place);
    return true;
}

std::deque<pool_item_ptr> worker_slots::take_queued() {
    std::deque<pool_item_ptr> all = std::exchange(queue_, {});
    for (auto& each : alone_) all.push_back(std::move(each));
    alone_.clear();
    return all;
}

void worker_slots::ring(worker_slot& which) noexcept {
    if (!std::exchange(which.rung, true)) which.bell.release();
}

void worker_slots::ring_all() noexcept {
    for (auto& each : slots_) ring(*each);
}

// Among equals one whose process runs already. With room for so many messages; 0: for an item that is alone, whatever it holds.
worker_slot* worker_slots::emptiest(std::size_t room) noexcept {
    worker_slot* best = nullptr;
    for (const auto& each : slots_) {
        worker_slot& slot = *each;
        if (slot.resting || slot.exclusive) continue;
        if (room != 0 && (slot.kept_free || (slot.load() != 0 && slot.load() + room > window_))) continue;
        if (best == nullptr || slot.load() < best->load() || (slot.load() == best->load() && slot.live && !best->live))
            best = &slot;
    }
    return best;
}

void worker_slots::dispatch() {
    // One slot is kept free for the items that are to be alone, so that they come up while the others work on.
    while (!alone_.empty()) {
        worker_slot* slot = emptiest(0);
        if (slot == nullptr) break;
        if (slot->load() != 0) {
            const bool one_kept = std::any_of(slots_.begin(), slots_.end(),
                                              [](const auto& each) { return each->kept_free && !each->resting; });
            if (!one_kept) slot->kept_free = true;
            break;
        }
        slot->kept_free = false;
        slot->exclusive = true;
        slot->messages += alone_.front()->left();
        slot->assigned.push_back(std::move(alone_.front()));
        alone_.pop_front();
        ring(*slot);
    }
    if (alone_.empty())
        for (auto& each : slots_) each->kept_free = false;
    while (!queue_.empty()) {
        worker_slot* const slot = emptiest(queue_.front()->left());
        if (slot == nullptr) return;
        slot->messages += queue_.front()->left();
        slot->assigned.push_back(std::move(queue_.front()));
        queue_.pop_front();
        ring(*slot);
    }
}

}  // namespace leat
