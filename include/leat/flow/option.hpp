// option: what a kind of stage can be told, declared beside its code, and the values it was told. Flow files are checked
// against the declarations; help and docs are printed from them.
//
//   option("max", option_type::size, "the longest line").defaults("16MiB").at_least(1)
//
// Invariants:
//  1. Values that reach a kind have passed the declaration: the right type, within bounds, a known word, and every option
//     with a default has a value. A kind asks for them by key; asking for a key that is not declared is a bug.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <leat/base/expected.hpp>

namespace leat {

enum class option_type : std::uint8_t {
    text,        // "…"
    integer,     // 8
    number,      // 0.2, 1e-4
    boolean,     // true, false
    time_span,   // "20s", "200ms", "10us", "1h30m"
    time_range,  // "200ms..10s"
    size,        // "16MiB", "64k", or a number of bytes
    arguments,   // ["python3", "-u", "parse.py"]: a program and its arguments, not empty
    text_list,   // ["a", "b"]; one "a" is a list of one
    word,        // one of a few words
    jobs,        // a number from 1, "auto", or { min = 1, max = 8 }
    table,       // { … } with options of its own
};

struct duration_range {
    std::chrono::nanoseconds first{0};
    std::chrono::nanoseconds last{0};
};
struct byte_size {
    std::uint64_t bytes = 0;
};
// How many jobs: both 0 stand for "auto".
struct job_range {
    unsigned min = 0;
    unsigned max = 0;
};

class option_values;
using option_value =
    std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>, std::chrono::nanoseconds,
                 duration_range, byte_size, job_range, std::shared_ptr<const option_values>>;

// One option as declared. Each method returns *this.
class option {
public:
    option(std::string key, option_type type, std::string help);

    option& required();
    // The value when none is given, as it would be written in a flow file, without quotes.
    option& defaults(std::string text);
    // Bounds, both included: of integers and numbers, of sizes in bytes, of times in seconds. at_least(1) of a text: it is
    // not empty.
    option& at_least(double least);
    option& at_most(double most);
    // Of option_type::word.
    option& one_of(std::vector<std::string> words);
    // Words that will be known later: refused as "not supported yet".
    option& planned(std::vector<std::string> words);
    // Of option_type::table. A value that is no table stands for the option `shorthand` of it, when one is named.
    option& with(std::vector<option> table, std::string shorthand = {});
    // Other names under which people look for it: found in suggestions, not accepted.
    option& also_called(std::vector<std::string> names);

    std::string key;
    option_type type;
    std::string help;  // one line
    bool is_required = false;
    std::string default_text;  // empty: none
    double least;
    double most;
    std::vector<std::string> words;
    std::vector<std::string> planned_words;
    std::vector<option> table;
    std::string shorthand;
    std::vector<std::string> other_names;
};

// The checked values of a kind's options, by key.
class option_values {
public:
    [[nodiscard]] bool has(std::string_view key) const noexcept;
    // The value; a bug when it is absent or of another type.
    [[nodiscard]] const std::string& text(std::string_view key) const;  // text and word
    [[nodiscard]] std::int64_t integer(std::string_view key) const;
    [[nodiscard]] double number(std::string_view key) const;
    [[nodiscard]] bool boolean(std::string_view key) const;
    [[nodiscard]] std::chrono::nanoseconds duration(std::string_view key) const;
    [[nodiscard]] leat::duration_range duration_range(std::string_view key) const;
    [[nodiscard]] std::uint64_t size(std::string_view key) const;                    // in bytes
    [[nodiscard]] const std::vector<std::string>& list(std::string_view key) const;  // arguments and text_list
    [[nodiscard]] job_range jobs(std::string_view key) const;
    [[nodiscard]] const option_values& table(std::string_view key) const;

    void set(std::string key, option_value value);
    [[nodiscard]] const std::vector<std::pair<std::string, option_value>>& all() const noexcept { return values_; }

private:
    template <class T>
    const T& get(std::string_view key) const;
    std::vector<std::pair<std::string, option_value>> values_;
};

// Thrown by a kind for options that are each right and yet cannot work (an expression that does not compile). The message
// goes on after the option's name: "is not a regular expression: missing )".
class option_error : public std::runtime_error {
public:
    option_error(std::string key, const std::string& message) : std::runtime_error(message), key_(std::move(key)) {}
    [[nodiscard]] const std::string& key() const noexcept { return key_; }

private:
    std::string key_;
};

// The value that `text` stands for, as in a flow file without the quotes; the error says what was expected. Not for tables
// and lists.
[[nodiscard]] expected<option_value, std::string> parse_option(const option& what, std::string_view text);
// Nothing when `value` lies within the bounds and words of `what`; else what was expected.
[[nodiscard]] expected<void, std::string> check_option(const option& what, const option_value& value);

// "1h30m", "20s", "1.5s", "200ms", "10us", "5ns"; never negative. The error says what was expected.
[[nodiscard]] expected<std::chrono::nanoseconds, std::string> parse_duration(std::string_view text);
// "4096", "64k", "16MiB", "1GB"; k, M, G and KiB, MiB, GiB are powers of 1024, kB, MB, GB powers of 1000.
[[nodiscard]] expected<std::uint64_t, std::string> parse_size(std::string_view text);

// The defaults of `declared`, for making a component without a flow file; set() replaces them.
[[nodiscard]] option_values default_values(const std::vector<option>& declared);

}  // namespace leat
