// journal_reader: what the journal of a state directory has on record, for those who only look.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <leat/flow/journal.hpp>

namespace leat {

namespace sqlite {
class database;
}

// A run may be at work meanwhile. Used by one thread at a time; blocks. Throws journal_refused where there is no journal, or one
// that cannot be read.
class journal_reader {
public:
    explicit journal_reader(const std::string& state);
    journal_reader(const journal_reader&) = delete;
    journal_reader& operator=(const journal_reader&) = delete;
    ~journal_reader();

    [[nodiscard]] std::vector<past_run> runs();
    // Of the item, from all runs that are kept, the oldest first.
    [[nodiscard]] std::vector<item_entry> entries_of(std::string_view item);
    [[nodiscard]] std::vector<item_event> events_of(std::string_view item);
    void for_each_letter(const std::function<bool(kept_letter&&)>& call);
    [[nodiscard]] std::uint64_t letters();
    // Items whose key holds `text`, at most some: for "did you mean".
    [[nodiscard]] std::vector<std::string> similar(std::string_view text);

private:
    std::unique_ptr<sqlite::database> db_;
};

// As one JSON object, without a line end: time, item, run, stage, attempts, error, sequence, and the value; what is not UTF-8 stands
// in base64 under NAME_base64.
[[nodiscard]] std::string to_json(const kept_letter& letter);

}  // namespace leat
