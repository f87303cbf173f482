// process_pipe<Sent, Received>: messages both ways between two processes, of any types that may cross (codec.hpp).
//
//   auto ends = leat::process_pipe<question, answer>::create();       // here
//   options.pass = ends->there.passed(3);                             // descriptor 3 of the child
//   auto child = leat::spawn(options);
//   auto& pipe = ends->here;
//   ends->there.reset();                                              // or the end of the child would not be seen
//   if (auto sent = co_await pipe.send(ask); !sent) …                 // sent.error().value is it again
//   while (auto got = co_await pipe.recv()) use(*got);
//
//   auto pipe = leat::process_pipe<answer, question>::attach(3);      // in the child
//
// An end belongs to one process; any number of its tasks and threads may send and receive at once. What is on its way is bounded by
// the buffer of a socket, some 200 KiB in each direction.
//
// When a process dies, by kill -9 too, the other is told by pipe_error::closed, at once; before that it receives what was sent. A
// message is received whole or not at all. It stays for a recv() that is stopped; one whose send() ends without success was not
// sent. Whatever the other side writes is an error here and no crash.
#pragma once

#include <vector>

#include <leat/base/bug.hpp>
#include <leat/process/codec.hpp>
#include <leat/process/pipe_core.hpp>
#include <leat/process/spawn.hpp>

namespace leat {

// Why a value was not sent; the value comes back.
template <class T>
struct pipe_send_error {
    pipe_error why;
    T value;
    pipe_send_error(pipe_error cause, T unsent) : why(cause), value(std::move(unsent)) {}
};

template <class Sent, class Received>
struct process_pipe_ends;

template <class Sent, class Received = Sent>
class process_pipe {
    static_assert(must_cross_processes<Sent> && must_cross_processes<Received>);
    using sent = expected<void, pipe_send_error<Sent>>;
    using received = expected<Received, pipe_error>;

public:
    // Makes both ends. Throws only bad_alloc.
    [[nodiscard]] static expected<process_pipe_ends<Sent, Received>, shared_error> create() {
        auto both = detail::pipe_core::create();
        if (!both) return unexpected(std::move(both.error()));
        return process_pipe_ends<Sent, Received>(process_pipe(std::move(both->first)),
                                                 process_pipe<Received, Sent>(std::move(both->second)));
    }
    // Takes the descriptor `fd`, which spawn_options::pass put there, also when it fails. That the types are those of the other end
    // is checked with each message. Throws only bad_alloc.
    [[nodiscard]] static expected<process_pipe, shared_error> attach(int fd) {
        auto core = detail::pipe_core::attach(fd);
        if (!core) return unexpected(std::move(core.error()));
        return process_pipe(std::move(*core));
    }
    // For spawn_options::pass: the descriptor, to be `there` in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int there) const { return {{core().fd(), there}}; }

    // Awaits room and sends; resumes on the awaiting task's executor. Fails with the value, and with closed, no_memory, or cancelled
    // when the task was asked to stop while it waited: then nothing was sent. Served in order of arrival. Throws what encode()
    // throws, and std::system_error when the system cannot watch the socket.
    task<sent> send(Sent value) { return send_for(std::move(value), time_limit::never()); }
    // The same for at most `limit`: then timed_out.
    task<sent> send_for(Sent value, time_limit limit) {
        const std::string message = encode(value);
        const auto why = co_await core().put(message, codec_type_hash<Sent>(), limit);
        if (why) co_return unexpected(pipe_send_error<Sent>(*why, std::move(value)));
        co_return sent();
    }
    // Sends at once or fails with full; with too_large when the message takes several packets of 32 KiB.
    sent try_send(Sent value) {
        const std::string message = encode(value);
        return done(core().try_put(message, codec_type_hash<Sent>()), std::move(value));
    }
    // As those above, for threads that run no tasks.
    sent blocking_send(Sent value) { return blocking_send_for(std::move(value), time_limit::never()); }
    sent blocking_send_for(Sent value, time_limit limit) {
        const std::string message = encode(value);
        return done(core().blocking_put(message, codec_type_hash<Sent>(), limit), std::move(value));
    }

    // Awaits the next message; resumes on the awaiting task's executor. Fails with closed when nothing is left inside, malformed,
    // damaged or no_memory. Throws cancelled when the task was asked to stop while it waited; no message is lost then. Throws
    // std::bad_alloc, what codec<T>::unpack throws, and std::system_error as send(); of the first two the message is gone.
    task<received> recv() { return recv_for(time_limit::never()); }
    // The same for at most `limit`: then timed_out.
    task<received> recv_for(time_limit limit) {
        auto message = co_await core().take(codec_type_hash<Received>(), limit);
        co_return made_from(std::move(message));
    }
    // The next message at once, or empty.
    received try_recv() { return made_from(core().try_take(codec_type_hash<Received>())); }
    // As those above, for threads that run no tasks.
    received blocking_recv() { return blocking_recv_for(time_limit::never()); }
    received blocking_recv_for(time_limit limit) {
        return made_from(core().blocking_take(codec_type_hash<Received>(), limit));
    }

    // No more is sent from here: the other end receives what was sent, and is then told. This one still receives. Any thread.
    void close() noexcept { core().close(); }
    // Gives this end up in this process. With the last process that has it, the other end is told.
    void reset() noexcept { core_.reset(); }

private:
    template <class, class>
    friend class process_pipe;
    explicit process_pipe(std::unique_ptr<detail::pipe_core> core) noexcept : core_(std::move(core)) {}
    [[nodiscard]] detail::pipe_core& core() const noexcept {
        if (core_ == nullptr) bug("an end of a process_pipe that was moved from or given up was used");
        return *core_;
    }
    static sent done(std::optional<pipe_error> why, Sent value) {
        if (why) return unexpected(pipe_send_error<Sent>(*why, std::move(value)));
        return {};
    }
    static received made_from(expected<std::string, pipe_error> message) {
        if (!message) return unexpected(message.error());
        auto value = decode<Received>(*message);
        if (!value) return unexpected(pipe_error::malformed);
        return std::move(*value);
    }
    std::unique_ptr<detail::pipe_core> core_;
};

template <class Sent, class Received>
struct process_pipe_ends {
    process_pipe_ends(process_pipe<Sent, Received> one, process_pipe<Received, Sent> other) noexcept
        : here(std::move(one)), there(std::move(other)) {}
    process_pipe<Sent, Received> here;
    process_pipe<Received, Sent> there;
};

}  // namespace leat
