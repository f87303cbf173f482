// session: one run of a flow by the command: signals, progress, messages about items, the report, the exit status.
#pragma once

#include <cli/arguments.hpp>
#include <cli/exit_code.hpp>
#include <cli/screen.hpp>

#include <functional>

#include <leat/flow/run_flow.hpp>

namespace leat::cli {

struct session_plan {
    flow_graph graph;
    flow_options options;  // control and observer are the session's
    std::shared_ptr<flow_control> control = std::make_shared<flow_control>();
    run_output output;
    bool print_report = false;  // on standard error, at the end
    unsigned threads = 0;       // of the runtime; 0: the effective CPUs
    // In place of run_flow(graph, options), where more has to be done in the runtime; `graph` is left out then.
    std::function<task<report>(const flow_options&)> run;
    // Called with the report before it is written or told.
    std::function<void(report&)> at_end;
    std::string told_by;  // the stage whose sink tells what became of its items; of the others, the session does
};

// Runs the flow to its end. The first SIGINT or SIGTERM drains it, the second stops it, the third, or five seconds, ends the
// process as it stands: its children die with it. Throws usage_error for a report file that cannot be written to, and for a
// graph that cannot run.
exit_code run_session(session_plan plan, screen& messages);

// The exit status of a run that ended with `done`. `signal`: the first that came, 0 for none.
[[nodiscard]] exit_code exit_code_of(const report& done, int signal, bool output_gone) noexcept;

}  // namespace leat::cli
