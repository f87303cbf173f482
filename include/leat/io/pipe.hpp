// pipe_reader and pipe_writer: the ends of pipes, and whatever else is read or written as a stream of bytes: standard input,
// terminals, files.
//
// A descriptor that is non-blocking is waited for in the executor's I/O service. Any other (a regular file; a standard
// stream, whose mode is shared with other processes and so is not ours to change) is waited for and used on a thread of
// the blocking pool; that wait can be cancelled too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include <leat/base/expected.hpp>
#include <leat/io/descriptor.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/task/task.hpp>

namespace leat::io {

class pipe_reader {
public:
    // Takes the descriptor over; asks the system which kind it is.
    explicit pipe_reader(unique_fd fd) noexcept;
    pipe_reader(pipe_reader&&) noexcept = default;
    pipe_reader& operator=(pipe_reader&&) = delete;  // would close under a registration
    ~pipe_reader() = default;

    // Reads what there is, at least one byte; 0 at the end, or when `into` is empty. Resumes on the awaiting task's executor.
    // The error std::errc::timed_out at `deadline`. Throws cancelled when stopped; then nothing was read. One read at a time.
    task<expected<std::size_t, std::error_code>> read_some(std::span<char> into,
                                                           time_point deadline = time_point::max());

    // The writer sees a broken pipe from now on. Not during a read.
    void close() noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    friend struct pipe_maker;
    pipe_reader(unique_fd fd, bool non_blocking) noexcept
        : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(non_blocking) {}
    unique_fd fd_;
    descriptor ready_;  // after fd_: it lets go first
    bool non_blocking_;
};

class pipe_writer {
public:
    // Takes the descriptor over; asks the system which kind it is.
    explicit pipe_writer(unique_fd fd) noexcept;
    pipe_writer(pipe_writer&&) noexcept = default;
    pipe_writer& operator=(pipe_writer&&) = delete;  // would close under a registration
    ~pipe_writer() = default;

    // Writes all bytes. A reader that has gone is the error EPIPE, never a signal. Resumes on the awaiting task's executor.
    // Throws cancelled when stopped; written() tells how far it came. One write at a time.
    task<expected<void, std::error_code>> write_all(std::span<const char> bytes);
    // The bytes that the system has taken so far. Not during a write.
    [[nodiscard]] std::uint64_t written() const noexcept { return written_; }

    // The reader sees the end once it has read what is in the pipe. Not during a write.
    void close() noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    friend struct pipe_maker;
    pipe_writer(unique_fd fd, bool non_blocking) noexcept
        : fd_(std::move(fd)), ready_(fd_.get()), non_blocking_(non_blocking) {}
    unique_fd fd_;
    descriptor ready_;
    bool non_blocking_;
    std::uint64_t written_ = 0;
};

// A new pipe: our end, and the other one, blocking, for a child process. All close-on-exec.
struct incoming_pipe {
    pipe_reader reader;
    unique_fd writer;
};
struct outgoing_pipe {
    pipe_writer writer;
    unique_fd reader;
};
[[nodiscard]] expected<incoming_pipe, std::error_code> make_incoming_pipe() noexcept;
[[nodiscard]] expected<outgoing_pipe, std::error_code> make_outgoing_pipe() noexcept;

}  // namespace leat::io
