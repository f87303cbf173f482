#include <leat/cluster/job_function.hpp>

#include <algorithm>
#include <deque>
#include <fmt/format.h>
#include <xxhash.h>

#include <cluster/job_messages.hpp>

namespace leat::cluster {

namespace {

struct numbered {
    std::uint64_t number;
    detail::job_function_entry what;
};

// A function, since entries come before main, in any order.
std::deque<numbered>& table() {
    static std::deque<numbered> all;
    return all;
}

std::uint64_t hash_of(const std::string& text) { return XXH3_64bits(text.data(), text.size()); }

// "constexpr … [with Type = int (*)(int); …]": what a person reads is the type.
std::string_view readable_type(std::string_view type) {
    constexpr std::string_view before = "Type = ";
    if (const auto at = type.find(before); at != std::string_view::npos) type.remove_prefix(at + before.size());
    if (const auto end = type.find("; "); end != std::string_view::npos) type = type.substr(0, end);
    while (type.ends_with(']')) type.remove_suffix(1);
    return type;
}

std::string description(const detail::job_function_entry& entry) {
    return fmt::format("{} ({:016x})", readable_type(entry.type), entry.codecs);
}

}  // namespace

namespace detail {

std::uint64_t enter_job_function(const job_function_entry& entry) {
    const std::uint64_t number = hash_of(fmt::format("{}\n{}", entry.name, description(entry)));
    table().push_back({number, entry});
    return number;
}

const job_function_entry* find_job_function(std::uint64_t number) {
    const job_function_entry* found = nullptr;
    for (const numbered& each : table()) {
        if (each.number != number) continue;
        if (found != nullptr)
            throw std::logic_error(fmt::format(
                "this program has two functions {} for a cluster: give one of them another name", each.what.name));
        found = &each.what;
    }
    return found;
}

}  // namespace detail

job_program program_here(std::string version) {
    job_program here;
    here.version = std::move(version);
    for (const numbered& each : table()) here.functions[std::string(each.what.name)] += description(each.what);
    std::string all = fmt::format("{}\n{}\n", job_wire_version, here.version);
    for (const auto& [name, type] : here.functions) all += fmt::format("{}\n{}\n", name, type);
    here.hash = hash_of(all);
    return here;
}

std::string difference(const job_program& here, const job_program& other) {
    if (here.hash == other.hash) return {};
    std::string all;
    const auto say = [&all](const std::string& what) { all += (all.empty() ? "" : "; ") + what; };
    if (here.version != other.version)
        say(fmt::format("this program's version is \"{}\", theirs is \"{}\"", here.version, other.version));
    for (const auto& [name, type] : here.functions) {
        const auto there = other.functions.find(name);
        if (there == other.functions.end()) say(fmt::format("they do not have {}", name));
        else if (there->second != type) say(fmt::format("{} is {} here and {} there", name, type, there->second));
    }
    for (const auto& [name, type] : other.functions)
        if (!here.functions.contains(name)) say(fmt::format("this program does not have {}", name));
    if (all.empty()) say("they were built with another version of leat");
    return all;
}

void require_plain_name(const std::string& name) {
    const auto is_plain = [](char each) {
        return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9') ||
               each == '-' || each == '_';
    };
    if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), is_plain))
        throw std::invalid_argument(
            fmt::format("\"{}\" cannot be the name of a queue: letters, digits, '-' and '_', at most 64", name));
}

}  // namespace leat::cluster
