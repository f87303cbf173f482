// leat validate: what is wrong with flow files, without running them.
#include <cli/commands/commands.hpp>

#include <cli/load_flow.hpp>
#include <cli/screen.hpp>
#include <fmt/format.h>
#include <unistd.h>

namespace leat::cli {

exit_code execute(const validate_arguments& command, closed_streams closed) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    exit_code code = exit_code::done;
    std::string good;
    for (const std::string& path : command.flow_files) {
        const auto file = load_flow(path, kinds);
        if (file) {
            good += fmt::format("{}: ok ({} stages)\n", path, file->graph.stages.size() + 1);
        } else {
            messages.print(file.error());
            code = exit_code::usage;
        }
    }
    const exit_code printed = print_text(good, closed);
    return printed == exit_code::done ? code : printed;
}

}  // namespace leat::cli
