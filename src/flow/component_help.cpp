// The help and the docs of kinds, printed from their declarations.
#include <fmt/format.h>

#include <leat/flow/component.hpp>

namespace leat {

namespace {

constexpr component_role roles[] = {component_role::source, component_role::stage, component_role::sink};

std::string_view form_of(option_type type) {
    switch (type) {
        case option_type::text:
            return "text";
        case option_type::integer:
            return "whole number";
        case option_type::number:
            return "number";
        case option_type::boolean:
            return "true or false";
        case option_type::time_span:
            return "time";
        case option_type::time_range:
            return "time..time";
        case option_type::size:
            return "size";
        case option_type::arguments:
            return "list of arguments";
        case option_type::text_list:
            return "list of texts";
        case option_type::word:
            return "word";
        case option_type::jobs:
            return "number, \"auto\" or { min, max }";
        case option_type::table:
            return "table";
    }
    return "";
}

std::string form_of(const option& what) {
    if (what.type != option_type::word) return std::string(form_of(what.type));
    std::string words;
    for (const std::string& each : what.words) words += (words.empty() ? "" : " | ") + each;
    return words;
}

std::string presence_of(const option& what) {
    if (what.is_required) return "required";
    if (what.default_text.empty()) return "";
    std::string text = "default: ";
    for (const char each : what.default_text) text += each == '\n' ? std::string("\\n") : std::string(1, each);
    return text;
}

// "path (text, required)"
std::string head_of(const option& what, const std::string& prefix) {
    const std::string presence = presence_of(what);
    return fmt::format("{}{} ({}{}{})", prefix, what.key, form_of(what), presence.empty() ? "" : "; ", presence);
}

void describe(std::string& to, const std::vector<option>& options, const std::string& prefix) {
    for (const option& each : options) {
        to += fmt::format("  {}\n      {}\n", head_of(each, prefix), each.help);
        describe(to, each.table, prefix + each.key + ".");
    }
}

// Keeps a cell of a Markdown table one cell.
std::string cell(std::string text) {
    for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, "\\");
    return text;
}

void rows(std::string& to, const std::vector<option>& options, const std::string& prefix) {
    for (const option& each : options) {
        to += fmt::format("| `{}{}` | {} | {} | {} |\n", prefix, each.key, cell(form_of(each)), cell(presence_of(each)),
                          cell(each.help));
        rows(to, each.table, prefix + each.key + ".");
    }
}

void table(std::string& to, const std::vector<option>& options) {
    to += "| option | form | | meaning |\n| --- | --- | --- | --- |\n";
    rows(to, options, "");
    to += '\n';
}

std::string article(component_role role) { return role == component_role::source ? "a source" : "a stage or a sink"; }

}  // namespace

std::string list_kinds(const registry& kinds) {
    std::string text;
    for (const component_role role : roles) {
        text += fmt::format("{}{}s:\n", text.empty() ? "" : "\n", to_string(role));
        for (const component* each : kinds.of(role)) text += fmt::format("  {:<12} {}\n", each->name, each->summary);
    }
    return text;
}

std::string describe_kind(const component& kind) {
    std::string text = fmt::format("{} ({}): {}\n", kind.name, to_string(kind.role), kind.summary);
    if (!kind.help.empty()) text += "\n" + kind.help;
    if (!kind.options.empty()) text += "\nOptions:\n";
    describe(text, kind.options, "");
    text += fmt::format("\nOptions of {}:\n", article(kind.role));
    describe(text, common_options(kind.role), "");
    return text;
}

std::string kinds_as_markdown(const registry& kinds) {
    std::string text =
        "# Kinds of sources, stages and sinks\n\n"
        "Printed from the declarations in `src/flow/kinds/`; a test compares. `leat list KIND` prints one of them.\n\n"
        "An item is a record: its bytes, a key (what it is called), and attributes. Times are written as `\"20s\"`,\n"
        "`\"200ms\"`, `\"1h30m\"`; sizes as `\"16MiB\"`, `\"64k\"` or a number of bytes.\n\n"
        "## The table `[flow]` of a flow file\n\n";
    table(text, flow_table_options());
    text += "## Options of every source\n\n";
    table(text, common_options(component_role::source));
    text += "## Options of every stage and sink\n\n";
    table(text, common_options(component_role::stage));
    for (const component_role role : roles)
        for (const component* each : kinds.of(role)) {
            text += fmt::format("## {} `{}`\n\n{}.\n\n", to_string(role), each->name, each->summary);
            if (!each->help.empty()) text += each->help + "\n";
            if (!each->options.empty()) table(text, each->options);
        }
    while (text.size() > 1 && text[text.size() - 2] == '\n') text.pop_back();
    return text;
}

}  // namespace leat
