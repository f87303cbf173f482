// sqlite_journal: the journal in a state directory: a database in write-ahead mode, and a lock file that says who is at work.
//
// Invariants:
//  1. One run at a time: the lock file is locked (flock) as long as a journal for writing lives, and holds its pid.
//  2. PRAGMA user_version is the number of migrations that were made; a file with more than are known is refused.
#pragma once

#include <functional>
#include <mutex>

#include <leat/flow/journal_reader.hpp>
#include <leat/io/unique_fd.hpp>

#include <flow/sqlite.hpp>

namespace leat {

class sqlite_journal final : public journal {
public:
    static constexpr int newest_version = 2;

    // See open_journal(). `upto`: for tests, which make files of an older version.
    explicit sqlite_journal(const std::string& state, int upto = newest_version);

    [[nodiscard]] std::optional<past_run> last_run() override;
    std::uint64_t begin(journal_mode mode, const std::string& flow) override;
    [[nodiscard]] std::optional<item_entry> find(std::string_view item) override;
    [[nodiscard]] std::optional<std::uint64_t> sink_length(std::string_view sink) override;
    void write(const journal_batch& batch) override;
    void end(std::string_view how) override;
    void for_each_letter(std::int64_t behind, const std::function<bool(kept_letter&&)>& call) override;
    [[nodiscard]] std::string name() const override;

private:
    void put_letter(sqlite::statement& into, const kept_letter& letter, unsigned attempts_before);
    void write_events(const journal_batch& batch);
    void write_replayed(const journal_batch& batch);

    std::string path_;
    io::unique_fd lock_;
    std::unique_ptr<sqlite::database> db_;     // for who writes
    std::unique_ptr<sqlite::database> reads_;  // for find(), beside write()
    std::unique_ptr<sqlite::statement> find_, put_item_, drop_letters_;
    journal_mode mode_ = journal_mode::fresh;
    std::uint64_t number_ = 0;
    std::uint64_t base_ = 0;
    bool has_old_letters_ = false;
};

}  // namespace leat
