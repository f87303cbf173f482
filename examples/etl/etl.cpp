// etl: from CSV through checks to SQLite, each row exactly once, however often it is killed and run again.
//
// usage: etl [INPUT.csv DATABASE]     without arguments: sales.csv, into a database in memory
#include <leat/flow/batch.hpp>
#include <leat/flow/csv.hpp>
#include <leat/flow/sqlite_sink.hpp>
#include <leat/leat.hpp>

#include <charconv>
#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

struct sale {
    std::string key;  // "sales.csv:7": what the row is known by when it comes again
    std::int64_t id = 0;
    std::string day;
    std::string product;
    std::int64_t quantity = 0;
    double price = 0;
    std::string why;  // it is rejected
    std::string text;
};

std::string need(const leat::csv_row& row, const char* column) {
    if (row[column].empty()) throw std::runtime_error(std::string("there is no ") + column);
    return row[column];
}

template <class Number>
Number number(const leat::csv_row& row, const char* column) {
    const std::string text = need(row, column);
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0)
        throw std::runtime_error("'" + text + "' is no " + column);
    return value;
}

std::string date(const leat::csv_row& row, const char* column) {
    const std::string text = need(row, column);
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;
    int length = 0;
    const bool shaped =
        text.size() == 10 && std::sscanf(text.c_str(), "%4d-%2u-%2u%n", &year, &month, &day, &length) == 3;
    const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
    if (!shaped || length != 10 || !date.ok()) throw std::runtime_error("'" + text + "' is no " + column);
    return text;
}

sale clean(const leat::csv_row& row) {
    sale made;
    made.key = row.key();
    try {
        if (!row.error().empty())
            throw std::runtime_error(row.error().substr(row.key().size() + 2));  // without its place
        made.id = number<std::int64_t>(row, "id");
        made.day = date(row, "day");
        made.product = need(row, "product");
        made.quantity = number<std::int64_t>(row, "quantity");
        made.price = number<double>(row, "price");
    } catch (const std::exception& error) {
        made.why = error.what();
        made.text = row.raw();
        for (const std::string& field : row.fields()) made.text += (made.text.empty() ? "" : " | ") + field;
    }
    return made;
}

leat::task<int> program(std::string from, std::string to) {
    leat::csv_options input(from);
    input.trim = true;
    input.bad_rows = leat::csv_bad_rows::pass_on;

    using leat::sqlite_type;
    leat::sqlite_sink_options output(to);
    output.tables = {
        {"sales",
         {{"id", sqlite_type::integer, true},
          {"day", sqlite_type::text, true},
          {"product", sqlite_type::text, true},
          {"quantity", sqlite_type::integer, true},
          {"price", sqlite_type::real, true}},
         {}},
        {"rejects", {{"row", sqlite_type::text}, {"why", sqlite_type::text}, {"text", sqlite_type::text}}, {}}};
    output.batch = 4;  // of the batches below

    std::size_t rejected = 0;
    const auto rows_of = [&](const std::vector<sale>& some) {
        std::vector<leat::sqlite_row> rows;
        for (const sale& one : some) {
            if (one.why.empty()) {
                rows.emplace_back(
                    one.key, std::vector<leat::sqlite_value>{one.id, one.day, one.product, one.quantity, one.price});
                continue;
            }
            if (++rejected <= 10) std::printf("%s: %s\n", one.key.c_str(), one.why.c_str());
            rows.emplace_back(one.key, std::vector<leat::sqlite_value>{one.key, one.why, one.text}, 1);
        }
        return rows;
    };

    auto graph = leat::from_csv(input) |
                 leat::filter("no comments", [](const leat::csv_row& row) { return !row.raw().starts_with('#'); }) |
                 leat::map("clean", clean).concurrency(2) |  // in the order of the input all the same
                 leat::batch("some", 256, 100ms) | leat::to_sqlite("store", output, rows_of).retry(3);
    const leat::report done = co_await leat::run_flow(std::move(graph));
    std::printf("%llu rows: %llu stored, %zu of them as rejects; %llu left out\n",
                static_cast<unsigned long long>(done.in), static_cast<unsigned long long>(done.out), rejected,
                static_cast<unsigned long long>(done.skipped));
    if (done.end == leat::flow_end::complete) co_return 0;
    std::fprintf(stderr, "etl: %s\n", done.error.c_str());
    co_return 1;
}

int main(int argc, char** argv) {
    const std::string from = argc > 1 ? argv[1] : "sales.csv";
    const std::string to = argc > 2 ? argv[2] : ":memory:";
    return leat::main(argc, argv, [=] { return program(from, to); });
}
