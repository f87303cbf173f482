#include <leat/runtime/inbox.hpp>

#include <utility>

namespace leat {

void inbox::push(work_item& item, priority as) noexcept {
    env::lock_guard held(lock_);
    list& to = as == priority::high ? urgent_ : normal_;
    item.next = nullptr;
    if (to.first == nullptr) to.first = &item;
    else to.last->next = &item;
    to.last = &item;
    if (as == priority::high) has_urgent_.store(true, env::relaxed);  // relaxed: count_ is what sleepers look at
    count_.fetch_add(1, env::seq_cst);                                // pairs with empty()
}

work_item* inbox::take_from(list& from) noexcept {
    work_item* const oldest = from.first;
    if (oldest == nullptr) return nullptr;
    from.first = oldest->next;
    if (&from == &normal_) {
        urgent_run_ = 0;
    } else {
        ++urgent_run_;
        if (from.first == nullptr) has_urgent_.store(false, env::relaxed);
    }
    count_.fetch_sub(1, env::seq_cst);
    return oldest;
}

work_item* inbox::pop() noexcept {
    if (empty()) return nullptr;
    env::lock_guard held(lock_);
    if (urgent_run_ >= urgent_in_a_row)
        if (work_item* const normal = take_from(normal_)) return normal;
    if (work_item* const urgent = take_from(urgent_)) return urgent;
    return take_from(normal_);
}

work_item* inbox::pop_urgent() noexcept {
    if (!has_urgent_.load(env::relaxed)) return nullptr;
    env::lock_guard held(lock_);
    return take_from(urgent_);
}

}  // namespace leat
