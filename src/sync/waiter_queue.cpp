#include <leat/sync/waiter_queue.hpp>

#include <utility>

namespace leat {

void waiter_queue::push_back(waiter& last) noexcept {
    last.previous = last_;
    last.next = nullptr;
    last.linked = true;
    if (last_ != nullptr) last_->next = &last;
    else first_ = &last;
    last_ = &last;
}

void waiter_queue::remove(waiter& which) noexcept {
    if (!which.linked) return;
    if (which.previous != nullptr) which.previous->next = which.next;
    else first_ = which.next;
    if (which.next != nullptr) which.next->previous = which.previous;
    else last_ = which.previous;
    which.linked = false;
}

waiter* waiter_queue::claim_first() noexcept {
    while (first_ != nullptr) {
        waiter& candidate = *first_;
        remove(candidate);
        if (candidate.line->claim(candidate.wait, context::wake::ready)) return &candidate;
    }
    return nullptr;
}

void resume_list::resume_all() noexcept {
    waiter* in_order = nullptr;
    while (first_ != nullptr) {
        waiter* const rest = first_->next;
        first_->next = std::exchange(in_order, first_);
        first_ = rest;
    }
    while (in_order != nullptr) std::exchange(in_order, in_order->next)->resume();
}

}  // namespace leat
