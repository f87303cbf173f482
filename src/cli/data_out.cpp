#include <cli/data_out.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <vector>

#include <leat/io/unique_fd.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat::cli {

namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;

}  // namespace

void data_out::open() {
    io::unique_fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!out) throw std::system_error(errno, std::generic_category(), "standard output");
    out_.emplace(std::move(out));
    shared_terminal_ = screen_.is_terminal() && ::isatty(STDOUT_FILENO) == 1;
}

void data_out::check() const {
    if (const int code = failure_.load(); code != 0) throw data_out_failed(code);
}

// What is small and can be written at once is; the rest waits, on another thread where it must.
task<> data_out::write(std::string_view bytes) {
    check();
    if (shared_terminal_) {
        screen_.print_output(bytes);
        co_return;
    }
    for (std::size_t most = piece_bytes; !bytes.empty() && most > 0;) {
        pollfd ready{out_->fd(), POLLOUT, 0};
        if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) break;
        // A pipe that is ready takes so many bytes without blocking.
        const ssize_t wrote = ::write(out_->fd(), bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
        if (wrote < 0) break;
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
        most -= std::min(most, static_cast<std::size_t>(wrote));
    }
    if (bytes.empty()) co_return;
    auto written = co_await out_->write_all(bytes);
    if (written) co_return;
    failure_ = written.error().value();
    check();
}

task<> read_in_pieces(const spool& from, std::function<task<>(std::string_view)> take) {
    if (from.in_memory()) co_return co_await take(from.memory());
    std::vector<char> piece(piece_bytes);
    const auto read = [&from, &piece](std::uint64_t at) { return from.read_at(at, piece); };
    for (std::uint64_t at = 0; at < from.size();) {
        const std::size_t got = co_await blocking(read, at);
        if (got == 0) break;
        at += got;
        co_await take({piece.data(), got});
    }
}

}  // namespace leat::cli
