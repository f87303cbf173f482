#include <flow/seen_index.hpp>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include <leat/base/env.hpp>
#include <leat/base/log.hpp>

namespace leat {

namespace {

constexpr std::size_t recent_keys = 65536;  // 1 MiB; a power of two
// So many fit in the cache of the database (seen_store.cpp), so that to look one up takes some microseconds.
constexpr std::uint64_t keys_in_cache = 1'000'000;
// A filter is saved when it has a key for so many of its bytes: else it is made anew as soon as it would be read.
constexpr std::uint64_t sparse_bytes = 64;

}  // namespace

class seen_index::first_item final : public merged_ack {
public:
    first_item(std::vector<ack_ref> of, std::shared_ptr<seen_index> index, key_digest key) noexcept
        : merged_ack(std::move(of)), index_(std::move(index)), key_(key) {}

private:
    void settled(fate how) noexcept override { index_->settle(key_, std::move(of().front()), how); }
    std::shared_ptr<seen_index> index_;
    key_digest key_;
};

seen_index::seen_index(dedup_options options, std::string keys, seen_journal* journal)
    : options_(std::move(options)),
      keys_(std::move(keys)),
      journal_(journal),
      kind_(!options_.exact         ? kind::filter
            : options_.path.empty() ? kind::memory
                                    : kind::disk) {}

// --- Opening and closing ---

std::string seen_index::filter_path() const { return kind_ == kind::filter ? options_.path : options_.path + ".bloom"; }

void seen_index::open() {
    if (kind_ == kind::disk) open_index();
    if (kind_ == kind::filter) open_filter();
}

void seen_index::open_index() {
    const std::scoped_lock held(store_lock_, lock_);
    store_.emplace(options_.path, keys_, begins_afresh() ? seen_store::begin::afresh : seen_store::begin::go_on);
    const bool resumes = journal_ != nullptr && journal_->resumes();
    store_->forget_unsure([&](const std::string& item) { return !resumes || journal_->is_done(item); });
    // Taken out: should this run be killed, the filter that is there now has not all keys.
    const std::optional<std::uint64_t> mark = store_->take_filter_mark();
    if (!mark) return make_filter_anew();
    auto saved = bloom_filter::load(filter_path());
    if (!saved) {
        log(log_level::warning, fmt::format("the saved filter of seen keys is made anew: {}", saved.error()));
        return make_filter_anew();
    }
    const bloom_filter& filter = saved->filter;
    const bool fits = saved->mark == *mark && filter.items() >= options_.items &&
                      filter.false_positives() == options_.false_positives;
    if (fits) filter_.emplace(std::move(saved->filter));
    else make_filter_anew();
}

void seen_index::make_filter_anew() {
    const auto fill = [this](std::uint64_t items) {
        filter_.emplace(items, options_.false_positives);
        return store_->for_each([this](key_digest key) { filter_->insert(key.low); });
    };
    const std::uint64_t keys = fill(options_.items);
    if (keys > options_.items) (void)fill(2 * keys);
    if (keys > 0)
        log(log_level::info, fmt::format("the filter of '{}' was made anew from {} keys", store_->path(), keys));
}

void seen_index::open_filter() {
    const std::scoped_lock held(lock_);
    std::error_code none;
    // A run that goes on with this one, should it be killed, must not find the keys of an older one.
    if (!options_.path.empty() && begins_afresh()) std::filesystem::remove(options_.path, none);
    if (options_.path.empty() || begins_afresh() || !std::filesystem::exists(options_.path, none)) {
        filter_.emplace(options_.items, options_.false_positives);
        return;
    }
    auto saved = bloom_filter::load(options_.path);
    if (!saved)
        throw seen_store::failure(fmt::format(
            "the filter of seen keys cannot be used ({}); without that file all keys are new", saved.error()));
    if (saved->mark != digest_of(keys_).low)
        throw seen_store::failure(
            fmt::format("the keys in '{}' are others, and now they are {}; without that file all "
                        "keys are new",
                        options_.path, keys_));
    if (saved->filter.items() != options_.items || saved->filter.false_positives() != options_.false_positives)
        throw seen_store::failure(fmt::format(
            "the filter '{}' was made for {} keys at {:g}, and now {} at {:g} are asked for; without that file "
            "all keys are new",
            options_.path, saved->filter.items(), saved->filter.false_positives(), options_.items,
            options_.false_positives));
    filter_.emplace(std::move(saved->filter));
}

void seen_index::close() {
    if (kind_ == kind::memory) return;
    if (kind_ == kind::disk) write();
    const std::scoped_lock held(store_lock_, lock_);
    if (std::exchange(is_closed_, true) || options_.path.empty() || !filter_) return;
    const bool on_disk = kind_ == kind::disk;
    if (on_disk && !store_) return;
    if (!on_disk) {
        try {
            const std::filesystem::path folder = std::filesystem::path(options_.path).parent_path();
            if (!folder.empty()) std::filesystem::create_directories(folder);
            filter_->save(options_.path, digest_of(keys_).low);
        } catch (const std::exception& error) {
            throw seen_store::failure(error.what());
        }
        return;
    }
    // One that is too full is made anew, and larger, by the next run.
    if (filter_->keys() * sparse_bytes >= filter_->bytes() && filter_->keys() <= filter_->items()) {
        try {
            const std::uint64_t mark = env::entropy();
            filter_->save(filter_path(), mark);
            store_->put_filter_mark(mark);
        } catch (const std::exception& error) {
            log(log_level::warning, fmt::format("the next run makes its filter of seen keys anew: {}", error.what()));
        }
    }
    store_.reset();
}

// --- Items ---

seen_index::place seen_index::look(key_digest key, const ack_ref& duplicate) {
    const std::scoped_lock held(lock_);
    if (const auto found = in_flight_.find(key); found != in_flight_.end()) {
        found->second.duplicates.push_back(duplicate.fork());
        return place::in_flight;
    }
    switch (kind_) {
        case kind::memory:
            if (is_in_table(key)) return place::seen;
            if (in_table_ + in_flight_.size() >= options_.items) return place::full;
            make_room(in_table_ + in_flight_.size() + 1);
            break;
        case kind::filter:
            if (filter_->contains(key.low)) return place::seen;
            if (filter_->keys() + in_flight_.size() >= options_.items) return place::full;
            break;
        case kind::disk:
            if (pending_.contains(key) || writing_.contains(key) || is_recent(key)) return place::seen;
            if (filter_->contains(key.low)) return place::ask;
            break;
    }
    return now_in_flight(key);
}

seen_index::place seen_index::look_on_disk(key_digest key) {
    bool found = false;
    {
        const std::scoped_lock held(store_lock_);
        found = store_->contains(key);
    }
    return answered(key, found);
}

std::optional<seen_index::place> seen_index::try_look_on_disk(key_digest key) {
    {
        const std::scoped_lock held(lock_);
        if (filter_->keys() > keys_in_cache) return std::nullopt;
    }
    bool found = false;
    {
        const std::unique_lock held(store_lock_, std::try_to_lock);
        if (!held) return std::nullopt;
        found = store_->contains(key);
    }
    return answered(key, found);
}

seen_index::place seen_index::answered(key_digest key, bool found) {
    const std::scoped_lock held(lock_);
    if (!found) return now_in_flight(key);
    put_recent(key);
    return place::seen;
}

seen_index::place seen_index::now_in_flight(key_digest key) {
    if (kind_ == kind::disk) pending_.reserve(pending_.size() + in_flight_.size() + 1);
    in_flight_.try_emplace(key);
    return place::first;
}

ack_ref seen_index::watch(key_digest key, ack_ref of) {
    if (journal_ != nullptr && kind_ == kind::disk) {
        std::string item = journal_->item_of(of);
        const std::scoped_lock held(lock_);
        in_flight_.find(key)->second.item = std::move(item);
    }
    std::vector<ack_ref> one;
    one.push_back(std::move(of));
    return ack_ref(new first_item(std::move(one), shared_from_this(), key));
}

void seen_index::settle(key_digest key, ack_ref of, fate how) noexcept {
    std::vector<ack_ref> duplicates;
    bool is_first_to_write = false;
    {
        const std::scoped_lock held(lock_);
        auto found = in_flight_.extract(key);
        const bool is_committed = how == fate::committed;
        if (is_committed && kind_ == kind::memory) put_in_table(key), ++in_table_;
        else if (is_committed) filter_->insert(key.low);
        if (is_committed && kind_ == kind::disk && !is_closed_ && error_.empty()) {
            is_first_to_write = pending_.empty();
            std::swap(found.mapped().of, of);  // which is empty from now on: settled when the key is written
            pending_.insert(std::move(found));
        } else {
            duplicates = std::move(found.mapped().duplicates);
        }
    }
    if (is_first_to_write) dirty_.set();
    of.end(how);
    for (ack_ref& each : duplicates) each.end(how == fate::committed ? fate::skipped : how);
}

// --- Writing ---

bool seen_index::must_write() const {
    const std::scoped_lock held(lock_);
    return pending_.size() >= group || !error_.empty();
}

void seen_index::write() {
    entries settled;
    std::exception_ptr failed;
    {
        const std::scoped_lock one_by_one(store_lock_);
        failed = write_pending(settled);
    }
    settle_written(settled);
    if (failed) std::rethrow_exception(failed);
}

// With store_lock_ held. What is to be settled now, and why not all of it was written.
std::exception_ptr seen_index::write_pending(entries& settled) {
    std::vector<seen_store::entry> keys;
    std::vector<key_digest> sure;
    {
        const std::scoped_lock held(lock_);
        if (!error_.empty()) return std::make_exception_ptr(seen_store::failure(error_));
        if (!store_ || (pending_.empty() && sure_.empty())) return nullptr;
        sure.swap(sure_);
        writing_.swap(pending_);
        pending_.reserve(in_flight_.size() + 1);
        keys.reserve(writing_.size());
        for (const auto& [key, waits] : writing_) keys.push_back({key, waits.item});
    }
    // Keys that are neighbours go to the same pages.
    std::sort(keys.begin(), keys.end(), [](const seen_store::entry& a, const seen_store::entry& b) {
        return a.key.high != b.key.high ? a.key.high < b.key.high : a.key.low < b.key.low;
    });
    try {
        store_->add(keys, sure);
    } catch (const std::exception& error) {
        const std::scoped_lock held(lock_);
        error_ = error.what();
        settled.swap(pending_);  // what was committed meanwhile; nothing will be written after this
        settled.merge(writing_);
        return std::current_exception();
    }
    const std::scoped_lock held(lock_);
    settled.swap(writing_);
    for (const seen_store::entry& each : keys) put_recent(each.key);
    return nullptr;
}

void seen_index::settle_written(entries& written) noexcept {
    for (auto& [key, waits] : written) {
        if (!waits.item.empty()) {
            journal_->when_recorded(waits.of, [self = shared_from_this(), now_sure = key] {
                const std::scoped_lock held(self->lock_);
                self->sure_.push_back(now_sure);
            });
        }
        waits.of.commit();
        for (ack_ref& each : waits.duplicates) each.skip();
    }
    written.clear();
}

// --- In memory ---

bool seen_index::is_in_table(key_digest key) const noexcept {
    if (table_.empty()) return false;
    const std::size_t mask = table_.size() - 1;
    for (std::size_t at = key.high & mask; table_[at] != key_digest{}; at = (at + 1) & mask)
        if (table_[at] == key) return true;
    return false;
}

void seen_index::put_in_table(key_digest key) noexcept {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = key.high & mask;
    while (table_[at] != key_digest{}) at = (at + 1) & mask;
    table_[at] = key;
}

void seen_index::make_room(std::size_t keys) {
    if (keys * 4 <= table_.size() * 3) return;
    std::vector<key_digest> old(table_.empty() ? 1024 : table_.size() * 2);
    std::swap(old, table_);
    for (const key_digest& each : old)
        if (each != key_digest{}) put_in_table(each);
}

bool seen_index::is_recent(key_digest key) const noexcept {
    return !recent_.empty() && recent_[key.high & (recent_keys - 1)] == key;
}

void seen_index::put_recent(key_digest key) noexcept {
    if (recent_.empty()) recent_.resize(recent_keys);
    recent_[key.high & (recent_keys - 1)] = key;
}

}  // namespace leat
