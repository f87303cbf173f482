// spawn(): lays the options out (spawn_plan.cpp), starts the child (start_child.cpp) and puts failures into words.
#include <leat/process/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "sandbox_rules.hpp"
#include "sentinel.hpp"
#include "spawn_plan.hpp"

namespace leat {

struct child_process_maker {
    static child_process make(started_child started, sentinel& watcher, sandbox_report sandboxed) noexcept {
        return child_process(started.pid, started.pidfd, watcher, sandboxed);
    }
};

namespace {

using kind = spawn_error::kind;

std::size_t text_bytes(const std::vector<char*>& list) noexcept {
    std::size_t bytes = 0;
    for (const char* text : list)
        if (text != nullptr) bytes += std::strlen(text) + 1;
    return bytes;
}

spawn_error no_resources(int error, std::string_view what) {
    const auto because = [&]() -> std::string {
        switch (error) {
            case EMFILE:
                return fmt::format("this process has no file descriptor left (its limit is {}, see `ulimit -n`)",
                                   open_file_limit());
            case ENFILE:
                return "the system has no file descriptor left";
            case EAGAIN:
                return "the limit on processes is reached (`ulimit -u`, or pids.max of the control group)";
            default:
                return std::strerror(error);
        }
    }();
    return spawn_error(kind::no_resources, error, fmt::format("{}: {}", what, because));
}

bool is_shortage(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == EAGAIN || error == ENOMEM;
}

// The interpreter in the first line of a script; empty when the file is no script.
std::string interpreter_of(const std::string& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    char start[256];
    const ssize_t got = ::read(fd, start, sizeof start);
    ::close(fd);
    std::string_view line(start, got > 0 ? static_cast<std::size_t>(got) : 0);
    if (!line.starts_with("#!")) return {};
    line.remove_prefix(std::min(line.find_first_not_of(" \t", 2), line.size()));
    return std::string(line.substr(0, line.find_first_of(" \t\r\n")));
}

// The program's path, for this process.
std::string seen_from_here(const spawn_options& options, const spawn_plan& plan) {
    const std::string& file = plan.program;
    return options.directory.empty() || file.starts_with('/') ? file : options.directory + "/" + file;
}

spawn_error exec_error(int error, const spawn_options& options, const spawn_plan& plan) {
    const std::string seen = seen_from_here(options, plan);
    if (is_shortage(error)) return no_resources(error, fmt::format("`{}` could not be started", seen));
    switch (error) {
        case ENOENT: {
            if (::access(seen.c_str(), F_OK) != 0)
                return {kind::not_found, error, fmt::format("`{}` does not exist", seen)};
            const auto interpreter = interpreter_of(seen);
            return {kind::not_executable, error,
                    interpreter.empty()
                        ? fmt::format("`{}` cannot be run: the loader that it asks for does not exist", seen)
                        : fmt::format("`{}` cannot be run: its interpreter `{}` (from its #! line) does not exist",
                                      seen, interpreter)};
        }
        case ENOEXEC:
            return {kind::not_executable, error,
                    fmt::format("`{}` is neither a program for this machine nor a script with a #! line", seen)};
        case ETXTBSY:
            return {kind::not_executable, error,
                    fmt::format("`{}` is open for writing, so it cannot be run now", seen)};
        case E2BIG: {
            const std::size_t bytes = text_bytes(plan.argv);
            return {kind::bad_option, error,
                    fmt::format(
                        "`{}`: its arguments ({} bytes) and environment are more than the system passes to a program",
                        seen, bytes)};
        }
        case EACCES:
        case EPERM:
            return {
                kind::not_executable, error,
                fmt::format("`{}` cannot be run: {} (its own mode, that of its interpreter, {})", seen,
                            std::strerror(error),
                            options.sandbox ? "a sandbox that does not let the interpreter or the loader be executed"
                                            : "or a file system mounted noexec")};
        default:
            return {kind::refused, error, fmt::format("`{}` cannot be run: {}", seen, std::strerror(error))};
    }
}

spawn_error in_words(const start_failure& failure, const spawn_options& options, const spawn_plan& plan) {
    const int error = failure.error;
    const auto problem = [&](std::string_view what) {
        if (is_shortage(error)) return no_resources(error, what);
        return spawn_error(error == EBADF ? kind::bad_option : kind::refused, error,
                           fmt::format("{}: {}", what, std::strerror(error)));
    };
    switch (failure.step) {
        case start_step::clone:
            if (error == EINVAL || error == ENOSYS)
                return {kind::refused, error, "a process could not be made: this needs Linux 5.4 or newer"};
            return problem("a process could not be made");
        case start_step::devnull:
            return problem("/dev/null could not be opened for the child");
        case start_step::descriptor:
            return problem(fmt::format("descriptor {} could not be given to the child", failure.subject));
        case start_step::close_others:
            return problem("the other descriptors could not be kept from the child (is /proc mounted?)");
        case start_step::limit:
            return problem(fmt::format("resource limit {} could not be set for the child", failure.subject));
        case start_step::directory:
            return {kind::bad_directory, error,
                    fmt::format("the working directory `{}` cannot be entered: {}", options.directory,
                                std::strerror(error))};
        case start_step::sandbox:
            return problem("the child could not enter its sandbox");
        case start_step::exec:
            break;
    }
    return exec_error(error, options, plan);
}

}  // namespace

expected<child_process, spawn_error> spawn(const spawn_options& options) {
    spawn_plan plan;
    if (auto error = plan.lay_out(options)) return unexpected(std::move(*error));
    const auto watcher = sentinel::of_this_process();
    if (!watcher) {
        const int error = watcher.error();
        const std::string_view what = "the process that guards the children could not be started";
        if (is_shortage(error)) return unexpected(no_resources(error, what));
        return unexpected(spawn_error(kind::refused, error, fmt::format("{}: {}", what, std::strerror(error))));
    }
    child_plan to_start = plan.view(options);
    sandbox_rules rules;
    sandbox_report sandboxed;
    if (options.sandbox) {
        const sandbox_support support = find_sandbox_support();
        int above = 2;
        for (const auto& [from, to] : plan.descriptors) above = std::max(above, to);
        if (auto error = rules.prepare(*options.sandbox, support, seen_from_here(options, plan), above))
            return unexpected(std::move(*error));
        to_start.sandbox = rules.setting();
        sandboxed = sandbox_report_for(*options.sandbox, support);
    }
    if (!plan.limits.empty()) sandboxed.limits = sandbox_effect::whole;
    const auto started = start_child(to_start, **watcher);
    if (!started) return unexpected(in_words(started.error(), options, plan));
    return child_process_maker::make(*started, **watcher, sandboxed);
}

}  // namespace leat
