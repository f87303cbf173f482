// data_out: our standard output, shared by those who have something to print, one after the other.
#pragma once

#include <atomic>
#include <cli/screen.hpp>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>

#include <leat/io/pipe.hpp>
#include <leat/process/spool.hpp>
#include <leat/sync/mutex.hpp>

namespace leat::cli {

// It cannot be written to any more: the disk is full, the reader has gone.
class data_out_failed : public std::system_error {
public:
    explicit data_out_failed(int code)
        : std::system_error(code, std::generic_category(), "cannot write to standard output") {}
};

class data_out {
public:
    // `messages` is in front of it where both are the same terminal, and must outlive it.
    explicit data_out(screen& messages) noexcept : screen_(messages) {}
    // Before the first and after the last write, while there is a runtime. open() throws std::system_error.
    void open();
    void close() noexcept { out_.reset(); }

    // Locked by who writes, for as long as nobody else's bytes may come between.
    [[nodiscard]] mutex& turns() noexcept { return turns_; }
    // Writes all of it; resumes on the awaiting task's executor. Throws data_out_failed, from then on at once. By who holds
    // turns().
    task<> write(std::string_view bytes);
    // Throws what write() threw, if it did. Any thread.
    void check() const;

private:
    screen& screen_;
    std::optional<io::pipe_writer> out_;
    bool shared_terminal_ = false;
    std::atomic<int> failure_{0};  // errno; 0: none
    mutex turns_;
};

// Calls `take` with all that is in `from`, piece by piece; what is on disk is read on another thread.
task<> read_in_pieces(const spool& from, std::function<task<>(std::string_view)> take);

}  // namespace leat::cli
