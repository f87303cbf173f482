#include <leat/flow/ack.hpp>

namespace leat {

// NOLINTBEGIN(performance-no-int-to-ptr): what was put there
ack_node* ack_ref::node() const noexcept { return is_plain() ? nullptr : reinterpret_cast<ack_node*>(bits_); }
ack_ledger* ack_ref::ledger() const noexcept { return reinterpret_cast<ack_ledger*>(bits_ & ~plain_bit); }
// NOLINTEND(performance-no-int-to-ptr)

ack_node* ack_ref::opened() const {
    if (is_plain()) bits_ = reinterpret_cast<std::uintptr_t>(ledger()->open());
    return node();
}

ack_ref ack_ref::fork() const {
    ack_node* const of = opened();
    if (of == nullptr) return {};
    of->references_.fetch_add(1, std::memory_order_relaxed);  // relaxed: the caller's reference keeps it alive
    return ack_ref(of);
}

void ack_ref::pass() noexcept {
    if (is_plain()) return end(fate::skipped);  // it alone stood for the item
    if (ack_node* const of = node()) {
        bits_ = 0;
        of->let_go();
    }
}

void ack_ref::end(fate how) noexcept {
    if (is_plain()) {
        ledger()->settle(how, 1);
        bits_ = 0;
        return;
    }
    ack_node* const of = node();
    if (of == nullptr) return;
    bits_ = 0;
    auto& worst = of->worst_;
    const auto said = static_cast<std::uint8_t>(how);
    std::uint8_t before = worst.load(std::memory_order_relaxed);  // relaxed: let_go() orders it before the settling
    while (before < said && !worst.compare_exchange_weak(before, said, std::memory_order_relaxed)) {
    }
    of->let_go();
}

void ack_ref::abandon(const std::string& name) noexcept {
    ledger()->abandon(name);
    bits_ = 0;
}

void ack_ref::fail_some(std::uint64_t items) const {
    if (ack_node* const of = opened()) of->failed_in_part(items);
}

void ack_ref::sequences(std::vector<std::uint64_t>& to) const {
    if (const ack_node* const of = node()) of->sequences(to);
}

std::uint64_t ack_ref::sequence() const noexcept {
    const ack_node* const of = node();
    return of == nullptr ? 0 : of->sequence_;
}

void ack_node::let_go() noexcept {
    // acq_rel: whoever settles has seen what all others said and wrote.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    settled(static_cast<fate>(worst_.load(std::memory_order_relaxed)));
    delete this;
}

class gathered_acks::node final : public merged_ack {
public:
    node(std::vector<ack_ref> of, ack_ledger* ledger, std::uint64_t plain) noexcept
        : merged_ack(std::move(of)), ledger_(ledger), plain_(plain) {}

private:
    void settled(fate how) noexcept override {
        merged_ack::settled(how);
        if (plain_ != 0) ledger_->settle(how, plain_);
    }
    ack_ledger* ledger_;
    std::uint64_t plain_;
};

gathered_acks::gathered_acks(gathered_acks&& other) noexcept
    : of_(std::move(other.of_)), ledger_(other.ledger_), plain_(std::exchange(other.plain_, 0)) {}

gathered_acks::~gathered_acks() {
    if (plain_ != 0) ledger_->settle(fate::abandoned, plain_);
}

void gathered_acks::add(ack_ref one) {
    if (one.is_plain() && (plain_ == 0 || ledger_ == one.ledger())) {
        ledger_ = one.ledger();
        ++plain_;
        one.take_over();
    } else if (one) {
        of_.push_back(std::move(one));
    }
}

ack_ref gathered_acks::merge() { return ack_ref(new node(std::exchange(of_, {}), ledger_, std::exchange(plain_, 0))); }

}  // namespace leat
