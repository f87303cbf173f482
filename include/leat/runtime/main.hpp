// main: what a program's main returns. `int main(int argc, char** argv) { return leat::main(argc, argv, program); }`
//
// The one place in the library, beside the command, that touches the process: it prints the library's log (warnings and
// worse) and an uncaught error to standard error, and turns SIGINT and SIGTERM into a stop request to the program. A second
// signal ends the process at once.
#pragma once

#include <concepts>
#include <functional>
#include <optional>

#include <leat/runtime/run.hpp>

namespace leat {

namespace detail {

// The environment variable that tells a process that it was started to be a worker of another one.
inline constexpr const char* worker_variable = "LEAT_WORKER";
// What it runs then, and what that gives is its exit code. Set before main, by the layer that starts workers.
using worker_function = int (*)();
inline constinit worker_function worker_body = nullptr;

// The type-erased rest of leat::main.
class main_frame {
public:
    main_frame();
    ~main_frame();
    stop_source& stop() noexcept;
    // The exit code for what is being handled: called in a catch block. Prints what it was.
    int failed() noexcept;
    // The exit code of a program that came to its end with `code`: 130 or 143 when a signal asked it to.
    int ended(int code) noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace detail

// For programs with a main of their own that use a process_pool: its first line is
//   if (const auto code = leat::worker_main()) return *code;
// In a worker it runs the calls until the pool ends it, and gives the exit code; elsewhere nothing. leat::main begins with it.
[[nodiscard]] std::optional<int> worker_main();

// Runs `program`, a function that returns task<void> or task<int> and takes nothing or (int argc, char** argv), on all
// effective CPUs. Returns the exit code: the program's int or 0; 1 after an uncaught error; 3 after a deadlock, which was
// reported; 130 or 143 when SIGINT or SIGTERM stopped it.
template <class Program>
int main(int argc, char** argv, Program&& program, run_options options = {}) {
    if (const auto code = worker_main()) return *code;
    detail::main_frame frame;
    options.stop = &frame.stop();
    try {
        const auto body = [&] {
            if constexpr (std::invocable<Program&, int, char**>) return program(argc, argv);
            else return program();
        };
        using value = typename std::invoke_result_t<decltype(body)>::value_type;
        if constexpr (std::is_void_v<value>) {
            run(options, body);
            return frame.ended(0);
        } else {
            return frame.ended(run(options, body));
        }
    } catch (...) {
        return frame.failed();
    }
}

}  // namespace leat
