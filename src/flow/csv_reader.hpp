// csv_reader: the rows of a file with the names of their columns. Used by the source of typed flows and by the kind `csv`.
#pragma once

#include <optional>

#include <leat/flow/csv.hpp>
#include <leat/io/pipe.hpp>

namespace leat {

class csv_reader {
public:
    // Throws std::invalid_argument for options that cannot be meant so.
    explicit csv_reader(csv_options options);

    // Opens the file and reads the header. Throws std::system_error with the path, permanent_error with file and line for a
    // header that is none, and cancelled.
    task<> open();
    // Goes on to the next row of what was read; false: fill() must be called first.
    bool take();
    // Reads more; false when there is no more, and take() has given all. Throws std::system_error and cancelled.
    task<bool> fill();

    // Of the row that take() found; valid until the next take() or fill().
    [[nodiscard]] bool is_bad() const noexcept { return !why_.empty(); }
    [[nodiscard]] const std::string& why() const noexcept { return why_; }  // "FILE:LINE: …"
    [[nodiscard]] std::string_view raw() const noexcept { return parser_.raw(); }
    [[nodiscard]] std::string_view field(std::size_t column) const noexcept;
    [[nodiscard]] std::string key() const;  // "FILE:LINE"
    [[nodiscard]] const csv_row::names& columns() const noexcept { return columns_; }
    [[nodiscard]] csv_row row() const;
    [[nodiscard]] const csv_options& options() const noexcept { return options_; }

private:
    [[nodiscard]] const char* shown() const noexcept { return options_.path == "-" ? "stdin" : options_.path.c_str(); }
    csv_options options_;
    csv_parser parser_;
    std::optional<io::pipe_reader> in_;
    std::string room_;
    bool ended_ = false;
    csv_row::names columns_;
    std::string why_;
};

// What refusing a row means to the flow; not for pass_on.
[[nodiscard]] on_error to_on_error(csv_bad_rows how) noexcept;

}  // namespace leat
