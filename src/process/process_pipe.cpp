#include <leat/process/process_pipe.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <leat/io/descriptor.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/thread_line.hpp>

#include "sealed_memory.hpp"

namespace leat {

const char* text_of(pipe_error error) noexcept {
    switch (error) {
        case pipe_error::closed:
            return "the other end of the pipe is gone";
        case pipe_error::full:
            return "the pipe is full";
        case pipe_error::empty:
            return "the pipe is empty";
        case pipe_error::timed_out:
            return "timed out";
        case pipe_error::cancelled:
            return "cancelled";
        case pipe_error::too_large:
            return "the message is too large to be sent at once";
        case pipe_error::malformed:
            return "the message is none of the pipe's type";
        case pipe_error::no_memory:
            return "the system has no memory for the message";
        case pipe_error::damaged:
            return "the other side has written nonsense into the pipe";
    }
    return "?";
}

namespace detail {

namespace {

// Before the bytes of each packet.
struct packet_header {
    std::uint64_t type;
    std::uint64_t size;    // of the whole message
    std::uint64_t offset;  // where the bytes of this packet belong in it
};
constexpr std::size_t largest_packet = 32 << 10;  // bytes of a message

using kind = shared_error::kind;

// Waits for `events`, or until `deadline`: then false.
bool poll_until(int fd, short events, time_point deadline) noexcept {
    for (;;) {
        int wait_ms = -1;
        if (deadline != time_point::max()) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - env::now()).count();
            if (left <= 0) return false;
            wait_ms = static_cast<int>(std::min<decltype(left)>(left, INT_MAX));
        }
        pollfd one{fd, events, 0};
        const int count = ::poll(&one, 1, wait_ms);
        if (count > 0) return true;
        if (count < 0 && errno != EINTR) return true;  // what follows finds it out
    }
}

}  // namespace

// --- Making one ---

pipe_core::pipe_core(io::unique_fd in, io::unique_fd out) noexcept
    : in_(std::move(in)), out_(std::move(out)), most_in_packet_(largest_packet) {
    // A packet has to fit into the buffer together with what the system adds to it.
    int buffer = 0;
    socklen_t size = sizeof buffer;
    if (::getsockopt(out_.get(), SOL_SOCKET, SO_SNDBUF, &buffer, &size) == 0)
        most_in_packet_ =
            std::clamp<std::size_t>(static_cast<std::size_t>(std::max(buffer, 0)) / 4, 256, largest_packet);
}

expected<std::unique_ptr<pipe_core>, shared_error> pipe_core::made(io::unique_fd socket) {
    io::unique_fd again(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 3));
    if (!again) return unexpected(sealed_memory::system_error("doubling a socket", errno));
    return std::unique_ptr<pipe_core>(new pipe_core(std::move(socket), std::move(again)));
}

expected<pipe_core::pair, shared_error> pipe_core::create() {
    int both[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, both) != 0)
        return unexpected(sealed_memory::system_error("making a pair of sockets", errno));
    io::unique_fd first(both[0]);
    io::unique_fd second(both[1]);
    auto one = made(std::move(first));
    if (!one) return unexpected(std::move(one.error()));
    auto other = made(std::move(second));
    if (!other) return unexpected(std::move(other.error()));
    return pair(std::move(*one), std::move(*other));
}

expected<std::unique_ptr<pipe_core>, shared_error> pipe_core::attach(int fd) {
    io::unique_fd socket(fd);
    int domain = 0;
    int type = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
        const int code = errno;
        return unexpected(shared_error(kind::not_shared, code,
                                       code == EBADF ? fmt::format("descriptor {} is not open", fd)
                                                     : fmt::format("descriptor {} is not the end of a pipe", fd)));
    }
    if (domain != AF_UNIX || type != SOCK_SEQPACKET)
        return unexpected(
            shared_error(kind::wrong_kind, 0, fmt::format("the socket of descriptor {} is not the end of a pipe", fd)));
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return made(std::move(socket));
}

void pipe_core::close() noexcept { ::shutdown(out_.get(), SHUT_WR); }

// --- Sending ---

std::optional<pipe_error> pipe_core::send_some(outgoing& what) const noexcept {
    bool told_of_reset = false;
    while (!what.is_done) {
        packet_header header{what.type, what.message.size(), what.sent};
        const std::string_view bytes = what.message.substr(what.sent, most_in_packet_);
        iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(bytes.data()), bytes.size()}};
        msghdr packet{};
        packet.msg_iov = parts;
        packet.msg_iovlen = 2;
        if (::sendmsg(out_.get(), &packet, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            what.sent += bytes.size();
            what.is_done = what.sent == what.message.size();
            continue;
        }
        switch (errno) {
            case EINTR:
                continue;
            case EAGAIN:
                return pipe_error::full;
            case ECONNRESET:  // the other end has gone with messages unread: told once, then it is EPIPE
                if (std::exchange(told_of_reset, true)) return pipe_error::closed;
                continue;
            case ENOMEM:
            case ENOBUFS:
                return pipe_error::no_memory;
            default:
                return pipe_error::closed;
        }
    }
    return {};
}

std::optional<pipe_error> pipe_core::try_put(std::string_view message, std::uint64_t type) noexcept {
    if (message.size() > most_in_packet_) return pipe_error::too_large;
    const auto alone = sending_.try_lock();
    if (!alone) return pipe_error::full;
    outgoing what{message, type};
    return send_some(what);
}

task<std::optional<pipe_error>> pipe_core::put(std::string_view message, std::uint64_t type, time_limit limit) {
    try {
        const time_point deadline = limit.from(co_await this_task::now());
        const auto alone = co_await sending_.lock_until(deadline);
        if (!alone) co_return pipe_error::timed_out;
        outgoing what{message, type};
        std::optional<io::descriptor> room;
        for (;;) {
            const auto why = send_some(what);
            if (why != pipe_error::full) co_return why;
            if (!room) room.emplace(out_.get());
            const auto how = co_await room->writable(deadline);
            if (how == context::wake::cancelled) co_return pipe_error::cancelled;
            if (how == context::wake::timed_out) co_return pipe_error::timed_out;
        }
    } catch (const cancelled&) {
        co_return pipe_error::cancelled;
    }
}

std::optional<pipe_error> pipe_core::blocking_put(std::string_view message, std::uint64_t type,
                                                  time_limit limit) noexcept {
    const time_point deadline = limit.from(env::now());
    const auto alone = sending_.blocking_lock_for(deadline);
    if (!alone) return pipe_error::timed_out;
    outgoing what{message, type};
    for (;;) {
        const auto why = send_some(what);
        if (why != pipe_error::full) return why;
        const thread_line none("blocking_send");  // a bug on a thread that runs tasks
        if (!poll_until(out_.get(), POLLOUT, deadline)) return pipe_error::timed_out;
    }
}

// --- Receiving ---

pipe_error pipe_core::drop() noexcept {
    begun_.clear();
    begun_size_ = 0;
    return pipe_error::damaged;
}

// One message, of as many packets as are there: what has come of it stays when the rest has not.
expected<std::string, pipe_error> pipe_core::receive(std::uint64_t type) {
    constexpr std::size_t most = sizeof(packet_header) + largest_packet;
    if (packet_ == nullptr) packet_ = std::make_unique<char[]>(most);
    for (;;) {
        iovec part{packet_.get(), most};
        msghdr packet{};  // without room for descriptors: those that come are closed by the system
        packet.msg_iov = &part;
        packet.msg_iovlen = 1;
        const ssize_t count = ::recvmsg(in_.get(), &packet, MSG_DONTWAIT);
        if (count < 0) {
            if (errno == EINTR || errno == ECONNRESET) continue;  // the latter is told once; what was sent follows
            if (errno == EAGAIN) return unexpected(pipe_error::empty);
            return unexpected(errno == ENOMEM || errno == ENOBUFS ? pipe_error::no_memory : pipe_error::closed);
        }
        if (count == 0) return unexpected(pipe_error::closed);
        packet_header header{};
        if ((packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || static_cast<std::size_t>(count) < sizeof header)
            return unexpected(drop());
        std::memcpy(&header, packet_.get(), sizeof header);
        const std::string_view bytes(packet_.get() + sizeof header, static_cast<std::size_t>(count) - sizeof header);
        if (header.offset == 0) (void)drop();  // of what had begun no more comes
        else if (begun_size_ == 0 || header.offset != begun_.size() || header.size != begun_size_ ||
                 header.type != begun_type_)
            return unexpected(drop());
        if (bytes.size() > header.size - header.offset || (bytes.empty() && header.size != 0))
            return unexpected(drop());
        begun_size_ = header.size;
        begun_type_ = header.type;
        begun_.append(bytes);
        if (begun_.size() < header.size) continue;
        begun_size_ = 0;
        auto message = std::exchange(begun_, {});
        if (header.type != type) return unexpected(pipe_error::malformed);
        return message;
    }
}

expected<std::string, pipe_error> pipe_core::try_take(std::uint64_t type) {
    const auto alone = receiving_.try_lock();
    if (!alone) return unexpected(pipe_error::empty);
    return receive(type);
}

task<expected<std::string, pipe_error>> pipe_core::take(std::uint64_t type, time_limit limit) {
    const time_point deadline = limit.from(co_await this_task::now());
    const auto alone = co_await receiving_.lock_until(deadline);
    if (!alone) co_return unexpected(pipe_error::timed_out);
    std::optional<io::descriptor> ready;
    for (;;) {
        auto message = receive(type);
        if (message || message.error() != pipe_error::empty) co_return message;
        if (!ready) ready.emplace(in_.get());
        const auto how = co_await ready->readable(deadline);
        if (how == context::wake::cancelled) throw_cancelled();
        if (how == context::wake::timed_out) co_return unexpected(pipe_error::timed_out);
    }
}

expected<std::string, pipe_error> pipe_core::blocking_take(std::uint64_t type, time_limit limit) {
    const time_point deadline = limit.from(env::now());
    const auto alone = receiving_.blocking_lock_for(deadline);
    if (!alone) return unexpected(pipe_error::timed_out);
    for (;;) {
        auto message = receive(type);
        if (message || message.error() != pipe_error::empty) return message;
        const thread_line none("blocking_recv");  // a bug on a thread that runs tasks
        if (!poll_until(in_.get(), POLLIN, deadline)) return unexpected(pipe_error::timed_out);
    }
}

}  // namespace detail
}  // namespace leat
