// leat report: the report of a run, as a person reads it.
#include <cli/commands/commands.hpp>
#include <cli/report_file.hpp>

namespace leat::cli {

exit_code execute(const report_arguments& command, closed_streams closed) {
    report read = read_report(command.report_file);
    if (!command.plan_file.empty()) read.plan = read_plan(command.plan_file);
    return print_text(read.to_text(), closed);
}

}  // namespace leat::cli
