// Where a command is: the search through PATH, done before any process is made, so that its outcome can be told in words.
#include <leat/process/spawn.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace leat {

namespace {

using kind = spawn_error::kind;

// The file as seen from here; the child sees it from `directory`.
std::string seen_from_here(const std::string& file, const std::string& directory) {
    return directory.empty() || file.starts_with('/') ? file : directory + "/" + file;
}

// Nothing when `file` can be executed, else why not.
std::optional<spawn_error> problem_with(const std::string& file, const std::string& directory) {
    const std::string seen = seen_from_here(file, directory);
    struct stat about{};
    if (::stat(seen.c_str(), &about) != 0) {
        const int error = errno;
        const bool absent = error == ENOENT || error == ENOTDIR;
        return spawn_error(absent ? kind::not_found : kind::not_executable, error,
                           absent ? fmt::format("`{}` does not exist", seen)
                                  : fmt::format("`{}` cannot be reached: {}", seen, std::strerror(error)));
    }
    if (S_ISDIR(about.st_mode))
        return spawn_error(kind::not_executable, EISDIR, fmt::format("`{}` is a directory, not a program", seen));
    if (!S_ISREG(about.st_mode))
        return spawn_error(kind::not_executable, EACCES, fmt::format("`{}` is not a regular file", seen));
    if (::faccessat(AT_FDCWD, seen.c_str(), X_OK, AT_EACCESS) != 0)
        return spawn_error(
            kind::not_executable, errno,
            fmt::format("`{}` is not executable for this user (its mode is {:04o})", seen, about.st_mode & 07777u));
    return std::nullopt;
}

}  // namespace

std::string program_path() {
    const char* const path = ::getenv("PATH");
    return std::string(path != nullptr ? std::string_view(path) : default_program_path);
}

expected<std::string, spawn_error> find_program(const std::string& command, std::string_view path,
                                                const std::string& directory) {
    if (command.empty()) return unexpected(spawn_error(kind::bad_option, 0, "the command is an empty string"));
    if (command.find('/') != std::string::npos) {
        if (auto problem = problem_with(command, directory)) return unexpected(std::move(*problem));
        return command;
    }
    std::optional<spawn_error> nearly;  // a file of that name that cannot be executed: of more use than "not found"
    for (std::string_view rest = path;;) {
        const auto end = rest.find(':');
        const auto folder = rest.substr(0, end);
        // An empty entry is the working directory, by long custom.
        std::string candidate = folder.empty() ? "./" + command : fmt::format("{}/{}", folder, command);
        auto problem = problem_with(candidate, directory);
        if (!problem) return candidate;
        if (problem->what != kind::not_found && problem->code != EISDIR && !nearly) nearly = std::move(problem);
        if (end == std::string_view::npos) break;
        rest.remove_prefix(end + 1);
    }
    if (nearly) return unexpected(std::move(*nearly));
    return unexpected(
        spawn_error(kind::not_found, ENOENT, fmt::format("`{}` was not found in PATH ({})", command, path)));
}

}  // namespace leat
