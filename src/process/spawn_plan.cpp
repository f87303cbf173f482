// The checks, in the order in which a person would want to hear of them: command, environment, descriptors.
#include "spawn_plan.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

namespace leat {

namespace {

std::optional<spawn_error> bad_option(std::string message) {
    return spawn_error(spawn_error::kind::bad_option, 0, std::move(message));
}

// exec takes char* const* and changes nothing.
char* exec_pointer(const std::string& text) noexcept { return const_cast<char*>(text.c_str()); }

bool has_nul(const std::string& text) noexcept { return text.find('\0') != std::string::npos; }

// Whether the entry "NAME=value" of an environment has this name.
bool is_named(std::string_view entry, std::string_view name) noexcept {
    return entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=';
}

// The PATH that the child will see.
std::string path_of(const spawn_options& options) {
    for (auto change = options.environment.rbegin(); change != options.environment.rend(); ++change)
        if (change->name == "PATH") return change->value.value_or(std::string(default_program_path));
    return options.clear_environment ? std::string(default_program_path) : program_path();
}

}  // namespace

std::uint64_t open_file_limit() noexcept {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

std::optional<spawn_error> spawn_plan::lay_out_arguments(const spawn_options& options) {
    if (options.argv.empty()) return bad_option("no command was given: the argument vector is empty");
    for (std::size_t at = 0; at != options.argv.size(); ++at) {
        if (const auto nul = options.argv[at].find('\0'); nul != std::string::npos)
            return bad_option(fmt::format("{} holds a NUL byte (at byte {}), which cannot be passed to a program",
                                          at == 0 ? std::string("the command") : fmt::format("argument {}", at),
                                          nul + 1));
        argv.push_back(exec_pointer(options.argv[at]));
    }
    argv.push_back(nullptr);
    if (has_nul(options.program) || has_nul(options.directory))
        return bad_option("the path of the program or of the working directory holds a NUL byte");
    if (!options.program.empty()) {
        program = options.program;
        return std::nullopt;
    }
    // A command without a slash is looked up, and then its full name is known to be right.
    auto found = find_program(options.argv[0], path_of(options), options.directory);
    if (!found) return std::move(found).error();
    program = *std::move(found);
    return std::nullopt;
}

std::optional<spawn_error> spawn_plan::lay_out_environment(const spawn_options& options) {
    if (options.environment.empty() && !options.clear_environment) return std::nullopt;
    for (const auto& [name, value] : options.environment)
        if (name.empty() || name.find('=') != std::string::npos || has_nul(name) || (value && has_nul(*value)))
            return bad_option(
                fmt::format("environment variable \"{}\": a name must not be empty nor hold '=', and neither name nor "
                            "value may hold a NUL byte",
                            name.substr(0, name.find('\0'))));
    if (!options.clear_environment)
        for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
            if (std::none_of(options.environment.begin(), options.environment.end(),
                             [entry](const auto& change) { return is_named(*entry, change.name); }))
                envp.push_back(*entry);
    variables.reserve(options.environment.size());  // envp points into it
    for (auto change = options.environment.begin(); change != options.environment.end(); ++change) {
        const bool overruled = std::any_of(change + 1, options.environment.end(),
                                           [change](const auto& later) { return later.name == change->name; });
        if (overruled || !change->value) continue;
        variables.push_back(change->name + "=" + *change->value);
        envp.push_back(exec_pointer(variables.back()));
    }
    envp.push_back(nullptr);
    return std::nullopt;
}

std::optional<spawn_error> spawn_plan::lay_out_descriptors(const spawn_options& options) {
    constexpr std::string_view names[] = {"standard input", "standard output", "standard error"};
    const child_stdio standard[] = {options.in, options.out, options.err};
    descriptors.reserve(3 + options.pass.size());
    for (int to = 0; to != 3; ++to) {
        const int from = standard[to].fd_;
        if (from == child_stdio::bad)
            return bad_option(fmt::format("the descriptor given as {} is negative", names[to]));
        static_assert(child_stdio::kept == descriptor_mapping::kept &&
                      child_stdio::devnull == descriptor_mapping::devnull);
        descriptors.push_back({from, to});
    }
    for (const auto& [here, there] : options.pass) {
        if (here < 0) return bad_option(fmt::format("the descriptor to be passed as {} is negative", there));
        if (there < 3 || static_cast<std::uint64_t>(there) >= open_file_limit())
            return bad_option(fmt::format("descriptor {} cannot be passed as {}: expected 3 to {}", here, there,
                                          open_file_limit() - 1));
        if (std::any_of(descriptors.begin(), descriptors.end(), [to = there](const auto& one) { return one.to == to; }))
            return bad_option(fmt::format("two descriptors are to be passed as {}", there));
        descriptors.push_back({here, there});
    }
    return std::nullopt;
}

void spawn_plan::lay_out_limits(const child_limits& wanted) {
    if (wanted.memory_bytes) limits.push_back({RLIMIT_AS, *wanted.memory_bytes, *wanted.memory_bytes});
    // A hard limit a second later, for a program that ignores SIGXCPU.
    if (wanted.cpu_seconds)
        limits.push_back({RLIMIT_CPU, *wanted.cpu_seconds, std::max(*wanted.cpu_seconds, *wanted.cpu_seconds + 1)});
    if (wanted.file_bytes) limits.push_back({RLIMIT_FSIZE, *wanted.file_bytes, *wanted.file_bytes});
    if (wanted.processes) limits.push_back({RLIMIT_NPROC, *wanted.processes, *wanted.processes});
    if (wanted.open_files) limits.push_back({RLIMIT_NOFILE, *wanted.open_files, *wanted.open_files});
}

std::optional<spawn_error> spawn_plan::lay_out(const spawn_options& options) {
    if (auto error = lay_out_arguments(options)) return error;
    if (auto error = lay_out_environment(options)) return error;
    if (auto error = lay_out_descriptors(options)) return error;
    lay_out_limits(options.limits);
    return std::nullopt;
}

child_plan spawn_plan::view(const spawn_options& options) noexcept {
    child_plan plan{};
    plan.program = program.c_str();
    plan.argv = argv.data();
    plan.envp = envp.empty() ? environ : envp.data();
    plan.directory = options.directory.empty() ? nullptr : options.directory.c_str();
    plan.descriptors = descriptors;
    plan.limits = limits;
    return plan;
}

}  // namespace leat
