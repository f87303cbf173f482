// leat run: a flow file, from its source to its sink.
#include <cli/commands/commands.hpp>

#include <cli/load_flow.hpp>
#include <cli/report_file.hpp>
#include <cli/session.hpp>
#include <unistd.h>

namespace leat::cli {

namespace {

// Whether one reads from standard input, or writes to standard output.
bool uses_standard_stream(const std::vector<described_component>& all) {
    for (const described_component& which : all)
        for (const option& each : which.kind->options)
            if (each.key == "path" && each.type == option_type::text && which.options.has("path") &&
                which.options.text("path") == "-")
                return true;
    return false;
}

}  // namespace

exit_code execute(const run_arguments& command, closed_streams closed) {
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
    const bool reads_input = uses_standard_stream(file->description.sources);
    const bool writes_output = uses_standard_stream(file->description.sinks);
    if (reads_input && closed.input) throw usage_error("run: the flow reads standard input, which is closed");
    if (writes_output && closed.output) throw usage_error("run: the flow writes to standard output, which is closed");
    // The data would be written over by the block, and the block by the data.
    if (writes_output && ::isatty(STDOUT_FILENO) == 1 && plan.output.progress == progress_mode::automatic)
        plan.output.progress = progress_mode::none;
    plan.print_report = !command.quiet;
    if (!command.plan_file.empty())
        plan.at_end = [planned = read_plan(command.plan_file)](report& done) { done.plan = planned; };
    return run_session(std::move(plan), messages);
}

}  // namespace leat::cli
