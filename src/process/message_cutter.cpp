#include "message_cutter.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <limits>

namespace leat {

namespace {

constexpr std::size_t length_bytes = 4;
constexpr unsigned bits_per_byte = 8;
constexpr std::size_t longest_frame = std::numeric_limits<std::uint32_t>::max();

char mark_of(worker_protocol protocol) { return protocol == worker_protocol::nul ? '\0' : '\n'; }

}  // namespace

void message_cutter::add(std::string_view piece) {
    text_.erase(0, begin_);
    scanned_ -= begin_;
    begin_ = 0;
    text_.append(piece);
}

std::optional<std::string_view> message_cutter::next() {
    if (too_long_) return std::nullopt;
    return protocol_ == worker_protocol::frame ? next_frame() : next_ended_by(mark_of(protocol_));
}

std::optional<std::string_view> message_cutter::next_ended_by(char mark) {
    const std::size_t end = text_.find(mark, scanned_);
    scanned_ = end == std::string::npos ? text_.size() : end + 1;
    const std::size_t length = std::min(end, text_.size()) - begin_;
    too_long_ = length > max_bytes_;
    if (too_long_ || end == std::string::npos) return std::nullopt;
    const std::string_view message = std::string_view(text_).substr(begin_, length);
    begin_ = scanned_;
    return message;
}

message_cutter::run message_cutter::next_run(std::size_t most) {
    run all;
    const std::size_t begin = begin_;
    while (all.count < most && next()) ++all.count;
    all.text = std::string_view(text_).substr(begin, begin_ - begin);
    return all;
}

std::optional<std::string_view> message_cutter::next_frame() {
    const std::string_view rest = std::string_view(text_).substr(begin_);
    if (rest.size() < length_bytes) return std::nullopt;
    std::size_t length = 0;
    for (const char each : rest.substr(0, length_bytes))
        length = length << bits_per_byte | static_cast<std::uint8_t>(each);
    too_long_ = length > max_bytes_;
    if (too_long_ || rest.size() - length_bytes < length) return std::nullopt;
    begin_ = scanned_ = begin_ + length_bytes + length;
    return rest.substr(length_bytes, length);
}

void append_message(std::string& to, std::string_view item, worker_protocol protocol) {
    if (protocol == worker_protocol::frame) {
        std::array<char, length_bytes> head{};
        auto length = static_cast<std::uint32_t>(item.size());
        for (auto at = head.rbegin(); at != head.rend(); ++at, length >>= bits_per_byte)
            *at = static_cast<char>(length);
        to.append(head.data(), head.size()).append(item);
    } else {
        to.append(item).push_back(mark_of(protocol));
    }
}

std::size_t end_of_messages(std::string_view text, std::size_t count, worker_protocol protocol) {
    std::size_t at = 0;
    for (; count != 0 && at < text.size(); --count) {
        const std::size_t mark = text.find(mark_of(protocol), at);
        at = mark == std::string_view::npos ? text.size() : mark + 1;
    }
    return at;
}

std::optional<std::string> why_no_message(std::string_view item, worker_protocol protocol) {
    if (protocol == worker_protocol::frame) {
        if (item.size() <= longest_frame) return std::nullopt;
        return fmt::format("the item has {} bytes: a frame has at most {}", item.size(), longest_frame);
    }
    const std::size_t at = item.find(mark_of(protocol));
    if (at == std::string_view::npos) return std::nullopt;
    if (protocol == worker_protocol::nul)
        return fmt::format(
            "the item holds a NUL byte at byte {}: for a persistent worker that takes a NUL byte behind "
            "each item, it must hold none",
            at + 1);
    return fmt::format(
        "the item holds a line feed at byte {}: for a persistent worker, which takes a line an item, it "
        "must be one line",
        at + 1);
}

}  // namespace leat
