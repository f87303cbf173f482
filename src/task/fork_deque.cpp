#include <leat/task/fork_deque.hpp>

#include <memory>
#include <utility>

namespace leat::detail {

namespace {
constexpr std::int64_t first_size = 256;
}

struct fork_deque::ring {
    explicit ring(std::int64_t size)
        : mask(size - 1), slots(new env::atomic<fork_frame*>[static_cast<std::size_t>(size)]) {}
    env::atomic<fork_frame*>& at(std::int64_t index) noexcept { return slots[static_cast<std::size_t>(index & mask)]; }

    std::int64_t mask;
    std::unique_ptr<env::atomic<fork_frame*>[]> slots;
    ring* outgrown = nullptr;
};

fork_deque::~fork_deque() {
    ring* each = newest_.load(env::relaxed);  // relaxed: nobody else is left
    while (each != nullptr) delete std::exchange(each, each->outgrown);
}

void fork_deque::make_ready() {
    const std::int64_t bottom = bottom_.load(env::relaxed);  // relaxed: the owner's own
    const std::int64_t top = top_.load(env::acquire);  // pairs with steal(): the thief has read the slot that is reused
    ring* const old = newest_.load(env::relaxed);      // relaxed: the owner's own
    if (old == nullptr || bottom - top > old->mask / 2) {
        auto wider = std::make_unique<ring>(old == nullptr ? first_size : 2 * (old->mask + 1));
        for (std::int64_t i = top; old != nullptr && i < bottom; ++i)
            wider->at(i).store(old->at(i).load(env::relaxed), env::relaxed);
        wider->outgrown = old;
        own_slots_ = wider->slots.get();
        own_mask_ = wider->mask;
        newest_.store(wider.release(), env::release);  // pairs with steal()
    }
    // seq_cst: reads the alert that it ends, and stands before the owner's look at what it was about.
    limit_.exchange(top + own_mask_ + 1, env::seq_cst);
}

fork_frame* fork_deque::steal() noexcept {
    std::int64_t top = top_.load(env::seq_cst);
    if (top >= bottom_.load(env::seq_cst))
        return nullptr;  // sees push(): the slot, the frame, and a ring that holds both
    fork_frame* const found = newest_.load(env::acquire)->at(top).load(env::relaxed);  // pairs with make_ready()
    return top_.compare_exchange_strong(top, top + 1, env::seq_cst, env::relaxed) ? found : nullptr;
}

}  // namespace leat::detail
