// waiter_queue: those who wait for one thing, in order of arrival. Every primitive that waits has one or more, guarded by
// the primitive's own lock. A waiter is a line of execution: a coroutine, or a plain thread (see thread_line).
//
// Invariants:
//  1. All functions are called with the primitive's lock held, and nodes are linked and unlinked nowhere else.
//  2. claim_first() skips waiters whose wait has ended otherwise (stopped, timed out, another arm of a select): what is
//     handed out is never lost on one who is leaving. Such a node is unlinked here or by its line,
//     whichever comes first.
//  3. The node's memory is its line's: after waiter::resume() it may be gone.
#pragma once

#include <leat/task/context.hpp>

namespace leat {

struct waiter {
    // Makes this a waiter of the wait that its line, `line`, has just begun. That was set before the wait began and is not
    // written here: a stop request may have resumed the line already, which reads it without the lock.
    void wait_as(const context& /*the line*/) noexcept { chosen = false; }
    // Ends that wait as `ready`. False when it has ended otherwise: nothing is to be handed over then. With the primitive's
    // lock held: it needs no ticket, since the line takes the node out under that lock before it waits again.
    [[nodiscard]] bool claim() noexcept {
        if (!line->claim(context::wake::ready)) return false;
        chosen = true;
        return true;
    }
    // For the claimer, after it has written what it hands over, and better after it has left its lock.
    void resume() noexcept { line->resume(); }

    context* line = nullptr;
    waiter* previous = nullptr;
    waiter* next = nullptr;
    // Both are written under the primitive's lock, or while the node is in no queue.
    bool linked : 1 = false;
    bool chosen : 1 = false;  // the wait was ended through this node: tells a line which of several places it was
};

class waiter_queue {
public:
    waiter_queue() = default;
    waiter_queue(const waiter_queue&) = delete;
    waiter_queue& operator=(const waiter_queue&) = delete;

    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] waiter* first() const noexcept { return first_; }
    void push_back(waiter& last) noexcept;
    // Harmless when it is not linked.
    void remove(waiter& which) noexcept;
    // Takes the first waiter whose wait can still be ended, and ends it as `ready`; null when there is none. The caller
    // hands over and calls resume().
    [[nodiscard]] waiter* claim_first() noexcept;

private:
    waiter* first_ = nullptr;
    waiter* last_ = nullptr;
};

// Waiters that were claimed under a lock and are resumed after it is released. From the second on, lines that only need to be
// posted are chained as they come, so that very many are released at the price of one look at each.
class resume_list {
public:
    void add(waiter& claimed) noexcept {
        if (first_ != nullptr && claimed.line->join(together_)) return;
        claimed.next = nullptr;
        (last_ == nullptr ? first_ : last_->next) = &claimed;
        last_ = &claimed;
    }
    // In the order in which they were added, but those first that have to be resumed by themselves.
    void resume_all() noexcept;

private:
    waiter* first_ = nullptr;  // resumed one by one
    waiter* last_ = nullptr;
    item_chain together_;
};

}  // namespace leat
