// fork_deque: the continuations that one worker offers, newest last. The owner pushes and pops at the bottom, thieves take
// from the top, the oldest first: the largest piece of what is left.
//
// The deque of Chase and Lev (Dynamic Circular Work-Stealing Deque, SPAA 2005) with the orders of Lê, Pop, Cohen and
// Zappa Nardelli (Correct and Efficient Work-Stealing for Weak Memory Models, PPoPP 2013), whose fences are sequentially
// consistent accesses to bottom_ and top_ here.
//
// Invariants:
//  1. What is inside lies at [top_, bottom_). Only the owner writes bottom_; who moves top_ by compare-exchange owns what it
//     passed. top_ only grows.
//  2. pop() announces itself in bottom_ before it looks at top_, a thief looks at top_ before it looks at bottom_, all
//     sequentially consistent: of the last element at least one of them sees that both want it, and then top_ decides.
//  3. A ring that was outgrown stays until the deque ends, since a thief may still read it; what it reads there is right
//     whenever its exchange succeeds.
#pragma once

#include <cstdint>

#include <leat/base/env.hpp>

namespace leat::detail {

class fork_frame;

class fork_deque {
public:
    fork_deque() = default;
    fork_deque(const fork_deque&) = delete;
    fork_deque& operator=(const fork_deque&) = delete;
    ~fork_deque();

    // Whether push() may be called: there is room, and no alert. Owner only.
    [[nodiscard]] bool ready() const noexcept {
        return bottom_.load(env::relaxed) < limit_.load(env::relaxed);  // relaxed: an alert may be seen a little later
    }
    // Makes room for one more, and ends an alert; sees what was written before it. Throws std::bad_alloc. Owner only.
    void make_ready();
    // Only while ready(). Owner only.
    void push(fork_frame& frame) noexcept {
        const std::int64_t bottom = bottom_.load(env::relaxed);  // relaxed: the owner's own
        own(bottom).store(&frame, env::relaxed);
        bottom_.store(bottom + 1, env::release);  // pairs with steal(): the slot, and the frame as its line left it
    }
    // From now on the deque is not ready until its owner has called make_ready(): how others get the owner's attention at its
    // next push, at no cost to those before it. Any thread.
    // The update reads what make_ready() wrote, or is read by it: in no order is an alert lost.
    void alert() noexcept { limit_.exchange(0, env::seq_cst); }
    // A snapshot; seq_cst for those who announce something else that way, and need not alert twice.
    [[nodiscard]] bool alerted() const noexcept { return limit_.load(env::seq_cst) == 0; }

    // Takes the newest back: false when it was stolen, and all others with it. Owner only.
    [[nodiscard]] bool take_back() noexcept {
        const std::int64_t bottom = bottom_.load(env::relaxed) - 1;
        bottom_.exchange(bottom, env::seq_cst);  // invariant 2
        std::int64_t top = top_.load(env::seq_cst);
        if (top < bottom) [[likely]]
            return true;
        const bool mine = top == bottom && top_.compare_exchange_strong(top, top + 1, env::seq_cst, env::relaxed);
        bottom_.store(bottom + 1, env::release);  // as in push(): thieves may read this value instead of that one
        return mine;
    }
    // The same: which it was, or null.
    [[nodiscard]] fork_frame* pop() noexcept {
        if (bottom_.load(env::relaxed) == top_.load(env::relaxed))
            return nullptr;  // relaxed: nobody adds but the owner
        fork_frame* const newest = own(bottom_.load(env::relaxed) - 1).load(env::relaxed);
        return take_back() ? newest : nullptr;
    }

    // The oldest; null when there is nothing, or when another was quicker. Any thread.
    [[nodiscard]] fork_frame* steal() noexcept;

    // A snapshot. seq_cst pairs with a sleeper's announcement: see thread_pool.
    [[nodiscard]] bool empty() const noexcept { return top_.load(env::seq_cst) >= bottom_.load(env::seq_cst); }

private:
    struct ring;
    env::atomic<fork_frame*>& own(std::int64_t index) noexcept { return own_slots_[index & own_mask_]; }

    // The owner's line.
    alignas(64) env::atomic<std::int64_t> bottom_{0};  // the next to be filled
    env::atomic<std::int64_t> limit_{0};               // ready() below it: where to look at top_ again, or 0: an alert
    env::atomic<fork_frame*>* own_slots_ =
        nullptr;  // of the newest ring; relaxed: published by bottom_, claimed by top_
    std::int64_t own_mask_ = 0;
    // The thieves' line.
    alignas(64) env::atomic<std::int64_t> top_{0};  // the next to be stolen
    env::atomic<ring*> newest_{nullptr};
};

}  // namespace leat::detail
