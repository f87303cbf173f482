// For tests of the command: runs the built `leat` and gives what it wrote and how it ended.
#pragma once

#include <child_output.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <utility>
#include <vector>

namespace leat_test {

// A directory of its own for each test, gone at its end.
class scratch {
public:
    scratch() {
        std::string name = (std::filesystem::temp_directory_path() / "leat_cli_XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        path_ = name;
    }
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    ~scratch() {
        std::error_code ignored;
        std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
        std::filesystem::remove_all(path_, ignored);
    }
    std::string file(const std::string& name) const { return (path_ / name).string(); }
    std::string write(const std::string& name, const std::string& content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
        return file(name);
    }
    std::string read(const std::string& name) const {
        std::ifstream in(path_ / name, std::ios::binary);
        std::ostringstream all;
        all << in.rdbuf();
        return all.str();
    }

private:
    std::filesystem::path path_;
};

struct leat_end {
    int code = -1;  // exit status; -1 when a signal ended it
    int signal = 0;
    std::string out;  // when it went to a file of ours
    std::string err;
    std::size_t peak_mib = 0;  // of memory, of leat or the largest of its children
};

class leat_process {
public:
    using words = std::vector<std::string>;

    explicit leat_process(words arguments) : arguments_(std::move(arguments)) {}
    leat_process(const leat_process&) = delete;
    leat_process& operator=(const leat_process&) = delete;
    ~leat_process() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }

    leat_process& input(const std::string& text) {
        input_ = scratch_.write("in", text);
        return *this;
    }
    leat_process& input_from(int fd) { return input_fd_ = fd, *this; }
    leat_process& output_to(int fd) { return output_fd_ = fd, *this; }
    leat_process& error_to(int fd) { return error_fd_ = fd, *this; }
    leat_process& closing(int fd) { return closed_ = fd, *this; }
    // Shell commands to run before leat, in the same process: ulimit -n 32.
    leat_process& after(std::string commands) { return prelude_ = std::move(commands), *this; }
    // For a test that is run by root: as a user of this id, who can do no more than others can.
    leat_process& as_user(uid_t id) { return user_ = id, *this; }
    leat_process& program(std::string path) { return program_ = std::move(path), *this; }
    leat_process& in_directory(std::string path) { return directory_ = std::move(path), *this; }

    leat_process& start() {
        std::vector<char*> argv{const_cast<char*>("leat")};
        for (std::string& each : arguments_) argv.push_back(each.data());
        argv.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            const auto put = [](int from, int to) {
                if (from < 0 || ::dup2(from, to) < 0) ::_exit(99);
            };
            put(input_fd_ >= 0 ? input_fd_ : ::open(input_.c_str(), O_RDONLY), 0);
            put(output_fd_ >= 0 ? output_fd_ : create("out"), 1);
            put(error_fd_ >= 0 ? error_fd_ : create("err"), 2);
            if (closed_ >= 0) ::close(closed_);
            if (!directory_.empty() && ::chdir(directory_.c_str()) != 0) ::_exit(99);
            if (user_ != 0 && (::setgroups(0, nullptr) != 0 || ::setgid(user_) != 0 || ::setuid(user_) != 0))
                ::_exit(97);
            if (!prelude_.empty()) {
                const std::string script = prelude_ + " || exit 96; exec \"$0\" \"$@\"";
                argv.front() = program_.data();
                for (const char* each : {script.c_str(), "-c", "bash"})
                    argv.insert(argv.begin(), const_cast<char*>(each));
                ::execv("/bin/bash", argv.data());
            }
            ::execv(program_.c_str(), argv.data());
            ::_exit(98);
        }
        return *this;
    }
    leat_end wait() {
        int status = 0;
        rusage used{};
        ::wait4(std::exchange(pid_, 0), &status, 0, &used);
        leat_end end;
        end.peak_mib = static_cast<std::size_t>(used.ru_maxrss) >> 10U;
        if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
        if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
        end.out = scratch_.read("out");
        end.err = scratch_.read("err");
        return end;
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    void kill(int signal) const { ::kill(pid_, signal); }
    std::string out_so_far() const { return scratch_.read("out"); }
    std::string err_so_far() const { return scratch_.read("err"); }

private:
    int create(const char* name) const {
        return ::open(scratch_.file(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    }
    words arguments_;
    scratch scratch_;
    std::string input_ = "/dev/null";
    std::string directory_;
    std::string prelude_;
    std::string program_ = LEAT_COMMAND;
    uid_t user_ = 0;
    int input_fd_ = -1, output_fd_ = -1, error_fd_ = -1, closed_ = -1;
    pid_t pid_ = 0;
};

// Runs leat with `arguments` to its end.
inline leat_end run_leat(leat_process::words arguments, const std::string& input = {}) {
    leat_process process(std::move(arguments));
    process.input(input);
    return process.start().wait();
}

// The same, after shell commands such as ulimit -n 32.
inline leat_end run_leat_after(std::string commands, leat_process::words arguments, const std::string& input = {}) {
    leat_process process(std::move(arguments));
    process.input(input).after(std::move(commands));
    return process.start().wait();
}

}  // namespace leat_test
