// work_item: the one thing an executor runs. Contexts of tasks are work items, and so are the few callbacks of the library
// itself; an item is linked into queues through its own `next`, so that posting never allocates and cannot fail.
//
// Invariant: an item is in at most one queue at a time; its owner posts it again only after it has begun to run.
#pragma once

#include <cstdint>

namespace leat {

// High runs before all that is normal and ready, but lets a normal item have its turn now and then.
enum class priority : unsigned char { normal, high };

struct work_item {
    using function = void (*)(work_item&) noexcept;

    explicit work_item(function body) noexcept : run(body) {}
    work_item(const work_item&) = delete;
    work_item& operator=(const work_item&) = delete;

    function run;               // may end the life of the item; an exception out of it ends the program
    work_item* next = nullptr;  // belongs to the queue that holds the item
    std::uint32_t label = 0;    // belongs to the executor that it is posted to: the simulator numbers lines; 0 at first
    priority urgency = priority::normal;
    bool is_watched = false;  // belongs to the line: its executor is asked to resume it (executor::run_watched)
    std::uint16_t lot = 0;    // belongs to the line, if it is one (context::draw); 0: not seeded

protected:
    ~work_item() = default;
};

// Items in a row, through their links: first in, first out.
struct item_list {
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
    // Takes all of the other's, behind its own.
    void append(item_list& from) noexcept {
        if (from.first == nullptr) return;
        if (first == nullptr) first = from.first;
        else last->next = from.first;
        last = from.last;
        from.first = nullptr;
    }
    work_item* first = nullptr;
    work_item* last = nullptr;  // while there is a first
};

}  // namespace leat
