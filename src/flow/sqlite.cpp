#include <flow/sqlite.hpp>

#include <utility>

#include <sqlite3.h>

namespace leat::sqlite {

bool error::is_busy() const noexcept {
    const int primary = code_ & 0xff;
    return primary == SQLITE_BUSY || primary == SQLITE_LOCKED;
}
bool error::is_damaged() const noexcept {
    const int primary = code_ & 0xff;
    return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
}
bool error::is_full() const noexcept {
    const int primary = code_ & 0xff;
    return primary == SQLITE_FULL || primary == SQLITE_READONLY || primary == SQLITE_IOERR;
}

bool error::is_constraint() const noexcept { return (code_ & 0xff) == SQLITE_CONSTRAINT; }

void database::closer::operator()(sqlite3* which) const noexcept { sqlite3_close_v2(which); }

database::database(std::string path, access how, std::chrono::milliseconds patience) : path_(std::move(path)) {
    sqlite3* opened = nullptr;
    const int flags = how == access::read    ? SQLITE_OPEN_READONLY
                      : how == access::write ? SQLITE_OPEN_READWRITE
                                             : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int code = sqlite3_open_v2(path_.c_str(), &opened, flags | SQLITE_OPEN_NOMUTEX, nullptr);
    handle_.reset(opened);  // there is one in case of an error, too
    if (code != SQLITE_OK) fail(code);
    sqlite3_extended_result_codes(opened, 1);
    sqlite3_busy_timeout(opened, static_cast<int>(patience.count()));
    if (how == access::read) return;
    // What was committed outlives a crash of the program; after one of the machine the last moments may be missing, but
    // nothing is damaged.
    run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
}

void database::run(const char* statements) {
    const int code = sqlite3_exec(handle_.get(), statements, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) fail(code);
}
std::int64_t database::last_row() const noexcept { return sqlite3_last_insert_rowid(handle_.get()); }
std::int64_t database::changed() const noexcept { return sqlite3_changes64(handle_.get()); }

void database::fail(int code) const {
    const char* const text = handle_ ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(code);
    throw error(path_ + ": " + text, handle_ ? sqlite3_extended_errcode(handle_.get()) : code);
}

void statement::closer::operator()(sqlite3_stmt* which) const noexcept { sqlite3_finalize(which); }

statement::statement(database& in, std::string_view text) : in_(&in) {
    sqlite3_stmt* made = nullptr;
    check(sqlite3_prepare_v3(in.handle(), text.data(), static_cast<int>(text.size()), SQLITE_PREPARE_PERSISTENT, &made,
                             nullptr));
    handle_.reset(made);
}

void statement::check(int code) const {
    if (code != SQLITE_OK) in_->fail(code);
}

statement& statement::bind(int parameter, std::int64_t value) {
    check(sqlite3_bind_int64(handle_.get(), parameter, value));
    return *this;
}
statement& statement::bind(int parameter, double value) {
    check(sqlite3_bind_double(handle_.get(), parameter, value));
    return *this;
}
statement& statement::bind(int parameter, std::string_view text) {
    check(sqlite3_bind_text64(handle_.get(), parameter, text.data() == nullptr ? "" : text.data(), text.size(),
                              SQLITE_TRANSIENT, SQLITE_UTF8));
    return *this;
}
statement& statement::bind_blob(int parameter, std::string_view bytes) {
    check(sqlite3_bind_blob64(handle_.get(), parameter, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                              SQLITE_TRANSIENT));
    return *this;
}
statement& statement::bind_null(int parameter) {
    check(sqlite3_bind_null(handle_.get(), parameter));
    return *this;
}

bool statement::next() {
    const int code = sqlite3_step(handle_.get());
    if (code == SQLITE_ROW) return true;
    reset();
    if (code != SQLITE_DONE) in_->fail(code);
    return false;
}

void statement::run() {
    const int code = sqlite3_step(handle_.get());
    reset();  // which keeps the error for fail()
    if (code != SQLITE_DONE && code != SQLITE_ROW) in_->fail(code);
}

void statement::reset() noexcept { sqlite3_reset(handle_.get()); }

std::int64_t statement::integer(int column) const noexcept { return sqlite3_column_int64(handle_.get(), column); }
double statement::number(int column) const noexcept { return sqlite3_column_double(handle_.get(), column); }
std::string statement::text(int column) const {
    const void* const bytes = sqlite3_column_blob(handle_.get(), column);
    const int length = sqlite3_column_bytes(handle_.get(), column);
    return bytes == nullptr ? std::string()
                            : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(length));
}
bool statement::is_null(int column) const noexcept { return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL; }

transaction::transaction(database& in) : in_(in) { in_.run("BEGIN IMMEDIATE"); }
transaction::~transaction() {
    if (open_) sqlite3_exec(in_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}
void transaction::commit() {
    in_.run("COMMIT");
    open_ = false;
}

}  // namespace leat::sqlite
