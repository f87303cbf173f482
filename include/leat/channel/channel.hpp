// channel<T>: a bounded queue between tasks (and plain threads), the joint of everything in leat.
//
//   auto [out, in] = leat::channel<int>(64);
//   if (auto sent = co_await out.send(i); !sent) …           // sent.error().value is i again
//   while (auto item = co_await in.recv()) use(*item);        // ends when the last sender has gone
//
// Any number of senders and receivers; first in, first out; waiting senders and receivers are served in order of arrival.
// Ends are copied to share them; when the last sender has gone the channel is closed, when the last receiver has gone it
// is aborted and senders get their values back. All functions of one end may be called from several tasks at once, except
// that an end must not be destroyed or assigned while it is used: an operation refers to its end until it is over.
//
// Every operation resumes on the awaiting task's executor. Each that would wait can be stopped: those that hold a value or
// room (send, reserve) report it in their result, the others throw cancelled; in either case nothing is lost, and what can
// be done at once is done even then. The blocking forms are for threads that run no tasks, a bug on others. Several
// channels at once: select.hpp.
#pragma once

#include <leat/base/bug.hpp>
#include <leat/channel/channel_operations.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/thread_line.hpp>

namespace leat {

template <class T>
struct channel_ends {
    sender<T> out;
    receiver<T> in;
};

// Makes a channel that holds at most `bounds.items` items and, when `size_of` is given, `bounds.bytes` bytes by it. size_of
// is called under the channel's lock, more than once an item: it gives the same each time and does not throw.
template <class T>
channel_ends<T> channel(channel_bounds bounds, std::size_t (*size_of)(const T&) = nullptr,
                        overflow policy = overflow::wait);
template <class T>
channel_ends<T> channel(channel_bounds bounds, overflow policy) {
    return channel<T>(bounds, nullptr, policy);
}
// One without a limit on items, as many as `bytes` hold.
template <class T>
channel_ends<T> byte_channel(std::size_t bytes, std::size_t (*size_of)(const T&), overflow policy = overflow::wait) {
    return channel<T>(channel_bounds::of_bytes(bytes), size_of, policy);
}

// Room for one item: send() never waits. Gives the room back when it is dropped unused, which lets the next in. Counts as a
// sender until then, so the channel neither closes by itself nor is it drained while one is held: after a close() what was
// reserved may still be sent. Move-only.
template <class T>
class [[nodiscard]] channel_permit {
public:
    channel_permit(channel_permit&& other) noexcept
        : state_(std::exchange(other.state_, nullptr)), weight_(other.weight_) {}
    channel_permit& operator=(channel_permit&& other) noexcept {
        channel_permit old(std::move(other));
        std::swap(state_, old.state_);
        std::swap(weight_, old.weight_);
        return *this;
    }
    ~channel_permit() { release(); }

    // Sends, at once; the permit is used up, and using it again a bug. Fails with the value when the channel was aborted,
    // or (full) when the value is heavier than what was reserved; then the permit is as it was. Any thread.
    expected<void, send_error<T>> send(T value) noexcept {
        if (state_ == nullptr) bug("a permit that was used, moved from or given up was used");
        using result = detail::channel_core::result;
        const result how = state_->send_reserved(value, weight_);
        if (how != result::moved)
            return unexpected(
                send_error<T>(how == result::full ? send_failure::full : send_failure::aborted, std::move(value)));
        std::exchange(state_, nullptr)->drop_sender();
        return {};
    }
    // Gives the room back now. Harmless when that was done.
    void release() noexcept {
        if (state_ == nullptr) return;
        state_->give_back(weight_);
        std::exchange(state_, nullptr)->drop_sender();
    }
    // Whether it still stands for room.
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    template <class U>
    friend class detail::channel_operations;
    channel_permit(detail::channel_state<T>& owner, std::size_t weight) noexcept : state_(&owner), weight_(weight) {}
    detail::channel_state<T>* state_;
    std::size_t weight_;
};

template <class T>
class sender {
    using operations = detail::channel_operations<T>;

public:
    sender(const sender& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) state_->add_sender();
    }
    sender(sender&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    sender& operator=(sender other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~sender() { reset(); }

    // Awaits room and sends. Fails with the value when the channel is closed or aborted, or when the task was asked to stop
    // while it waited (reason cancelled). A send that finds room succeeds even then. Where an overflow policy was given it
    // never waits: it drops, or fails with reason full.
    auto send(T value) noexcept { return typename operations::send(checked(), std::move(value)); }
    // The same for at most `limit`, after which it fails with reason timed_out. A limit of zero or less does not wait; one
    // beyond the clock waits for ever.
    template <class Rep, class Period>
    auto send_for(T value, std::chrono::duration<Rep, Period> limit) noexcept {
        return typename operations::timed_send(checked(), std::move(value), detail::within_clock(limit));
    }
    // Sends all, in order, waiting as often as it must; nobody comes between those that find no room at first. Moves from
    // each value when it goes in. A failure, for the reasons of send(), tells how many have gone. `values` outlives it.
    auto send_many(std::span<T> values) noexcept { return typename operations::send_many(checked(), values); }
    // Awaits room for one item, of up to `bytes` bytes where the channel has a size function. Gives a permit, or the reason
    // why not. A rendezvous has no room to give: there it waits until the capacity is changed. Waits under every overflow
    // policy, in a queue that sends do not wait in then.
    auto reserve(std::size_t bytes = 0) noexcept { return typename operations::reserve(checked(), bytes); }

    // Sends at once or fails with reason full. Any thread.
    expected<void, send_error<T>> try_send(T value) { return operations::try_send(checked(), std::move(value)); }
    // A permit at once, or why not. Any thread.
    expected<channel_permit<T>, send_failure> try_reserve(std::size_t bytes = 0) {
        return operations::try_reserve(checked(), bytes);
    }

    // As those above, for threads that run no tasks.
    expected<void, send_error<T>> blocking_send(T value) { return block_on(send(std::move(value)), "blocking_send"); }
    template <class Rep, class Period>
    expected<void, send_error<T>> blocking_send_for(T value, std::chrono::duration<Rep, Period> limit) {
        return block_on(send_for(std::move(value), limit), "blocking_send_for");
    }
    expected<void, batch_error> blocking_send_many(std::span<T> values) {
        return block_on(send_many(values), "blocking_send_many");
    }
    expected<channel_permit<T>, send_failure> blocking_reserve(std::size_t bytes = 0) {
        return block_on(reserve(bytes), "blocking_reserve");
    }

    // No more in, for all senders; what is inside, and what permits are held for, still comes out. Waiting senders fail
    // with reason closed.
    void close() noexcept { checked().close(); }
    // Drops what is inside and wakes both sides, with reason aborted.
    void abort() noexcept { checked().abort(); }
    // Larger lets waiting senders in; smaller keeps what is inside, and lets nobody in until it fits.
    void set_bounds(channel_bounds bounds) noexcept { checked().set_bounds(bounds); }
    [[nodiscard]] channel_counts counts() const noexcept { return checked().counts(); }
    [[nodiscard]] channel_observer observe() const noexcept { return channel_observer(checked()); }
    // Gives this end up; the last one closes the channel.
    void reset() noexcept {
        if (state_ != nullptr) std::exchange(state_, nullptr)->drop_sender();
    }

private:
    using state = detail::channel_state<T>;
    template <class U>
    friend channel_ends<U> channel(channel_bounds, std::size_t (*)(const U&), overflow);
    template <class U>
    friend class detail::channel_operations;
    explicit sender(state* shared) noexcept : state_(shared) {}
    state& checked() const noexcept {
        if (state_ == nullptr) bug("a sender that was moved from or given up was used");
        return *state_;
    }
    state* state_;
};

template <class T>
class receiver {
    using operations = detail::channel_operations<T>;

public:
    receiver(const receiver& other) noexcept : state_(other.state_) {
        if (state_ != nullptr) state_->add_receiver();
    }
    receiver(receiver&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    receiver& operator=(receiver other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~receiver() { reset(); }

    // Awaits the next value. Ends with recv_error::closed when the channel is closed and drained, ::aborted when it was
    // aborted. Throws cancelled when the task was asked to stop while it waited; no value is lost then.
    auto recv() noexcept { return typename operations::recv(checked()); }
    // The same for at most `limit`, then recv_error::timed_out. A limit of zero or less does not wait; one beyond the clock
    // waits for ever.
    template <class Rep, class Period>
    auto recv_for(std::chrono::duration<Rep, Period> limit) noexcept {
        return typename operations::timed_recv(checked(), detail::within_clock(limit));
    }
    // Awaits a value and appends it to `into`, with those that are there then, up to `most` (at least 1; fewer where
    // `into` has no capacity for more, which it is given for as many as there are before). Gives how many, or what recv() does. `into` outlives it. Throws bad_alloc; then nothing was received.
    auto recv_many(std::vector<T>& into, std::size_t most) {
        return typename operations::recv_many(checked(), into, most);
    }
    // The next value at once, or recv_error::empty. Any thread.
    expected<T, recv_error> try_recv() noexcept { return operations::try_recv(checked()); }
    // All values, one after the other, until the channel is closed and drained; throws channel_aborted when it was aborted.
    // Keeps a receiver of its own.
    async_generator<T> stream() const { return operations::stream(*this); }

    // As those above, for threads that run no tasks.
    expected<T, recv_error> blocking_recv() { return block_on(recv(), "blocking_recv"); }
    template <class Rep, class Period>
    expected<T, recv_error> blocking_recv_for(std::chrono::duration<Rep, Period> limit) {
        return block_on(recv_for(limit), "blocking_recv_for");
    }
    expected<std::size_t, recv_error> blocking_recv_many(std::vector<T>& into, std::size_t most) {
        return block_on(recv_many(into, most), "blocking_recv_many");
    }

    void close() noexcept { checked().close(); }
    void abort() noexcept { checked().abort(); }
    void set_bounds(channel_bounds bounds) noexcept { checked().set_bounds(bounds); }
    [[nodiscard]] channel_counts counts() const noexcept { return checked().counts(); }
    [[nodiscard]] channel_observer observe() const noexcept { return channel_observer(checked()); }
    // Gives this end up; the last one aborts the channel.
    void reset() noexcept {
        if (state_ != nullptr) std::exchange(state_, nullptr)->drop_receiver();
    }

private:
    using state = detail::channel_state<T>;
    template <class U>
    friend channel_ends<U> channel(channel_bounds, std::size_t (*)(const U&), overflow);
    template <class U>
    friend class detail::channel_operations;
    explicit receiver(state* shared) noexcept : state_(shared) {}
    state& checked() const noexcept {
        if (state_ == nullptr) bug("a receiver that was moved from or given up was used");
        return *state_;
    }
    state* state_;
};

template <class T>
channel_ends<T> channel(channel_bounds bounds, std::size_t (*size_of)(const T&), overflow policy) {
    auto* const shared = new detail::channel_state<T>(bounds, size_of, policy);
    return {sender<T>(shared), receiver<T>(shared)};
}

}  // namespace leat
