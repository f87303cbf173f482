// row_store: the tables of an SQLite sink, and the commit table beside them, behind calls that block. Used by one thread at a
// time.
//
// The commit table, version 1:
//   leat_sink(version)                        one row
//   leat_loads(id, name, starts)              a load, and how often a sink was opened for it
//   leat_commits(load, key, ordinal, start, done)
// A row of leat_commits is a row that came: the `ordinal`-th of its key. `start` is the last opening in which it came, so
// that those of one opening are the ordinals from 0 on; `done` is 0 for one that its table refused.
#pragma once

#include <optional>
#include <unordered_map>

#include <flow/sqlite.hpp>
#include <leat/flow/sqlite_sink.hpp>

namespace leat {

class row_store {
public:
    // Opens or makes the database and what is in it. Throws sqlite::error, permanent_error for what does not fit.
    explicit row_store(const sqlite_sink_options& options);

    // A transaction: what is written is there for good after commit(), and gone after roll_back(). Throws permanent_error when
    // the load was opened again since: two runs would take each other's places.
    void begin();
    void commit();
    void roll_back() noexcept;
    [[nodiscard]] bool in_transaction() const noexcept { return open_; }

    enum class written : unsigned char { fresh, known };
    // The rows of one item. `known`: all had been written by an earlier opening, or there are none. Throws permanent_error when
    // a table refuses one: then none is there, and the transaction goes on. Any other error has ended the transaction.
    written put(const std::vector<sqlite_row>& rows);

private:
    struct table {
        std::string name;
        std::size_t columns;
        std::vector<std::string> column_names;
        sqlite::statement insert;
    };
    void make_commit_tables(const std::string& load);
    void make_table(const sqlite_table& what);
    struct place {
        std::int64_t ordinal;
        bool fresh;  // the row has not been written by an earlier opening
    };
    // Takes the next place of the row's key, as one that is written by this transaction.
    place claim(const sqlite_row& row);
    void mark(const sqlite_row& row, std::int64_t ordinal, bool done);
    void insert(const sqlite_row& row, std::size_t number, std::size_t of);
    bool put_one(const sqlite_row& row);
    bool put_together(const std::vector<sqlite_row>& rows);

    sqlite::database database_;
    std::vector<table> tables_;
    std::int64_t load_ = 0;
    std::int64_t start_ = 0;
    bool open_ = false;
    std::optional<sqlite::statement> claim_first_;
    std::optional<sqlite::statement> look_;
    std::optional<sqlite::statement> mark_;
    std::optional<sqlite::statement> starts_;
    std::optional<sqlite::statement> begin_item_;
    std::optional<sqlite::statement> end_item_;
    // Below which places of a key are taken by this opening: saves looking at them. A hint for some thousand keys.
    std::unordered_map<std::string, std::int64_t> taken_;
};

}  // namespace leat
