#include <cli/screen.hpp>

#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace leat::cli {

void screen::write(int fd, std::string_view bytes) noexcept {
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
        if (wrote >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(wrote));
        } else if (errno == EAGAIN) {
            pollfd ready{fd, POLLOUT, 0};
            (void)::poll(&ready, 1, -1);
        } else if (errno != EINTR) {
            return;  // nobody is left to be told
        }
    }
}

std::string screen::erasing() const {
    return block_.empty() ? std::string() : fmt::format("\x1b[{}A\r\x1b[J", block_.size());
}

void screen::print(std::string_view bytes) {
    const std::scoped_lock held(lock_);
    if (block_.empty()) return write(fd_, bytes);
    std::string all = erasing();
    all += bytes;
    if (!bytes.ends_with('\n')) all += '\n';
    for (const std::string& line : block_) all += line + "\n";
    write(fd_, all);
}

void screen::print_output(std::string_view bytes) {
    const std::scoped_lock held(lock_);
    write(fd_, erasing());
    write(STDOUT_FILENO, bytes);
    // Half a line stays until the rest comes: the block would stand behind it.
    if (bytes.ends_with('\n')) {
        std::string again;
        for (const std::string& line : block_) again += line + "\n";
        write(fd_, again);
    } else {
        block_.clear();
    }
}

void screen::show(const std::vector<std::string>& lines) {
    const std::scoped_lock held(lock_);
    std::string all = erasing();
    for (const std::string& line : lines) all += line + "\n";
    block_ = lines;
    write(fd_, all);
}

bool screen::is_terminal() const noexcept {
    const char* const kind = std::getenv("TERM");
    return ::isatty(fd_) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

unsigned screen::width() const noexcept {
    winsize size{};
    if (::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

bool screen::wants_color() const noexcept {
    const char* const refused = std::getenv("NO_COLOR");
    return refused == nullptr || *refused == '\0';
}

namespace {

// The length of the UTF-8 character at the start of `text`; 0 when there is none.
std::size_t character_length(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80    ? 1
                               : first >= 0xf5 ? 0
                               : first >= 0xf0 ? 4
                               : first >= 0xe0 ? 3
                               : first >= 0xc2 ? 2
                                               : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t at = 1; at < length; ++at)
        if ((byte(at) & 0xc0) != 0x80) return 0;
    // Overlong forms, surrogates and what lies beyond Unicode.
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
        (first == 0xf4 && byte(1) > 0x8f))
        return 0;
    return length;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string shown;
    while (!text.empty()) {
        const std::size_t length = character_length(text);
        const auto first = static_cast<unsigned char>(text[0]);
        if (first == '\n') shown += "\\n";
        else if (first == '\t') shown += "\\t";
        else if (first == '\r') shown += "\\r";
        else if (length == 0 || first < 0x20 || first == 0x7f ||
                 (first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0))
            shown += fmt::format("\\x{:02x}", first);
        else {
            shown += text.substr(0, length);
            text.remove_prefix(length);
            continue;
        }
        // A control character of two bytes is shown as its first, then as its second.
        text.remove_prefix(1);
    }
    return shown;
}

}  // namespace leat::cli
