#include <leat/runtime/inbox.hpp>

#include <utility>

namespace leat {

void inbox::push(work_item& item) noexcept {
    env::lock_guard held(lock_);
    if (item.urgency == priority::high || first_ == nullptr) {
        item.next = first_;
        if (first_ == nullptr) last_ = &item;
        first_ = &item;
    } else {
        item.next = nullptr;
        last_->next = &item;
        last_ = &item;
    }
    count_.fetch_add(1, env::seq_cst);  // pairs with empty()
}

work_item* inbox::pop() noexcept {
    if (empty()) return nullptr;
    env::lock_guard held(lock_);
    if (first_ == nullptr) return nullptr;
    work_item* const oldest = std::exchange(first_, first_->next);
    count_.fetch_sub(1, env::seq_cst);
    return oldest;
}

work_item* inbox::take_all() noexcept {
    if (empty()) return nullptr;
    env::lock_guard held(lock_);
    count_.store(0, env::seq_cst);
    return std::exchange(first_, nullptr);
}

}  // namespace leat
