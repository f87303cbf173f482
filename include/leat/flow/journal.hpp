// journal: what a flow has done with each item of its source, kept so that a run that was killed can be gone on with.
//
//   std::unique_ptr<leat::journal> kept = leat::open_journal(".leat/licences");
//   leat::flow_options options;
//   options.journal = kept.get();
//   options.journal_mode = leat::journal_mode::resume;      // what is on record as done is not done again
//   leat::report done = co_await leat::run_flow(std::move(graph), options);
//
// A journal is an interface, so that tests can put one in its place that fails between any two writes. What makes of a run
// what is written to it (src/flow/journal_run.hpp) is the same for all. docs/resume.md has the guarantees.
//
// Invariants:
//  1. What one write() is given is on record whole or not at all: an item is never on record without the lengths of the
//     sinks that its outputs are in, nor they without it.
//  2. An item is done when it was committed, skipped, or kept as a dead letter, in this run or one that it goes on with. Failed
//     items and those that were never settled are done again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <leat/flow/ack.hpp>
#include <leat/flow/record.hpp>
#include <leat/task/task.hpp>

namespace leat {

// How a run takes what is on record.
enum class journal_mode : std::uint8_t {
    fresh,   // all items are done, whatever is on record
    resume,  // goes on with the last run: what is done is counted as skipped
    replay,  // the items are dead letters, and what becomes of them changes these
};

// The journal cannot be used as it was asked to, and nothing was done: another run is at work, a newer program wrote it, …
class journal_refused : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// A dead letter on record.
struct kept_letter {
    std::int64_t id = 0;      // the journal's
    std::string item;         // the key of the source item
    std::uint64_t run = 0;    // in which it died last
    std::string stage;        // where
    unsigned attempts = 0;    // in all runs
    std::string error;        // of the last
    std::int64_t time_s = 0;  // since 1970
    bool has_value = false;   // its value was a record: it can be replayed
    record value;             // as it came into the stage
};

// What is on record of a source item from one run.
struct item_entry {
    std::uint64_t run = 0;
    fate how = fate::committed;
    unsigned attempts = 1;      // the most that a stage made
    std::string stage;          // where it died or failed; empty: it did not
    std::string error;          // likewise
    std::uint64_t content = 0;  // a hash of what the source gave; 0: unknown
};

// Something that happened to an item that it survived, or did not.
struct item_event {
    std::uint64_t run = 0;
    std::string item;
    std::string stage;
    unsigned attempt = 0;  // from 1
    std::string error;
    std::int64_t time_s = 0;
};

struct journal_batch {
    struct settled {
        std::string item;
        item_entry entry;
    };
    struct sink {
        std::string name;
        std::uint64_t length = 0;
    };
    std::vector<settled> items;
    std::vector<item_event> events;
    std::vector<kept_letter> letters;  // of these items; replace what there was of them
    std::vector<sink> sinks;

    [[nodiscard]] bool empty() const noexcept { return items.empty() && events.empty() && sinks.empty(); }
};

struct past_run {
    std::uint64_t number = 0;
    std::uint64_t base = 0;  // the first of the runs that it goes on with; its own when it began afresh
    journal_mode mode = journal_mode::fresh;
    std::int64_t started_s = 0;
    std::int64_t ended_s = 0;  // 0: it was killed
    std::string end;           // "complete", "failed", "interrupted"; empty: it was killed
    std::string flow;          // what it ran, as flow_text() has it
    std::uint64_t done = 0;    // items that it has on record as done
    [[nodiscard]] bool is_complete() const noexcept { return end == "complete"; }
};

class journal {
public:
    virtual ~journal() = default;

    // The run before this one, of items: replays are left out. Before begin().
    [[nodiscard]] virtual std::optional<past_run> last_run() = 0;
    // A run begins; gives its number. Blocks. Once.
    virtual std::uint64_t begin(journal_mode mode, const std::string& flow) = 0;
    // What is on record of the item from the runs that this one goes on with. May be called while write() is at work, by one
    // task at a time. Blocks for some microseconds.
    [[nodiscard]] virtual std::optional<item_entry> find(std::string_view item) = 0;
    // The length of a sink as it was written last, of the runs that this one goes on with.
    [[nodiscard]] virtual std::optional<std::uint64_t> sink_length(std::string_view sink) = 0;
    // Blocks. One caller at a time. Throws when nothing of it is on record.
    virtual void write(const journal_batch& batch) = 0;
    // The run has ended; nothing is written afterwards.
    virtual void end(std::string_view how) = 0;
    // The dead letters on record behind the one of this id, in the order in which they came, until `call` returns false. Blocks.
    virtual void for_each_letter(std::int64_t behind, const std::function<bool(kept_letter&&)>& call) = 0;
    // Which one it is, the same in each run: a path.
    [[nodiscard]] virtual std::string name() const = 0;

    // begin(), write() and end() as a run calls them. These hand the blocking ones to a thread that may block; a journal that
    // waits on a network overrides them, and is asked for nothing else that blocks. The last two are shielded from stop requests,
    // so they end by themselves. The arguments outlive the call.
    virtual task<std::uint64_t> async_begin(journal_mode mode, const std::string& flow);
    virtual task<> async_write(const journal_batch& batch);
    virtual task<> async_end(std::string_view how);
};

// The journal in a state directory, which is made when it is not there: journal.db, and a lock that is held as long as this
// lives. Throws journal_refused (another run is at work, a newer version), std::runtime_error for a journal that is damaged
// or cannot be written.
[[nodiscard]] std::unique_ptr<journal> open_journal(const std::string& state);

// What a sink is given in a run with a journal (stage::use_journal), so that after a crash it goes on at the right byte.
class sink_journal {
public:
    [[nodiscard]] virtual journal_mode mode() const noexcept = 0;
    // Which journal it is, the same in each run.
    [[nodiscard]] virtual std::string journal_name() const = 0;
    // How long the sink was when the journal was written last: what is behind it is cut off, since its items are done again.
    // Nothing: there is nothing of it on record.
    [[nodiscard]] virtual std::optional<std::uint64_t> length() const noexcept = 0;

    // So many bytes, counted from the beginning of the sink, are written, and `of` is what they come from.
    struct piece {
        ack_ref of;
        std::uint64_t end = 0;
    };
    // Commits all pieces, which follow each other in the sink, and has their items and the length go on record together:
    // the length only as far as it holds no byte of an item that is not settled. Any thread; one caller at a time.
    virtual void wrote(std::span<piece> pieces) noexcept = 0;
    // Returns when all that is settled is on record. Throws what the journal throws.
    virtual task<> flush() = 0;
    // `call` is made before each write to the journal, on a thread that may block: to have data on the disk before it is on
    // record. It may throw. Before the first item.
    virtual void before_each_write(std::function<void()> call) = 0;

    // The keys of the source items that something comes from: for sinks that keep their own record of what they have.
    [[nodiscard]] virtual std::vector<std::string> items_of(const ack_ref& of) const = 0;
    // Whether the item is on record as done by the runs that this one goes on with. In start(), before the source begins.
    [[nodiscard]] virtual bool is_done(std::string_view item) = 0;
    // These are done, though the journal may not know: the sink has its own record, and was killed before the journal was
    // written. Called in start(), before the source begins.
    virtual void done_before(std::string item) = 0;
    // Calls `then` once the first item that `of` comes from is on record; never when that does not come to be. On a thread
    // that may block; must not throw.
    virtual void when_recorded(const ack_ref& of, std::function<void()> then) = 0;

protected:
    ~sink_journal() = default;
};

}  // namespace leat
