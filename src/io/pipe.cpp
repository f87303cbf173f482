#include <leat/io/pipe.hpp>

#include <algorithm>
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

enum class turn : unsigned char { ready, stopped, timed_out, failed };

// What poll(2) takes, rounded up.
int milliseconds_until(time_point deadline) noexcept {
    if (deadline == time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - env::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
}

// Blocks until `fd` is ready. On a thread of the blocking pool.
turn wait_for(int fd, short what, int bell, time_point deadline = time_point::max()) noexcept {
    if (fd < 0) {  // which poll would wait for, for ever
        errno = EBADF;
        return turn::failed;
    }
    pollfd both[2] = {{fd, what, 0}, {bell, POLLIN, 0}};
    int ready = 0;
    while ((ready = ::poll(both, bell < 0 ? 1 : 2, milliseconds_until(deadline))) < 0)
        if (errno != EINTR) return turn::failed;
    if (ready == 0) return turn::timed_out;
    return bell >= 0 && both[1].revents != 0 ? turn::stopped : turn::ready;
}

std::error_code too_late() noexcept { return std::make_error_code(std::errc::timed_out); }

struct read_job {
    std::span<char> into;
    time_point deadline;
    read_job(std::span<char> bytes, time_point until) noexcept : into(bytes), deadline(until) {}
};
struct write_job {
    std::span<const char> bytes;
    std::uint64_t* written;
    write_job(std::span<const char> from, std::uint64_t* count) noexcept : bytes(from), written(count) {}
};

// Nothing: stopped.
std::optional<expected<std::size_t, std::error_code>> blocking_read(int fd, read_job job, int bell) {
    for (;;) {
        const turn ready = wait_for(fd, POLLIN, bell, job.deadline);
        if (ready == turn::stopped) return std::nullopt;
        if (ready == turn::timed_out) return unexpected(too_late());
        if (ready == turn::failed) return unexpected(last_error());
        const ssize_t got = ::read(fd, job.into.data(), job.into.size());
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR && errno != EAGAIN) return unexpected(last_error());
    }
}

std::optional<expected<void, std::error_code>> blocking_write(int fd, write_job job, int bell) {
    std::span<const char> bytes = job.bytes;
    struct stat about{};
    // A pipe that is ready takes so much without blocking; more could block for ever, deaf to the bell.
    const std::size_t most = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode) ? SSIZE_MAX : PIPE_BUF;
    while (!bytes.empty()) {
        const turn ready = wait_for(fd, POLLOUT, bell);
        if (ready == turn::stopped) return std::nullopt;
        if (ready == turn::failed) return unexpected(last_error());
        const ssize_t put = write_without_sigpipe(fd, bytes.data(), std::min(bytes.size(), most));
        if (put >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(put));
            *job.written += static_cast<std::uint64_t>(put);
        } else if (errno != EINTR && errno != EAGAIN) {
            return unexpected(last_error());
        }
    }
    return expected<void, std::error_code>();
}

// Does use(fd, job, bell) on a thread of the blocking pool; throws cancelled when it was stopped.
template <class Result, class Job>
task<Result> on_blocking_thread(std::optional<Result> (*use)(int, Job, int), int fd, Job job) {
    leat::context& line = co_await this_task::line();
    stop_bell bell;
    bell.listen(line.stop());
    std::optional<Result> done = co_await blocking(use, fd, job, bell.fd());
    if (!done) leat::detail::throw_cancelled();
    co_return std::move(*done);
}

}  // namespace

pipe_reader::pipe_reader(unique_fd fd) noexcept
    : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(is_non_blocking(fd_.get())) {}

task<expected<std::size_t, std::error_code>> pipe_reader::read_some(std::span<char> into, time_point deadline) {
    if (into.empty()) co_return std::size_t{0};
    if (!non_blocking_) {
        const read_job job(into, deadline);
        co_return co_await on_blocking_thread(&blocking_read, fd_.get(), job);
    }
    for (;;) {
        const ssize_t got = ::read(fd_.get(), into.data(), into.size());
        if (got >= 0) {
            co_await spend_share();
            co_return static_cast<std::size_t>(got);
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return unexpected(last_error());
        const auto how = co_await ready_.readable(deadline);
        if (how == leat::context::wake::cancelled) leat::detail::throw_cancelled();
        if (how == leat::context::wake::timed_out) co_return unexpected(too_late());
    }
}

void pipe_reader::close() noexcept {
    ready_ = descriptor(-1);
    fd_.reset();
}

pipe_writer::pipe_writer(unique_fd fd) noexcept
    : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(is_non_blocking(fd_.get())) {}

task<expected<void, std::error_code>> pipe_writer::write_all(std::span<const char> bytes) {
    if (!non_blocking_) {
        const write_job job(bytes, &written_);
        co_return co_await on_blocking_thread(&blocking_write, fd_.get(), job);
    }
    while (!bytes.empty()) {
        const ssize_t put = write_without_sigpipe(fd_.get(), bytes.data(), bytes.size());
        if (put >= 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(put));
            written_ += static_cast<std::uint64_t>(put);
        } else if (errno == EAGAIN) {
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
