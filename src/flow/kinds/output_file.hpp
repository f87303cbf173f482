// output_file: where a sink of one stream writes: a file that takes its name when it is complete, standard output, or
// something that is no regular file (a FIFO, /dev/null). Used by the kinds `write` and `jsonl`.
//
// Invariants:
//  1. A regular file is written as PATH.part beside PATH and renamed by finish(); PATH is not touched before.
//  2. After an error PATH.part ends with the last part that was written whole.
//  3. What is gone on with after its end, when PATH has its name already, is copied to PATH.part before anything is added.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <leat/io/pipe.hpp>
#include <leat/task/task.hpp>

namespace leat {

class output_file {
public:
    explicit output_file(std::string path) : path_(std::move(path)) {}  // "-": standard output

    // Throws std::system_error that names the path. For a FIFO, waits until somebody reads.
    task<> open();
    // The same for a file that an earlier run has written `length` bytes of: what is behind them is cut off. Throws
    // std::runtime_error when so many are not there. No difference for what is no regular file.
    task<> go_on(std::uint64_t length);
    // The same with all that is in PATH, if there is one.
    task<> add_to();
    // How a write ended: how many of the parts are out for good, and what was wrong with the next one.
    struct written {
        std::size_t parts = 0;
        std::error_code error;
    };
    // Writes `bytes`, which are cut into parts at `ends`. Throws cancelled when stopped before it began, or, where it is no
    // regular file, in the middle.
    task<written> write(std::string_view bytes, const std::vector<std::size_t>& ends);
    // Gives a regular file its name. Throws std::system_error.
    task<> finish();
    // What is left of a regular file that has not been finished stays, as PATH.part, unless it is empty. Blocks shortly.
    void close() noexcept;
    // What was written is on the disk when it returns. Blocks; beside write(). Throws std::system_error.
    void sync() const;

    // 'out.txt.part', or standard output: for messages.
    [[nodiscard]] std::string shown() const;
    [[nodiscard]] bool is_stream() const noexcept { return stream_.has_value(); }
    // Of a regular file: what is in it, whole parts.
    [[nodiscard]] std::uint64_t length() const noexcept { return length_; }

private:
    task<bool> open_stream();
    void take_file(int fd, std::uint64_t length);

    std::string path_;
    std::string part_;
    io::unique_fd file_;
    std::atomic<int> synced_{-1};  // -1, then file_, for sync()
    bool is_finished_ = false;     // PATH has all that there is: nothing was added
    std::optional<io::pipe_writer> stream_;
    std::uint64_t length_ = 0;  // of the file, whole parts
};

}  // namespace leat
