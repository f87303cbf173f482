#include <leat/runtime/inbox.hpp>

#include <algorithm>

namespace leat {

void inbox::push(work_item& item, priority as) noexcept {
    env::lock_guard held(lock_);
    items_.push(item, as);
    if (as == priority::high) has_urgent_.store(true, env::relaxed);  // relaxed: count_ is what sleepers look at
    // relaxed load: written under the lock. seq_cst: pairs with empty().
    count_.store(count_.load(env::relaxed) + 1, env::seq_cst);
}

// Who takes one that has left already finds out under the lock, so the order of this one does not matter.
work_item* inbox::left(work_item* item) noexcept {
    if (item == nullptr) return nullptr;
    has_urgent_.store(items_.has_urgent(), env::relaxed);
    count_.store(count_.load(env::relaxed) - 1, env::relaxed);
    return item;
}

work_item* inbox::pop() noexcept {
    if (empty()) return nullptr;
    env::lock_guard held(lock_);
    return left(items_.pop());
}

work_item* inbox::pop_urgent() noexcept {
    if (!has_urgent_.load(env::relaxed)) return nullptr;
    env::lock_guard held(lock_);
    return left(items_.pop_urgent());
}

void inbox::push_all(item_list& chain, std::uint32_t count) noexcept {
    env::lock_guard held(lock_);
    items_.append(chain);
    count_.store(count_.load(env::relaxed) + count, env::seq_cst);  // as in push()
}

void inbox::take_some(ready_queue& to, std::size_t n, std::size_t most) noexcept {
    if (empty()) return;
    env::lock_guard held(lock_);
    const std::size_t share = std::min(count_.load(env::relaxed) / n + 1, most);
    for (std::size_t i = 0; i < share; ++i) {
        work_item* const item = left(items_.pop());
        if (item == nullptr) return;
        to.push(*item, priority::normal);
    }
}

void inbox::move_to(ready_queue& to) noexcept {
    if (empty()) return;
    env::lock_guard held(lock_);
    to.append(items_);
    has_urgent_.store(false, env::relaxed);
    count_.store(0, env::relaxed);
}

}  // namespace leat
