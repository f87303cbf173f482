// A file on its way into the archive, a chunk at a time.
#pragma once

#include <string>

#include <leat/io/unique_fd.hpp>

#include "chunker.hpp"
#include "format.hpp"
#include "walk.hpp"

namespace archive {

// Reads as many bytes as the file has when it is opened; what is written behind them meanwhile is not in the archive.
class file_reader {
public:
    explicit file_reader(const found& what);

    // The next chunk; false at the end.
    bool next(std::string& chunk);

    // After the end:
    // The entry, still without chunks; its size is that of what was read.
    [[nodiscard]] const entry& what() const noexcept { return entry_; }
    // Empty, or what went wrong: it could not be read, or became shorter.
    [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
    // Whether the entry is good for nothing.
    [[nodiscard]] bool failed() const noexcept { return failed_; }

private:
    void open_file(const std::string& path);
    void read_link(const std::string& path);
    void fill();
    void give_up(std::string why);

    entry entry_;
    leat::io::unique_fd file_;
    std::uint64_t left_ = 0;  // bytes of the file that were not read yet
    std::string buffer_;
    std::size_t at_ = 0;  // what is before was given out
    std::string problem_;
    bool failed_ = false;
};

}  // namespace archive
