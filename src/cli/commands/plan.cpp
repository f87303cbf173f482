// leat plan: what a flow will take, from a sample of its items.
#include <cli/commands/commands.hpp>
#include <cli/load_flow.hpp>
#include <cli/resource_use.hpp>
#include <cli/session.hpp>
#include <unistd.h>

#include <leat/flow/flow_plan.hpp>

namespace leat::cli {

exit_code execute(const plan_arguments& command, closed_streams closed) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    auto file = load_flow(command.flow_file, kinds);
    if (!file) {
        messages.print(file.error());
        return exit_code::usage;
    }
    const double base_bytes = peak_memory();
    file->description.state.clear();  // nothing that is done now counts
    session_plan run;
    run.options = prepare_flow(*file);
    run.options.dead_letters = [](const dead_letter&) {};
    flow_sample part(std::move(file->graph), command.sample);
    run.graph = part.take_graph();
    run.output = command.output;
    std::string text;
    run.at_end = [&](report& done) {
        if (done.end == flow_end::failed) return;
        const flow_plan told = part.plan(done, base_bytes);
        done.plan = told.forecast;
        text = told.to_text(done.flow);
    };
    const exit_code ended = run_session(std::move(run), messages);
    if (text.empty()) return ended;
    const exit_code printed = print_text(text, closed);
    return printed == exit_code::done ? ended : printed;
}

}  // namespace leat::cli
