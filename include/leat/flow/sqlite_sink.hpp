// to_sqlite: a sink whose items become rows of tables of an SQLite database, each row exactly once.
//
//   leat::sqlite_sink_options into("sales.db");
//   into.tables = {{"sales", {{"id", leat::sqlite_type::integer}, {"amount", leat::sqlite_type::real}}, {"id"}}};
//   … | leat::to_sqlite("store", into, [](const sale& one) {
//           return leat::sqlite_row(one.key, {one.id, one.amount});
//       });
//
// Rows are written in transactions of many; an item is committed when the transaction with its rows has been. Which rows
// have been written is kept in the database itself, in the same transaction: a row is known by its key and, among those of
// one key, by how many came before it. So when a run was killed and the flow runs again, the rows that come again are
// left out. An item without any others is committed all the same, since it is there; the stage counts it as skipped. That
// goes on for all runs of one `load`: another name writes everything again.
//
// Rows of equal keys must come in the same order each time. Rows that a key of the table (see sqlite_table::key) finds there
// already are replaced.
//
// Errors. A row that the table refuses (NOT NULL, UNIQUE, CHECK, …) fails its item, for good, and takes back the item's other
// rows; the items around it are not concerned. (What looks only at the end of a transaction, a deferred foreign key, fails
// the item as well, but is told at the end of the flow, which then has failed.) A database that is locked, full or unreadable fails the attempt of the item
// that is at hand; nothing of the transaction is lost, and what a retry allows writes it again. The flow ends when that
// happens at the end of the input, when another run begins to write the same load, when a table lacks a column, and when the database was written by a newer leat.
//
// Invariants:
//  1. Whatever is in the tables by this sink is in leat_commits, and the other way round.
//  2. An item's ack is committed only after the transaction with its rows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include <leat/flow/flow.hpp>

namespace leat {

enum class sqlite_type : std::uint8_t { any, text, integer, real, blob };

struct sqlite_column {
    std::string name;
    sqlite_type type = sqlite_type::any;
    bool required = false;  // NOT NULL
};

// A table is made when it is not there. One that is keeps its shape; it must have all these columns.
struct sqlite_table {
    std::string name;
    std::vector<sqlite_column> columns;
    std::vector<std::string> key;  // columns of its primary key: a row with the same replaces what is there
};

using sqlite_value = std::variant<std::monostate, std::int64_t, double, std::string>;  // the first: NULL

struct sqlite_row {
    sqlite_row() = default;
    sqlite_row(std::string called, std::vector<sqlite_value> columns, std::size_t into = 0)
        : key(std::move(called)), values(std::move(columns)), table(into) {}
    std::string key;                   // what makes it known when it comes again; any bytes
    std::vector<sqlite_value> values;  // as many as the table has columns here
    std::size_t table = 0;             // among sqlite_sink_options::tables
};

struct sqlite_sink_options {
    explicit sqlite_sink_options(std::string file) : path(std::move(file)) {}
    std::string path;  // of the database; made when it is not there
    std::vector<sqlite_table> tables;
    std::string load = "default";
    std::size_t batch = 1000;                           // items in a transaction
    duration longest = std::chrono::milliseconds(200);  // that one is open, from its first item
    std::chrono::milliseconds patience{
        std::chrono::seconds(5)};  // with locks of others; a stop is not noticed meanwhile
};

// The sink without types: `rows_of` appends the rows of an item; what it throws fails the item. Throws std::invalid_argument
// for options that cannot work: no table, a table without a name or columns, a key that is none of them.
[[nodiscard]] std::shared_ptr<stage> make_sqlite_sink(sqlite_sink_options options,
                                                      std::function<void(payload&, std::vector<sqlite_row>&)> rows_of);

template <class Function>
struct sqlite_stage {
    sqlite_stage on_error(leat::on_error how) && {
        policy.error = how;
        return std::move(*this);
    }
    // Attempts at an item while the database is locked or full.
    sqlite_stage retry(unsigned more, std::chrono::nanoseconds first_delay = std::chrono::milliseconds(200)) && {
        policy.retry.max = more;
        policy.retry.first_delay = first_delay;
        return std::move(*this);
    }
    std::string name;
    sqlite_sink_options options;
    Function fn;
    stage_policy policy;
};

// fn(item) gives a sqlite_row, or a range of them: what came in a batch.
template <class Function>
sqlite_stage<Function> to_sqlite(std::string name, sqlite_sink_options options, Function fn) {
    return {std::move(name), std::move(options), std::move(fn), {}};
}

template <class T, class Function>
    requires std::invocable<Function&, const T&>
flow_graph operator|(pipeline<T> before, sqlite_stage<Function> stage) {
    auto rows_of = [fn = std::move(stage.fn)](payload& value, std::vector<sqlite_row>& rows) mutable {
        auto made = fn(std::as_const(value.as<T>()));
        if constexpr (std::is_same_v<decltype(made), sqlite_row>) rows.push_back(std::move(made));
        else
            for (auto&& each : made) rows.push_back(std::move(each));
    };
    own_sink made = into(std::move(stage.name), make_sqlite_sink(std::move(stage.options), std::move(rows_of)));
    made.policy = stage.policy;
    made.policy.jobs = 1;
    return std::move(before) | std::move(made);
}

}  // namespace leat
