// sqlite: a database file, its statements and transactions, with errors as exceptions that name the file.
//
//   sqlite::database db("state/journal.db");
//   db.run("CREATE TABLE IF NOT EXISTS seen(key BLOB PRIMARY KEY) WITHOUT ROWID");
//   sqlite::statement put(db, "INSERT INTO seen VALUES(?1)");
//   sqlite::transaction all(db);
//   put.bind(1, key).run();
//   all.commit();
//
// A database and what belongs to it is used by one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace leat::sqlite {

// "PATH: what SQLite said".
class error : public std::runtime_error {
public:
    error(const std::string& text, int code) : std::runtime_error(text), code_(code) {}
    // SQLite's own, extended.
    [[nodiscard]] int code() const noexcept { return code_; }
    // Another process or connection holds a lock that this one needs.
    [[nodiscard]] bool is_busy() const noexcept;
    // The file is no database, or a damaged one.
    [[nodiscard]] bool is_damaged() const noexcept;
    // There is no room left, or no right to write.
    [[nodiscard]] bool is_full() const noexcept;
    // A row breaks a constraint of its table.
    [[nodiscard]] bool is_constraint() const noexcept;

private:
    int code_;
};

enum class access : unsigned char {
    read,    // the file must exist
    write,   // likewise
    create,  // is made when it is not there
};

class database {
public:
    // Opens the file, in write-ahead mode unless it is only read; waits up to `patience` for locks of others. Throws error.
    explicit database(std::string path, access how = access::create,
                      std::chrono::milliseconds patience = std::chrono::seconds(5));

    // Runs statements that give no rows. Throws error.
    void run(const char* statements);
    [[nodiscard]] std::int64_t last_row() const noexcept;
    // Rows that the last statement changed.
    [[nodiscard]] std::int64_t changed() const noexcept;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] sqlite3* handle() const noexcept { return handle_.get(); }
    // For what SQLite returned just now.
    [[noreturn]] void fail(int code) const;

private:
    struct closer {
        void operator()(sqlite3* which) const noexcept;
    };
    std::string path_;
    std::unique_ptr<sqlite3, closer> handle_;
};

// A prepared statement. Parameters are numbered from 1, columns from 0.
class statement {
public:
    statement(database& in, std::string_view text);

    statement& bind(int parameter, std::int64_t value);
    statement& bind(int parameter, double value);
    // Text and blobs are copied.
    statement& bind(int parameter, std::string_view text);
    statement& bind_blob(int parameter, std::string_view bytes);
    statement& bind_null(int parameter);

    // Goes on to the next row; false: there is none, and the statement can be bound and run again.
    bool next();
    // For statements that give no rows.
    void run();
    // Leaves rows that were not asked for.
    void reset() noexcept;

    [[nodiscard]] std::int64_t integer(int column) const noexcept;
    [[nodiscard]] double number(int column) const noexcept;
    // Of text and blobs; empty for NULL.
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] bool is_null(int column) const noexcept;

private:
    struct closer {
        void operator()(sqlite3_stmt* which) const noexcept;
    };
    void check(int code) const;
    database* in_;
    std::unique_ptr<sqlite3_stmt, closer> handle_;
};

// All or nothing of what is run until commit(). One at a time in a database.
class transaction {
public:
    // Takes the right to write at once, so that a later statement finds no other writer. Throws error.
    explicit transaction(database& in);
    transaction(const transaction&) = delete;
    // Takes back what was not committed.
    ~transaction();
    void commit();

private:
    database& in_;
    bool open_ = true;
};

}  // namespace leat::sqlite
