#include <leat/io/pipe.hpp>

#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <leat/runtime/blocking.hpp>
#include <leat/task/this_task.hpp>

#include "without_sigpipe.hpp"

namespace leat::io {

namespace {

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

bool is_non_blocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    struct stat about{};
    return flags >= 0 && (flags & O_NONBLOCK) != 0 && ::fstat(fd, &about) == 0 && !S_ISREG(about.st_mode) &&
           !S_ISDIR(about.st_mode) && !S_ISBLK(about.st_mode);
}

// What an operation that completed at once costs of the task's share.
struct spend_share {
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) const noexcept {
        return self.promise().leat_context().yields_at(self);
    }
    void await_resume() const noexcept {}
};

// Ends a poll(2) on another thread when the line is asked to stop.
class stop_bell : private stop_callback {
public:
    stop_bell() noexcept
        : stop_callback([](stop_callback& self) noexcept {
              const std::uint64_t one = 1;
              [[maybe_unused]] const auto rung = ::write(static_cast<stop_bell&>(self).bell_.get(), &one, sizeof one);
          }),
          bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    ~stop_bell() { detach(); }
    void listen(stop_source& to) noexcept { attach(to); }
    [[nodiscard]] int fd() const noexcept { return bell_.get(); }

private:
    unique_fd bell_;
};

enum class turn : unsigned char { ready, stopped, failed };

// Blocks until `fd` is ready. On a thread of the blocking pool.
turn wait_for(int fd, short what, int bell) noexcept {
    if (fd < 0) {  // which poll would wait for, for ever
        errno = EBADF;
        return turn::failed;
    }
    pollfd both[2] = {{fd, what, 0}, {bell, POLLIN, 0}};
    while (::poll(both, bell < 0 ? 1 : 2, -1) < 0)
        if (errno != EINTR) return turn::failed;
    return bell >= 0 && both[1].revents != 0 ? turn::stopped : turn::ready;
}

// Nothing: stopped.
std::optional<expected<std::size_t, std::error_code>> blocking_read(int fd, std::span<char> into, int bell) {
    for (;;) {
        const turn ready = wait_for(fd, POLLIN, bell);
        if (ready == turn::stopped) return std::nullopt;
        if (ready == turn::failed) return unexpected(last_error());
        const ssize_t got = ::read(fd, into.data(), into.size());
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR && errno != EAGAIN) return unexpected(last_error());
    }
}

std::optional<expected<void, std::error_code>> blocking_write(int fd, std::span<const char> bytes, int bell) {
    struct stat about{};
    // A pipe that is ready takes so much without blocking; more could block for ever, deaf to the bell.
    const std::size_t most = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode) ? SSIZE_MAX : PIPE_BUF;
    while (!bytes.empty()) {
        const turn ready = wait_for(fd, POLLOUT, bell);
        if (ready == turn::stopped) return std::nullopt;
        if (ready == turn::failed) return unexpected(last_error());
        const ssize_t put = write_without_sigpipe(fd, bytes.data(), std::min(bytes.size(), most));
        if (put >= 0) bytes = bytes.subspan(static_cast<std::size_t>(put));
        else if (errno != EINTR && errno != EAGAIN) return unexpected(last_error());
    }
    return expected<void, std::error_code>();
}

// Does use(fd, bytes, bell) on a thread of the blocking pool; throws cancelled when it was stopped.
template <class Result, class Bytes>
task<Result> on_blocking_thread(std::optional<Result> (*use)(int, Bytes, int), int fd, Bytes bytes) {
    leat::context& line = co_await this_task::line();
    stop_bell bell;
    bell.listen(line.stop());
    std::optional<Result> done = co_await blocking(use, fd, bytes, bell.fd());
    if (!done) leat::detail::throw_cancelled();
    co_return std::move(*done);
}

}  // namespace

pipe_reader::pipe_reader(unique_fd fd) noexcept
    : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(is_non_blocking(fd_.get())) {}

task<expected<std::size_t, std::error_code>> pipe_reader::read_some(std::span<char> into) {
    if (into.empty()) co_return std::size_t{0};
    if (!non_blocking_) co_return co_await on_blocking_thread(&blocking_read, fd_.get(), into);
    for (;;) {
        const ssize_t got = ::read(fd_.get(), into.data(), into.size());
        if (got >= 0) {
            co_await spend_share();
            co_return static_cast<std::size_t>(got);
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return unexpected(last_error());
        if (co_await ready_.readable() == leat::context::wake::cancelled) leat::detail::throw_cancelled();
    }
}

void pipe_reader::close() noexcept {
    ready_ = descriptor(-1);
    fd_.reset();
}

pipe_writer::pipe_writer(unique_fd fd) noexcept
    : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(is_non_blocking(fd_.get())) {}

task<expected<void, std::error_code>> pipe_writer::write_all(std::span<const char> bytes) {
    if (!non_blocking_) co_return co_await on_blocking_thread(&blocking_write, fd_.get(), bytes);
    while (!bytes.empty()) {
        const ssize_t put = write_without_sigpipe(fd_.get(), bytes.data(), bytes.size());
        if (put >= 0) bytes = bytes.subspan(static_cast<std::size_t>(put));
        else if (errno == EAGAIN) {
            if (co_await ready_.writable() == leat::context::wake::cancelled) leat::detail::throw_cancelled();
        } else if (errno != EINTR) {
            co_return unexpected(last_error());
        }
    }
    co_await spend_share();
    co_return expected<void, std::error_code>();
}

void pipe_writer::close() noexcept {
    ready_ = descriptor(-1);
    fd_.reset();
}

struct pipe_maker {
    // A pipe whose end `ours` (0: reads, 1: writes) is non-blocking.
    static bool make(int ours, unique_fd (&ends)[2]) noexcept {
        int raw[2];
        if (::pipe2(raw, O_CLOEXEC) != 0) return false;
        ends[0] = unique_fd(raw[0]);
        ends[1] = unique_fd(raw[1]);
        return ::fcntl(raw[ours], F_SETFL, O_NONBLOCK) == 0;
    }
    static expected<incoming_pipe, std::error_code> incoming() noexcept {
        unique_fd ends[2];
        if (!make(0, ends)) return unexpected(last_error());
        return incoming_pipe{pipe_reader(std::move(ends[0]), true), std::move(ends[1])};
    }
    static expected<outgoing_pipe, std::error_code> outgoing() noexcept {
        unique_fd ends[2];
        if (!make(1, ends)) return unexpected(last_error());
        return outgoing_pipe{pipe_writer(std::move(ends[1]), true), std::move(ends[0])};
    }
};

expected<incoming_pipe, std::error_code> make_incoming_pipe() noexcept { return pipe_maker::incoming(); }
expected<outgoing_pipe, std::error_code> make_outgoing_pipe() noexcept { return pipe_maker::outgoing(); }

}  // namespace leat::io
