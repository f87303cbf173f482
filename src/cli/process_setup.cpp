#include <cli/process_setup.hpp>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <leat/base/log.hpp>

namespace leat::cli {

namespace {

bool was_closed(int fd, int mode) noexcept {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) return false;
    [[maybe_unused]] const int opened = ::open("/dev/null", mode);  // the lowest free descriptor, which is fd
    return true;
}

void print_log(void*, log_level level, std::string_view message) noexcept {
    if (level < log_level::warning) return;
    fmt::memory_buffer line;
    fmt::format_to(std::back_inserter(line), "leat: {}\n", message);
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

closed_streams prepare_process() noexcept {
    closed_streams closed;
    closed.input = was_closed(STDIN_FILENO, O_RDONLY);
    closed.output = was_closed(STDOUT_FILENO, O_WRONLY);
    (void)was_closed(STDERR_FILENO, O_WRONLY);
    ::signal(SIGPIPE, SIG_IGN);  // NOLINT(performance-no-int-to-ptr)
    ::signal(SIGXFSZ, SIG_IGN);  // NOLINT(performance-no-int-to-ptr): a file at its limit is an error like a full disk
    set_log_hook(&print_log, nullptr);
    return closed;
}

bool output_reader_gone() noexcept {
    pollfd output{STDOUT_FILENO, POLLOUT, 0};
    return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

}  // namespace leat::cli
