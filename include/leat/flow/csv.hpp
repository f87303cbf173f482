// csv: rows of comma-separated values, as RFC 4180 has them: a parser that is given bytes as they come, a writer, and a source
// of rows for flows of functions.
//
//   leat::flow_graph work = leat::from_csv(leat::csv_options("sales.csv"))
//                         | leat::map("amount", [](const leat::csv_row& row) { return std::stod(row["amount"]); })
//                         | leat::for_each("add", add);
//
// Beyond the RFC: a line may end with LF alone, the last line needs no end, a byte order mark at the start and empty lines
// are left out, and the separator may be another character.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <leat/flow/flow.hpp>

namespace leat {

// Cuts bytes into rows and fields. What is wrong with a row is said of that row; the next begins behind its line.
//
//   csv_parser parser;
//   parser.feed(bytes);                                        // any number of times
//   while (parser.next() != csv_parser::event::more) use(parser);
//   parser.finish();                                           // no more bytes will come
//   while (parser.next() != csv_parser::event::more) use(parser);
//
// Memory: what was fed and not yet taken, and twice the bound of a row.
class csv_parser {
public:
    static constexpr std::size_t most_fields = 65'536;  // of a row
    static constexpr std::uint64_t usual_bound = std::uint64_t{16} << 20U;

    // `longest`: bytes of a row; what is longer is bad. Throws std::invalid_argument for a separator that is a quote or
    // part of a line end.
    explicit csv_parser(char separator = ',', std::uint64_t longest = usual_bound);

    enum class event : unsigned char {
        more,  // no whole row is left
        row,
        bad,  // a row that is none: see why()
    };
    void feed(std::string_view bytes);
    void finish() noexcept { ended_ = true; }
    // Goes on to the next row. The views below are valid until the next call.
    event next();

    [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
    [[nodiscard]] std::string_view operator[](std::size_t field) const noexcept {
        const std::size_t begin = field == 0 ? 0 : ends_[field - 1];
        return std::string_view(text_).substr(begin, ends_[field] - begin);
    }
    // In which the row begins, from 1.
    [[nodiscard]] std::uint64_t line() const noexcept { return line_; }
    // Of a bad row: what is wrong with it, and its bytes without the line end, as far as they were kept.
    [[nodiscard]] const std::string& why() const noexcept { return why_; }
    // Of any row that is not longer than its bound.
    [[nodiscard]] std::string_view raw() const noexcept;

private:
    enum class at : unsigned char { row_start, field_start, plain, quoted, quote, quote_then_cr, skipping };
    void begin_row();
    void end_field();
    void take_cr_off();
    void put(std::size_t begin, std::size_t end);
    void spoil(std::string why);
    bool step();  // true: the row has ended
    event end_row();

    char separator_;
    std::uint64_t longest_;
    bool special_[256] = {};  // what a plain field ends with
    std::string buffer_;      // what was fed from the row's begin on
    std::size_t begin_ = 0;   // of the row
    std::size_t scan_ = 0;    // what has been looked at
    std::string text_;        // of the row's fields, without quotes
    std::vector<std::size_t> ends_;
    at state_ = at::row_start;
    bool begun_ = false;  // a byte order mark has been looked for
    bool ended_ = false;
    bool fresh_ = true;     // the next call begins a row
    bool dropped_ = false;  // of a row that is too long: its front is gone
    std::string kept_;      // what is shown of it
    std::string why_;
    std::uint64_t line_ = 1;
    std::uint64_t next_line_ = 1;
};

// Appends a row with its line end (CR LF), quoted where it has to be. The parser gives the same fields; of a row without
// fields nothing is written.
void append_csv_row(std::string& to, std::span<const std::string_view> fields, char separator = ',');

// --- Rows of a file ---

// What becomes of a row that is none: an open or misplaced quote, another number of fields than there are columns, a length
// beyond the bound.
enum class csv_bad_rows : unsigned char {
    fail,  // ends the flow, with file and line
    skip,  // as for the items of a stage: see on_error
    dead_letter,
    keep_going,
    pass_on,  // it is an item without fields, whose error() says why
};

struct csv_options {
    explicit csv_options(std::string file) : path(std::move(file)) {}
    std::string path;  // "-": standard input
    char separator = ',';
    bool header = true;                // the first row has the names of the columns
    std::vector<std::string> columns;  // instead of those; needed where there is no header
    bool trim = false;                 // fields lose the blanks around them
    std::uint64_t longest_row = csv_parser::usual_bound;
    csv_bad_rows bad_rows = csv_bad_rows::fail;
};

// One row. Copies share the names of the columns.
class csv_row {
public:
    using names = std::shared_ptr<const std::vector<std::string>>;
    csv_row() : csv_row(std::make_shared<const std::vector<std::string>>(), {}, {}) {}
    // As many fields as columns.
    csv_row(names columns, std::string key, std::vector<std::string> fields)
        : columns_(std::move(columns)), key_(std::move(key)), fields_(std::move(fields)) {}
    [[nodiscard]] static csv_row bad(names columns, std::string key, std::string why, std::string raw);

    // The field of a column. Throws permanent_error when there is no such column, or the row is bad.
    [[nodiscard]] const std::string& operator[](std::string_view column) const;
    [[nodiscard]] const std::vector<std::string>& columns() const noexcept { return *columns_; }
    [[nodiscard]] const std::vector<std::string>& fields() const noexcept { return fields_; }
    [[nodiscard]] const std::string& key() const noexcept { return key_; }  // "FILE:LINE"
    // Of a bad row that was passed on: what is wrong with it; else empty.
    [[nodiscard]] const std::string& error() const noexcept { return error_; }
    // Its text then, without the line end; of one that is too long the first 64 KiB.
    [[nodiscard]] const std::string& raw() const noexcept { return raw_; }

    [[nodiscard]] std::size_t weight() const noexcept;
    [[nodiscard]] const std::string& name() const noexcept { return key_; }

private:
    names columns_;
    std::string key_;
    std::vector<std::string> fields_;
    std::string error_;
    std::string raw_;
};

// The rows of a file, in its order. Errors that fail the flow: the file cannot be opened or read; two columns have one name.
[[nodiscard]] std::shared_ptr<source> make_csv_source(csv_options options);
[[nodiscard]] inline pipeline<csv_row> from_csv(csv_options options) {
    return from_source<csv_row>("csv", make_csv_source(std::move(options)));
}

}  // namespace leat
