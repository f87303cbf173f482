#include <flow/row_store.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <sqlite3.h>

namespace leat {

namespace {

constexpr std::int64_t version = 1;
constexpr std::size_t most_hints = 4096;

std::string quoted(const std::string& name) {
    std::string text = "\"";
    for (const char c : name) {
        if (c == '"') text += '"';
        text += c;
    }
    return text + '"';
}

std::string joined(const std::vector<std::string>& names, const char* before = "") {
    std::string text;
    for (const std::string& each : names) text += (text.empty() ? "" : ", ") + std::string(before) + quoted(each);
    return text;
}

const char* declared(sqlite_type type) {
    switch (type) {
        case sqlite_type::any:
            return "";
        case sqlite_type::text:
            return " TEXT";
        case sqlite_type::integer:
            return " INTEGER";
        case sqlite_type::real:
            return " REAL";
        case sqlite_type::blob:
            return " BLOB";
    }
    return "";
}

// What is wrong with the row, not with the database.
bool is_refusal(const sqlite::error& error) {
    const int primary = error.code() & 0xff;
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_MISMATCH || primary == SQLITE_TOOBIG;
}

// "path: what SQLite said" without the path: an item fails, not the file.
std::string what_it_said(const sqlite::error& error, const std::string& path) {
    const std::string text = error.what();
    return text.starts_with(path + ": ") ? text.substr(path.size() + 2) : text;
}

}  // namespace

row_store::row_store(const sqlite_sink_options& options)
    : database_(options.path, sqlite::access::create, options.patience) {
    // An ack says that it is there for good: also when the machine goes down.
    database_.run("PRAGMA synchronous = FULL");
    sqlite::transaction all(database_);
    make_commit_tables(options.load);
    for (const sqlite_table& each : options.tables) make_table(each);
    all.commit();
    starts_.emplace(database_, "SELECT starts FROM leat_loads WHERE id = ?1");
    begin_item_.emplace(database_, "SAVEPOINT item");
    end_item_.emplace(database_, "RELEASE item");
    claim_first_.emplace(database_, "INSERT INTO leat_commits VALUES(?1, ?2, 0, ?3, 1) ON CONFLICT DO NOTHING");
    look_.emplace(database_, "SELECT start, done FROM leat_commits WHERE load = ?1 AND key = ?2 AND ordinal = ?3");
    mark_.emplace(database_,
                  "INSERT INTO leat_commits VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET "
                  "start = excluded.start, done = excluded.done");
}

void row_store::make_commit_tables(const std::string& load) {
    database_.run("CREATE TABLE IF NOT EXISTS leat_sink(version INTEGER NOT NULL)");
    sqlite::statement known(database_, "SELECT version FROM leat_sink");
    if (known.next()) {
        const std::int64_t found = known.integer(0);
        if (found > version)
            throw permanent_error(
                fmt::format("{} was written by a newer leat: its commit table has version {}, and this "
                            "one knows {}",
                            database_.path(), found, version));
        known.reset();
    } else {
        database_.run(fmt::format("INSERT INTO leat_sink VALUES({})", version).c_str());
    }
    database_.run(
        "CREATE TABLE IF NOT EXISTS leat_loads(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, starts INTEGER NOT "
        "NULL);"
        "CREATE TABLE IF NOT EXISTS leat_commits(load INTEGER NOT NULL, key BLOB NOT NULL, ordinal INTEGER NOT NULL, "
        "start INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY(load, key, ordinal)) WITHOUT ROWID");
    sqlite::statement open(database_,
                           "INSERT INTO leat_loads(name, starts) VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET "
                           "starts = starts + 1 RETURNING id, starts");
    if (open.bind(1, load).next()) {
        load_ = open.integer(0);
        start_ = open.integer(1);
        while (open.next()) {
        }
    }
}

void row_store::make_table(const sqlite_table& what) {
    std::vector<std::string> there;
    sqlite::statement info(database_, "SELECT name FROM pragma_table_info(?1)");
    info.bind(1, what.name);
    while (info.next()) there.push_back(info.text(0));
    std::vector<std::string> names;
    names.reserve(what.columns.size());
    for (const sqlite_column& each : what.columns) names.push_back(each.name);
    if (there.empty()) {
        std::string text;
        for (const sqlite_column& each : what.columns)
            text += (text.empty() ? "" : ", ") + quoted(each.name) + declared(each.type) +
                    (each.required ? " NOT NULL" : "");
        if (!what.key.empty()) text += ", PRIMARY KEY(" + joined(what.key) + ")";
        database_.run(fmt::format("CREATE TABLE {}({})", quoted(what.name), text).c_str());
    }
    for (const std::string& each : names)
        if (!there.empty() && std::find(there.begin(), there.end(), each) == there.end())
            throw permanent_error(fmt::format("{}: the table '{}' has no column '{}'; it has {}", database_.path(),
                                              what.name, each, joined(there)));
    std::string places;
    for (std::size_t i = 1; i <= names.size(); ++i) places += fmt::format("{}?{}", i == 1 ? "" : ", ", i);
    std::string text = fmt::format("INSERT INTO {}({}) VALUES({})", quoted(what.name), joined(names), places);
    if (!what.key.empty()) {
        std::string changes;
        for (const std::string& each : names)
            if (std::find(what.key.begin(), what.key.end(), each) == what.key.end())
                changes += fmt::format("{}{} = excluded.{}", changes.empty() ? "" : ", ", quoted(each), quoted(each));
        text += fmt::format(" ON CONFLICT({}) DO {}", joined(what.key),
                            changes.empty() ? "NOTHING" : "UPDATE SET " + changes);
    }
    tables_.push_back({what.name, names.size(), names, sqlite::statement(database_, text)});
}

void row_store::begin() {
    database_.run("BEGIN IMMEDIATE");
    open_ = true;
    starts_->bind(1, load_);
    const bool is_last = starts_->next() && starts_->integer(0) == start_;
    starts_->reset();
    if (is_last) return;
    roll_back();
    throw permanent_error(fmt::format("{}: another run has begun to write the same load to it", database_.path()));
}
void row_store::commit() {
    database_.run("COMMIT");
    open_ = false;
}
void row_store::roll_back() noexcept {
    taken_.clear();
    if (!open_) return;
    open_ = false;
    sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr,
                 nullptr);  // of what SQLite has not taken back itself
}

void row_store::mark(const sqlite_row& row, std::int64_t ordinal, bool done) {
    mark_->bind(1, load_).bind_blob(2, row.key).bind(3, ordinal).bind(4, start_).bind(5, std::int64_t{done}).run();
}

row_store::place row_store::claim(const sqlite_row& row) {
    const auto hint = taken_.find(row.key);
    place taken{hint == taken_.end() ? 0 : hint->second, true};
    if (taken.ordinal == 0) {
        claim_first_->bind(1, load_).bind_blob(2, row.key).bind(3, start_).run();
        if (database_.changed() == 1) return taken;
    }
    for (;; ++taken.ordinal) {
        look_->bind(1, load_).bind_blob(2, row.key).bind(3, taken.ordinal);
        if (!look_->next()) break;
        const bool is_ours = look_->integer(0) == start_;
        const bool is_done = look_->integer(1) != 0;
        look_->reset();
        if (is_ours) continue;
        taken.fresh = !is_done;
        break;
    }
    mark(row, taken.ordinal, true);
    if (taken_.size() >= most_hints) taken_.clear();
    taken_[row.key] = taken.ordinal + 1;
    return taken;
}

void row_store::insert(const sqlite_row& row, std::size_t number, std::size_t of) {
    table& into = tables_.at(row.table);
    if (row.values.size() != into.columns)
        throw permanent_error(fmt::format("a row has {} values, and the table '{}' {} columns", row.values.size(),
                                          into.name, into.columns));
    for (std::size_t i = 0; i < row.values.size(); ++i) {
        const int parameter = static_cast<int>(i) + 1;
        const sqlite_value& value = row.values[i];
        if (const auto* integer = std::get_if<std::int64_t>(&value)) into.insert.bind(parameter, *integer);
        else if (const auto* number_ = std::get_if<double>(&value)) into.insert.bind(parameter, *number_);
        else if (const auto* text = std::get_if<std::string>(&value))
            into.insert.bind(parameter, std::string_view(*text));
        else into.insert.bind_null(parameter);
    }
    try {
        into.insert.run();
    } catch (const sqlite::error& error) {
        if (!is_refusal(error)) throw;
        const std::string why = what_it_said(error, database_.path());
        throw permanent_error(of == 1 ? fmt::format("the table '{}' refuses it: {}", into.name, why)
                                      : fmt::format("the table '{}' refuses row {} of {}, {}: {}", into.name,
                                                    number + 1, of, row.key, why));
    }
}

bool row_store::put_one(const sqlite_row& row) {
    const place taken = claim(row);
    if (!taken.fresh) return false;
    try {
        insert(row, 0, 1);
    } catch (const permanent_error&) {
        mark(row, taken.ordinal, false);  // it has come, and its place is its own when it comes again
        throw;
    }
    return true;
}

bool row_store::put_together(const std::vector<sqlite_row>& rows) {
    bool any = false;
    begin_item_->run();
    try {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            if (!claim(rows[i]).fresh) continue;
            any = true;
            insert(rows[i], i, rows.size());
        }
    } catch (const permanent_error&) {
        database_.run("ROLLBACK TO item; RELEASE item");
        taken_.clear();
        for (const sqlite_row& each : rows) {
            const place taken = claim(each);
            if (taken.fresh) mark(each, taken.ordinal, false);
        }
        throw;
    }
    end_item_->run();
    return any;
}

row_store::written row_store::put(const std::vector<sqlite_row>& rows) {
    try {
        const bool any = rows.size() == 1 ? put_one(rows.front()) : put_together(rows);
        return any ? written::fresh : written::known;
    } catch (const permanent_error&) {
        throw;
    } catch (...) {
        roll_back();
        throw;
    }
}

}  // namespace leat
