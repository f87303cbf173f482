#include <leat/flow/ack.hpp>

namespace leat {

ack_ref ack_ref::fork() const noexcept {
    if (node_ == nullptr) return {};
    node_->references_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the caller's reference keeps it alive
    return ack_ref(node_);
}

void ack_ref::pass() noexcept {
    if (node_ != nullptr) std::exchange(node_, nullptr)->let_go();
}

void ack_ref::end(fate how) noexcept {
    if (node_ == nullptr) return;
    auto& worst = node_->worst_;
    const auto said = static_cast<std::uint8_t>(how);
    std::uint8_t before = worst.load(std::memory_order_relaxed);  // relaxed: let_go() orders it before the settling
    while (before < said && !worst.compare_exchange_weak(before, said, std::memory_order_relaxed)) {
    }
    std::exchange(node_, nullptr)->let_go();
}

void ack_ref::fail_some(std::uint64_t items) const noexcept {
    if (node_ != nullptr) node_->failed_in_part(items);
}

std::uint64_t ack_ref::sequence() const noexcept { return node_ == nullptr ? 0 : node_->sequence_; }

void ack_node::let_go() noexcept {
    // acq_rel: whoever settles has seen what all others said and wrote.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    settled(static_cast<fate>(worst_.load(std::memory_order_relaxed)));
    delete this;
}

}  // namespace leat
