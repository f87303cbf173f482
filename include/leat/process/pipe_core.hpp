// pipe_core: an end of a process_pipe without the types of its messages. Users see process_pipe.hpp.
//
// The pipe is a pair of sockets that keep packets apart (SOCK_SEQPACKET). A message is one packet, or several when it is long: each
// says how long the message is and where in it its bytes belong.
//
// Invariants:
//  1. A packet is sent whole or not at all, so nothing is torn by a death or by a wait that ends.
//  2. The packets of a message follow each other. One whose sender gave up is dropped with the beginning of the next.
//  3. What a packet says is checked, and memory is taken for bytes that have come, not for those that are claimed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <leat/process/shared_memory.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/task.hpp>
#include <leat/task/wait_limit.hpp>

namespace leat {

// Why a message was not sent through a process_pipe, or not received.
enum class pipe_error : unsigned char {
    closed,  // the other end is gone, with its process or without; of recv(): or closed, and nothing is left inside
    full,    // there is no room now, or another send is under way
    empty,   // there is no message now, or another recv is under way
    timed_out,
    cancelled,  // the task was asked to stop while it waited
    too_large,  // of try_send(): it takes several packets
    malformed,  // a message of another type, or none, was taken out, and is gone
    no_memory,  // the system has none for a packet
    damaged,    // the other side has written what makes no sense, and it was taken out
};
[[nodiscard]] const char* text_of(pipe_error error) noexcept;

namespace detail {

class pipe_core {
public:
    using pair = std::pair<std::unique_ptr<pipe_core>, std::unique_ptr<pipe_core>>;
    static expected<pair, shared_error> create();
    static expected<std::unique_ptr<pipe_core>, shared_error> attach(int fd);
    pipe_core(const pipe_core&) = delete;
    pipe_core& operator=(const pipe_core&) = delete;
    ~pipe_core() = default;

    [[nodiscard]] int fd() const noexcept { return in_.get(); }
    // `message` lives until then. `type`: of messages that are read as each other. A stop request is pipe_error::cancelled here,
    // and thrown below.
    std::optional<pipe_error> try_put(std::string_view message, std::uint64_t type) noexcept;
    task<std::optional<pipe_error>> put(std::string_view message, std::uint64_t type, time_limit limit);
    std::optional<pipe_error> blocking_put(std::string_view message, std::uint64_t type, time_limit limit) noexcept;
    expected<std::string, pipe_error> try_take(std::uint64_t type);
    task<expected<std::string, pipe_error>> take(std::uint64_t type, time_limit limit);
    expected<std::string, pipe_error> blocking_take(std::uint64_t type, time_limit limit);
    void close() noexcept;

private:
    pipe_core(io::unique_fd in, io::unique_fd out) noexcept;
    static expected<std::unique_ptr<pipe_core>, shared_error> made(io::unique_fd socket);

    struct outgoing {
        std::string_view message;
        std::uint64_t type;
        std::size_t sent = 0;
        bool is_done = false;
    };
    // What can be sent now of it, or why not; by who holds sending_.
    std::optional<pipe_error> send_some(outgoing& what) const noexcept;
    // By who holds receiving_.
    expected<std::string, pipe_error> receive(std::uint64_t type);
    pipe_error drop() noexcept;

    io::unique_fd in_, out_;  // one socket twice: an event loop waits for a descriptor in one direction
    std::size_t most_in_packet_;
    leat::mutex sending_, receiving_;
    std::unique_ptr<char[]> packet_;  // null until the first is received
    std::string begun_;               // a message of which more is to come
    std::uint64_t begun_size_ = 0;    // how long it will be; 0: there is none
    std::uint64_t begun_type_ = 0;
};

}  // namespace detail
}  // namespace leat
