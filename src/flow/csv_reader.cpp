#include <flow/csv_reader.hpp>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

#include <leat/runtime/blocking.hpp>

#include <flow/open_to_read.hpp>

namespace leat {

namespace {

constexpr std::size_t chunk = std::size_t{256} << 10U;

std::string_view without_blanks(std::string_view text) {
    constexpr std::string_view blanks = " \t\r\n";
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// Throws std::invalid_argument for two columns of one name.
void check_names(const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i].empty()) throw std::invalid_argument(fmt::format("column {} has no name", i + 1));
        if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
            names.begin() + static_cast<std::ptrdiff_t>(i))
            throw std::invalid_argument(fmt::format("two columns are called '{}'", names[i]));
    }
}

}  // namespace

on_error to_on_error(csv_bad_rows how) noexcept {
    switch (how) {
        case csv_bad_rows::skip:
            return on_error::skip;
        case csv_bad_rows::dead_letter:
            return on_error::dead_letter;
        case csv_bad_rows::keep_going:
            return on_error::keep_going;
        case csv_bad_rows::fail:
        case csv_bad_rows::pass_on:
            break;
    }
    return on_error::fail;
}

csv_reader::csv_reader(csv_options options)
    : options_(std::move(options)), parser_(options_.separator, options_.longest_row) {
    check_names(options_.columns);
    if (!options_.header && options_.columns.empty())
        throw std::invalid_argument("CSV without a header needs the names of its columns");
}

task<> csv_reader::open() {
    const int fd = co_await blocking(&open_to_read, options_.path);
    in_.emplace(io::unique_fd(fd));
    room_.resize(chunk);
    std::vector<std::string> names = options_.columns;
    if (options_.header) {
        csv_parser::event found = parser_.next();
        for (bool more = true; more && found == csv_parser::event::more; found = parser_.next()) more = co_await fill();
        if (found == csv_parser::event::bad)
            throw permanent_error(fmt::format("{}:{}: {}", shown(), parser_.line(), parser_.why()));
        if (names.empty() && found == csv_parser::event::row)
            for (std::size_t i = 0; i < parser_.size(); ++i) names.emplace_back(field(i));
    }
    try {
        check_names(names);
    } catch (const std::invalid_argument& error) {
        throw permanent_error(fmt::format("{}:{}: {}", shown(), parser_.line(), error.what()));
    }
    columns_ = std::make_shared<const std::vector<std::string>>(std::move(names));
}

task<bool> csv_reader::fill() {
    if (ended_) co_return false;
    const std::span<char> into(room_.data(), room_.size());
    expected<std::size_t, std::error_code> got = co_await in_->read_some(into);
    if (!got)
        throw std::system_error(got.error(), options_.path == "-" ? "cannot read standard input"
                                                                  : fmt::format("cannot read '{}'", options_.path));
    ended_ = *got == 0;
    if (ended_) parser_.finish();
    else parser_.feed(std::string_view(room_).substr(0, *got));
    co_return true;
}

bool csv_reader::take() {
    const csv_parser::event found = parser_.next();
    if (found == csv_parser::event::more) return false;
    why_.clear();
    if (found == csv_parser::event::bad) why_ = fmt::format("{}:{}: {}", shown(), parser_.line(), parser_.why());
    else if (parser_.size() != columns_->size())
        why_ = fmt::format("{}:{}: the row has {} fields, and there are {} columns", shown(), parser_.line(),
                           parser_.size(), columns_->size());
    return true;
}

std::string_view csv_reader::field(std::size_t column) const noexcept {
    return options_.trim ? without_blanks(parser_[column]) : parser_[column];
}
std::string csv_reader::key() const { return fmt::format("{}:{}", shown(), parser_.line()); }

csv_row csv_reader::row() const {
    if (is_bad()) return csv_row::bad(columns_, key(), why_, std::string(raw()));
    std::vector<std::string> fields;
    fields.reserve(parser_.size());
    for (std::size_t i = 0; i < parser_.size(); ++i) fields.emplace_back(field(i));
    return {columns_, key(), std::move(fields)};
}

// --- The source of typed flows ---

csv_row csv_row::bad(names columns, std::string key, std::string why, std::string raw) {
    csv_row made(std::move(columns), std::move(key), {});
    made.error_ = std::move(why);
    made.raw_ = std::move(raw);
    return made;
}

const std::string& csv_row::operator[](std::string_view column) const {
    const auto found = std::find(columns_->begin(), columns_->end(), column);
    const auto at = static_cast<std::size_t>(found - columns_->begin());
    if (at < fields_.size()) return fields_[at];
    if (!error_.empty()) throw permanent_error(error_);
    throw permanent_error(fmt::format("{}: there is no column '{}'", key_, column));
}

std::size_t csv_row::weight() const noexcept {
    std::size_t all = sizeof(csv_row) + key_.capacity() + error_.capacity() + raw_.capacity() +
                      fields_.capacity() * sizeof(std::string);
    for (const std::string& each : fields_) all += each.capacity();
    return all;
}

namespace {

class csv_source final : public source {
public:
    explicit csv_source(csv_options options) : in_(std::move(options)) {}

    task<> run(source_output& out) override {
        co_await in_.open();
        const csv_bad_rows bad = in_.options().bad_rows;
        for (bool more = true; more; more = co_await in_.fill()) {
            while (in_.take()) {
                payload value(in_.row());
                if (in_.is_bad() && bad != csv_bad_rows::pass_on)
                    co_await out.refuse(std::move(value), in_.why(), to_on_error(bad));
                else if (out.put(std::move(value))) co_await out.flush();
            }
            co_await out.flush();
        }
    }
    bool has_unique_names() const noexcept override { return true; }
    bool has_dead_letters() const noexcept override { return in_.options().bad_rows == csv_bad_rows::dead_letter; }

private:
    csv_reader in_;
};

}  // namespace

std::shared_ptr<source> make_csv_source(csv_options options) {
    return std::make_shared<csv_source>(std::move(options));
}

}  // namespace leat
