// option_reader: takes the options of one table of a flow file, checked against their declarations. Collects all mistakes
// instead of stopping at the first. Used by flow_file_reader.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <leat/flow/flow_file.hpp>

#include <flow/toml_tree.hpp>

namespace leat {

class option_reader {
public:
    option_reader(std::string file, std::vector<flow_file_error>& errors) : file_(std::move(file)), errors_(errors) {}

    // Reads the members of `table` that `declared` names. `where` stands for the table in messages: "[[stage]] 'parse'".
    // With defaults for what is absent. An unknown key, a wrong value, a required one that is missing: an error each.
    option_values read(const toml_value& table, const std::vector<option>& declared, const std::string& where);

    void error(toml_place place, std::string message);

private:
    std::optional<option_value> value(const toml_value& found, const option& what, const std::string& where);
    std::optional<option_value> table_value(const toml_value& found, const option& what, const std::string& where);
    std::optional<option_value> jobs_value(const toml_value& found, const option& what, const std::string& where);
    std::optional<option_value> list_value(const toml_value& found, const option& what, const std::string& where);
    std::nullopt_t refuse(const toml_value& found, const option& what, const std::string& where,
                          const std::string& expected_form);
    void unknown_key(const toml_member& found, const std::vector<option>& declared, const std::string& where);

    std::string file_;
    std::vector<flow_file_error>& errors_;
};

}  // namespace leat
