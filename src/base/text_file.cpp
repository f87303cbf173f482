// Text files of the kernel: /proc and /sys.
#include "text_file.hpp"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <unistd.h>

namespace leat::text_file {

std::optional<std::string> read(const std::string& path) {
    constexpr std::size_t most_bytes = 16u << 20;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    std::string text;
    char piece[4096];
    ssize_t got = 0;
    do {
        got = ::read(fd, piece, sizeof piece);
        if (got > 0) text.append(piece, static_cast<std::size_t>(got));
    } while ((got > 0 && text.size() < most_bytes) || (got < 0 && errno == EINTR));
    const int error = errno;
    ::close(fd);
    if (got >= 0) return text;
    errno = error;
    return std::nullopt;
}

std::string_view cut(std::string_view& rest, char separator) noexcept {
    const auto end = rest.find(separator);
    const auto piece = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return piece;
}

std::string_view trimmed(std::string_view text) noexcept {
    constexpr std::string_view blank = " \t\r\n";
    const auto first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::optional<std::int64_t> number(std::string_view text) noexcept {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace leat::text_file
