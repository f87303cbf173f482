#include <flow/sqlite_journal.hpp>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include <flow/record_json.hpp>

namespace leat {

namespace {

// Each makes of version n - 1 version n.
constexpr const char* migrations[] = {
    R"(
CREATE TABLE runs(
    number INTEGER PRIMARY KEY, base INTEGER NOT NULL, mode INTEGER NOT NULL, pid INTEGER NOT NULL,
    started INTEGER NOT NULL, ended INTEGER, how TEXT NOT NULL DEFAULT '', flow TEXT NOT NULL);
CREATE TABLE items(
    item BLOB NOT NULL, run INTEGER NOT NULL, how INTEGER NOT NULL, attempts INTEGER NOT NULL,
    stage TEXT, error TEXT, content INTEGER NOT NULL, PRIMARY KEY(item, run)) WITHOUT ROWID;
CREATE TABLE sinks(name TEXT NOT NULL, base INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY(name, base));
)",
    R"(
CREATE TABLE events(
    run INTEGER NOT NULL, item BLOB NOT NULL, stage TEXT NOT NULL, attempt INTEGER NOT NULL, error TEXT NOT NULL,
    time INTEGER NOT NULL);
CREATE INDEX events_of ON events(item);
CREATE TABLE letters(
    id INTEGER PRIMARY KEY, item BLOB NOT NULL, run INTEGER NOT NULL, stage TEXT NOT NULL, attempts INTEGER NOT NULL,
    error TEXT NOT NULL, time INTEGER NOT NULL, has_value INTEGER NOT NULL, key BLOB NOT NULL, bytes BLOB NOT NULL,
    attributes BLOB NOT NULL, sequence INTEGER NOT NULL);
CREATE INDEX letters_of ON letters(item);
)",
};
static_assert(std::size(migrations) == sqlite_journal::newest_version);

constexpr const char* letter_columns =
    "SELECT id, item, run, stage, attempts, error, time, has_value, key, bytes, attributes, sequence FROM letters "
    "WHERE id > ?1 ORDER BY id";

std::int64_t signed_of(std::uint64_t number) { return static_cast<std::int64_t>(number); }
std::uint64_t unsigned_of(std::int64_t number) { return static_cast<std::uint64_t>(number); }
std::int64_t now_s() { return static_cast<std::int64_t>(std::time(nullptr)); }

std::string time_text(std::int64_t seconds) {
    const auto when = static_cast<std::time_t>(seconds);
    std::tm parts{};
    ::gmtime_r(&when, &parts);
    char text[32];
    return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string database_of(const std::string& state) { return state + "/journal.db"; }

[[noreturn]] void refuse_newer(const std::string& path, std::int64_t version) {
    throw journal_refused(
        fmt::format("the journal '{}' has version {}; this leat knows version {} at most: a newer leat wrote it", path,
                    version, sqlite_journal::newest_version));
}

std::int64_t version_of(sqlite::database& db) {
    sqlite::statement ask(db, "PRAGMA user_version");
    return ask.next() ? ask.integer(0) : 0;
}

// Runs `work` with errors of SQLite in words of ours.
template <class Work>
auto in_words(const std::string& path, Work work) -> decltype(work()) {
    try {
        return work();
    } catch (const sqlite::error& error) {
        if (error.is_damaged())
            throw std::runtime_error(
                fmt::format("the journal '{}' is damaged ({}); to begin without it, move it away: all items are done "
                            "again then",
                            path, error.what()));
        if (error.is_busy())
            throw std::runtime_error(fmt::format("the journal '{}' is locked by another program", path));
        throw;
    }
}

// "3:abc" one after the other: any bytes.
void append_piece(std::string& to, const std::string& piece) { to += fmt::format("{}:", piece.size()) + piece; }
std::optional<std::string> take_piece(std::string_view& from) {
    std::size_t length = 0;
    std::size_t at = 0;
    for (; at < from.size() && from[at] >= '0' && from[at] <= '9' && at < 12; ++at)
        length = length * 10 + static_cast<std::size_t>(from[at] - '0');
    if (at == 0 || at >= from.size() || from[at] != ':' || from.size() - at - 1 < length) return std::nullopt;
    std::string piece(from.substr(at + 1, length));
    from.remove_prefix(at + 1 + length);
    return piece;
}

std::string packed(const record& what) {
    std::string all;
    for (const auto& [name, value] : what.attributes) {
        append_piece(all, name);
        append_piece(all, value);
    }
    return all;
}

void unpack(std::string_view all, record& to) {
    while (!all.empty()) {
        auto name = take_piece(all);
        auto value = name ? take_piece(all) : std::nullopt;
        if (!value) return;
        to.attributes.emplace_back(std::move(*name), std::move(*value));
    }
}

kept_letter read_letter(const sqlite::statement& from) {
    kept_letter one;
    one.id = from.integer(0);
    one.item = from.text(1);
    one.run = unsigned_of(from.integer(2));
    one.stage = from.text(3);
    one.attempts = static_cast<unsigned>(from.integer(4));
    one.error = from.text(5);
    one.time_s = from.integer(6);
    one.has_value = from.integer(7) != 0;
    one.value.key = from.text(8);
    one.value.bytes = from.text(9);
    unpack(from.text(10), one.value);
    one.value.sequence = unsigned_of(from.integer(11));
    return one;
}

void for_each_letter_of(sqlite::database& db, std::int64_t behind, const std::function<bool(kept_letter&&)>& call) {
    sqlite::statement ask(db, letter_columns);
    ask.bind(1, behind);
    while (ask.next())
        if (!call(read_letter(ask))) return;
}

item_entry read_entry(const sqlite::statement& from) {
    item_entry entry;
    entry.run = unsigned_of(from.integer(0));
    entry.how = static_cast<fate>(from.integer(1));
    entry.attempts = static_cast<unsigned>(from.integer(2));
    entry.stage = from.text(3);
    entry.error = from.text(4);
    entry.content = unsigned_of(from.integer(5));
    return entry;
}

past_run read_run(const sqlite::statement& from) {
    past_run run;
    run.number = unsigned_of(from.integer(0));
    run.base = unsigned_of(from.integer(1));
    run.mode = static_cast<journal_mode>(from.integer(2));
    run.started_s = from.integer(3);
    run.ended_s = from.integer(4);
    run.end = from.text(5);
    run.flow = from.text(6);
    return run;
}
constexpr const char* run_columns = "SELECT number, base, mode, started, ended, how, flow FROM runs ";

// Whether the process is gone, or a zombie.
bool has_ended(const std::string& pid) {
    if (pid.empty()) return false;
    std::ifstream file("/proc/" + pid + "/stat");
    std::string all;
    if (!std::getline(file, all)) return true;
    const std::size_t name_end = all.rfind(')');  // the name may have anything in it
    return name_end != std::string::npos && name_end + 2 < all.size() &&
           (all[name_end + 2] == 'Z' || all[name_end + 2] == 'X');
}

// A run that was killed leaves its lock a moment later than it is gone: with the last of what it had just begun to start.
constexpr auto patience = std::chrono::seconds(5);

io::unique_fd take_lock(const std::string& state) {
    const std::string path = state + "/lock";
    io::unique_fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (!fd)
        throw std::system_error(errno, std::system_category(),
                                fmt::format("the journal's lock '{}' cannot be made", path));
    const auto until = std::chrono::steady_clock::now() + patience;
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK)
            throw std::system_error(errno, std::system_category(), fmt::format("'{}' cannot be locked", path));
        char text[32];
        const ssize_t got = ::pread(fd.get(), text, sizeof text - 1, 0);
        const std::string who(text, got > 0 ? static_cast<std::size_t>(got) : 0);
        if (has_ended(who) && std::chrono::steady_clock::now() < until) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            continue;
        }
        throw journal_refused(fmt::format("another run of this flow is at work{}; its state is '{}'",
                                          who.empty() ? "" : ": pid " + who, state));
    }
    // For who finds it locked; that it cannot be written (a full disk) changes nothing about the lock.
    const std::string mine = std::to_string(::getpid());
    if (::ftruncate(fd.get(), 0) == 0) (void)!::pwrite(fd.get(), mine.data(), mine.size(), 0);
    return fd;
}

}  // namespace

std::unique_ptr<journal> open_journal(const std::string& state) { return std::make_unique<sqlite_journal>(state); }

sqlite_journal::sqlite_journal(const std::string& state, int upto) : path_(database_of(state)) {
    std::error_code error;
    std::filesystem::create_directories(state, error);
    if (error) throw std::system_error(error, fmt::format("the state directory '{}' cannot be made", state));
    lock_ = take_lock(state);
    in_words(path_, [&] {
        db_ = std::make_unique<sqlite::database>(path_);
        std::int64_t version = version_of(*db_);
        if (version > newest_version) refuse_newer(path_, version);
        // A migration and its number together: one that is cut off is made again.
        for (; version < upto; ++version) {
            sqlite::transaction all(*db_);
            db_->run(migrations[version]);
            db_->run(fmt::format("PRAGMA user_version = {}", version + 1).c_str());
            all.commit();
        }
        // What was cut off in the middle is seen now, not in the middle of a run.
        sqlite::statement check(*db_, "PRAGMA quick_check(1)");
        if (check.next() && check.text(0) != "ok")
            throw std::runtime_error(fmt::format(
                "the journal '{}' is damaged ({}); to begin without it, move it away: all items are done again then",
                path_, check.text(0)));
    });
}

std::optional<past_run> sqlite_journal::last_run() {
    return in_words(path_, [&]() -> std::optional<past_run> {
        sqlite::statement ask(*db_, std::string(run_columns) + "WHERE mode != 2 ORDER BY number DESC LIMIT 1");
        if (!ask.next()) return std::nullopt;
        past_run run = read_run(ask);
        sqlite::statement count(*db_, "SELECT count(DISTINCT item) FROM items WHERE run >= ?1 AND how IN (0, 1, 3)");
        count.bind(1, signed_of(run.base));
        if (count.next()) run.done = unsigned_of(count.integer(0));
        return run;
    });
}

std::uint64_t sqlite_journal::begin(journal_mode mode, const std::string& flow) {
    return in_words(path_, [&] {
        mode_ = mode;
        const std::optional<past_run> before = last_run();
        sqlite::transaction all(*db_);
        sqlite::statement run(*db_, "INSERT INTO runs(base, mode, pid, started, flow) VALUES(?1, ?2, ?3, ?4, ?5)");
        run.bind(1, signed_of(before ? before->base : 0)).bind(2, std::int64_t{static_cast<int>(mode)});
        run.bind(3, std::int64_t{::getpid()}).bind(4, now_s()).bind(5, flow).run();
        number_ = unsigned_of(db_->last_row());
        base_ = before ? before->base : number_;
        if (mode == journal_mode::fresh || !before) {
            base_ = number_;
            sqlite::statement begins(*db_, "UPDATE runs SET base = ?1 WHERE number = ?1");
            begins.bind(1, signed_of(number_)).run();
            // The stories of items go back to the runs before these, and no further.
            if (before) {
                for (const char* const old : {"DELETE FROM items WHERE run < ?1", "DELETE FROM events WHERE run < ?1",
                                              "DELETE FROM sinks WHERE base < ?1"}) {
                    sqlite::statement drop(*db_, old);
                    drop.bind(1, signed_of(before->base)).run();
                }
            }
        }
        all.commit();
        sqlite::statement letters(*db_, "SELECT 1 FROM letters LIMIT 1");
        has_old_letters_ = letters.next();
        put_item_ = std::make_unique<sqlite::statement>(
            *db_, "INSERT OR REPLACE INTO items VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)");
        drop_letters_ = std::make_unique<sqlite::statement>(*db_, "DELETE FROM letters WHERE item = ?1");
        reads_ = std::make_unique<sqlite::database>(path_, sqlite::access::read);
        find_ = std::make_unique<sqlite::statement>(
            *reads_,
            "SELECT run, how, attempts, stage, error, content FROM items WHERE item = ?1 AND run >= ?2 AND run < ?3 "
            "ORDER BY run DESC LIMIT 1");
        find_->bind(2, signed_of(base_)).bind(3, signed_of(number_));
        return number_;
    });
}

std::optional<item_entry> sqlite_journal::find(std::string_view item) {
    return in_words(path_, [&]() -> std::optional<item_entry> {
        find_->bind_blob(1, item);
        if (!find_->next()) return std::nullopt;
        item_entry entry = read_entry(*find_);
        find_->reset();
        return entry;
    });
}

std::optional<std::uint64_t> sqlite_journal::sink_length(std::string_view sink) {
    return in_words(path_, [&]() -> std::optional<std::uint64_t> {
        sqlite::statement ask(*db_, "SELECT length FROM sinks WHERE name = ?1 AND base = ?2");
        ask.bind(1, sink).bind(2, signed_of(base_));
        if (!ask.next()) return std::nullopt;
        return unsigned_of(ask.integer(0));
    });
}

void sqlite_journal::write(const journal_batch& batch) {
    in_words(path_, [&] {
        sqlite::transaction all(*db_);
        write_events(batch);  // before the letters that they may be of are gone
        if (mode_ == journal_mode::replay) {
            write_replayed(batch);
        } else {
            for (const auto& [item, entry] : batch.items) {
                put_item_->bind_blob(1, item).bind(2, signed_of(number_));
                put_item_->bind(3, std::int64_t{static_cast<int>(entry.how)}).bind(4, std::int64_t{entry.attempts});
                if (entry.stage.empty()) put_item_->bind_null(5).bind_null(6);
                else put_item_->bind(5, entry.stage).bind(6, entry.error);
                put_item_->bind(7, signed_of(entry.content)).run();
                if (has_old_letters_) drop_letters_->bind_blob(1, item).run();
            }
            if (!batch.letters.empty()) {
                sqlite::statement put(
                    *db_,
                    "INSERT INTO letters(item, run, stage, attempts, error, time, has_value, key, "
                    "bytes, attributes, sequence) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
                for (const kept_letter& each : batch.letters) put_letter(put, each, 0);
            }
        }
        for (const auto& [name, length] : batch.sinks) {
            sqlite::statement put(*db_, "INSERT OR REPLACE INTO sinks VALUES(?1, ?2, ?3)");
            put.bind(1, name).bind(2, signed_of(base_)).bind(3, signed_of(length)).run();
        }
        all.commit();
    });
}

void sqlite_journal::write_events(const journal_batch& batch) {
    if (batch.events.empty()) return;
    // In a replay the items are letters, by their ids.
    sqlite::statement put(*db_, mode_ == journal_mode::replay
                                    ? "INSERT INTO events SELECT ?1, item, ?3, ?4, ?5, ?6 FROM letters WHERE id = ?2"
                                    : "INSERT INTO events VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
    for (const item_event& each : batch.events) {
        put.bind(1, signed_of(number_)).bind(3, each.stage).bind(4, std::int64_t{each.attempt});
        put.bind(5, each.error).bind(6, each.time_s);
        if (mode_ == journal_mode::replay)
            put.bind(2, static_cast<std::int64_t>(std::strtoll(each.item.c_str(), nullptr, 10)));
        else put.bind_blob(2, each.item);
        put.run();
    }
}

void sqlite_journal::put_letter(sqlite::statement& into, const kept_letter& letter, unsigned attempts_before) {
    into.bind_blob(1, letter.item).bind(2, signed_of(number_)).bind(3, letter.stage);
    into.bind(4, std::int64_t{letter.attempts} + attempts_before).bind(5, letter.error).bind(6, letter.time_s);
    into.bind(7, std::int64_t{letter.has_value ? 1 : 0}).bind_blob(8, letter.value.key);
    into.bind_blob(9, letter.value.bytes).bind_blob(10, packed(letter.value));
    into.bind(11, signed_of(letter.value.sequence)).run();
}

// The items are letters, by their ids.
void sqlite_journal::write_replayed(const journal_batch& batch) {
    sqlite::statement look(*db_, "SELECT item, attempts FROM letters WHERE id = ?1");
    sqlite::statement drop(*db_, "DELETE FROM letters WHERE id = ?1");
    sqlite::statement put(*db_,
                          "INSERT INTO letters(item, run, stage, attempts, error, time, has_value, key, bytes, "
                          "attributes, sequence) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    sqlite::statement more(*db_, "UPDATE letters SET attempts = attempts + ?2, error = ?3, run = ?4 WHERE id = ?1");
    sqlite::statement rest(*db_, "SELECT 1 FROM letters WHERE item = ?1 LIMIT 1");
    for (const auto& [name, entry] : batch.items) {
        const std::int64_t id = std::strtoll(name.c_str(), nullptr, 10);
        look.bind(1, id);
        if (!look.next()) continue;
        const std::string item = look.text(0);
        const auto attempts = static_cast<unsigned>(look.integer(1));
        look.reset();
        if (entry.how == fate::failed) {
            more.bind(1, id).bind(2, std::int64_t{entry.attempts}).bind(3, entry.error);
            more.bind(4, signed_of(number_)).run();
        } else {
            drop.bind(1, id).run();
            for (kept_letter each : batch.letters) {
                if (each.item != name) continue;
                each.item = item;
                put_letter(put, each, attempts);
            }
        }
        item_entry now = entry;
        rest.bind_blob(1, item);
        if (rest.next()) now.how = fate::dead;
        rest.reset();
        put_item_->bind_blob(1, item).bind(2, signed_of(number_));
        put_item_->bind(3, std::int64_t{static_cast<int>(now.how)}).bind(4, std::int64_t{now.attempts});
        if (now.stage.empty()) put_item_->bind_null(5).bind_null(6);
        else put_item_->bind(5, now.stage).bind(6, now.error);
        put_item_->bind(7, std::int64_t{0}).run();
    }
}

void sqlite_journal::end(std::string_view how) {
    in_words(path_, [&] {
        sqlite::statement put(*db_, "UPDATE runs SET ended = ?2, how = ?3 WHERE number = ?1");
        put.bind(1, signed_of(number_)).bind(2, now_s()).bind(3, how).run();
    });
}

std::string sqlite_journal::name() const {
    std::error_code ignored;
    const auto whole = std::filesystem::absolute(path_, ignored);
    return ignored ? path_ : whole.lexically_normal().string();
}

void sqlite_journal::for_each_letter(std::int64_t behind, const std::function<bool(kept_letter&&)>& call) {
    in_words(path_, [&] { for_each_letter_of(*db_, behind, call); });
}

// --- For who looks ---

namespace {

std::string existing(const std::string& state) {
    std::string path = database_of(state);
    if (::access(path.c_str(), F_OK) != 0)
        throw journal_refused(fmt::format("there is no journal in '{}': no run has begun there", state));
    return path;
}

}  // namespace

journal_reader::journal_reader(const std::string& state)
    : db_(in_words(state, [&] { return std::make_unique<sqlite::database>(existing(state), sqlite::access::read); })) {
    in_words(db_->path(), [&] {
        const std::int64_t version = version_of(*db_);
        if (version > sqlite_journal::newest_version) refuse_newer(db_->path(), version);
        if (version < sqlite_journal::newest_version)
            throw journal_refused(
                fmt::format("the journal '{}' has the older version {}; the next run brings it up to {}", db_->path(),
                            version, sqlite_journal::newest_version));
    });
}

journal_reader::~journal_reader() = default;

std::vector<past_run> journal_reader::runs() {
    return in_words(db_->path(), [&] {
        std::vector<past_run> all;
        sqlite::statement ask(*db_, std::string(run_columns) + "ORDER BY number");
        while (ask.next()) all.push_back(read_run(ask));
        return all;
    });
}

std::vector<item_entry> journal_reader::entries_of(std::string_view item) {
    return in_words(db_->path(), [&] {
        std::vector<item_entry> all;
        sqlite::statement ask(
            *db_, "SELECT run, how, attempts, stage, error, content FROM items WHERE item = ?1 ORDER BY run");
        ask.bind_blob(1, item);
        while (ask.next()) all.push_back(read_entry(ask));
        return all;
    });
}

std::vector<item_event> journal_reader::events_of(std::string_view item) {
    return in_words(db_->path(), [&] {
        std::vector<item_event> all;
        sqlite::statement ask(
            *db_, "SELECT run, item, stage, attempt, error, time FROM events WHERE item = ?1 ORDER BY rowid");
        ask.bind_blob(1, item);
        while (ask.next())
            all.push_back({unsigned_of(ask.integer(0)), ask.text(1), ask.text(2), static_cast<unsigned>(ask.integer(3)),
                           ask.text(4), ask.integer(5)});
        return all;
    });
}

void journal_reader::for_each_letter(const std::function<bool(kept_letter&&)>& call) {
    in_words(db_->path(), [&] { for_each_letter_of(*db_, 0, call); });
}

std::uint64_t journal_reader::letters() {
    return in_words(db_->path(), [&] {
        sqlite::statement ask(*db_, "SELECT count(*) FROM letters");
        return ask.next() ? unsigned_of(ask.integer(0)) : 0;
    });
}

std::vector<std::string> journal_reader::similar(std::string_view text) {
    return in_words(db_->path(), [&] {
        std::vector<std::string> all;
        sqlite::statement ask(*db_, "SELECT DISTINCT item FROM items WHERE instr(item, ?1) > 0 LIMIT 5");
        ask.bind_blob(1, text);
        while (ask.next()) all.push_back(ask.text(0));
        return all;
    });
}

// As `leat each --dead-letters` writes them, with the source item as "item".
std::string to_json(const kept_letter& letter) {
    std::string line = "{\"time\":\"" + time_text(letter.time_s) + "\",";
    append_json_member(line, "item", "item_base64", letter.item);
    line += fmt::format(",\"run\":{},", letter.run);
    append_json_member(line, "stage", "stage_base64", letter.stage);
    line += fmt::format(",\"attempts\":{},", letter.attempts);
    append_json_member(line, "error", "error_base64", letter.error);
    line += fmt::format(",\"sequence\":{},", letter.value.sequence);
    append_record_members(line, letter.value);
    return line + "}";
}

}  // namespace leat
