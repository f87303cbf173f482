// A flow in words that can be compared: what a journal keeps of the flow that it belongs to.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <leat/flow/flow_file.hpp>

namespace leat {

namespace {

// They change how fast it goes or how long it tries, not what comes out.
constexpr std::string_view left_out[] = {"jobs", "buffer",  "timeout", "retry",     "window",     "rate",
                                         "pool", "durable", "name",    "placement", "concurrency"};

std::string text_of(const option_values& values, std::string_view between);

struct to_text {
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(std::int64_t value) const { return std::to_string(value); }
    std::string operator()(double value) const { return fmt::format("{}", value); }
    std::string operator()(const std::string& value) const { return fmt::format("{:?}", value); }
    std::string operator()(const std::vector<std::string>& value) const { return fmt::format("{}", value); }
    std::string operator()(std::chrono::nanoseconds value) const { return fmt::format("{}ns", value.count()); }
    std::string operator()(const duration_range& value) const {
        return fmt::format("{}ns..{}ns", value.first.count(), value.last.count());
    }
    std::string operator()(const byte_size& value) const { return fmt::format("{} bytes", value.bytes); }
    std::string operator()(const job_range& value) const { return fmt::format("{}..{}", value.min, value.max); }
    std::string operator()(const std::shared_ptr<const option_values>& value) const {
        return value ? "{ " + text_of(*value, ", ") + " }" : "{}";
    }
};

std::string text_of(const option_values& values, std::string_view between) {
    std::map<std::string, std::string> sorted;
    for (const auto& [key, value] : values.all())
        if (std::find(std::begin(left_out), std::end(left_out), key) == std::end(left_out))
            sorted[key] = std::visit(to_text(), value);
    std::string all;
    for (const auto& [key, value] : sorted) all += fmt::format("{}{} = {}", all.empty() ? "" : between, key, value);
    return all;
}

// The lines of a text: what begins with a blank belongs to what is above it.
using sections = std::vector<std::pair<std::string, std::map<std::string, std::string>>>;
sections cut(std::string_view text) {
    sections all;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (!line.starts_with("  ")) {
            all.emplace_back(line, std::map<std::string, std::string>{});
        } else if (!all.empty()) {
            const std::size_t mark = line.find(" = ");
            all.back().second[std::string(line.substr(2, mark == std::string_view::npos ? mark : mark - 2))] =
                mark == std::string_view::npos ? std::string() : std::string(line.substr(mark + 3));
        }
    }
    return all;
}

const std::map<std::string, std::string>* find(const sections& in, const std::string& title) {
    const auto found = std::find_if(in.begin(), in.end(), [&](const auto& each) { return each.first == title; });
    return found == in.end() ? nullptr : &found->second;
}

}  // namespace

std::string flow_text(const flow_description& flow) {
    std::string all = fmt::format("[flow]\n  order = {}\n", flow.ordered == order::input ? "input"
                                                            : flow.ordered == order::key ? "key"
                                                                                         : "none");
    const auto add = [&all](std::string_view role, const described_component& what) {
        all += fmt::format("{} '{}' ({})\n", role, what.name, what.kind == nullptr ? "" : what.kind->name);
        const std::string options = text_of(what.options, "\n  ");
        if (!options.empty()) all += "  " + options + "\n";
    };
    for (const described_component& each : flow.sources) add("source", each);
    for (const described_component& each : flow.stages) add("stage", each);
    for (const described_component& each : flow.sinks) add("sink", each);
    return all;
}

std::vector<std::string> flow_changes(const std::string& before, const std::string& now) {
    std::vector<std::string> all;
    if (before == now) return all;
    const sections was = cut(before);
    const sections is = cut(now);
    for (const auto& [title, options] : is) {
        const auto* const old = find(was, title);
        if (old == nullptr) {
            all.push_back(title + " is new");
            continue;
        }
        for (const auto& [key, value] : options) {
            const auto known = old->find(key);
            if (known == old->end()) all.push_back(fmt::format("{}: {} is {}, and was not given", title, key, value));
            else if (known->second != value)
                all.push_back(fmt::format("{}: {} is {}, and was {}", title, key, value, known->second));
        }
        for (const auto& [key, value] : *old)
            if (!options.contains(key))
                all.push_back(fmt::format("{}: {} is not given any more, and was {}", title, key, value));
    }
    for (const auto& each : was)
        if (find(is, each.first) == nullptr) all.push_back(each.first + " is gone");
    if (all.empty()) all.emplace_back("the stages have another order");
    return all;
}

}  // namespace leat
