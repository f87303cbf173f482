// ready_queue: work items of one thread, or under one lock: first in, first out, the urgent before the others.
//
// Invariant: of so many items in a row that leave while normal ones wait at least one is normal.
#pragma once

#include <leat/task/work_item.hpp>

namespace leat {

class ready_queue {
public:
    void push(work_item& item, priority as) noexcept { (as == priority::high ? urgent_ : normal_).push(item); }
    // The next, or null.
    [[nodiscard]] work_item* pop() noexcept {
        if (urgent_run_ < urgent_in_a_row || normal_.first == nullptr)
            if (work_item* const urgent = pop_urgent()) return urgent;
        urgent_run_ = 0;
        return normal_.pop();
    }
    // The oldest urgent one, or null.
    [[nodiscard]] work_item* pop_urgent() noexcept {
        work_item* const oldest = urgent_.pop();
        if (oldest != nullptr) ++urgent_run_;
        return oldest;
    }
    // Takes all of the other's, behind its own.
    void append(ready_queue& from) noexcept {
        normal_.append(from.normal_);
        urgent_.append(from.urgent_);
    }
    // The same for normal items.
    void append(item_list& from) noexcept { normal_.append(from); }
    [[nodiscard]] bool empty() const noexcept { return normal_.first == nullptr && urgent_.first == nullptr; }
    [[nodiscard]] bool has_urgent() const noexcept { return urgent_.first != nullptr; }

    static constexpr unsigned urgent_in_a_row = 64;

private:
    item_list normal_;
    item_list urgent_;
    unsigned urgent_run_ = 0;  // urgent ones that have left since a normal one did
};

}  // namespace leat
