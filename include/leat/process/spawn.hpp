// spawn: starts a child process from an argument vector, never through a shell. The base of commands and of worker
// processes; synchronous, since the system call is (a few hundred microseconds, no waiting on anything else).
//
// What every child gets, whatever the options:
//  1. Only the descriptors that the options name: all others are closed by exec, also those that other code of this process
//     opened without close-on-exec.
//  2. An empty signal mask and default signal actions, SIGPIPE included.
//  3. A process group of its own. It cannot read from the terminal: a background group that tries is stopped.
//  4. An end: the group is killed when this process ends with the child not waited for, by exit or even by SIGKILL. A
//     small process of ours, made at the first spawn, sees to that (src/process/sentinel.hpp).
// Linux 5.4 or newer.
#pragma once

#include <leat/base/expected.hpp>
#include <leat/process/child_process.hpp>
#include <leat/process/sandbox.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace leat {

// What a standard descriptor of the child is.
class child_stdio {
public:
    // The descriptor of the same number here; /dev/null where that is closed or marked close-on-exec.
    static child_stdio inherit() noexcept { return child_stdio(kept); }
    static child_stdio null() noexcept { return child_stdio(devnull); }
    // A copy of `fd`, which stays open here and the caller's to close.
    static child_stdio descriptor(int fd) noexcept { return child_stdio(fd < 0 ? bad : fd); }

private:
    friend struct spawn_plan;
    static constexpr int kept = -1;
    static constexpr int devnull = -2;
    static constexpr int bad = -3;
    explicit child_stdio(int fd) noexcept : fd_(fd) {}
    int fd_;
};

// A further descriptor: `here` in this process, `there` (3 or above) in the child.
struct passed_descriptor {
    passed_descriptor(int here_, int there_) noexcept : here(here_), there(there_) {}
    int here;
    int there;
};

// A change to the environment that the child inherits: a value, or nothing to remove the name.
struct environment_change {
    environment_change(std::string name_, std::optional<std::string> value_)
        : name(std::move(name_)), value(std::move(value_)) {}
    std::string name;
    std::optional<std::string> value;
};

// Limits on the child, inherited by its own children, each of which has the whole limit again. A limit that is tighter
// already stays as it is.
struct child_limits {
    child_limits() {}
    std::optional<std::uint64_t> memory_bytes;  // address space; allocation fails in the child beyond it
    std::optional<std::uint64_t> cpu_seconds;   // SIGXCPU when used up, SIGKILL a second later
    std::optional<std::uint64_t> open_files;    // descriptors
    std::optional<std::uint64_t> file_bytes;    // size of a file that it writes; SIGXFSZ beyond it
    // Of all processes and threads of the user who runs the child, not of the child alone: starting one more fails in the
    // child where there are as many already. The kernel does not hold root to it.
    std::optional<std::uint64_t> processes;
};

struct spawn_options {
    spawn_options() {}
    explicit spawn_options(std::vector<std::string> argv_) : argv(std::move(argv_)) {}

    std::vector<std::string> argv;  // argv[0] is the command, looked up in the PATH of the child
    std::string program;            // the file to execute instead, for a caller that looked it up once; empty: argv[0]
    std::string directory;          // working directory of the child; empty: that of this process
    std::vector<environment_change> environment;
    bool clear_environment = false;  // start from an empty environment; PATH is then the default one
    child_stdio in = child_stdio::null();
    child_stdio out = child_stdio::inherit();
    child_stdio err = child_stdio::inherit();
    std::vector<passed_descriptor> pass;
    child_limits limits;
    std::optional<leat::sandbox> sandbox;  // child_process::sandboxed() says what came into force
};

struct spawn_error {
    enum class kind : unsigned char {
        bad_option,      // the options cannot be meant so: an empty argument vector, a NUL byte, a descriptor not open
        not_found,       // no such command
        not_executable,  // it is there, and cannot be run: permissions, a directory, no interpreter, another machine's
        bad_directory,   // the working directory
        no_resources,    // out of descriptors, processes or memory: worth another try later
        refused,         // anything else the system said no to
        no_sandbox,      // a layer of the sandbox that is required cannot be had here, or a path of it does not exist
    };
    spawn_error(kind what_, int code_, std::string message_) : what(what_), code(code_), message(std::move(message_)) {}

    kind what;
    int code;             // errno, or 0
    std::string message;  // one sentence for a person: what was wrong, where, what was found
};

// Starts the child; it has passed exec when this returns, so every error that can be known is. The descriptors named by the
// options stay open here. Environment and PATH are read from `environ`: nobody may change it during the call.
// Any thread, several at once. Throws only bad_alloc.
[[nodiscard]] expected<child_process, spawn_error> spawn(const spawn_options& options);

// The file that `command` names: itself when it holds a slash, else the first executable file of that name in `path`, a list
// as in PATH. Relative names count from `directory` when that is not empty. Any thread.
[[nodiscard]] expected<std::string, spawn_error> find_program(const std::string& command, std::string_view path,
                                                              const std::string& directory = {});

// Where programs are looked for when PATH is not set.
inline constexpr std::string_view default_program_path = "/usr/local/bin:/usr/bin:/bin";

// The PATH of this process, or the default.
[[nodiscard]] std::string program_path();

}  // namespace leat
