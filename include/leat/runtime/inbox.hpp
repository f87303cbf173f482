// inbox: work items from any thread, first in, first out, urgent ones in front. The injection queue of the pool and the
// whole queue of the event loop.
#pragma once

#include <leat/base/env.hpp>
#include <leat/task/work_item.hpp>

namespace leat {

class inbox {
public:
    void push(work_item& item) noexcept;
    // The oldest, or null.
    [[nodiscard]] work_item* pop() noexcept;
    // All, linked by `next`, the oldest first.
    [[nodiscard]] work_item* take_all() noexcept;
    // seq_cst pairs with a sleeper's announcement: see thread_pool.
    [[nodiscard]] bool empty() const noexcept { return count_.load(env::seq_cst) == 0; }

private:
    env::mutex lock_;
    work_item* first_ = nullptr;
    work_item* last_ = nullptr;
    env::atomic<std::uint32_t> count_{0};  // items inside
};

}  // namespace leat
