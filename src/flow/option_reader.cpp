#include <flow/option_reader.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <flow/suggest.hpp>

namespace leat {

namespace {

using form = toml_value::form;

const char* plain_form(option_type type) {
    switch (type) {
        case option_type::text:
        case option_type::word:
            return "a text";
        case option_type::integer:
            return "a whole number";
        case option_type::number:
            return "a number";
        case option_type::boolean:
            return "true or false";
        case option_type::time_span:
            return "a time such as \"20s\", \"200ms\" or \"1h30m\"";
        case option_type::time_range:
            return "two times such as \"200ms..10s\"";
        case option_type::size:
            return "a size such as \"16MiB\", \"64k\" or a number of bytes";
        case option_type::arguments:
            return "a program and its arguments, such as [\"wc\", \"-l\"]";
        case option_type::text_list:
            return "a list of texts";
        case option_type::jobs:
            return "a number of jobs from 1 to 4096, \"auto\", or { min = 1, max = 8 }";
        case option_type::table:
            return "a table";
    }
    return "";
}
static_assert(stage_policy::most_jobs == 4096);  // as plain_form says

}  // namespace

void option_reader::error(toml_place place, std::string message) {
    errors_.push_back({file_, place.line, place.column, std::move(message)});
}

option_values option_reader::read(const toml_value& table, const std::vector<option>& declared,
                                  const std::string& where) {
    option_values values = default_values(declared);
    for (const toml_member& each : table.members) {
        const auto what =
            std::find_if(declared.begin(), declared.end(), [&](const option& one) { return one.key == each.key; });
        if (what == declared.end()) unknown_key(each, declared, where);
        else if (auto read = value(each.value, *what, where)) values.set(each.key, *std::move(read));
    }
    for (const option& each : declared)
        if (each.is_required && table.find(each.key) == nullptr)
            error(table.place, fmt::format("{} has no '{}': {}", where, each.key, each.help));
    return values;
}

void option_reader::unknown_key(const toml_member& found, const std::vector<option>& declared,
                                const std::string& where) {
    std::vector<candidate> known;
    std::string all;
    for (const option& each : declared) {
        known.push_back({each.key, each.key});
        for (const std::string& other : each.other_names) known.push_back({other, each.key});
        all += (all.empty() ? "" : ", ") + each.key;
    }
    const std::string meant = nearest(found.key, known);
    error(found.place, meant.empty()
                           ? fmt::format("unknown key '{}' in {}; expected one of {}", found.key, where, all)
                           : fmt::format("unknown key '{}' in {}; did you mean '{}'?", found.key, where, meant));
}

std::nullopt_t option_reader::refuse(const toml_value& found, const option& what, const std::string& where,
                                     const std::string& expected_form) {
    error(found.place,
          fmt::format("'{}' in {}: found {}, expected {}", what.key, where, found.described(), expected_form));
    return std::nullopt;
}

std::optional<option_value> option_reader::value(const toml_value& found, const option& what,
                                                 const std::string& where) {
    if (what.type == option_type::table) return table_value(found, what, where);
    if (what.type == option_type::jobs) return jobs_value(found, what, where);
    if (what.type == option_type::arguments || what.type == option_type::text_list)
        return list_value(found, what, where);
    option_value read;
    switch (what.type) {
        case option_type::boolean:
            if (found.what != form::boolean) return refuse(found, what, where, plain_form(what.type));
            return found.boolean;
        case option_type::integer:
            if (found.what != form::integer) return refuse(found, what, where, plain_form(what.type));
            read = found.integer;
            break;
        case option_type::number:
            if (found.what == form::integer) read = static_cast<double>(found.integer);
            else if (found.what == form::number) read = found.number;
            else return refuse(found, what, where, plain_form(what.type));
            break;
        case option_type::size:
            if (found.what == form::integer && found.integer >= 0) {
                read = byte_size{static_cast<std::uint64_t>(found.integer)};
                break;
            }
            [[fallthrough]];
        default:
            if (found.what != form::text) return refuse(found, what, where, plain_form(what.type));
            if (std::find(what.planned_words.begin(), what.planned_words.end(), found.text) !=
                what.planned_words.end()) {
                error(found.place, fmt::format("'{}' in {}: \"{}\" is not supported yet; expected \"{}\"", what.key,
                                               where, found.text, fmt::join(what.words, "\" or \"")));
                return std::nullopt;
            }
            auto parsed = parse_option(what, found.text);
            if (!parsed) return refuse(found, what, where, parsed.error());
            return *std::move(parsed);
    }
    if (auto sound = check_option(what, read); !sound) return refuse(found, what, where, sound.error());
    return read;
}

std::optional<option_value> option_reader::table_value(const toml_value& found, const option& what,
                                                       const std::string& where) {
    const std::string inside = fmt::format("'{}' of {}", what.key, where);
    if (found.what == form::table) return std::make_shared<const option_values>(read(found, what.table, inside));
    const auto short_for = std::find_if(what.table.begin(), what.table.end(),
                                        [&](const option& each) { return each.key == what.shorthand; });
    if (short_for == what.table.end()) return refuse(found, what, where, "a table { … }");
    auto one = value(found, *short_for, inside);
    if (!one) return std::nullopt;
    option_values values = default_values(what.table);
    values.set(short_for->key, *std::move(one));
    return std::make_shared<const option_values>(std::move(values));
}

std::optional<option_value> option_reader::jobs_value(const toml_value& found, const option& what,
                                                      const std::string& where) {
    const auto fits = [](std::int64_t n) { return n >= 1 && n <= stage_policy::most_jobs; };
    if (found.what == form::text && found.text == "auto") return job_range{};
    if (found.what == form::integer && fits(found.integer)) {
        const auto jobs = static_cast<unsigned>(found.integer);
        return job_range{jobs, jobs};
    }
    if (found.what != form::table) return refuse(found, what, where, plain_form(what.type));
    static const std::vector<option> ends = {
        option("min", option_type::integer, "the fewest jobs")
            .defaults("1")
            .at_least(1)
            .at_most(stage_policy::most_jobs),
        option("max", option_type::integer, "the most jobs").required().at_least(1).at_most(stage_policy::most_jobs)};
    const std::size_t before = errors_.size();
    const option_values range = read(found, ends, fmt::format("'{}' of {}", what.key, where));
    if (errors_.size() != before) return std::nullopt;
    const job_range jobs{static_cast<unsigned>(range.integer("min")), static_cast<unsigned>(range.integer("max"))};
    if (jobs.min > jobs.max) {
        error(found.place, fmt::format("'{}' in {}: min = {} is above max = {}", what.key, where, jobs.min, jobs.max));
        return std::nullopt;
    }
    return jobs;
}

std::optional<option_value> option_reader::list_value(const toml_value& found, const option& what,
                                                      const std::string& where) {
    std::vector<std::string> list;
    if (found.what == form::text && what.type == option_type::text_list) {
        list.push_back(found.text);
    } else if (found.what == form::array) {
        for (const toml_value& each : found.items) {
            if (each.what != form::text) {
                error(each.place,
                      fmt::format("'{}' in {}: found {}, expected texts only", what.key, where, each.described()));
                return std::nullopt;
            }
            list.push_back(each.text);
        }
    } else {
        return refuse(found, what, where, plain_form(what.type));
    }
    option_value read = std::move(list);
    if (auto sound = check_option(what, read); !sound) return refuse(found, what, where, sound.error());
    return read;
}

}  // namespace leat
