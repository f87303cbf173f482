#include <cli/commands/commands.hpp>

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace leat::cli {

exit_code print_text(std::string_view text, closed_streams closed) {
    if (closed.output) throw usage_error("standard output is closed");
    while (!text.empty()) {
        const ssize_t wrote = ::write(STDOUT_FILENO, text.data(), text.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0 && errno == EPIPE) return exit_code::output_closed;
        if (wrote < 0)
            throw std::runtime_error(fmt::format("cannot write to standard output: {}", std::strerror(errno)));
        text.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return exit_code::done;
}

exit_code execute(const text_to_print& command, closed_streams closed) { return print_text(command.text, closed); }

}  // namespace leat::cli
