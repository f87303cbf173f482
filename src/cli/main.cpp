// The command `leat`: reads its arguments, does what they say, and tells how it went by its exit status.
#include <cli/commands/commands.hpp>
#include <cli/screen.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <leat/base/exception_text.hpp>
#include <leat/runtime/deadlock.hpp>

int main(int argc, char** argv) {
    using namespace leat::cli;
    const closed_streams closed = prepare_process();
    const auto fail = [](exit_code code, const std::string& message) {
        screen(STDERR_FILENO).print(message);
        return static_cast<int>(code);
    };
    try {
        const command_line what = parse_command_line(argc, argv);
        return static_cast<int>(std::visit([closed](const auto& command) { return execute(command, closed); }, what));
    } catch (const usage_error& error) {
        return fail(exit_code::usage, fmt::format("leat: {}\n", error.what()));
    } catch (const leat::deadlocked& error) {
        return fail(exit_code::deadlock, fmt::format("leat: {}\n", error.what()));
    } catch (...) {
        return fail(exit_code::engine_failed, fmt::format("leat: {}\n", leat::current_exception_text()));
    }
}
