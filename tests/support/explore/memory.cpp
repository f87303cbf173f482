#include "memory.hpp"

#include <fmt/format.h>
#include <functional>

namespace leat::explore::detail {

std::string cell::name() const {
    static constexpr const char* kinds[] = {"atomic", "shared", "mutex", "gate"};
    const char* const what = kinds[static_cast<unsigned>(kind)];
    return label != nullptr ? fmt::format("{} '{}'", what, label) : fmt::format("{}#{}", what, number);
}

void memory::begin_schedule() noexcept {
    ++stamp_;
    filled_ = 0;
    used_ = 0;
    numbered_.clear();
}

// Remembered, since a cell that lies before the others may come later.
std::uint32_t memory::number_at(const void* place) {
    for (const auto& [known, number] : numbered_)
        if (known == place) return number;
    const std::less<> before;
    const cell* first = nullptr;
    for (std::size_t i = 0; i < used_; ++i) {
        const cell& each = cells_[i];
        if (!each.alive || before(each.address, place)) continue;
        if (first == nullptr || before(each.address, first->address)) first = &each;
    }
    const std::uint32_t number = place == nullptr || first == nullptr ? 0 : first->number;
    numbered_.emplace_back(place, number);
    return number;
}

memory::slot& memory::look_up(const void* address, object_kind kind) noexcept {
    const auto key = reinterpret_cast<std::uintptr_t>(address) + static_cast<unsigned>(kind);
    const std::size_t mask = table_.size() - 1;
    for (std::size_t i = (key * 0x9e3779b97f4a7c15ULL) >> 32U;; ++i) {
        slot& here = table_[i & mask];
        if (here.stamp != stamp_ || (here.address == address && here.kind == kind)) return here;
    }
}

cell& memory::insert(slot& where, const void* address, object_kind kind) {
    if (where.stamp != stamp_ && ++filled_ * 2 > table_.size()) {
        grow();
        return insert(look_up(address, kind), address, kind);
    }
    if (used_ == cells_.size()) cells_.emplace_back();
    cell& fresh = cells_[used_++];
    fresh = cell{};
    fresh.address = address;
    fresh.kind = kind;
    fresh.number = static_cast<std::uint32_t>(used_);
    where = {stamp_, address, kind, &fresh};
    return fresh;
}

void memory::grow() {
    std::vector<slot> old(table_.size() * 2);
    old.swap(table_);
    filled_ = 0;
    for (const slot& each : old) {
        if (each.stamp != stamp_) continue;
        look_up(each.address, each.kind) = each;
        ++filled_;
    }
}

}  // namespace leat::explore::detail
