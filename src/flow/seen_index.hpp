// seen_index: which keys have been seen. Used by the stages of dedup. It keeps keys in one of three ways: all in memory;
// on disk (seen_store), with a Bloom filter in front, so that what is new costs no look-up; or in the filter alone.
//
// Invariants (under lock_):
//  1. A key is unknown, in flight (its first item is on its way), or seen (its first item was committed). Only its first
//     item's end takes it out of flight: to seen when that was committed, else back to unknown.
//  2. settle() allocates nothing: there is room for every key in flight among the seen, or those that wait to be written.
//  3. In memory and in the filter alone, seen and in flight together are at most `items` keys.
//  4. On disk a key that was committed and not yet written is in pending_ or writing_, so that it is found; its item is
//     settled when it is written. So whoever keeps a record of settled items has none of an item whose key may be lost.
//  5. With a journal a key on disk may be of an item that is not on record. It is then kept as unsure, with the item's name,
//     until the item is; a run that goes on with this one forgets it when the item is not done, which then comes again.
// Any thread, but for what is said to block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <leat/flow/ack.hpp>
#include <leat/flow/bloom_filter.hpp>
#include <leat/flow/key_digest.hpp>
#include <leat/sync/event.hpp>

#include <flow/seen_store.hpp>

namespace leat {

// What an index on disk has to know of a run that keeps a journal.
class seen_journal {
public:
    // Whether the run goes on with one that was ended.
    [[nodiscard]] virtual bool resumes() const = 0;
    // What the journal calls the source item that `of` leads to; the first of several.
    [[nodiscard]] virtual std::string item_of(const ack_ref& of) const = 0;
    // Whether that item is on record as done by the runs that this one goes on with.
    [[nodiscard]] virtual bool is_done(const std::string& item) = 0;
    // Calls `then` once that item is on record as settled, on any thread; never when that does not come to be.
    virtual void when_recorded(const ack_ref& of, std::function<void()> then) = 0;

protected:
    ~seen_journal() = default;
};

class seen_index : public std::enable_shared_from_this<seen_index> {
public:
    // Keys that wait to be written are from so many on not made more without writing.
    static constexpr std::size_t group = 32768;

    // The journal outlives it; null: there is none.
    explicit seen_index(dedup_options options, std::string keys = {}, seen_journal* journal = nullptr);

    // Opens what is on disk, and makes its filter anew unless the saved one has the same keys. Blocks, and throws
    // seen_store::failure. Before all else.
    void open();
    // Writes what waits, and saves the filter. Keys that are committed later are lost. Blocks, and throws the same.
    void close();

    enum class place : unsigned char { first, in_flight, seen, ask, full };
    // What the key is for an item that comes now. first: it is in flight from now on, and the item's account must go below
    // watch(). in_flight: another reference to `duplicate` is kept until the first item's end: then it is skipped when that
    // was committed, and shares its fate otherwise; the caller skips its own. ask: look_on_disk() tells. full: one key too
    // many, nothing is changed. One caller at a time.
    place look(key_digest key, const ack_ref& duplicate);
    // After `ask`, and before any other look(): first or seen. Blocks, and throws seen_store::failure.
    place look_on_disk(key_digest key);
    // The same without blocking for long: nothing when the database is too large for its cache, or being written.
    [[nodiscard]] std::optional<place> try_look_on_disk(key_digest key);
    // The account of a first item, which ends as `of` does and tells this index.
    [[nodiscard]] ack_ref watch(key_digest key, ack_ref of);

    [[nodiscard]] bool is_on_disk() const noexcept { return kind_ == kind::disk; }
    // Set when there is something to be written. Nobody but its owner's writer waits for it.
    [[nodiscard]] auto_reset_event& dirty() noexcept { return dirty_; }
    [[nodiscard]] bool must_write() const;
    // Writes what waits in one transaction, then settles the items. Blocks, and throws seen_store::failure, then and from then
    // on: nothing is written any more, and items are settled at once.
    void write();

private:
    class first_item;
    enum class kind : unsigned char { memory, disk, filter };
    struct digest_bits {
        std::size_t operator()(const key_digest& of) const noexcept { return of.low; }
    };
    // What waits for a key: in flight for its end, later to be written.
    struct entry {
        ack_ref of;                       // the first item's account, once it was committed
        std::vector<ack_ref> duplicates;  // of items that came while the first was in flight
        std::string item;                 // its name in the journal, if there is one
    };
    using entries = std::unordered_map<key_digest, entry, digest_bits>;

    void settle(key_digest key, ack_ref of, fate how) noexcept;
    [[nodiscard]] place now_in_flight(key_digest key);
    [[nodiscard]] place answered(key_digest key, bool found);
    [[nodiscard]] std::exception_ptr write_pending(entries& settled);
    void settle_written(entries& written) noexcept;
    void open_index();
    void open_filter();
    void make_filter_anew();
    [[nodiscard]] std::string filter_path() const;
    [[nodiscard]] bool begins_afresh() const { return !options_.keep && (journal_ == nullptr || !journal_->resumes()); }

    // In memory: open addressing, a power of two, at most 3/4 full; {0, 0} is empty.
    [[nodiscard]] bool is_in_table(key_digest key) const noexcept;
    void put_in_table(key_digest key) noexcept;
    void make_room(std::size_t keys);

    // On disk: keys that were looked for and found, or written, lately.
    [[nodiscard]] bool is_recent(key_digest key) const noexcept;
    void put_recent(key_digest key) noexcept;

    const dedup_options options_;
    const std::string keys_;
    seen_journal* const journal_;
    const kind kind_;

    std::mutex store_lock_;  // of store_; taken before lock_
    std::optional<seen_store> store_;

    mutable std::mutex lock_;  // of all below
    entries in_flight_;
    std::vector<key_digest> table_;
    std::size_t in_table_ = 0;
    std::optional<bloom_filter> filter_;
    entries pending_;               // committed, to be written
    entries writing_;               // being written
    std::vector<key_digest> sure_;  // the journal knows their items, and the index is to know that
    std::vector<key_digest> recent_;
    bool is_closed_ = false;
    std::string error_;  // why nothing can be written any more

    auto_reset_event dirty_;
};

}  // namespace leat
