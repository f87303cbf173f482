#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <leat/base/bug.hpp>
#include <leat/flow/option.hpp>
#include <leat/flow/policy.hpp>

namespace leat {

namespace {

struct unit {
    std::string_view name;
    double factor;
};

constexpr unit time_units[] = {{"ns", 1},   {"us", 1e3},   {"ms", 1e6},   {"s", 1e9},
                               {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
constexpr double kibi = 1024, kilo = 1000;
constexpr unit size_units[] = {{"", 1},
                               {"B", 1},
                               {"k", kibi},
                               {"K", kibi},
                               {"KiB", kibi},
                               {"kB", kilo},
                               {"KB", kilo},
                               {"M", kibi* kibi},
                               {"MiB", kibi* kibi},
                               {"MB", kilo* kilo},
                               {"G", kibi* kibi* kibi},
                               {"GiB", kibi* kibi* kibi},
                               {"GB", kilo* kilo* kilo},
                               {"T", kibi* kibi* kibi* kibi},
                               {"TiB", kibi* kibi* kibi* kibi},
                               {"TB", kilo* kilo* kilo* kilo}};

constexpr std::string_view duration_form = "a time such as \"20s\", \"200ms\" or \"1h30m\"";
constexpr std::string_view size_form = "a size such as \"16MiB\", \"64k\" or a number of bytes";
constexpr std::string_view range_form = "two times such as \"200ms..10s\", the shorter one first";
constexpr std::string_view jobs_form = "a number of jobs from 1 to {}, \"auto\", or {{ min = 1, max = 8 }}";

// Takes digits with an optional fraction off the front; none: no number there.
std::optional<double> take_number(std::string_view& text) {
    std::size_t length = 0;
    bool fraction = false;
    while (length < text.size() && ((text[length] >= '0' && text[length] <= '9') || (text[length] == '.' && !fraction)))
        fraction |= text[length++] == '.';
    double value = 0;
    const char* const first = text.data();
    const auto [end, error] = std::from_chars(first, first + length, value, std::chars_format::fixed);
    if (length == 0 || error != std::errc() || end != first + length) return std::nullopt;
    text.remove_prefix(length);
    return value;
}

std::string_view take_letters(std::string_view& text) {
    std::size_t length = 0;
    while (length < text.size() &&
           ((text[length] >= 'a' && text[length] <= 'z') || (text[length] >= 'A' && text[length] <= 'Z')))
        ++length;
    const std::string_view letters = text.substr(0, length);
    text.remove_prefix(length);
    return letters;
}

template <std::size_t N>
const unit* find_unit(const unit (&units)[N], std::string_view name) {
    const auto* found =
        std::find_if(std::begin(units), std::end(units), [&](const unit& each) { return each.name == name; });
    return found == std::end(units) ? nullptr : found;
}

template <class T>
std::optional<T> parse_whole(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::string bounds_text(const option& what) {
    const bool low = what.least != std::numeric_limits<double>::lowest();
    const bool high = what.most != std::numeric_limits<double>::max();
    const char* suffix = what.type == option_type::size        ? " bytes"
                         : what.type == option_type::time_span ? " seconds"
                                                               : "";
    if (low && high) return fmt::format("from {} to {}{}", what.least, what.most, suffix);
    if (low) return fmt::format("of {}{} or more", what.least, suffix);
    return fmt::format("of at most {}{}", what.most, suffix);
}

expected<void, std::string> check_bounds(const option& what, double value, std::string_view noun) {
    if (value >= what.least && value <= what.most) return {};
    return unexpected(fmt::format("{} {}", noun, bounds_text(what)));
}

}  // namespace

option::option(std::string name, option_type kind, std::string line)
    : key(std::move(name)),
      type(kind),
      help(std::move(line)),
      least(std::numeric_limits<double>::lowest()),
      most(std::numeric_limits<double>::max()) {}

option& option::required() { return is_required = true, *this; }
option& option::defaults(std::string text) { return default_text = std::move(text), *this; }
option& option::at_least(double low) { return least = low, *this; }
option& option::at_most(double high) { return most = high, *this; }
option& option::one_of(std::vector<std::string> choice) { return words = std::move(choice), *this; }
option& option::planned(std::vector<std::string> choice) { return planned_words = std::move(choice), *this; }
option& option::also_called(std::vector<std::string> names) { return other_names = std::move(names), *this; }
option& option::with(std::vector<option> options, std::string short_for) {
    table = std::move(options);
    shorthand = std::move(short_for);
    return *this;
}

expected<std::chrono::nanoseconds, std::string> parse_duration(std::string_view text) {
    double total = 0;
    double before = std::numeric_limits<double>::max();  // units go down: 1h30m
    do {
        const auto number = take_number(text);
        const unit* in = number ? find_unit(time_units, take_letters(text)) : nullptr;
        if (in == nullptr || in->factor >= before) return unexpected(std::string(duration_form));
        before = in->factor;
        total += *number * in->factor;
    } while (!text.empty());
    if (total > 9e18) return unexpected(fmt::format("{}, below 100000 days", duration_form));
    return std::chrono::nanoseconds(std::llround(total));
}

expected<std::uint64_t, std::string> parse_size(std::string_view text) {
    const auto number = take_number(text);
    const unit* in = number ? find_unit(size_units, text) : nullptr;
    if (in == nullptr) return unexpected(std::string(size_form));
    const double bytes = *number * in->factor;
    if (bytes > 9e18) return unexpected(fmt::format("{}, below 8 EiB", size_form));
    if (bytes != std::floor(bytes)) return unexpected(fmt::format("{}, whole bytes", size_form));
    return static_cast<std::uint64_t>(bytes);
}

expected<option_value, std::string> parse_option(const option& what, std::string_view text) {
    const auto checked = [&](option_value value) -> expected<option_value, std::string> {
        if (auto sound = check_option(what, value); !sound) return unexpected(std::move(sound).error());
        return value;
    };
    switch (what.type) {
        case option_type::text:
        case option_type::word:
            return checked(std::string(text));
        case option_type::boolean:
            if (text == "true" || text == "false") return checked(text == "true");
            return unexpected(std::string("true or false"));
        case option_type::integer:
            if (const auto value = parse_whole<std::int64_t>(text)) return checked(*value);
            return unexpected(std::string("a whole number"));
        case option_type::number: {
            double value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return checked(value);
            return unexpected(std::string("a number"));
        }
        case option_type::time_span: {
            auto value = parse_duration(text);
            if (!value) return unexpected(std::move(value).error());
            return checked(*value);
        }
        case option_type::time_range: {
            const std::size_t dots = text.find("..");
            if (dots == std::string_view::npos) return unexpected(std::string(range_form));
            const auto first = parse_duration(text.substr(0, dots)), last = parse_duration(text.substr(dots + 2));
            if (!first || !last || *first > *last) return unexpected(std::string(range_form));
            return checked(duration_range{*first, *last});
        }
        case option_type::size: {
            auto value = parse_size(text);
            if (!value) return unexpected(std::move(value).error());
            return checked(byte_size{*value});
        }
        case option_type::jobs: {
            if (text == "auto") return checked(job_range{});
            const auto value = parse_whole<std::int64_t>(text);
            if (!value || *value < 1 || *value > stage_policy::most_jobs)
                return unexpected(fmt::format(jobs_form, stage_policy::most_jobs));
            return checked(job_range{static_cast<unsigned>(*value), static_cast<unsigned>(*value)});
        }
        case option_type::arguments:
        case option_type::text_list:
        case option_type::table:
            break;
    }
    bug("an option of this type has no form in text");
}

expected<void, std::string> check_option(const option& what, const option_value& value) {
    switch (what.type) {
        case option_type::integer:
            return check_bounds(what, static_cast<double>(std::get<std::int64_t>(value)), "a whole number");
        case option_type::number:
            if (!std::isfinite(std::get<double>(value))) return unexpected(std::string("a finite number"));
            return check_bounds(what, std::get<double>(value), "a number");
        case option_type::time_span: {
            const auto ns = std::get<std::chrono::nanoseconds>(value);
            return check_bounds(what, static_cast<double>(ns.count()) * 1e-9, "a time");
        }
        case option_type::size:
            return check_bounds(what, static_cast<double>(std::get<byte_size>(value).bytes), "a size");
        case option_type::jobs: {
            const auto [min, max] = std::get<job_range>(value);
            if (max == 0 && min == 0) return {};  // auto
            if (min >= 1 && min <= max && max <= stage_policy::most_jobs) return {};
            return unexpected(fmt::format(jobs_form, stage_policy::most_jobs));
        }
        case option_type::arguments:
            for (const std::string& each : std::get<std::vector<std::string>>(value))
                if (each.find('\0') != std::string::npos) return unexpected(std::string("arguments without NUL bytes"));
            if (std::get<std::vector<std::string>>(value).empty() ||
                std::get<std::vector<std::string>>(value)[0].empty())
                return unexpected(std::string("a program and its arguments, such as [\"wc\", \"-l\"]"));
            return {};
        case option_type::word: {
            const auto& word = std::get<std::string>(value);
            if (std::find(what.words.begin(), what.words.end(), word) != what.words.end()) return {};
            std::string all;
            for (std::size_t i = 0; i < what.words.size(); ++i)
                all += fmt::format("{}\"{}\"", i == 0 ? "" : i + 1 == what.words.size() ? " or " : ", ", what.words[i]);
            return unexpected(std::move(all));
        }
        case option_type::text:
            if (what.least > 0 && std::get<std::string>(value).empty())
                return unexpected(std::string("a text that is not empty"));
            return {};
        case option_type::boolean:
        case option_type::time_range:
        case option_type::text_list:
        case option_type::table:
            return {};
    }
    return {};
}

option_values default_values(const std::vector<option>& declared) {
    option_values values;
    for (const option& each : declared) {
        if (each.default_text.empty()) continue;
        auto value = parse_option(each, each.default_text);
        if (!value) bug(fmt::format("the default of option '{}' is not {}", each.key, value.error()));
        values.set(each.key, *std::move(value));
    }
    return values;
}

// --- option_values ---

bool option_values::has(std::string_view key) const noexcept {
    return std::any_of(values_.begin(), values_.end(), [&](const auto& each) { return each.first == key; });
}

void option_values::set(std::string key, option_value value) {
    for (auto& [name, old] : values_)
        if (name == key) return void(old = std::move(value));
    values_.emplace_back(std::move(key), std::move(value));
}

template <class T>
const T& option_values::get(std::string_view key) const {
    for (const auto& [name, value] : values_)
        if (name == key) {
            if (const T* found = std::get_if<T>(&value)) return *found;
            bug(fmt::format("option '{}' was taken for another type than it has", key));
        }
    bug(fmt::format("option '{}' has no value", key));
}

const std::string& option_values::text(std::string_view key) const { return get<std::string>(key); }
std::int64_t option_values::integer(std::string_view key) const { return get<std::int64_t>(key); }
double option_values::number(std::string_view key) const { return get<double>(key); }
bool option_values::boolean(std::string_view key) const { return get<bool>(key); }
std::chrono::nanoseconds option_values::duration(std::string_view key) const {
    return get<std::chrono::nanoseconds>(key);
}
leat::duration_range option_values::duration_range(std::string_view key) const {
    return get<leat::duration_range>(key);
}
std::uint64_t option_values::size(std::string_view key) const { return get<byte_size>(key).bytes; }
const std::vector<std::string>& option_values::list(std::string_view key) const {
    return get<std::vector<std::string>>(key);
}
job_range option_values::jobs(std::string_view key) const { return get<job_range>(key); }
const option_values& option_values::table(std::string_view key) const {
    return *get<std::shared_ptr<const option_values>>(key);
}

}  // namespace leat
