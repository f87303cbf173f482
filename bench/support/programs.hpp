// Programs as sides of a benchmark: found, started with files as their standard streams, and waited for.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

extern char** environ;

namespace bench {

// The file of a program in PATH; empty when there is none.
inline std::string in_path(const std::string& program) {
    std::string path = std::getenv("PATH") == nullptr ? "/usr/bin:/bin" : std::getenv("PATH");
    for (std::size_t from = 0; from <= path.size();) {
        const std::size_t end = std::min(path.find(':', from), path.size());
        const std::string file = path.substr(from, end - from) + "/" + program;
        if (::access(file.c_str(), X_OK) == 0) return file;
        from = end + 1;
    }
    return {};
}

// The file of a program that is built beside this one.
inline std::string beside(const std::string& program) {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / program).string();
}

// A name for a temporary file, which is gone with the object.
class scratch_file {
public:
    explicit scratch_file(const std::string& name)
        : path_((std::filesystem::temp_directory_path() / fmt::format("leat_bench.{}.{}", ::getpid(), name)).string()) {
    }
    ~scratch_file() {
        std::error_code ignored;
        std::filesystem::remove(path_, ignored);
    }
    scratch_file(const scratch_file&) = delete;
    scratch_file& operator=(const scratch_file&) = delete;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

// A file of the numbers below `count`, one a line.
class item_file : public scratch_file {
public:
    explicit item_file(std::uint64_t count) : scratch_file(fmt::format("items{}", count)) {
        std::ofstream file(path());
        for (std::uint64_t i = 0; i < count; ++i) file << i << '\n';
    }
};

// Starts words[0], a path, with standard input from a file, and standard output to one unless `output` is empty; 0 when that
// fails.
inline pid_t start(const std::vector<std::string>& words, const std::string& input, const std::string& output = {}) {
    std::vector<char*> arguments;
    for (const std::string& each : words) arguments.push_back(const_cast<char*>(each.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input.c_str(), O_RDONLY, 0);
    if (!output.empty())
        ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t child = 0;
    if (::posix_spawn(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ) != 0) child = 0;
    ::posix_spawn_file_actions_destroy(&actions);
    return child;
}

// 1 when the next child to end has succeeded, else 0.
inline std::uint64_t reap() {
    int status = 0;
    if (::waitpid(-1, &status, 0) < 0) return 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
}

}  // namespace bench
