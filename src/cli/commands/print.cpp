#include <cli/commands/commands.hpp>

#include <cerrno>
#include <cli/write_all.hpp>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace leat::cli {

exit_code print_text(std::string_view text, closed_streams closed) {
    if (closed.output) throw usage_error("standard output is closed");
    if (write_all(STDOUT_FILENO, text)) return exit_code::done;
    if (errno == EPIPE) return exit_code::output_closed;
    throw std::runtime_error(fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

exit_code execute(const text_to_print& command, closed_streams closed) { return print_text(command.text, closed); }

}  // namespace leat::cli
