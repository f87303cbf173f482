#include <leat/flow/sqlite_sink.hpp>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include <flow/row_store.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat {

namespace {

constexpr std::size_t most_bytes = std::size_t{16} << 20U;  // of the rows of a transaction

std::size_t weight_of_rows(const std::vector<sqlite_row>& rows) {
    std::size_t all = 0;
    for (const sqlite_row& each : rows) {
        all += sizeof(sqlite_row) + each.key.size() + each.values.size() * sizeof(sqlite_value);
        for (const sqlite_value& value : each.values)
            if (const auto* text = std::get_if<std::string>(&value)) all += text->size();
    }
    return all;
}

void check(const sqlite_sink_options& options) {
    if (options.path.empty()) throw std::invalid_argument("the SQLite sink has no path");
    if (options.tables.empty()) throw std::invalid_argument("the SQLite sink has no table");
    for (const sqlite_table& each : options.tables) {
        const auto has_column = [&each](const std::string& name) {
            return std::any_of(each.columns.begin(), each.columns.end(),
                               [&name](const sqlite_column& one) { return one.name == name; });
        };
        if (each.name.empty() || each.name.starts_with("leat_") || each.name.starts_with("sqlite_"))
            throw std::invalid_argument("a table cannot be called '" + each.name + "'");
        if (each.columns.empty()) throw std::invalid_argument("the table '" + each.name + "' has no columns");
        for (const std::string& key : each.key)
            if (!has_column(key))
                throw std::invalid_argument("the key of the table '" + each.name + "' names '" + key +
                                            "', which is none of its columns");
        for (const sqlite_column& one : each.columns)
            if (one.name.empty()) throw std::invalid_argument("a column of the table '" + each.name + "' has no name");
    }
}

// Items whose rows are in the open transaction. Their rows are kept, in case that it is taken back.
struct held_item {
    std::vector<sqlite_row> rows;
    ack_ref account;
    bool refused = false;  // a table took them at first and not at the end
};

class sqlite_sink final : public stage {
public:
    using row_maker = std::function<void(payload&, std::vector<sqlite_row>&)>;
    sqlite_sink(sqlite_sink_options options, row_maker rows_of)
        : options_(std::move(options)), rows_of_(std::move(rows_of)) {
        check(options_);
        options_.batch = std::max<std::size_t>(options_.batch, 1);
        options_.longest = std::clamp<duration>(options_.longest, duration(0), std::chrono::hours(24));
    }

    task<> start(unsigned) override { co_await call(&sqlite_sink::open_store); }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    task<> close() override {
        held_.clear();  // not committed: abandoned
        co_await blocking(&sqlite_sink::close_store, this);
    }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] bool has_deadlines() const noexcept override { return true; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(sqlite_sink& owner) : owner_(owner) {}
        task<> process(item& in, emitter& out) override { return owner_.add(in, out); }
        task<> finish(emitter&) override { return owner_.finish(); }
        [[nodiscard]] time_point deadline() const noexcept override { return owner_.deadline_; }
        task<> due(emitter&) override { return owner_.commit_when_due(); }

    private:
        sqlite_sink& owner_;
    };

    task<> add(item& in, emitter& out) {
        std::vector<sqlite_row> rows;
        rows_of_(in.value, rows);
        for (const sqlite_row& each : rows)
            if (each.table >= options_.tables.size())
                throw permanent_error(
                    fmt::format("a row is for table {}, and there are {}", each.table + 1, options_.tables.size()));
        // Before the item is taken: when that fails it is this item's attempt, and can be repeated.
        if (held_.size() >= options_.batch || bytes_ >= most_bytes) co_await commit();
        co_await begin();
        held_item& fresh = held_.emplace_back();
        try {
            if (put(rows) == row_store::written::known) out.count_known();
        } catch (...) {
            held_.pop_back();
            throw;
        }
        bytes_ += weight_of_rows(rows);
        fresh.rows = std::move(rows);
        fresh.account = std::move(in.ack);
        if (held_.size() > 1) co_return;
        context& line = co_await this_task::line();
        deadline_ = line.where().now() + options_.longest;
    }

    row_store::written put(const std::vector<sqlite_row>& rows) {
        try {
            return store_->put(rows);
        } catch (const sqlite::error& error) {
            throw explained(error);
        }
    }

    // Makes sure that there is a transaction with all that is held.
    task<> begin() {
        if (!store_->in_transaction()) co_await call(&sqlite_sink::begin_again);
    }

    task<> commit() {
        if (held_.empty() && !store_->in_transaction()) co_return;
        co_await begin();
        deadline_ = time_point::max();
        co_await call(&sqlite_sink::commit_store);
        for (held_item& each : held_) each.account.end(each.refused ? fate::failed : fate::committed);
        held_.clear();
        bytes_ = 0;
    }
    task<> finish() {
        co_await commit();
        if (!refused_.empty()) throw permanent_error(refused_);
    }
    // What goes wrong is met again by the next item, or at the end.
    task<> commit_when_due() {
        deadline_ = time_point::max();
        task<> committing = commit();
        outcome<void> end = co_await committing.as_outcome();
        if (end.is_cancelled()) throw cancelled{};
    }

    // --- On a thread of the blocking pool ---

    // Calls what blocks, for a lock of another program or for the disk.
    task<> call(void (sqlite_sink::*what)()) { co_await blocking(&sqlite_sink::explain, this, what); }
    void explain(void (sqlite_sink::*what)()) {
        try {
            (this->*what)();
        } catch (const sqlite::error& error) {
            if (store_) store_->roll_back();
            throw explained(error);
        }
    }
    [[nodiscard]] std::runtime_error explained(const sqlite::error& error) const {
        if (error.is_busy())
            return std::runtime_error(fmt::format("{} is locked by another program; waited {:g} s for it",
                                                  options_.path,
                                                  std::chrono::duration<double>(options_.patience).count()));
        return std::runtime_error(error.what());
    }
    void open_store() { store_.emplace(options_); }
    void begin_again() {
        store_->begin();
        for (held_item& each : held_)
            if (!each.refused) put_again(each);
    }
    // What was taken at first may be refused later: something else has changed the table, or it looks only at the end of a
    // transaction (a deferred foreign key).
    void put_again(held_item& each) {
        try {
            (void)store_->put(each.rows);
        } catch (const permanent_error& error) {
            refuse(each, error.what());
        }
    }
    void refuse(held_item& which, const std::string& why) {
        which.refused = true;
        if (refused_.empty()) refused_ = fmt::format("{}: {}", which.rows.front().key, why);
    }
    void commit_store() {
        try {
            store_->commit();
        } catch (const sqlite::error& error) {
            if (!error.is_constraint()) throw;
            store_->roll_back();
            for (held_item& each : held_)
                if (!each.refused) commit_alone(each);
        }
    }
    void commit_alone(held_item& each) {
        store_->begin();
        put_again(each);
        try {
            store_->commit();
        } catch (const sqlite::error& error) {
            if (!error.is_constraint()) throw;
            store_->roll_back();
            refuse(each, error.what());
        }
    }
    void close_store() { store_.reset(); }

    sqlite_sink_options options_;
    row_maker rows_of_;
    std::optional<row_store> store_;
    std::vector<held_item> held_;
    std::size_t bytes_ = 0;                    // of the rows in held_
    std::string refused_;                      // the first item that was refused late, and why
    time_point deadline_ = time_point::max();  // of the transaction
};

}  // namespace

std::shared_ptr<stage> make_sqlite_sink(sqlite_sink_options options,
                                        std::function<void(payload&, std::vector<sqlite_row>&)> rows_of) {
    return std::make_shared<sqlite_sink>(std::move(options), std::move(rows_of));
}

}  // namespace leat
