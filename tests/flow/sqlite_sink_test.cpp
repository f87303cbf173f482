// The SQLite sink: rows of items, each exactly once, whatever ended the run before; for functions and as a kind.
#include <leat/flow/sqlite_sink.hpp>

#include <csignal>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <rapidcheck.h>
#include <sys/resource.h>

#include <flow/row_store.hpp>
#include <flow/sqlite.hpp>
#include <flow_kinds.hpp>
#include <leat/flow/batch.hpp>
#include <leat/flow/csv.hpp>

namespace {

using leat::sqlite_type;
using leat_test::fate_probe;
using leat_test::get_file;
using leat_test::put_file;
using leat_test::run_text;
using leat_test::scratch_folder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The rows that a query gives, values joined by '|'.
std::vector<std::string> asked(const std::string& path, const std::string& query, int columns = 1) {
    leat::sqlite::database db(path, leat::sqlite::access::read);
    leat::sqlite::statement rows(db, query);
    std::vector<std::string> all;
    while (rows.next()) {
        std::string& row = all.emplace_back();
        for (int i = 0; i < columns; ++i)
            row += (i == 0 ? "" : "|") + (rows.is_null(i) ? std::string("NULL") : rows.text(i));
    }
    return all;
}

leat::sqlite_sink_options numbers_into(const std::string& path) {
    leat::sqlite_sink_options options(path);
    options.tables = {{"numbers", {{"number", sqlite_type::integer, true}, {"square", sqlite_type::integer}}, {}}};
    return options;
}
leat::sqlite_row row_of(std::int64_t number) { return {fmt::format("number {}", number), {number, number * number}}; }

leat::report run(leat::flow_graph flow) {
    return leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
}
leat::report store(int from, int to, const leat::sqlite_sink_options& options) {
    return run(leat::from(std::views::iota(from, to)) | leat::to_sqlite("store", options, row_of));
}

TEST(to_sqlite, makes_the_table_and_writes_a_row_for_each_item) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    options.batch = 7;
    const leat::report done = store(0, 100, options);
    EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.out, 100U);
    EXPECT_THAT(asked(folder / "db", "SELECT count(*), sum(number), sum(square) FROM numbers", 3),
                ElementsAre("100|4950|328350"));
}

TEST(to_sqlite, what_comes_again_is_left_out_and_counted_as_skipped) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    EXPECT_EQ(store(0, 50, options).out, 50U);
    const leat::report again = store(0, 80, options);
    EXPECT_EQ(again.out, 80U) << "it is all there";
    EXPECT_EQ(again.stages.back().skipped, 50U);
    EXPECT_EQ(again.stages.back().out, 30U);
    EXPECT_THAT(asked(folder / "db", "SELECT count(*), count(DISTINCT number) FROM numbers", 2), ElementsAre("80|80"));
    options.load = "another";
    EXPECT_EQ(store(0, 10, options).out, 10U);
    EXPECT_THAT(asked(folder / "db", "SELECT count(*) FROM numbers"), ElementsAre("90"));
}

TEST(to_sqlite, takes_batches_and_counts_their_rows_one_by_one) {
    const scratch_folder folder;
    const auto rows_of = [](const std::vector<int>& some) {
        std::vector<leat::sqlite_row> rows;
        for (const int each : some) rows.push_back(row_of(each));
        return rows;
    };
    // Other batches the second time: what counts are the rows.
    for (const auto& [to, size] : {std::pair(25, 10), std::pair(40, 7)}) {
        const leat::report done =
            run(leat::from(std::views::iota(0, to)) | leat::batch("some", static_cast<std::size_t>(size)) |
                leat::to_sqlite("store", numbers_into(folder / "db"), rows_of));
        EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
        if (size == 7) {
            EXPECT_EQ(done.stages.back().skipped, 3U) << "whole batches";
        }
    }
    EXPECT_THAT(asked(folder / "db", "SELECT count(*), sum(number) FROM numbers", 2), ElementsAre("40|780"));
}

TEST(to_sqlite, a_row_that_the_table_refuses_fails_its_item_alone) {
    const scratch_folder folder;
    leat::sqlite::database(folder / "db")
        .run("CREATE TABLE numbers(number INTEGER UNIQUE, square INTEGER CHECK(square <> 25))");
    auto flow = leat::from(std::vector<int>{1, 2, 5, 2, 3}) |
                leat::to_sqlite("store", numbers_into(folder / "db"), row_of).on_error(leat::on_error::keep_going);
    struct observer final : leat::flow_observer {
        void item_failed(std::string_view, leat::on_error, std::string_view name, unsigned,
                         std::string_view error) override {
            told.push_back(fmt::format("{}: {}", name, error));
        }
        std::vector<std::string> told;
    } seen;
    leat::flow_options options;
    options.observer = &seen;
    const leat::report done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow), options); });
    EXPECT_EQ(done.out, 3U);
    EXPECT_EQ(done.failed, 2U);
    EXPECT_THAT(seen.told, ElementsAre("5: the table 'numbers' refuses it: CHECK constraint failed: square <> 25",
                                       "2: the table 'numbers' refuses it: UNIQUE constraint failed: numbers.number"));
    EXPECT_THAT(asked(folder / "db", "SELECT number FROM numbers"), ElementsAre("1", "2", "3"));
}

TEST(to_sqlite, an_item_of_several_rows_is_there_whole_or_not_at_all) {
    const scratch_folder folder;
    leat::sqlite::database(folder / "db").run("CREATE TABLE numbers(number INTEGER UNIQUE, square INTEGER)");
    const auto rows_of = [](const std::vector<int>& some) {
        std::vector<leat::sqlite_row> rows;
        for (const int each : some) rows.push_back(row_of(each));
        return rows;
    };
    auto flow = leat::from(std::vector<std::vector<int>>{{1, 2}, {3, 4, 1}, {5}}) |
                leat::to_sqlite("store", numbers_into(folder / "db"), rows_of).on_error(leat::on_error::keep_going);
    const leat::report done = run(std::move(flow));
    EXPECT_EQ(done.failed, 1U);
    EXPECT_THAT(asked(folder / "db", "SELECT number FROM numbers"), ElementsAre("1", "2", "5"));
    // What was refused has come, but is not known as written: when its fault is mended it is.
    leat::sqlite::database(folder / "db")
        .run("DROP TABLE numbers; CREATE TABLE numbers(number INTEGER, square INTEGER)");
    auto again = leat::from(std::vector<std::vector<int>>{{1, 2}, {3, 4}, {5}}) |
                 leat::to_sqlite("store", numbers_into(folder / "db"), rows_of);
    EXPECT_EQ(run(std::move(again)).stages.back().out, 1U);
    EXPECT_THAT(asked(folder / "db", "SELECT number FROM numbers"), ElementsAre("3", "4"));
}

TEST(to_sqlite, a_row_with_a_key_that_is_there_replaces_it) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    options.tables.front().key = {"number"};
    const auto sum = [](const std::pair<int, int>& one) {
        return leat::sqlite_row(fmt::format("{}/{}", one.first, one.second),
                                {std::int64_t{one.first}, std::int64_t{one.second}});
    };
    EXPECT_EQ(run(leat::from(std::vector<std::pair<int, int>>{{1, 10}, {2, 20}, {1, 11}}) |
                  leat::to_sqlite("store", options, sum))
                  .out,
              3U);
    EXPECT_THAT(asked(folder / "db", "SELECT number, square FROM numbers ORDER BY 1", 2), ElementsAre("1|11", "2|20"));
}

TEST(to_sqlite, tells_when_a_table_lacks_a_column_or_a_newer_leat_was_here) {
    const scratch_folder folder;
    leat::sqlite::database(folder / "db").run("CREATE TABLE numbers(number, cube)");
    leat::report done = store(0, 3, numbers_into(folder / "db"));
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_EQ(done.error, "store: " + (folder / "db") +
                              ": the table 'numbers' has no column 'square'; it has \"number\", \"cube\"");
    leat::sqlite::database(folder / "new").run("CREATE TABLE leat_sink(version); INSERT INTO leat_sink VALUES(7)");
    done = store(0, 3, numbers_into(folder / "new"));
    EXPECT_EQ(done.error, "store: " + (folder / "new") +
                              " was written by a newer leat: its commit table has version 7, and this one knows 1");
    put_file(folder / "text", std::string(5000, 'x'));
    EXPECT_EQ(store(0, 3, numbers_into(folder / "text")).error,
              "store: " + (folder / "text") + ": file is not a database");
    EXPECT_THAT(store(0, 3, numbers_into(folder / "none/db")).error, HasSubstr("unable to open database file"));
}

TEST(to_sqlite, a_database_that_another_has_locked_is_tried_again) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    options.patience = std::chrono::milliseconds(1);
    EXPECT_EQ(store(0, 1, options).out, 1U);
    leat::sqlite::database other(folder / "db");
    std::optional<leat::sqlite::transaction> held;
    int calls = 0;
    const auto locks_and_lets_go = [&](int number) {
        ++calls;
        if (calls == 1) held.emplace(other);
        if (calls == 3) held.reset();
        return row_of(number);
    };
    const leat::report done =
        run(leat::from(std::views::iota(1, 6)) |
            leat::to_sqlite("store", options, locks_and_lets_go).retry(5, std::chrono::milliseconds(1)));
    EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.out, 5U);
    EXPECT_EQ(calls, 7);
    EXPECT_THAT(asked(folder / "db", "SELECT count(*) FROM numbers"), ElementsAre("6"));
}

TEST(to_sqlite, a_database_that_stays_locked_ends_the_flow_with_its_name) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    options.patience = std::chrono::milliseconds(1);
    EXPECT_EQ(store(0, 1, options).out, 1U);
    leat::sqlite::database other(folder / "db");
    const leat::sqlite::transaction held(other);
    EXPECT_EQ(store(0, 1, options).error,
              "store: " + (folder / "db") + " is locked by another program; waited 0.001 s for it");
}

// The files of this process cannot grow beyond a size while it lives.
class file_limit {
public:
    explicit file_limit(std::uintmax_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit now = before_;
        now.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    file_limit(const file_limit&) = delete;
    ~file_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        (void)std::signal(SIGXFSZ, handler_);
    }

private:
    void (*handler_)(int);
    rlimit before_{};
};

TEST(to_sqlite, what_a_full_disk_has_taken_back_is_written_again) {
    const scratch_folder folder;
    leat::sqlite_sink_options options(folder / "db");
    options.tables = {{"texts", {{"number", sqlite_type::integer}, {"text", sqlite_type::text}}, {}}};
    options.batch = 10;
    std::optional<file_limit> full;
    int tried_again = 0;
    int last = -1;
    const auto wide = [&](int number) {
        if (number == 45 && tried_again == 0) full.emplace(std::filesystem::file_size(folder / "db-wal"));
        if (number == last && ++tried_again == 3) full.reset();
        last = number;
        return leat::sqlite_row(std::to_string(number), {std::int64_t{number}, std::string(5000, 'x')});
    };
    const leat::report done = run(leat::from(std::views::iota(0, 100)) |
                                  leat::to_sqlite("store", options, wide).retry(5, std::chrono::milliseconds(1)));
    EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.out, 100U);
    EXPECT_EQ(tried_again, 3);
    EXPECT_THAT(asked(folder / "db", "SELECT count(*), count(DISTINCT number) FROM texts", 2), ElementsAre("100|100"));
    EXPECT_THAT(asked(folder / "db", "SELECT count(*) FROM leat_commits"), ElementsAre("100"));

    last = -1;
    tried_again = 1;
    full.emplace(1 << 12U);
    const leat::report failed = run(leat::from(std::views::iota(100, 200)) | leat::to_sqlite("store", options, wide));
    full.reset();
    EXPECT_EQ(failed.end, leat::flow_end::failed);
    EXPECT_THAT(failed.error, HasSubstr(folder / "db"));
    EXPECT_THAT(asked(folder / "db", "SELECT count(*) FROM texts"), ElementsAre("100"));
}

TEST(to_sqlite, what_is_refused_only_at_the_end_of_a_transaction_fails_its_item_and_in_the_end_the_flow) {
    const scratch_folder folder;
    leat::sqlite::database(folder / "db")
        .run(
            "CREATE TABLE known(id INTEGER PRIMARY KEY); INSERT INTO known VALUES(1), (2);"
            "CREATE TABLE numbers(number INTEGER REFERENCES known(id) DEFERRABLE INITIALLY DEFERRED, square INTEGER)");
    const leat::report done =
        run(leat::from(std::vector<int>{1, 7, 2, 8}) | leat::to_sqlite("store", numbers_into(folder / "db"), row_of));
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("number 7: "));
    EXPECT_THAT(done.error, HasSubstr("FOREIGN KEY constraint failed"));
    EXPECT_EQ(done.out, 2U);
    EXPECT_EQ(done.failed, 2U);
    EXPECT_THAT(asked(folder / "db", "SELECT number FROM numbers"), ElementsAre("1", "2"));
}

TEST(to_sqlite, of_two_runs_at_once_the_first_is_ended_by_the_second) {
    const scratch_folder folder;
    leat::sqlite_sink_options options = numbers_into(folder / "db");
    leat::row_store first(options);
    first.begin();
    (void)first.put({row_of(1)});
    first.commit();
    leat::row_store second(options);
    EXPECT_THROW(first.begin(), leat::permanent_error);
    second.begin();
    EXPECT_EQ(second.put({row_of(1)}), leat::row_store::written::known);
    EXPECT_EQ(second.put({row_of(2)}), leat::row_store::written::fresh);
    second.commit();
    options.load = "another";
    leat::row_store beside(options);
    second.begin();
    second.commit();
}

TEST(to_sqlite, refuses_options_that_cannot_work) {
    const auto bad = [](const auto& change) {
        leat::sqlite_sink_options options = numbers_into("db");
        change(options);
        EXPECT_THROW((void)leat::make_sqlite_sink(options, nullptr), std::invalid_argument);
    };
    bad([](auto& options) { options.path.clear(); });
    bad([](auto& options) { options.tables.clear(); });
    bad([](auto& options) { options.tables[0].columns.clear(); });
    bad([](auto& options) { options.tables[0].key = {"cube"}; });
    bad([](auto& options) { options.tables[0].name = "leat_commits"; });
}

// Runs that are stopped in the middle, until one comes to its end; of rows of which some have equal keys.
TEST(to_sqlite, whatever_ends_the_runs_before_each_row_is_there_once) {
    rc::detail::TestParams how;
    how.maxSuccess = 60;
    const auto property = [] {
        const auto keys = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 12));
        const auto stops = *rc::gen::container<std::vector<std::size_t>>(3, rc::gen::inRange<std::size_t>(0, 60));
        const auto batch = *rc::gen::inRange<std::size_t>(1, 9);
        const auto refused = *rc::gen::inRange(0, 15);  // the content that the table does not take
        const scratch_folder folder;
        leat::sqlite::database(folder / "db")
            .run(fmt::format("CREATE TABLE rows(key INTEGER, place INTEGER CHECK(place <> {}))", refused).c_str());
        leat::sqlite_sink_options options(folder / "db");
        options.tables = {{"rows", {{"key"}, {"place"}}, {}}};
        options.batch = batch;
        std::vector<std::pair<int, int>> items;
        for (std::size_t i = 0; i < keys.size(); ++i) items.emplace_back(keys[i], static_cast<int>(i));
        for (std::size_t attempt = 0; attempt <= stops.size(); ++attempt) {
            leat::flow_control control;
            leat::flow_options flow_options;
            flow_options.control = &control;
            std::size_t count = 0;
            auto flow =
                leat::from(items) | leat::to_sqlite("store", options, [&](const std::pair<int, int>& one) {
                                        if (attempt < stops.size() && ++count == stops[attempt]) control.stop();
                                        return leat::sqlite_row(std::to_string(one.first),
                                                                {std::int64_t{one.first}, std::int64_t{one.second}});
                                    }).on_error(leat::on_error::keep_going);
            const leat::report done =
                leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow), flow_options); });
            RC_ASSERT(done.adds_up());
            RC_ASSERT(done.end != leat::flow_end::failed);
        }
        std::vector<std::string> wanted;
        for (const auto& [key, place] : items)
            if (place != refused) wanted.push_back(fmt::format("{}|{}", key, place));
        RC_ASSERT(asked(folder / "db", "SELECT key, place FROM rows ORDER BY place", 2) == wanted);
    };
    const auto result = rc::detail::checkTestable(property, rc::detail::TestMetadata(), how);
    if (result.is<rc::detail::SuccessResult>()) return;
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    FAIL() << text.str();
}

// --- The kind ---

class sqlite_kind : public testing::Test {
protected:
    leat::report run_flow_of(const std::string& sink_options, const std::string& more = {}) {
        return run_text("[flow]\nstate='" + (folder_ / "state") + "'\n[source]\n" + source_ +
                        "\n[[stage]]\ntype='filter'\npattern=''\n" + more + "[sink]\ntype='sqlite'\npath='" +
                        (folder_ / "db") + "'\ntable='t'\n" + sink_options + "\n");
    }
    std::vector<std::string> table(const std::string& columns, int count) {
        return asked(folder_ / "db", "SELECT " + columns + " FROM t", count);
    }
    scratch_folder folder_;
    std::string source_;
};

TEST_F(sqlite_kind, columns_take_members_as_text_or_as_what_they_are) {
    put_file(folder_ / "in", R"({"id": 7, "name": "x", "amount": 1.5, "day": "2024-02-29", "more": {"a": [1]}}
{"id": " 8 ", "name": 9, "amount": "-2e3", "day": "", "more": {"a": true}}
{"id": 9.0, "name": null, "amount": 4}
)");
    source_ = "type='jsonl'\npath='" + (folder_ / "in") + "'";
    const leat::report done = run_flow_of(
        "columns=['id integer required', 'name text', 'amount real', 'day date', 'inner any = /more/a', 'place = "
        "key']");
    ASSERT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_THAT(table("id, typeof(id), name, typeof(name), amount, day, inner", 7),
                ElementsAre("7|integer|x|text|1.5|2024-02-29|[1]", "8|integer|9|text|-2000.0|NULL|1",
                            "9|integer|NULL|null|4.0|NULL|NULL"));
    EXPECT_THAT(table("place", 1),
                ElementsAre((folder_ / "in") + ":1", (folder_ / "in") + ":2", (folder_ / "in") + ":3"));
}

TEST_F(sqlite_kind, what_cannot_be_converted_fails_the_item_alone) {
    put_file(folder_ / "in",
             "id,day\n1,2024-01-31\nx,2024-01-31\n3,2024-02-30\n,2024-01-01\n5.5,\n99999999999999999999,\n6,\n");
    source_ = "type='csv'\npath='" + (folder_ / "in") + "'";
    const leat::report done = run_flow_of("columns=['id integer required', 'day date']\non_error='dead-letter'");
    ASSERT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.dead, 5U);
    EXPECT_THAT(table("id, day", 2), ElementsAre("1|2024-01-31", "6|NULL"));
    const std::string letters = get_file(folder_ / "state/dead.jsonl");
    for (const char* why :
         {"'x' of column 'id' is no integer", "'2024-02-30' of column 'day' is no date; expected YYYY-MM-DD",
          "it has no value for column 'id'", "'5.5' of column 'id' is no integer",
          "'99999999999999999999' of column 'id' is no integer"})
        EXPECT_THAT(letters, HasSubstr(why));
}

TEST_F(sqlite_kind, rejects_go_to_a_table_of_their_own_exactly_once_too) {
    put_file(folder_ / "in", "id,amount\n1,2\ntorn\n3,x\n");
    source_ = "type='csv'\nbad_rows='pass-on'\npath='" + (folder_ / "in") + "'";
    for (int i = 0; i < 2; ++i) {
        const leat::report done = run_flow_of("columns=['id integer', 'amount real']\nrejects='bad'");
        ASSERT_EQ(done.end, leat::flow_end::complete) << done.error;
        EXPECT_EQ(i == 0 ? done.stages.back().out : done.stages.back().skipped, 3U);
    }
    EXPECT_THAT(table("id, amount", 2), ElementsAre("1|2.0"));
    const std::string in = folder_ / "in";
    EXPECT_THAT(asked(folder_ / "db", "SELECT item, error, content FROM bad", 3),
                ElementsAre(in + ":3|" + in + ":3: the row has 1 fields, and there are 2 columns|torn",
                            in + ":4|'x' of column 'amount' is no number|{\"id\":\"3\",\"amount\":\"x\"}"));
}

TEST_F(sqlite_kind, upsert_replaces) {
    put_file(folder_ / "in", "id,amount\n1,2\n2,3\n1,4\n");
    source_ = "type='csv'\npath='" + (folder_ / "in") + "'";
    EXPECT_EQ(run_flow_of("columns=['id integer', 'amount real']\nupsert='id'").out, 3U);
    EXPECT_THAT(table("id, amount", 2), ElementsAre("1|4.0", "2|3.0"));
}

TEST_F(sqlite_kind, refuses_options_that_cannot_be_meant_so) {
    source_ = "type='list'\nitems=['{}']";
    const auto why = [this](const std::string& options) {
        try {
            (void)run_flow_of(options);
        } catch (const std::invalid_argument& error) {
            return std::string(error.what());
        }
        return std::string("(no error)");
    };
    EXPECT_THAT(why("columns=['id number']"),
                HasSubstr("has \"id number\": 'number' is not known; expected NAME [TYPE]"));
    EXPECT_THAT(why("columns=['= key']"), HasSubstr("it has no name"));
    EXPECT_THAT(why("columns=['a = nothing']"), HasSubstr("'columns'"));
    EXPECT_THAT(why("columns=['a']\nupsert=['b']"), HasSubstr("names \"b\", which is none of the columns"));
    EXPECT_THAT(why("columns=['a']\nrejects='leat_x'"), HasSubstr("a table cannot be called 'leat_x'"));
}

}  // namespace
