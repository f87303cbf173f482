#include <flow/seen_store.hpp>

#include <filesystem>
#include <vector>

#include <fmt/format.h>

namespace leat {

namespace {

constexpr std::int64_t application = 0x6c656174;  // "leat"
constexpr std::int64_t version = 1;

// In the order of bytes that is the order of numbers, so that what is sorted is written to neighbouring pages.
std::string bytes_of(key_digest key) {
    std::string bytes(16, '\0');
    for (unsigned i = 0; i < 8; ++i) {
        bytes[i] = static_cast<char>(key.high >> (56 - 8 * i));
        bytes[8 + i] = static_cast<char>(key.low >> (56 - 8 * i));
    }
    return bytes;
}
key_digest key_of(const std::string& bytes) {
    key_digest key;
    for (unsigned i = 0; i < 8 && bytes.size() == 16; ++i) {
        key.high = key.high << 8U | static_cast<unsigned char>(bytes[i]);
        key.low = key.low << 8U | static_cast<unsigned char>(bytes[8 + i]);
    }
    return key;
}

std::int64_t number(sqlite::database& db, const char* question) {
    sqlite::statement ask(db, question);
    return ask.next() ? ask.integer(0) : 0;
}

}  // namespace

template <class Body>
auto seen_store::guarded(Body body) -> decltype(body()) {
    try {
        return body();
    } catch (const sqlite::error& error) {
        if (error.is_busy()) throw failure(fmt::format("the index of seen keys '{}' is in use by another run", path_));
        if (error.is_damaged())
            throw failure(fmt::format("the index of seen keys is damaged ({}); without that file all keys are new",
                                      error.what()));
        if (error.is_full()) throw failure(fmt::format("the index of seen keys cannot be written ({})", error.what()));
        throw failure(fmt::format("the index of seen keys fails ({})", error.what()));
    }
}

seen_store::seen_store(const std::string& path, const std::string& keys, begin how) : path_(path) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    if (error)
        throw failure(
            fmt::format("the folder '{}' for seen keys cannot be made: {}", folder.string(), error.message()));
    guarded([&] { prepare(keys, how); });
}

void seen_store::prepare(const std::string& keys, begin how) {
    db_.emplace(path_, sqlite::access::create, std::chrono::milliseconds(500));
    sqlite::database& db = *db_;
    // With the first transaction the file is this run's alone.
    db.run("PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 8192");
    sqlite::transaction all(db);
    const bool is_new = number(db, "SELECT count(*) FROM sqlite_master") == 0;
    const std::int64_t id = number(db, "PRAGMA application_id");
    const std::int64_t found = number(db, "PRAGMA user_version");
    if (!is_new && id != application)
        throw failure(fmt::format("'{}' is a database of another program, and no index of seen keys", path_));
    if (!is_new && found > version)
        throw failure(fmt::format("the index of seen keys '{}' is of version {}; this program reads versions up to {}",
                                  path_, found, version));
    if (is_new) {
        db.run(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};"
                           "CREATE TABLE seen(hash BLOB PRIMARY KEY) WITHOUT ROWID;"
                           "CREATE TABLE unsure(hash BLOB PRIMARY KEY, item TEXT NOT NULL) WITHOUT ROWID;"
                           "CREATE TABLE about(name TEXT PRIMARY KEY, value) WITHOUT ROWID;",
                           application, version)
                   .c_str());
    } else if (how == begin::afresh) {
        db.run("DELETE FROM seen; DELETE FROM unsure; DELETE FROM about");
    }
    if (is_new || how == begin::afresh)
        sqlite::statement(db, "INSERT INTO about VALUES('keys', ?1)").bind(1, keys).run();
    sqlite::statement ask(db, "SELECT value FROM about WHERE name = 'keys'");
    const std::string of = ask.next() ? ask.text(0) : std::string();
    ask.reset();
    if (of != keys)
        throw failure(fmt::format("the keys in '{}' are {}, and now they are {}; without that file all keys are new",
                                  path_, of, keys));
    all.commit();
    find_.emplace(db, "SELECT 1 FROM seen WHERE hash = ?1");
    add_.emplace(db, "INSERT OR IGNORE INTO seen VALUES(?1)");
    add_unsure_.emplace(db, "INSERT OR REPLACE INTO unsure VALUES(?1, ?2)");
    now_sure_.emplace(db, "DELETE FROM unsure WHERE hash = ?1");
}

bool seen_store::contains(key_digest key) {
    return guarded([&] {
        const bool found = find_->bind_blob(1, bytes_of(key)).next();
        find_->reset();
        return found;
    });
}

void seen_store::add(std::span<const entry> entries, std::span<const key_digest> sure) {
    guarded([&] {
        sqlite::transaction all(*db_);
        for (const entry& each : entries) {
            const std::string key = bytes_of(each.key);
            add_->bind_blob(1, key).run();
            if (!each.item.empty()) add_unsure_->bind_blob(1, key).bind(2, each.item).run();
        }
        for (const key_digest& each : sure) now_sure_->bind_blob(1, bytes_of(each)).run();
        all.commit();
    });
}

void seen_store::forget_unsure(const std::function<bool(const std::string& item)>& is_done) {
    guarded([&] {
        sqlite::transaction all(*db_);
        std::vector<std::string> gone;
        sqlite::statement ask(*db_, "SELECT hash, item FROM unsure");
        while (ask.next())
            if (!is_done(ask.text(1))) gone.push_back(ask.text(0));
        sqlite::statement forget(*db_, "DELETE FROM seen WHERE hash = ?1");
        for (const std::string& each : gone) forget.bind_blob(1, each).run();
        db_->run("DELETE FROM unsure");
        if (!gone.empty()) db_->run("DELETE FROM about WHERE name = 'filter'");
        all.commit();
    });
}

std::uint64_t seen_store::for_each(const std::function<void(key_digest)>& body) {
    return guarded([&] {
        std::uint64_t count = 0;
        sqlite::statement ask(*db_, "SELECT hash FROM seen");
        for (; ask.next(); ++count) body(key_of(ask.text(0)));
        return count;
    });
}

std::optional<std::uint64_t> seen_store::take_filter_mark() {
    return guarded([&] {
        std::optional<std::uint64_t> mark;
        sqlite::transaction all(*db_);
        sqlite::statement ask(*db_, "SELECT value FROM about WHERE name = 'filter'");
        if (ask.next()) mark = static_cast<std::uint64_t>(ask.integer(0));
        ask.reset();
        if (mark) db_->run("DELETE FROM about WHERE name = 'filter'");
        all.commit();
        return mark;
    });
}

void seen_store::put_filter_mark(std::uint64_t mark) {
    guarded([&] {
        sqlite::statement put(*db_, "INSERT OR REPLACE INTO about VALUES('filter', ?1)");
        put.bind(1, static_cast<std::int64_t>(mark)).run();
    });
}

}  // namespace leat
