// process_queue<T>: a bounded queue between processes, many that send and many that receive, of messages of any type that may
// cross (codec.hpp). First in, first out. The ends have the words of a channel.
//
//   auto queue = leat::process_queue<job>::create(1000, 1 << 20);      // at most 1000 messages, in at most a MiB
//   options.pass = queue->passed(3);                                   // descriptors 3, 4 and 5 of the child
//   auto out = queue->sender();
//   if (auto sent = co_await out->send(next); !sent) …                 // sent.error().value is it again
//
//   auto queue = leat::process_queue<job>::attach(3);                  // in the child, once
//   auto in = queue->receiver();
//   while (auto next = co_await in->recv()) use(*next);
//
// What is promised when a process dies, by kill -9 too, wherever it is:
//  1. A message is inside whole or not at all. One that send() has reported comes out once.
//  2. What a process has taken is taken: a receiver that dies takes with it what recv() had given it, and at most the one message
//     that it was receiving.
//  3. Nobody waits for ever. What a dead process held is taken over: who waits notices within 50 ms. When none of the processes
//     of the other side is left, who waits is told queue_error::peer_died, or closed when they all had left in order; another may
//     take their place, and then it goes on.
// Who has no process on the other side yet waits for one. One that is told of children before they have come, and would take the
// early end of the first for the end of all, is told of them by expect_sender().
//
// The lock of the queue is held for the copy of one message. A process that is stopped in that moment (SIGSTOP) holds up all,
// until it goes on or is killed. Where one process sends to one other, shared_ring.hpp is several times as fast.
//
// A process that writes nonsense into the memory gives queue_error::damaged, or messages that nobody has sent: no crash, and no
// read outside of it. All processes are in the same pid namespace. At most 64 send and 64 receive at a time.
#pragma once

#include <leat/process/codec.hpp>
#include <leat/process/queue_core.hpp>

namespace leat {

// Why a value was not sent; the value comes back.
template <class T>
struct queue_send_error {
    queue_error why;
    T value;
    queue_send_error(queue_error cause, T unsent) : why(cause), value(std::move(unsent)) {}
};

// Copied to share it; several tasks and threads may use one end, or each its own. An end is not destroyed while it is used.
template <class T>
class queue_sender : public detail::queue_end<detail::queue_core::role::sender> {
    using result = expected<void, queue_send_error<T>>;

public:
    // Awaits room and sends; resumes on the awaiting task's executor. Fails with the value, and with closed, peer_died, too_large,
    // damaged, or cancelled when the task was asked to stop while it waited: then nothing was sent. Tasks and threads of one
    // process are served in order of arrival, processes in no order. Throws what encode() throws, and std::system_error when the
    // system cannot watch the bell.
    task<result> send(T value) { return send_for(std::move(value), time_limit::never()); }
    // The same for at most `limit`: then timed_out.
    task<result> send_for(T value, time_limit limit) {
        const std::string message = encode(value);
        const auto why = co_await this->core().put(message, limit);
        if (why) co_return unexpected(queue_send_error<T>(*why, std::move(value)));
        co_return result();
    }
    // Sends at once or fails with full. May overtake those that wait.
    result try_send(T value) {
        const std::string message = encode(value);
        return done(this->core().try_put(message), std::move(value));
    }
    // As those above, for threads that run no tasks.
    result blocking_send(T value) { return blocking_send_for(std::move(value), time_limit::never()); }
    result blocking_send_for(T value, time_limit limit) {
        const std::string message = encode(value);
        return done(this->core().blocking_put(message, limit), std::move(value));
    }

private:
    template <class U>
    friend class process_queue;
    using queue_end::queue_end;
    static result done(std::optional<queue_error> why, T value) {
        if (why) return unexpected(queue_send_error<T>(*why, std::move(value)));
        return {};
    }
};

template <class T>
class queue_receiver : public detail::queue_end<detail::queue_core::role::receiver> {
    using result = expected<T, queue_error>;

public:
    // Awaits the next message; resumes on the awaiting task's executor. Fails with closed or peer_died when nothing is left inside,
    // malformed, or damaged. Throws cancelled when the task was asked to stop while it waited; no message is lost then. Throws
    // std::bad_alloc: then the message is still there; what codec<T>::unpack throws: then it is gone; std::system_error as send().
    task<result> recv() { return recv_for(time_limit::never()); }
    // The same for at most `limit`: then timed_out.
    task<result> recv_for(time_limit limit) {
        auto message = co_await this->core().take(limit);
        co_return made_from(std::move(message));
    }
    // The next message at once, or empty.
    result try_recv() { return made_from(this->core().try_take()); }
    // As those above, for threads that run no tasks.
    result blocking_recv() { return blocking_recv_for(time_limit::never()); }
    result blocking_recv_for(time_limit limit) { return made_from(this->core().blocking_take(limit)); }

private:
    template <class U>
    friend class process_queue;
    using queue_end::queue_end;
    static result made_from(expected<std::string, queue_error> message) {
        if (!message) return unexpected(message.error());
        auto value = decode<T>(*message);
        if (!value) return unexpected(queue_error::malformed);
        return std::move(*value);
    }
};

template <class T>
class process_queue {
    static_assert(must_cross_processes<T>);
    using role = detail::queue_core::role;

public:
    // Makes one for at most `items` messages, which take at most `bytes` bytes (up to whole pages and a power of two; each takes 8
    // more than what encode() makes of it, and up to a multiple of 8). All of its memory is taken now. Throws only bad_alloc.
    [[nodiscard]] static expected<process_queue, shared_error> create(std::size_t items, std::size_t bytes) {
        return made(detail::queue_core::create(items, bytes, codec_type_hash<T>()));
    }
    // Takes the descriptors `first`, `first` + 1 and `first` + 2, which spawn_options::pass put there, also when it fails: with
    // wrong_kind where its messages are of another type. Once in a process. Throws only bad_alloc.
    [[nodiscard]] static expected<process_queue, shared_error> attach(int first) {
        return made(detail::queue_core::attach(first, codec_type_hash<T>()));
    }
    // For spawn_options::pass: the three descriptors, to be `first` and the two after it in the child.
    [[nodiscard]] std::vector<passed_descriptor> passed(int first) const { return core_->passed(first); }

    // An end. While this process has one of a kind, it is there for the other side. Fails with kind taken when 64 processes that
    // live are there. The end keeps the memory mapped; the queue may go. Any thread.
    [[nodiscard]] expected<queue_sender<T>, shared_error> sender() { return end<queue_sender<T>>(role::sender); }
    [[nodiscard]] expected<queue_receiver<T>, shared_error> receiver() {
        return end<queue_receiver<T>>(role::receiver);
    }

    // Counts a process as one that sends (receives) from now on, until it has had such an end and given it up, or has ended. Of a
    // child that was spawned: its pid. Fails as sender().
    expected<void, shared_error> expect_sender(pid_t pid) { return expect(role::sender, pid); }
    expected<void, shared_error> expect_receiver(pid_t pid) { return expect(role::receiver, pid); }

    // A snapshot: how many messages are inside.
    [[nodiscard]] std::size_t depth() const noexcept { return core_->depth(); }

private:
    using core_ptr = std::shared_ptr<detail::queue_core>;
    explicit process_queue(core_ptr core) noexcept : core_(std::move(core)) {}
    static expected<process_queue, shared_error> made(expected<core_ptr, shared_error> core) {
        if (!core) return unexpected(std::move(core.error()));
        return process_queue(std::move(*core));
    }
    template <class End>
    expected<End, shared_error> end(role which) {
        if (auto error = core_->add(which)) return unexpected(std::move(*error));
        return End(core_);
    }
    expected<void, shared_error> expect(role which, pid_t pid) {
        if (auto error = core_->expect(which, pid)) return unexpected(std::move(*error));
        return {};
    }
    core_ptr core_;
};

}  // namespace leat
