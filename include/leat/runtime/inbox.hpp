// inbox: a ready_queue that any thread may use. The injection queue of the pool, and what others post to an event loop.
#pragma once

#include <leat/base/env.hpp>
#include <leat/runtime/ready_queue.hpp>

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
    // Puts all of `chain`, which are `count` normal items, behind what is inside.
    void push_all(item_list& chain, std::uint32_t count) noexcept;
    // Moves about an n-th of what is inside to the end of `to`: one at least, `most` at most.
    void take_some(ready_queue& to, std::size_t n, std::size_t most) noexcept;
    // Moves all to the end of `to`.
    void move_to(ready_queue& to) noexcept;
    // seq_cst pairs with a sleeper's announcement: see thread_pool.
    [[nodiscard]] bool empty() const noexcept { return count_.load(env::seq_cst) == 0; }

private:
    work_item* left(work_item* item) noexcept;

    env::mutex lock_;
    ready_queue items_;
    // Both are written under lock_.
    env::atomic<std::uint32_t> count_{0};  // items inside
    env::atomic<bool> has_urgent_{false};  // a hint: whether some are urgent
};

}  // namespace leat
