// leat run: a flow file, from its source to its sink.
#include <cli/commands/commands.hpp>

#include <cli/load_flow.hpp>
#include <cli/session.hpp>
#include <unistd.h>

namespace leat::cli {

exit_code execute(const run_arguments& command, closed_streams) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    auto file = load_flow(command.flow_file, kinds);
    if (!file) {
        messages.print(file.error());
        return exit_code::usage;
    }
    session_plan plan;
    plan.options = prepare_flow(*file);
    plan.graph = std::move(file->graph);
    plan.output = command.output;
    plan.print_report = !command.quiet;
    return run_session(std::move(plan), messages);
}

}  // namespace leat::cli
