// inbox: work items from any thread: first in, first out, the urgent before the others. The injection queue of the pool and
// the whole queue of the event loop.
//
// Invariant: of so many items in a row that leave while normal ones wait at least one is normal.
#pragma once

#include <leat/base/env.hpp>
#include <leat/task/work_item.hpp>

namespace leat {

class inbox {
public:
    void push(work_item& item) noexcept { push(item, item.urgency); }
    // As if it were so urgent: a normal one is behind all that is inside.
    void push(work_item& item, priority as) noexcept;
    // The next, or null.
    [[nodiscard]] work_item* pop() noexcept;
    // The oldest urgent one, or null.
    [[nodiscard]] work_item* pop_urgent() noexcept;
    // seq_cst pairs with a sleeper's announcement: see thread_pool.
    [[nodiscard]] bool empty() const noexcept { return count_.load(env::seq_cst) == 0; }

    static constexpr unsigned urgent_in_a_row = 64;

private:
    struct list {
        work_item* first = nullptr;
        work_item* last = nullptr;
    };
    work_item* take_from(list& from) noexcept;

    env::mutex lock_;
    list normal_;
    list urgent_;
    unsigned urgent_run_ = 0;              // urgent ones that have left since a normal one did
    env::atomic<std::uint32_t> count_{0};  // items inside
    env::atomic<bool> has_urgent_{false};  // a hint, written under lock_: whether urgent_ has some
};

}  // namespace leat
