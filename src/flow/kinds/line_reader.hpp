// line_reader: a file or standard input, cut into lines of bounded length. Used by the kinds `lines` and `jsonl`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <leat/io/pipe.hpp>
#include <leat/task/task.hpp>

namespace leat {

class line_reader {
public:
    // `path` "-": standard input. Lines end with `end`, the last one also with the file.
    line_reader(std::string path, char end, std::uint64_t longest)
        : path_(std::move(path)), end_(end), longest_(longest) {}

    // Throws std::system_error, with the path, when it cannot be opened.
    task<> open();
    // The next line of what was read, without its end; null when fill() must be called first. Valid until fill().
    [[nodiscard]] std::optional<std::string_view> take();
    // Reads more; false when there is no more, and take() has given all. Throws permanent_error, with path and line, for a
    // line longer than the bound, std::system_error, and cancelled.
    task<bool> fill();

    // Of the line that take() gave last, from 1.
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    // "path:line", or "stdin:line".
    [[nodiscard]] std::string place() const;

private:
    std::string path_;
    char end_;
    std::uint64_t longest_;
    std::optional<io::pipe_reader> in_;
    std::string buffer_;
    std::size_t begin_ = 0;    // of what take() has not given
    std::size_t scanned_ = 0;  // no line end between begin_ and here
    std::uint64_t number_ = 0;
    bool ended_ = false;  // nothing more to read
};

}  // namespace leat
