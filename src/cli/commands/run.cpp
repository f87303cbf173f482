// leat run: a flow file, from its source to its sink.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cli/engine_connection.hpp>
#include <cli/engine_run.hpp>
#include <cli/load_flow.hpp>
#include <cli/open_state.hpp>
#include <cli/report_file.hpp>
#include <cli/session.hpp>
#include <fmt/format.h>
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

// Null where the flow has no state.
std::unique_ptr<journal> open_journal_of(const flow_file& file, const run_arguments& command) {
    const std::string& state = file.description.state;
    if (command.state_in_engine) {
        if (command.engine.empty()) throw usage_error("--state-in-engine: is for --engine");
        if (!state.empty())
            throw usage_error(
                fmt::format("--state-in-engine: the flow keeps its journal in '{}'; expected no state in "
                            "[flow]",
                            state));
        return nullptr;
    }
    if (!state.empty()) return open_state(state);
    if (command.resume || command.fresh)
        throw usage_error(fmt::format("{}: the flow keeps no journal; expected state = \"…\" in [flow]",
                                      command.resume ? "--resume" : "--fresh"));
    return nullptr;
}

std::string how_it_ended(const past_run& run) { return run.end.empty() ? "was killed" : "ended as " + run.end; }

journal_mode mode_of(journal& kept, const std::string& now, const run_arguments& command) {
    const std::optional<past_run> last = kept.last_run();
    if (!last || command.fresh || (!command.resume && last->is_complete())) return journal_mode::fresh;
    if (!command.resume)
        throw usage_error(
            fmt::format("run {} of this flow {} with {} items done: `leat resume {}` goes on with it, "
                        "--fresh does all again",
                        last->number, how_it_ended(*last), last->done, command.flow_file));
    const std::vector<std::string> changes = flow_changes(last->flow, now);
    if (changes.empty() || command.accept_changes) return journal_mode::resume;
    std::string all = fmt::format("the flow has changed since run {}:\n", last->number);
    for (const std::string& each : changes) all += "  " + each + "\n";
    throw usage_error(
        fmt::format("{}{} items are done as it was then: --accept-changes leaves them so and does the others "
                    "as it is now, `leat run --fresh {}` does all again",
                    all, last->done, command.flow_file));
}

}  // namespace

exit_code execute(const run_arguments& command, closed_streams closed) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    auto file = load_flow(command.flow_file, kinds,
                          command.state_in_engine ? journal_place::elsewhere : journal_place::in_state);
    if (!file) {
        messages.print(file.error());
        return exit_code::usage;
    }
    const std::unique_ptr<journal> kept = open_journal_of(*file, command);
    const journal_mode mode = kept ? mode_of(*kept, flow_text(file->description), command) : journal_mode::fresh;
    if (command.engine.empty() && command.replicas != 1) throw usage_error("--replicas: is for --engine");
    const engine_choice on{command.engine, command.replicas};
    session_plan plan;
    std::shared_ptr<cluster::coordinator> placed;
    engine_run in_engine(*file, command.flow_file, on, plan.control, messages);
    if (command.state_in_engine) {
        (void)engine_at(command.engine);  // what is wrong with it is told before all else
        plan.run = [&](const flow_options& session) {
            return in_engine.run(session,
                                 [&](journal& now) { return mode_of(now, flow_text(file->description), command); });
        };
    } else {
        placed = place_flow(*file, command.flow_file, on, plan.control, messages);
        plan.options = prepare_flow(*file, kept.get(), mode);
        plan.graph = std::move(file->graph);
    }
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
    exit_code code = run_session(std::move(plan), messages);
    if (command.state_in_engine) placed = in_engine.placed();
    if (placed && !command.quiet)
        if (const cluster::cluster_report counted = placed->report(); !counted.server.empty())  // else it never began
            messages.print(counted.to_text());
    if (placed && !placed->failure().empty()) code = exit_code::engine_failed;
    const bool goes_on = code != exit_code::done && code != exit_code::items_failed;
    if (kept && goes_on) messages.print(fmt::format("leat: `leat resume {}` goes on from here\n", command.flow_file));
    if (command.state_in_engine && placed && goes_on)
        messages.print(
            fmt::format("leat: `leat resume {} --engine … --state-in-engine` goes on from here, on any machine\n",
                        command.flow_file));
    return code;
}

}  // namespace leat::cli
