// cache: values by key, bounded in number, bytes and age, each computed once however many ask for it at the same time.
//
//   leat::cache<std::string, page> pages(leat::cache_options{}.items(10'000).bytes(256 << 20).age(10min));
//   page found = co_await pages.get(url, [&] { return fetch(url); });        // a task, or a plain value
//
// Who asks for what is being computed waits for it. When that fails, its error goes to whoever computed, and the first of those
// who wait computes with its own function; so too when the one that computes is stopped. Who is stopped while waiting leaves, and
// nobody else notices.
//
// What goes when there is no room is chosen by SIEVE (Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi, "SIEVE is Simpler
// than LRU: an Efficient Turn-Key Eviction Algorithm for Web Caches", NSDI 2024): values stand in the order in which they came,
// each with a mark that a hit sets; a hand goes from the oldest to the newest, takes marks away, and evicts the first that has
// none. Better than evicting what was used least recently where some keys are asked for much more than others, and a hit moves
// nothing.
//
// Invariants (under lock_):
//  1. A key is stored, or computed by a flight, or neither. A flight that somebody sits in is in flights_, unless its value has
//     come or what it computes is no longer wanted (put, erase): then it is its passengers' alone.
//  2. Who has the turn of a flight computes, or has found its value there. The turn orders all that is done to the value.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <leat/flow/payload.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

// Each method returns *this.
struct cache_options {
    std::size_t most_items = 10'000;
    std::size_t most_bytes = std::size_t{64} << 20U;  // of keys and values, by weight_of()
    duration longest_age = duration::max();           // since the value was computed; on the clock of who asks

    cache_options& items(std::size_t most) {
        most_items = most;
        return *this;
    }
    cache_options& bytes(std::size_t most) {
        most_bytes = most;
        return *this;
    }
    cache_options& age(duration longest) {
        longest_age = longest;
        return *this;
    }
};

struct cache_counts {
    std::uint64_t hits = 0;      // found at once
    std::uint64_t computed = 0;  // functions that were called, failed ones too
    std::uint64_t shared = 0;    // waited, and got what another one computed
    std::uint64_t evicted = 0;   // for want of room
    std::uint64_t expired = 0;   // found too old
    std::size_t items = 0;       // now
    std::size_t bytes = 0;       // now
};

// Hash and Equal are quick and do not throw: they are called under a lock.
template <class Key, class Value, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class cache {
    struct flight;
    class seat;

public:
    using shared_value = std::shared_ptr<const Value>;

    explicit cache(cache_options options = {}) : options_(options) {}
    cache(const cache&) = delete;
    cache& operator=(const cache&) = delete;

    // Gives the value of `key`: the stored one, what another task computes for it just now, or what fn() gives, or fn(key), a value or
    // a task of one, which then is stored, unless it alone is heavier than all may be. Resumes on the awaiting task's
    // executor. Throws what its own fn threw, or cancelled; nothing is stored then. Any number of tasks at once, on any
    // executors; asking for a key inside its own fn is a bug. The cache outlives all calls.
    template <class Function>
    task<Value> get(Key key, Function fn) {
        shared_value found = co_await get_shared(std::move(key), std::move(fn));
        co_return *found;
    }
    // The same without a copy of the value.
    template <class Function>
    task<shared_value> get_shared(Key key, Function fn) {
        context& line = co_await this_task::line();
        seat mine(*this, key);
        shared_value found = look(key, line.where().now(), &mine);
        if (found) co_return found;
        forbid_inside(mine, line);
        const mutex::guard turn = co_await mine.in->turn.lock();
        found = mine.in->value.read();
        if (found) {
            note_shared();
            co_return found;
        }
        {
            const work now_at(mine, line);
            found = co_await compute(fn, key);
        }
        mine.in->value.write() = found;
        land(mine, line.where().now());
        co_return found;
    }

    // The value if it is stored, and not too old at `now`. Any thread.
    [[nodiscard]] shared_value find(const Key& key, time_point now) { return look(key, now, nullptr); }
    // Stores a value; one that is being computed for the key is given to those who wait for it, and not stored.
    void put(Key key, Value value, time_point now) {
        std::vector<shared_value> dropped;  // destroyed after the lock is released
        auto kept = std::make_shared<const Value>(std::move(value));
        const env::lock_guard held(lock_);
        flights_.erase(key);
        store(key, std::move(kept), now, dropped);
    }
    // Any thread. As with put(), what is being computed is not stored.
    void erase(const Key& key) {
        std::vector<shared_value> dropped;
        const env::lock_guard held(lock_);
        flights_.erase(key);
        if (const auto at = entries_.find(key); at != entries_.end()) remove(at->second, dropped);
    }
    void clear() {
        std::vector<shared_value> dropped;
        const env::lock_guard held(lock_);
        flights_.clear();
        while (oldest_ != nullptr) remove(*oldest_, dropped);
    }

    // A snapshot. Any thread.
    [[nodiscard]] cache_counts counts() const {
        const env::lock_guard held(lock_);
        cache_counts now = counts_;
        now.items = entries_.size();
        now.bytes = bytes_;
        return now;
    }

private:
    // One value that is being computed, and those who want it.
    struct flight {
        mutex turn;
        env::shared<shared_value> value{nullptr};  // ordered by the turn
        std::size_t passengers = 0;                // under lock_
        const context* computes = nullptr;         // likewise: the line that is in its function
    };
    using flights = std::unordered_map<Key, std::shared_ptr<flight>, Hash, Equal>;

    // A place in a flight, for one call of get().
    class seat {
    public:
        seat(cache& owner, const Key& of) noexcept : key(of), owner_(owner) {}
        seat(const seat&) = delete;
        ~seat() {
            if (in) owner_.leave(*this);
        }
        const Key& key;
        std::shared_ptr<flight> in;  // null: none was needed

    private:
        friend cache;
        cache& owner_;
    };
    // For as long as the function of a seat runs.
    class work {
    public:
        work(seat& of, const context& line) noexcept : of_(of) {
            const env::lock_guard held(of_.owner_.lock_);
            of_.in->computes = &line;
            ++of_.owner_.counts_.computed;
        }
        work(const work&) = delete;
        ~work() {
            const env::lock_guard held(of_.owner_.lock_);
            of_.in->computes = nullptr;
        }

    private:
        seat& of_;
    };

    struct entry {
        shared_value value;
        time_point since{};
        std::size_t weight = 0;
        bool is_marked = false;
        const Key* key = nullptr;
        entry* older = nullptr;
        entry* newer = nullptr;
    };

    // The stored value; else null, and `to`, if there is one, sits in the flight of the key.
    shared_value look(const Key& key, time_point now, seat* to) {
        std::vector<shared_value> dropped;
        const env::lock_guard held(lock_);
        if (const auto at = entries_.find(key); at != entries_.end()) {
            if (now - at->second.since < options_.longest_age) {
                at->second.is_marked = true;
                ++counts_.hits;
                return at->second.value;
            }
            ++counts_.expired;
            remove(at->second, dropped);
        }
        if (to == nullptr) return nullptr;
        std::shared_ptr<flight>& current = flights_[key];
        if (!current) current = std::make_shared<flight>();
        to->in = current;
        ++current->passengers;
        return nullptr;
    }

    // The flight has a value, which nobody waits for that comes from now on: it is stored, if it is still wanted.
    void land(const seat& mine, time_point now) {
        std::vector<shared_value> dropped;
        const env::lock_guard held(lock_);
        if (take_out(mine)) store(mine.key, mine.in->value.read(), now, dropped);
    }
    void leave(const seat& mine) noexcept {
        const env::lock_guard held(lock_);
        if (--mine.in->passengers == 0) (void)take_out(mine);
    }
    bool take_out(const seat& mine) noexcept {
        const auto at = flights_.find(mine.key);
        if (at == flights_.end() || at->second != mine.in) return false;
        flights_.erase(at);
        return true;
    }

    template <class Function>
    static task<shared_value> compute(Function& fn, const Key& key) {
        if constexpr (std::invocable<Function&, const Key&>) {
            using given = std::invoke_result_t<Function&, const Key&>;
            if constexpr (detail::is_task<given>::value) co_return std::make_shared<const Value>(co_await fn(key));
            else co_return std::make_shared<const Value>(fn(key));
        } else {
            using given = std::invoke_result_t<Function&>;
            if constexpr (detail::is_task<given>::value) co_return std::make_shared<const Value>(co_await fn());
            else co_return std::make_shared<const Value>(fn());
        }
    }

    // --- With lock_ held ---

    void store(const Key& key, shared_value value, time_point now, std::vector<shared_value>& dropped) {
        if (const auto at = entries_.find(key); at != entries_.end()) remove(at->second, dropped);
        const std::size_t weight = weight_of(key) + weight_of(*value);
        if (weight > options_.most_bytes || options_.most_items == 0) return;
        while (entries_.size() >= options_.most_items || bytes_ + weight > options_.most_bytes) evict_one(dropped);
        const auto at = entries_.try_emplace(key).first;
        entry& fresh = at->second;
        fresh.value = std::move(value);
        fresh.since = now;
        fresh.weight = weight;
        fresh.key = &at->first;
        fresh.older = newest_;
        (newest_ == nullptr ? oldest_ : newest_->newer) = &fresh;
        newest_ = &fresh;
        bytes_ += weight;
    }
    void evict_one(std::vector<shared_value>& dropped) {
        entry* at = hand_ == nullptr ? oldest_ : hand_;
        while (at->is_marked) {
            at->is_marked = false;
            at = at->newer == nullptr ? oldest_ : at->newer;
        }
        hand_ = at;
        ++counts_.evicted;
        remove(*at, dropped);
    }
    void remove(entry& which, std::vector<shared_value>& dropped) {
        dropped.push_back(std::move(which.value));
        if (hand_ == &which) hand_ = which.newer;
        (which.older == nullptr ? oldest_ : which.older->newer) = which.newer;
        (which.newer == nullptr ? newest_ : which.newer->older) = which.older;
        bytes_ -= which.weight;
        entries_.erase(entries_.find(*which.key));
    }

    void note_shared() noexcept {
        const env::lock_guard held(lock_);
        ++counts_.shared;
    }
    void forbid_inside(const seat& mine, const context& line) const noexcept {
        const env::lock_guard held(lock_);
        if (mine.in->computes == &line) bug("a cache: asked for a key inside the function that computes its value");
    }

    const cache_options options_;
    mutable env::mutex lock_;
    flights flights_;
    std::unordered_map<Key, entry, Hash, Equal> entries_;
    entry* newest_ = nullptr;
    entry* oldest_ = nullptr;
    entry* hand_ = nullptr;  // where the search for what is to go goes on; null: at the oldest
    std::size_t bytes_ = 0;
    cache_counts counts_;
};

}  // namespace leat
