// message_cutter: what comes out of a worker's pipe, cut into messages.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <leat/process/worker_protocol.hpp>

namespace leat {

class message_cutter {
public:
    message_cutter(worker_protocol protocol, std::size_t max_bytes) : protocol_(protocol), max_bytes_(max_bytes) {}

    // What was read. Messages got from next() before are gone.
    void add(std::string_view piece);
    // The next message, without what marks its end or its length; nothing when its end has not come yet, or when it is too
    // long.
    std::optional<std::string_view> next();
    // Up to `most` messages at once, with what marks their ends, and how many they are; for protocols that mark ends. Nothing
    // when no end has come yet, or when the next is too long.
    struct run {
        std::string_view text;
        std::size_t count = 0;
    };
    run next_run(std::size_t most);
    // Whether the message that comes next has, or announces, more than max_bytes. It will never be had.
    [[nodiscard]] bool too_long() const noexcept { return too_long_; }

private:
    std::optional<std::string_view> next_ended_by(char mark);
    std::optional<std::string_view> next_frame();

    worker_protocol protocol_;
    std::size_t max_bytes_;
    std::string text_;
    std::size_t begin_ = 0;    // of the next message
    std::size_t scanned_ = 0;  // up to here no message has its end, or begins later
    bool too_long_ = false;
};

// Appends `item` to what a worker is to read.
void append_message(std::string& to, std::string_view item, worker_protocol protocol);

// The byte behind the first `count` messages of `text`, which has so many, in a protocol that marks ends.
[[nodiscard]] std::size_t end_of_messages(std::string_view text, std::size_t count, worker_protocol protocol);

// Why `item` cannot be a message; nothing: it can.
[[nodiscard]] std::optional<std::string> why_no_message(std::string_view item, worker_protocol protocol);

}  // namespace leat
