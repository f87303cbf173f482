// command: a program run once: started, fed, read, ended in time, and waited for.
//
//   leat::command_options options({"convert", "in.png", "out.jpg"});
//   options.timeout = 20s;
//   leat::command_result done = co_await leat::run_command(std::move(options));
//   if (!done.status.success()) complain(done.status.text(), done.err);
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <leat/base/env.hpp>
#include <leat/process/exit_status.hpp>
#include <leat/process/spawn.hpp>
#include <leat/process/spool.hpp>
#include <leat/task/task.hpp>

namespace leat {

// What becomes of an output of the command: read into the result, written where this process writes, or thrown away.
enum class command_output : unsigned char { capture, inherit, discard };

// Told of a captured output while the command runs: of each piece as it comes. The next is read when it has returned, so that
// one that takes long holds up the command. Deaf to stop requests. What it throws ends the command by SIGKILL.
using output_listener = std::function<task<>(std::span<const char>)>;

struct command_options {
    command_options() {}
    explicit command_options(std::vector<std::string> argv) : child(std::move(argv)) {}
    explicit command_options(spawn_options child_) : child(std::move(child_)) {}

    spawn_options child;               // what to start; its in, out and err are set by run_command
    std::optional<std::string> input;  // written to standard input, which is /dev/null without
    command_output out = command_output::capture;
    command_output err = command_output::capture;
    std::size_t out_memory_bytes = spool::default_memory_bytes;  // of captured standard output; the rest goes to a file
    std::size_t err_bytes = std::size_t{64} << 10U;              // of captured standard error: first and last half
    output_listener on_out, on_err;                              // none: nobody is told
    bool keep_out = true;                                        // false: standard output is for its listener alone
    duration timeout = duration::max();                          // then the group gets SIGTERM …
    duration grace = std::chrono::seconds(2);                    // … and after this SIGKILL
    duration drain = std::chrono::milliseconds(500);  // for output that others hold open after the command has ended
};

struct command_result {
    command_result() : status(exit_status::lost()) {}

    exit_status status;  // and what the command used: status.usage()
    spool out;           // standard output, when captured
    std::string err;     // standard error, when captured; with a line in the middle for what was left out
    std::uint64_t err_omitted_bytes = 0;  // how much that is
    bool timed_out = false;               // it was ended because of options.timeout
    bool output_held_open =
        false;                 // somebody still held an output open when the drain time was over: it may lack its end
    duration elapsed{0};       // from the start to the end of the command
    sandbox_report sandboxed;  // what was in force of options.child.sandbox and limits
};

// The command could not be started.
class spawn_failed : public std::runtime_error {
public:
    explicit spawn_failed(spawn_error error) : std::runtime_error(error.message), error_(std::move(error)) {}
    [[nodiscard]] const spawn_error& error() const noexcept { return error_; }
    // Whether the same start may succeed later.
    [[nodiscard]] bool retryable() const noexcept { return error_.what == spawn_error::kind::no_resources; }

private:
    spawn_error error_;
};

// Runs the command to its end; resumes on the awaiting task's executor, which must be one with I/O. A command that fails is
// a result, not an error. Throws spawn_failed when it cannot be started; spool_error when its output cannot be kept (disk
// full), the command being killed; what a listener threw; cancelled when the task was asked to stop, after the group was ended in the same way as
// at a timeout. When the command wins against the stop request or the timeout, its result is given all the same.
//
// Processes that the command leaves behind keep running, unless it was ended for a timeout or a stop request: then the whole
// group is killed. A command that does not read its input is no error. Any number of commands at once.
task<command_result> run_command(command_options options);

}  // namespace leat
