// The subcommands: a function each, in a file of its name. They throw usage_error for what cannot be meant so.
#pragma once

#include <cli/arguments.hpp>
#include <cli/exit_code.hpp>
#include <cli/process_setup.hpp>

namespace leat::cli {

exit_code execute(const text_to_print& command, closed_streams closed);
exit_code execute(const run_arguments& command, closed_streams closed);
exit_code execute(const each_arguments& command, closed_streams closed);
exit_code execute(const validate_arguments& command, closed_streams closed);
exit_code execute(const list_arguments& command, closed_streams closed);
exit_code execute(const plan_arguments& command, closed_streams closed);
exit_code execute(const explain_arguments& command, closed_streams closed);
exit_code execute(const report_arguments& command, closed_streams closed);
exit_code execute(const story_arguments& command, closed_streams closed);
exit_code execute(const letters_arguments& command, closed_streams closed);
exit_code execute(const cluster_init_arguments& command, closed_streams closed);
exit_code execute(const worker_arguments& command, closed_streams closed);
exit_code execute(const status_arguments& command, closed_streams closed);
exit_code execute(const drain_arguments& command, closed_streams closed);

// Writes `text` to standard output.
exit_code print_text(std::string_view text, closed_streams closed);

}  // namespace leat::cli
