// sqlite: items as rows of a table, each exactly once.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include <boost/json.hpp>
#include <fmt/format.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <flow/record_json.hpp>
#include <leat/flow/record.hpp>
#include <leat/flow/sqlite_sink.hpp>

namespace leat {

namespace {

namespace json = boost::json;

enum class form : unsigned char { any, text, integer, real, blob, date };

// One column: "NAME [TYPE] [required] [= SOURCE]".
struct column {
    std::string name;
    form type = form::any;
    bool required = false;
    std::optional<part_of> part;  // of the record; none: the member `name` of its JSON object
    std::string pointer;          // or this value in its JSON
};

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<form> form_of(std::string_view word) {
    static constexpr std::pair<std::string_view, form> known[] = {{"any", form::any},         {"text", form::text},
                                                                  {"integer", form::integer}, {"real", form::real},
                                                                  {"blob", form::blob},       {"date", form::date}};
    for (const auto& [name, type] : known)
        if (name == word) return type;
    return std::nullopt;
}

column parse_column(const std::string& spec) {
    const auto refuse = [&spec](const std::string& why) {
        return option_error("columns",
                            fmt::format("has \"{}\": {}; expected NAME [TYPE] [required] [= SOURCE], with the types "
                                        "any, text, integer, real, blob, date",
                                        spec, why));
    };
    column made;
    std::string_view left = spec;
    if (const std::size_t equals = spec.find('='); equals != std::string::npos) {
        const std::string source(trimmed(left.substr(equals + 1)));
        left = left.substr(0, equals);
        part_of part(source, "columns");
        if (source.starts_with('/')) made.pointer = source;
        else made.part = std::move(part);
    }
    left = trimmed(left);
    std::size_t words = 0;
    while (!left.empty()) {
        const std::string_view word = left.substr(0, left.find_first_of(" \t"));
        left = trimmed(left.substr(word.size()));
        if (words++ == 0) made.name = word;
        else if (word == "required" && !made.required) made.required = true;
        else if (const auto type = form_of(word); type && made.type == form::any) made.type = *type;
        else throw refuse(fmt::format("'{}' is not known", word));
    }
    if (made.name.empty()) throw refuse("it has no name");
    return made;
}

sqlite_type stored_as(form type) {
    switch (type) {
        case form::any:
            return sqlite_type::any;
        case form::integer:
            return sqlite_type::integer;
        case form::real:
            return sqlite_type::real;
        case form::blob:
            return sqlite_type::blob;
        case form::text:
        case form::date:
            break;
    }
    return sqlite_type::text;
}

template <class Number>
std::optional<Number> whole_number(std::string_view text) {
    Number value{};
    if (text.starts_with('+')) text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

bool is_date(std::string_view text) {
    if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
    for (const std::size_t at : {0U, 1U, 2U, 3U, 5U, 6U, 8U, 9U})
        if (text[at] < '0' || text[at] > '9') return false;
    const auto number = [text](std::size_t at, std::size_t digits) {
        int value = 0;
        for (std::size_t i = 0; i < digits; ++i) value = value * 10 + (text[at + i] - '0');
        return value;
    };
    const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                          std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                          std::chrono::day(static_cast<unsigned>(number(8, 2)))};
    return day.ok();
}

// A text as the column has it; an empty one is no number and no date, but nothing.
sqlite_value value_of_text(const column& of, std::string_view text) {
    const auto refuse = [&](const char* what) {
        return permanent_error(fmt::format("'{}' of column '{}' is no {}", to_utf8(text.substr(0, 80)), of.name, what));
    };
    if (of.type == form::any || of.type == form::text || of.type == form::blob) return std::string(text);
    text = trimmed(text);
    if (text.empty()) return std::monostate();
    if (of.type == form::integer) {
        if (const auto number = whole_number<std::int64_t>(text)) return *number;
        throw refuse("integer");
    }
    if (of.type == form::real) {
        if (const auto number = whole_number<double>(text); number && std::isfinite(*number)) return *number;
        throw refuse("number");
    }
    if (!is_date(text)) throw refuse("date; expected YYYY-MM-DD");
    return std::string(text);
}

sqlite_value value_of(const column& of, const json::value& found) {
    const auto refuse = [&](const char* what) {
        return permanent_error(
            fmt::format("{} of column '{}' is no {}", json::serialize(found).substr(0, 80), of.name, what));
    };
    const bool as_text = of.type == form::text || of.type == form::blob || of.type == form::date;
    switch (found.kind()) {
        case json::kind::null:
            return std::monostate();
        case json::kind::string:
            return value_of_text(of, {found.get_string().data(), found.get_string().size()});
        case json::kind::bool_:
            if (as_text) break;
            if (of.type == form::real) return found.get_bool() ? 1.0 : 0.0;
            return std::int64_t{found.get_bool()};
        case json::kind::int64:
            if (as_text) break;
            if (of.type == form::real) return static_cast<double>(found.get_int64());
            return found.get_int64();
        case json::kind::uint64:
            if (as_text) break;
            if (of.type == form::integer && found.get_uint64() > INT64_MAX) throw refuse("integer of 64 bits");
            if (of.type == form::real || found.get_uint64() > INT64_MAX) return static_cast<double>(found.get_uint64());
            return static_cast<std::int64_t>(found.get_uint64());
        case json::kind::double_: {
            if (as_text) break;
            const double number = found.get_double();
            if (of.type != form::integer) return number;
            if (std::trunc(number) != number || std::abs(number) >= 0x1p63) throw refuse("integer");
            return static_cast<std::int64_t>(number);
        }
        case json::kind::array:
        case json::kind::object:
            if (of.type == form::integer || of.type == form::real) throw refuse("number");
            break;
    }
    return value_of_text(of, json::serialize(found));
}

class row_maker {
public:
    row_maker(std::vector<column> columns, bool rejects) : columns_(std::move(columns)), rejects_(rejects) {
        needs_json_ = std::any_of(columns_.begin(), columns_.end(), [](const column& each) { return !each.part; });
    }

    void operator()(payload& from, std::vector<sqlite_row>& rows) {
        const auto& what = from.as<record>();
        if (!rejects_) return void(rows.push_back(make(what)));
        try {
            rows.push_back(make(what));
        } catch (const permanent_error& error) {
            const std::string& why = what.attribute("error");
            rows.emplace_back(what.key,
                              std::vector<sqlite_value>{what.key, why.empty() ? error.what() : why, what.bytes}, 1);
        }
    }

private:
    sqlite_row make(const record& from) {
        json::value whole;
        if (needs_json_) {
            json::error_code error;
            whole = json::parse(from.bytes, error);
            if (error) throw permanent_error(fmt::format("it is not JSON: {}", error.message()));
        }
        sqlite_row made;
        made.key = from.key;
        made.values.reserve(columns_.size());
        for (const column& each : columns_) {
            sqlite_value value = value_for(each, from, whole);
            if (each.required && std::holds_alternative<std::monostate>(value))
                throw permanent_error(fmt::format("it has no value for column '{}'", each.name));
            made.values.push_back(std::move(value));
        }
        return made;
    }
    sqlite_value value_for(const column& of, const record& from, const json::value& whole) {
        if (of.part) return value_of_text(of, of.part->get(from, room_));
        const json::value* found = nullptr;
        if (of.pointer.empty()) {
            if (!whole.is_object()) throw permanent_error("it is no JSON object");
            found = whole.get_object().if_contains(of.name);
        } else {
            json::error_code error;
            found = whole.find_pointer(of.pointer, error);
        }
        if (found == nullptr) return std::monostate();
        return value_of(of, *found);
    }

    std::vector<column> columns_;
    bool rejects_;
    bool needs_json_ = false;
    std::string room_;
};

std::shared_ptr<stage> make_sink(const option_values& given) {
    std::vector<column> columns;
    for (const std::string& each : given.list("columns")) columns.push_back(parse_column(each));
    sqlite_sink_options options(given.text("path"));
    if (options.path == "-") throw option_error("path", "is \"-\"; expected a file, since a database is no stream");
    sqlite_table into;
    into.name = given.text("table");
    for (const column& each : columns) into.columns.push_back({each.name, stored_as(each.type), each.required});
    if (given.has("upsert")) into.key = given.list("upsert");
    for (const std::string& key : into.key)
        if (std::none_of(columns.begin(), columns.end(), [&key](const column& each) { return each.name == key; }))
            throw option_error("upsert", fmt::format("names \"{}\", which is none of the columns", key));
    options.load = given.has("load") ? given.text("load") : into.name;
    options.tables.push_back(std::move(into));
    const bool rejects = given.has("rejects");
    if (rejects)
        options.tables.push_back({given.text("rejects"),
                                  {{"item", sqlite_type::any, false},
                                   {"error", sqlite_type::text, false},
                                   {"content", sqlite_type::any, false}},
                                  {}});
    options.batch = static_cast<std::size_t>(given.integer("batch"));
    options.longest = given.duration("time");
    options.patience = std::chrono::duration_cast<std::chrono::milliseconds>(given.duration("wait"));
    try {
        return make_sqlite_sink(std::move(options), row_maker(std::move(columns), rejects));
    } catch (const std::invalid_argument& error) {
        throw option_error("table", fmt::format("cannot be used: {}", error.what()));
    }
}

}  // namespace

void add_sqlite_kind(registry& kinds) {
    component kind;
    kind.role = component_role::sink;
    kind.name = "sqlite";
    kind.summary = "items as rows of a table of an SQLite database, each exactly once";
    kind.help =
        "An item is a JSON object, whose members are the columns, as text or as what the column says: \"12\" is a good "
        "integer,\n"
        "an empty text no value for a number or a date. What cannot be converted, and what the table refuses, fails "
        "the "
        "item\n"
        "alone.\n"
        "Rows are written in transactions of many. Which items have been written is kept in the database as well, in "
        "the\n"
        "table leat_commits: when a run was killed and the flow runs again, items that come again, by their key, are "
        "left "
        "out\n"
        "and the stage counts them as skipped. Another 'load' writes them again. Items of equal keys must come in the "
        "same order "
        "each "
        "time.\n";
    kind.options = {
        option("path", option_type::text, "the database; it is made when it is not there")
            .required()
            .at_least(1)
            .also_called({"file", "database"}),
        option("table", option_type::text, "the table; it is made when it is not there").required().at_least(1),
        option(
            "columns", option_type::text_list,
            "its columns, each \"NAME [TYPE] [required] [= SOURCE]\"; types: any, text, integer, real, blob, date; the "
            "source is the member of that name, a JSON pointer, key, content, or attribute:NAME")
            .required()
            .also_called({"fields"}),
        option("upsert", option_type::text_list,
               "columns that make rows the same: a later one replaces what is there, by the primary key of the table")
            .also_called({"primary_key", "unique"}),
        option("rejects", option_type::text,
               "a second table (item, error, content), for items that cannot be converted: they do not fail then")
            .at_least(1),
        option("load", option_type::text,
               "the name under which items are known as written; the table's, when not given")
            .at_least(1),
        option("batch", option_type::integer, "how many items a transaction has at most")
            .defaults("1000")
            .at_least(1)
            .at_most(1e6)
            .also_called({"count"}),
        option("time", option_type::time_span, "how long a transaction is open at most, from its first item")
            .defaults("200ms"),
        option("wait", option_type::time_span, "how long to wait for locks of other programs")
            .defaults("5s")
            .at_most(86400)};
    kind.make_stage = [](const option_values& given) { return make_sink(given); };
    kinds.add(std::move(kind));
}

}  // namespace leat
