#include <flow/kinds/seen_index.hpp>

#include <xxhash.h>

namespace leat {

class seen_index::first_item final : public merged_ack {
public:
    first_item(std::vector<ack_ref> of, std::shared_ptr<seen_index> index, hash key) noexcept
        : merged_ack(std::move(of)), index_(std::move(index)), key_(key) {}

private:
    void settled(fate how) noexcept override {
        std::vector<ack_ref> duplicates = index_->settle(key_, how);
        merged_ack::settled(how);
        for (ack_ref& each : duplicates) each.end(how == fate::committed ? fate::skipped : how);
    }
    std::shared_ptr<seen_index> index_;
    hash key_;
};

seen_index::hash seen_index::hash_of(std::string_view key) noexcept {
    const XXH128_hash_t made = XXH3_128bits(key.data(), key.size());
    // {0, 0} marks an empty place of the table.
    return {made.low64, made.high64 == 0 && made.low64 == 0 ? 1 : made.high64};
}

seen_index::place seen_index::look(hash key, const ack_ref& duplicate) {
    const std::scoped_lock held(lock_);
    if (const auto found = in_flight_.find(key); found != in_flight_.end()) {
        found->second.push_back(duplicate.fork());
        return place::in_flight;
    }
    if (is_seen(key)) return place::seen;
    if (seen_ + in_flight_.size() >= bound_) return place::full;
    make_room(seen_ + in_flight_.size() + 1);
    in_flight_.try_emplace(key);
    return place::first;
}

ack_ref seen_index::watch(hash key, ack_ref of) {
    std::vector<ack_ref> one;
    one.push_back(std::move(of));
    return ack_ref(new first_item(std::move(one), shared_from_this(), key));
}

std::vector<ack_ref> seen_index::settle(hash key, fate how) noexcept {
    const std::scoped_lock held(lock_);
    const auto found = in_flight_.find(key);
    std::vector<ack_ref> duplicates = std::move(found->second);
    in_flight_.erase(found);
    if (how == fate::committed) {
        put(key);
        ++seen_;
    }
    return duplicates;
}

bool seen_index::is_seen(hash key) const noexcept {
    if (table_.empty()) return false;
    const std::size_t mask = table_.size() - 1;
    for (std::size_t at = key.high & mask; table_[at] != hash{}; at = (at + 1) & mask)
        if (table_[at] == key) return true;
    return false;
}

void seen_index::put(hash key) noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = key.high & mask;
    while (table_[at] != hash{}) at = (at + 1) & mask;
    table_[at] = key;
}

void seen_index::make_room(std::size_t keys) {
    if (keys * 4 <= table_.size() * 3) return;
    std::vector<hash> old(table_.empty() ? 1024 : table_.size() * 2);
    std::swap(old, table_);
    for (const hash& each : old)
        if (each != hash{}) put(each);
}

}  // namespace leat
