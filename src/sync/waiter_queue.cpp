#include <leat/sync/waiter_queue.hpp>

#include <utility>

namespace leat {

namespace {

// Where very many are served, the time goes into waiting for their memory: what the turn after this one needs.
void fetch_ahead(const waiter& coming) noexcept {
    __builtin_prefetch(coming.next);
    __builtin_prefetch(coming.line);
}

}  // namespace

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
        if (candidate.next != nullptr) fetch_ahead(*candidate.next);
        remove(candidate);
        if (candidate.claim()) return &candidate;
    }
    return nullptr;
}

void resume_list::resume_all() noexcept {
    while (first_ != nullptr) {
        waiter& each = *first_;
        first_ = each.next;
        each.resume();
    }
    last_ = nullptr;
    if (together_.where == nullptr) return;
    item_chain posted = std::exchange(together_, {});
    posted.where->post_all(posted.items, posted.count);
}

}  // namespace leat
