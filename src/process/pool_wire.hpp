// pool_wire: what a process_pool and its workers say to each other, over two rings.
//
// A message is a head and a body. One that is larger than a quarter of its ring comes in pieces: the first has the head, the
// others are body alone, until all of `bytes` is there. A side sends pieces only when the other one can be reading: the pool
// while the worker has no other items.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <leat/process/shared_ring.hpp>
#include <leat/task/task.hpp>

namespace leat {

enum class pool_word : std::uint32_t {
    // To the worker.
    setup,   // a pool_setup
    define,  // what function number `function` is called
    items,   // `count` items for `function`
    // From the worker.
    hello,         // it is one
    ready,         // after setup
    start_failed,  // an exception_record
    values,        // `values_bytes` of values, then, when there is more, the notes
};

struct pool_head {
    pool_word word{};
    std::uint32_t function = 0;
    std::uint32_t count = 0;
    bool leaving = false;  // with values: the worker takes nothing more, and is to be replaced
    std::uint64_t bytes = 0;
    std::uint64_t values_bytes = 0;
    std::uint64_t ns = 0;  // with values: what they took
};

struct pool_setup {
    std::vector<std::pair<std::string, std::string>> starts;  // functions and their arguments
    std::uint64_t recycle_items = 0;
    std::uint64_t recycle_bytes = 0;
    bool keeps_err = true;  // standard error is memory, kept for each item
};

// Descriptors of a worker.
struct pool_descriptors {
    static constexpr int items = 3;     // and the two after it
    static constexpr int values = 6;    // likewise
    static constexpr int progress = 9;  // memory: pool_progress
};

inline constexpr std::size_t pool_err_bytes = std::size_t{64} << 10U;  // of an item, kept

// The largest piece, head included.
inline std::size_t piece_of(const byte_sender& to) noexcept { return to.capacity_bytes() / 4; }

// Sends a message; awaits room. Fails as byte_sender::send() does.
inline task<expected<void, ring_error>> send_message(byte_sender& to, pool_head head, std::string_view body) {
    head.bytes = body.size();
    const std::size_t most = piece_of(to);
    std::size_t sent = 0;
    do {
        const std::size_t before = sent == 0 ? sizeof head : 0;
        const std::size_t part = std::min(body.size() - sent, most - before);
        auto slot = co_await to.reserve(before + part);
        if (!slot) co_return unexpected(slot.error());
        std::memcpy(slot->bytes().data(), &head, before);
        if (part != 0) std::memcpy(slot->bytes().data() + before, body.data() + sent, part);
        if (const auto done = slot->commit(); !done) co_return done;
        sent += part;
    } while (sent < body.size());
    co_return expected<void, ring_error>();
}

// Puts the pieces of messages together.
class message_joiner {
public:
    struct message {
        pool_head head;
        std::string_view body;  // until the next add(), and as long as the piece that was added
    };
    // The message that this piece makes complete, if it does. `damaged` when it is none.
    expected<std::optional<message>, ring_error> add(std::span<const std::byte> piece) {
        const std::string_view bytes(reinterpret_cast<const char*>(piece.data()), piece.size());
        if (missing_ == 0) {
            if (bytes.size() < sizeof head_) return unexpected(ring_error::damaged);
            std::memcpy(&head_, bytes.data(), sizeof head_);
            const std::string_view body = bytes.substr(sizeof head_);
            if (body.size() > head_.bytes) return unexpected(ring_error::damaged);
            if (body.size() == head_.bytes) return std::optional(message{head_, body});
            body_.assign(body);
            missing_ = head_.bytes - body.size();
            return std::optional<message>();
        }
        if (bytes.empty() || bytes.size() > missing_) return unexpected(ring_error::damaged);
        body_.append(bytes);
        missing_ -= bytes.size();
        if (missing_ != 0) return std::optional<message>();
        return std::optional(message{head_, body_});
    }

private:
    pool_head head_;
    std::string body_;
    std::uint64_t missing_ = 0;
};

}  // namespace leat
