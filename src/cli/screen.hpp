// screen: standard error, shared between messages and a block of progress lines that is redrawn below them.
//
// Invariant: the block, when there is one, is the last thing on the terminal; whatever is printed goes in front of it.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace leat::cli {

class screen {
public:
    explicit screen(int fd) noexcept : fd_(fd) {}

    // Writes bytes as they are. Any thread.
    void print(std::string_view bytes);
    // Writes bytes of standard output, where that is a terminal like this, in front of the block. Any thread.
    void print_output(std::string_view bytes);
    // Replaces the block; an empty one clears it. Any thread.
    void show(const std::vector<std::string>& lines);

    // Whether a block can be redrawn on it: a terminal that moves its cursor.
    [[nodiscard]] bool is_terminal() const noexcept;
    [[nodiscard]] unsigned width() const noexcept;
    [[nodiscard]] bool wants_color() const noexcept;  // NO_COLOR is not set

private:
    static void write(int fd, std::string_view bytes) noexcept;
    [[nodiscard]] std::string erasing() const;

    int fd_;
    std::mutex lock_;
    std::vector<std::string> block_;  // under lock_
};

// `text` so that a terminal shows it and nothing else happens: control characters and bytes that are not UTF-8 as \n, \x1b.
std::string printable(std::string_view text);

}  // namespace leat::cli
