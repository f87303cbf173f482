// leat explain: what limited a run, from its report.
#include <cli/commands/commands.hpp>
#include <cli/report_file.hpp>

#include <leat/flow/explain.hpp>

namespace leat::cli {

exit_code execute(const explain_arguments& command, closed_streams closed) {
    return print_text(explain(read_report(command.report_file)), closed);
}

}  // namespace leat::cli
