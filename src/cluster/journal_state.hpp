// journal_state: what the messages of a journal in a stream say, and what they come to. broker_journal.cpp reads and writes them.
//
// A message is a *part* of a *change*: its headers say which, of which writer and epoch; the payloads of all parts together
// are the change. Messages are taken in the order of the stream (journal_log::take):
//  1. One of an epoch below the highest so far does not count. Of writers of one epoch, which are one process after all, the one
//     that begins last counts, and those before it never again.
//  2. The changes of a writer are numbered from 1. One that is known already, or a part of it, is a message that came late, and
//     does not count. (Where the stream was purged the first that is left is taken as it is.)
//  3. A change counts when its last part is there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <leat/cluster/broker.hpp>
#include <leat/flow/journal.hpp>

namespace leat::cluster {

inline constexpr std::uint32_t newest_journal_version = 1;

// Cross as messages (process/codec.hpp).
struct stored_item {
    std::string item;
    std::uint64_t run = 0;
    std::uint8_t how = 0;
    std::uint32_t attempts = 1;
    std::string stage;
    std::string error;
    std::uint64_t content = 0;
};
struct stored_letter {
    std::int64_t id = 0;
    std::string item;
    std::uint64_t run = 0;
    std::string stage;
    std::uint32_t attempts = 0;
    std::string error;
    std::int64_t time_s = 0;
    bool has_value = false;
    std::string key;
    std::string bytes;
    std::vector<std::pair<std::string, std::string>> attributes;
    std::uint64_t sequence = 0;
};
struct stored_sink {
    std::string name;
    std::uint64_t base = 0;
    std::uint64_t length = 0;
};
struct stored_run {
    std::uint64_t number = 0;
    std::uint64_t base = 0;
    std::uint8_t mode = 0;
    std::int64_t started_s = 0;
    std::int64_t ended_s = 0;
    std::string end;
    std::string flow;
};
struct stored_event {
    std::uint64_t run = 0;
    std::string item;
    std::string stage;
    std::uint32_t attempt = 0;
    std::string error;
    std::int64_t time_s = 0;
};

struct journal_change {
    bool is_all = false;           // what was on record before is forgotten
    std::uint64_t forget_run = 0;  // items and sinks of earlier runs are forgotten
    std::vector<stored_run> runs;  // in place of those of the same numbers
    std::vector<stored_item> items;
    std::vector<std::int64_t> gone_letters;
    std::vector<stored_letter> letters;  // in place of those of the same ids
    std::vector<stored_sink> sinks;
    std::vector<stored_event> events;  // for those who read the stream: no run needs them
};

// What counts of all that was written.
struct journal_state {
    std::map<std::uint64_t, stored_run> runs;
    std::unordered_map<std::string, stored_item> items;  // by name: the last that is on record
    std::map<std::int64_t, stored_letter> letters;
    std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> sinks;
    std::int64_t last_letter = 0;

    void apply(journal_change&& change);
    // A change that makes all of it.
    [[nodiscard]] journal_change all() const;
};

// Who writes, and what it has written.
struct journal_writer {
    std::uint64_t epoch = 0;
    std::string name;  // no other has it
    std::uint64_t changes = 0;

    // The messages of its next change, which is `bytes`.
    [[nodiscard]] std::vector<message> parts(const std::string& subject, const std::string& bytes,
                                             std::size_t most_bytes);
};

class journal_log {
public:
    // The next message of the stream. A change that is complete with it. Throws journal_refused, std::runtime_error for one that
    // is none of a journal.
    std::optional<journal_change> take(const message& what);
    [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
    // Who wrote the last that counts.
    [[nodiscard]] const std::string& writer() const noexcept { return writer_; }
    // How many of its changes are complete.
    [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }

private:
    std::uint64_t epoch_ = 0;
    std::string writer_;
    std::set<std::string> past_;  // of this epoch
    std::uint64_t changes_ = 0;   // of that writer
    std::uint64_t parts_ = 0;     // of the change that is not complete
    std::string bytes_;
};

}  // namespace leat::cluster
