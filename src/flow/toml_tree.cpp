#include <flow/toml_tree.hpp>

#include <algorithm>

#include <fmt/format.h>

#ifndef TOML_HEADER_ONLY
#    define TOML_HEADER_ONLY 1
#endif
#ifndef TOML_ENABLE_FORMATTERS
#    define TOML_ENABLE_FORMATTERS 0
#endif
#include <toml++/toml.h>

namespace leat {

namespace {

toml_place place_of(const toml::source_region& region) { return {region.begin.line, region.begin.column}; }

// For a message: one line, not too long, control characters as \xNN.
std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 80;
    std::string shown = "\"";
    std::size_t at = 0;
    for (; at < text.size() && at < longest; ++at) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (c < 0x20 || c == 0x7f) shown += fmt::format("\\x{:02x}", c);
        else shown += text[at];
    }
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80)
        shown += text[at++];  // whole letters
    return shown + (at < text.size() ? "..." : "") + "\"";
}

toml_value convert(const toml::node& node);

void convert_table(const toml::table& table, toml_value& to) {
    to.what = toml_value::form::table;
    for (const auto& [key, value] : table) {
        toml_member member;
        member.key = std::string(key.str());
        member.place = place_of(key.source());
        member.value = convert(value);
        to.members.push_back(std::move(member));
    }
    std::sort(to.members.begin(), to.members.end(), [](const toml_member& a, const toml_member& b) {
        return a.place.line != b.place.line ? a.place.line < b.place.line : a.place.column < b.place.column;
    });
}

toml_value convert(const toml::node& node) {
    toml_value value;
    value.place = place_of(node.source());
    using form = toml_value::form;
    switch (node.type()) {
        case toml::node_type::table:
            convert_table(*node.as_table(), value);
            break;
        case toml::node_type::array:
            value.what = form::array;
            for (const toml::node& each : *node.as_array()) value.items.push_back(convert(each));
            break;
        case toml::node_type::string:
            value.what = form::text;
            value.text = node.as_string()->get();
            break;
        case toml::node_type::integer:
            value.what = form::integer;
            value.integer = node.as_integer()->get();
            break;
        case toml::node_type::floating_point:
            value.what = form::number;
            value.number = node.as_floating_point()->get();
            break;
        case toml::node_type::boolean:
            value.what = form::boolean;
            value.boolean = node.as_boolean()->get();
            break;
        default:
            value.what = form::date;
            break;
    }
    return value;
}

}  // namespace

const toml_member* toml_value::find(std::string_view key) const {
    const auto found =
        std::find_if(members.begin(), members.end(), [&](const toml_member& each) { return each.key == key; });
    return found == members.end() ? nullptr : &*found;
}

std::string toml_value::described() const {
    switch (what) {
        case form::text:
            return quoted(text);
        case form::integer:
            return fmt::format("the number {}", integer);
        case form::number:
            return fmt::format("the number {}", number);
        case form::boolean:
            return boolean ? "true" : "false";
        case form::date:
            return "a date or a time of day";
        case form::array:
            return items.empty() ? "an empty array" : "an array";
        case form::table:
            return "a table";
    }
    return "";
}

expected<toml_value, flow_file_error> parse_toml(std::string_view text, const std::string& name) {
    try {
        const toml::table root = toml::parse(text);
        toml_value value;
        value.place = {1, 1};
        convert_table(root, value);
        return value;
    } catch (const toml::parse_error& error) {
        const toml_place place = place_of(error.source());
        return unexpected(flow_file_error{name, place.line, place.column,
                                          fmt::format("not TOML: {}", std::string_view(error.description()))});
    }
}

}  // namespace leat
