// broadcast<T>: every receiver gets a copy of every value. A sender never waits: who is too slow misses the oldest values,
// learns how many, and goes on with those that are kept.
//
//   auto [out, in] = leat::broadcast<event>(256);
//   auto mine = out.subscribe();                  // one more receiver, of what is sent from now on
//   if (auto sent = out.send(event); !sent) …     // nobody receives: sent.error().value is the event again
//   for (;;) {
//       auto next = co_await mine.recv();
//       if (next) use(*next);
//       else if (next.error().why == leat::broadcast_error::reason::lagged) note(next.error().missed);
//       else break;                               // the last sender has gone
//   }
//
// Any number of senders, copied to share them; any number of receivers, each of which has its own place among the values and
// is used by one task at a time; a copy starts at the place of the original. Values are kept, `capacity` of them, until
// they are overwritten. They are copied under the channel's lock: send a std::shared_ptr<const T> of what is heavy to copy.
#pragma once

#include <optional>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/channel/feed_core.hpp>

namespace leat {

// Why a receiver has got no value: closed and drained; `missed` values were overwritten before it came to them, and the next
// receive gives the oldest that is kept; or (try_recv only) there is no news.
struct broadcast_error {
    enum class reason : unsigned char { closed, lagged, empty };
    reason why;
    std::uint64_t missed = 0;
};

template <class T>
class broadcast_sender;
template <class T>
class broadcast_receiver;

template <class T>
struct broadcast_ends {
    broadcast_sender<T> out;
    broadcast_receiver<T> in;
};

// Keeps the last `capacity` values; at least one (a bug otherwise). Throws std::bad_alloc.
template <class T>
broadcast_ends<T> broadcast(std::size_t capacity);

namespace detail {

template <class T>
class broadcast_state final : public feed_core {
    static_assert(
        std::is_nothrow_move_constructible_v<T> && std::is_copy_constructible_v<T>,
        "a value of a broadcast is copied to each receiver, and moves without throwing: send a shared_ptr of others");

public:
    using node_type = feed_core::node_type;

    explicit broadcast_state(std::size_t capacity) : kept_(capacity) {
        if (capacity == 0) bug("a broadcast keeps at least one value");
    }

    expected<std::size_t, send_error<T>> send(T&& value) noexcept {
        using why = typename send_error<T>::reason;
        std::optional<T> oldest;  // destroyed outside the lock: its destructor is the user's
        resume_list woken;
        std::size_t count = 0;
        why refused{};
        {
            env::lock_guard held(lock_);
            if (closed_) {
                refused = why::closed;
            } else if (receivers_ == 0) {
                refused = why::aborted;
            } else {
                std::optional<T>& place = kept_[published_ % kept_.size()];
                if (place) oldest.emplace(std::move(*place));
                place.emplace(std::move(value));
                publish(woken);
                count = receivers_;
            }
        }
        if (count == 0) return unexpected(send_error<T>(refused, std::move(value)));
        woken.resume_all();
        return count;
    }
    // What a copy of T throws leaves `seen` where it was.
    expected<T, broadcast_error> take(std::uint64_t& seen) {
        using why = broadcast_error::reason;
        env::lock_guard held(lock_);
        const std::uint64_t behind = published_ - seen;
        if (behind == 0) return unexpected(broadcast_error{closed_ ? why::closed : why::empty});
        if (behind > kept_.size()) {
            const std::uint64_t missed = behind - kept_.size();
            seen += missed;
            return unexpected(broadcast_error{why::lagged, missed});
        }
        expected<T, broadcast_error> copy(*kept_[seen % kept_.size()]);
        ++seen;
        return copy;
    }
    expected<T, broadcast_error> end(node_type& node) {
        leave(node);
        return take(*node.seen);
    }
    // A receiver at the place of another.
    void add_copy() noexcept { (void)add_receiver(); }
    void drop_sender() noexcept {
        if (remove_sender()) delete this;
    }
    void drop_receiver() noexcept {
        if (remove_receiver()) delete this;
    }

private:
    std::vector<std::optional<T>> kept_;  // value n is at n modulo its size
};

}  // namespace detail

template <class T>
class broadcast_receiver : public detail::shared_end<detail::broadcast_state<T>, &detail::broadcast_state<T>::add_copy,
                                                     &detail::broadcast_state<T>::drop_receiver> {
    using state = detail::broadcast_state<T>;
    using node = typename state::node_type;

public:
    // Awaits the next value, or that some were missed; resumes on the awaiting task's executor. Throws cancelled when the task
    // was asked to stop while it waited, and what copying a T throws; no value is missed by either.
    auto recv() noexcept {
        return detail::channel_operation<state, node, std::reference_wrapper<std::uint64_t>>(on(), std::ref(seen_));
    }
    expected<T, broadcast_error> try_recv() { return on().take(seen_); }
    // As recv(), for threads that run no tasks.
    expected<T, broadcast_error> blocking_recv() {
        node self(seen_);
        return detail::blocking(on(), self, "blocking_recv");
    }

private:
    template <class U>
    friend broadcast_ends<U> broadcast(std::size_t);
    friend class broadcast_sender<T>;
    broadcast_receiver(state* shared, std::uint64_t seen) noexcept
        : broadcast_receiver::shared_end(shared), seen_(seen) {}
    state& on() const noexcept { return this->checked("a receiver that was moved from or given up was used"); }
    std::uint64_t seen_;  // values up to this number were received or missed
};

template <class T>
class broadcast_sender : public detail::shared_end<detail::broadcast_state<T>, &detail::broadcast_state<T>::add_sender,
                                                   &detail::broadcast_state<T>::drop_sender> {
    using state = detail::broadcast_state<T>;

public:
    // Sends to all receivers there are, and gives their number; never waits. Fails with the value when the channel is closed,
    // or (reason aborted) when there is no receiver. Any number of threads at once.
    expected<std::size_t, send_error<T>> send(T value) noexcept { return on().send(std::move(value)); }
    // A receiver of what is sent from now on.
    [[nodiscard]] broadcast_receiver<T> subscribe() const noexcept {
        const std::uint64_t seen = on().add_receiver();
        return broadcast_receiver<T>(this->state_, seen);
    }
    // No more in, for all senders; receivers still get what is kept.
    void close() noexcept { on().close(); }
    [[nodiscard]] std::size_t receivers() const noexcept { return on().receivers(); }

private:
    template <class U>
    friend broadcast_ends<U> broadcast(std::size_t);
    explicit broadcast_sender(state* shared) noexcept : broadcast_sender::shared_end(shared) {}
    state& on() const noexcept { return this->checked("a sender that was moved from or given up was used"); }
};

template <class T>
broadcast_ends<T> broadcast(std::size_t capacity) {
    auto* const shared = new detail::broadcast_state<T>(capacity);
    return {broadcast_sender<T>(shared), broadcast_receiver<T>(shared, 0)};
}

}  // namespace leat
