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
    [[nodiscard]] bool empty() const noexcept { return normal_.first == nullptr && urgent_.first == nullptr; }
    [[nodiscard]] bool has_urgent() const noexcept { return urgent_.first != nullptr; }

    static constexpr unsigned urgent_in_a_row = 64;

private:
    struct list {
        void push(work_item& item) noexcept {
            item.next = nullptr;
            if (first == nullptr) first = &item;
            else last->next = &item;
            last = &item;
        }
        work_item* pop() noexcept {
            work_item* const oldest = first;
            if (oldest != nullptr) first = oldest->next;
            return oldest;
        }
        void append(list& from) noexcept {
            if (from.first == nullptr) return;
            if (first == nullptr) first = from.first;
            else last->next = from.first;
            last = from.last;
            from.first = nullptr;
        }
        work_item* first = nullptr;
        work_item* last = nullptr;  // while there is a first
    };

    list normal_;
    list urgent_;
    unsigned urgent_run_ = 0;  // urgent ones that have left since a normal one did
};

}  // namespace leat
