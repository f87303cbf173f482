// toml_tree: a TOML document as a plain tree with the place of everything in it. The one file that includes toml++ makes
// it; the reader of flow files works on this.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <leat/flow/flow_file.hpp>

namespace leat {

struct toml_place {
    unsigned line = 0;  // from 1
    unsigned column = 0;
};

struct toml_member;

struct toml_value {
    enum class form : unsigned char { text, integer, number, boolean, date, array, table };
    form what = form::table;
    toml_place place;
    std::string text;
    std::int64_t integer = 0;
    double number = 0;
    bool boolean = false;
    std::vector<toml_value> items;     // of an array
    std::vector<toml_member> members;  // of a table, in the order of the file

    [[nodiscard]] const toml_member* find(std::string_view key) const;
    // What it is, for messages: `the text "abc"`, `the number 0`, `an array`.
    [[nodiscard]] std::string described() const;
};

struct toml_member {
    std::string key;
    toml_place place;  // of the key
    toml_value value;
};

// The root table, or what is wrong with the text and where.
[[nodiscard]] expected<toml_value, flow_file_error> parse_toml(std::string_view text, const std::string& name);

}  // namespace leat
