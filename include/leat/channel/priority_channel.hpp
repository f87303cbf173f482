// priority_channel<T, Compare>: a bounded channel from which the highest item comes out first, and among equals the one that
// was sent first.
//
//   auto [out, in] = leat::priority_channel<job, by_urgency>(64);
//   if (auto sent = co_await out.send(std::move(job)); !sent) …   // sent.error().value is the job again
//   while (auto job = co_await in.recv()) run(*job);
//
// Any number of senders and receivers, copied to share them; both may be used by several tasks at once. Only what is inside
// has a rank: senders that wait for room are let in in order of arrival, whatever they hold. When the last sender has gone
// the channel is closed, when the last receiver has gone it is aborted and senders get their values back.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/channel/channel_end.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T, class Compare = std::less<T>>
class priority_sender;
template <class T, class Compare = std::less<T>>
class priority_receiver;

template <class T, class Compare = std::less<T>>
struct priority_ends {
    priority_sender<T, Compare> out;
    priority_receiver<T, Compare> in;
};

// Holds at most `capacity` items; at least one (a bug otherwise). compare(a, b) says that a is lower than b, as in
// std::priority_queue; it is called under the channel's lock and does not throw. Its memory is taken here. Throws
// std::bad_alloc.
template <class T, class Compare = std::less<T>>
priority_ends<T, Compare> priority_channel(std::size_t capacity, Compare compare = Compare());

namespace detail {

// What does not depend on the type.
class priority_core {
public:
    enum class phase : unsigned char { open, closed, aborted };
    enum class result : unsigned char { moved, closed, aborted };
    struct node_type : wait_node {
        result how = result::moved;
    };

    explicit priority_core(std::size_t capacity) noexcept;
    priority_core(const priority_core&) = delete;
    priority_core& operator=(const priority_core&) = delete;

    void close() noexcept;
    void add_sender() noexcept;
    void add_receiver() noexcept;

protected:
    // Ends the waits of all in `queue` with this result. Lock held.
    static void fail_all(waiter_queue& queue, result how, resume_list& woken) noexcept;
    [[nodiscard]] result ended() const noexcept { return phase_ == phase::closed ? result::closed : result::aborted; }
    void close_locked(resume_list& woken) noexcept;
    [[nodiscard]] bool remove_sender() noexcept;  // the last one closes; true when no end is left at all

    mutable env::mutex lock_;
    phase phase_ = phase::open;
    const std::size_t capacity_;
    std::uint64_t sent_ = 0;
    std::size_t senders_ = 1;
    std::size_t receivers_ = 1;
    waiter_queue sending_;    // somebody waits here only while the channel is full
    waiter_queue receiving_;  // and here while nothing is inside and nobody waits to send
};

template <class T, class Compare>
class priority_state final : public priority_core {
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>,
                  "items of a priority channel move without throwing: send a std::unique_ptr of other types");
    using send_expected = expected<void, send_error<T>>;
    using recv_expected = expected<T, recv_error>;

public:
    using why = typename send_error<T>::reason;
    struct send_node : node_type {
        explicit send_node(T&& item) noexcept : value(std::move(item)) {}
        T value;
    };
    struct recv_node : node_type {
        std::optional<T> value;
    };

    priority_state(std::size_t capacity, Compare compare) : priority_core(capacity), lower_(std::move(compare)) {
        heap_.reserve(capacity);
    }

    // As await_suspend: true when the line waits, or has had its share and was posted.
    bool begin(send_node& node, context& line, std::coroutine_handle<> at) noexcept {
        node.line = &line;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (phase_ != phase::open) node.how = ended();
            else if (!put(node.value, woken)) return wait_in(sending_, node, at, "send to a priority_channel");
        }
        woken.resume_all();
        return line.yields_at(at);
    }
    bool begin(recv_node& node, context& line, std::coroutine_handle<> at) noexcept {
        node.line = &line;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (!take(node.value, woken)) {
                if (phase_ == phase::open) return wait_in(receiving_, node, at, "receive from a priority_channel");
                node.how = ended();
            }
        }
        woken.resume_all();
        return line.yields_at(at);
    }
    send_expected end(send_node& node) noexcept {
        if (node.gave_up()) {
            {
                env::lock_guard held(lock_);
                sending_.remove(node);
            }
            return unexpected(send_error<T>(why::cancelled, std::move(node.value)));
        }
        if (node.how == result::moved) return {};
        return unexpected(
            send_error<T>(node.how == result::closed ? why::closed : why::aborted, std::move(node.value)));
    }
    recv_expected end(recv_node& node) {
        if (node.gave_up()) {
            {
                env::lock_guard held(lock_);
                receiving_.remove(node);
            }
            throw_cancelled();
        }
        if (node.value) return std::move(*node.value);
        return unexpected(node.how == result::closed ? recv_error::closed : recv_error::aborted);
    }

    send_expected try_send(T&& item) noexcept {
        resume_list woken;
        std::optional<why> refused;
        {
            env::lock_guard held(lock_);
            if (phase_ != phase::open) refused = phase_ == phase::closed ? why::closed : why::aborted;
            else if (!put(item, woken)) refused = why::full;
        }
        if (refused) return unexpected(send_error<T>(*refused, std::move(item)));
        woken.resume_all();
        return {};
    }
    recv_expected try_recv() noexcept {
        std::optional<T> value;
        resume_list woken;
        phase now{};
        {
            env::lock_guard held(lock_);
            (void)take(value, woken);
            now = phase_;
        }
        woken.resume_all();
        if (value) return std::move(*value);
        return unexpected(now == phase::open     ? recv_error::empty
                          : now == phase::closed ? recv_error::closed
                                                 : recv_error::aborted);
    }

    void abort() noexcept {
        resume_list woken;
        std::vector<entry> dropped;  // destroyed outside the lock: destructors of items are the user's
        {
            env::lock_guard held(lock_);
            abort_locked(woken, dropped);
        }
        woken.resume_all();
    }
    [[nodiscard]] channel_counts counts() const noexcept {
        env::lock_guard held(lock_);
        channel_counts all;
        all.depth = heap_.size();
        all.capacity = capacity_;
        all.sent = sent_;
        all.received = sent_ - dropped_ - heap_.size();
        all.dropped = dropped_;
        all.senders = senders_;
        all.receivers = receivers_;
        return all;
    }
    void drop_sender() noexcept {
        if (remove_sender()) delete this;
    }
    void drop_receiver() noexcept {
        resume_list woken;
        std::vector<entry> dropped;
        bool last = false;
        {
            env::lock_guard held(lock_);
            if (--receivers_ == 0) abort_locked(woken, dropped);
            last = receivers_ == 0 && senders_ == 0;
        }
        woken.resume_all();
        if (last) delete this;
    }

private:
    struct entry {
        std::uint64_t number;  // in the order of sending
        T item;
    };
    // For the heap of std::push_heap: whether a comes out after b.
    auto after() const noexcept {
        return [this](const entry& a, const entry& b) noexcept {
            if (lower_(a.item, b.item)) return true;
            return !lower_(b.item, a.item) && a.number > b.number;
        };
    }

    // All with the lock held.
    // Moves the item to a waiting receiver or inside. False when there is no room.
    bool put(T& item, resume_list& woken) noexcept {
        if (waiter* const first = receiving_.claim_first()) {
            auto& receiver = static_cast<recv_node&>(*first);
            receiver.value.emplace(std::move(item));
            ++sent_;
            woken.add(receiver);
            return true;
        }
        if (heap_.size() == capacity_) return false;
        push(std::move(item));
        return true;
    }
    // Takes the highest item and lets the first sender that waits follow.
    bool take(std::optional<T>& value, resume_list& woken) noexcept {
        if (heap_.empty()) return false;
        std::pop_heap(heap_.begin(), heap_.end(), after());
        value.emplace(std::move(heap_.back().item));
        heap_.pop_back();
        if (waiter* const first = sending_.claim_first()) {
            auto& sender = static_cast<send_node&>(*first);
            push(std::move(sender.value));
            woken.add(sender);
        }
        return true;
    }
    void push(T&& item) noexcept {
        heap_.push_back({sent_++, std::move(item)});
        std::push_heap(heap_.begin(), heap_.end(), after());
    }
    void abort_locked(resume_list& woken, std::vector<entry>& dropped) noexcept {
        if (phase_ == phase::aborted) return;
        phase_ = phase::aborted;
        fail_all(sending_, result::aborted, woken);
        fail_all(receiving_, result::aborted, woken);
        heap_.swap(dropped);
        dropped_ = dropped.size();
    }

    Compare lower_;
    std::vector<entry> heap_;  // never more than capacity_, for which it has room
    std::uint64_t dropped_ = 0;
};

}  // namespace detail

template <class T, class Compare>
class priority_sender
    : public detail::shared_end<detail::priority_state<T, Compare>, &detail::priority_state<T, Compare>::add_sender,
                                &detail::priority_state<T, Compare>::drop_sender> {
    using state = detail::priority_state<T, Compare>;

public:
    // Awaits room and sends; resumes on the awaiting task's executor. Fails with the value when the channel is closed or
    // aborted, or when the task was asked to stop while it waited (reason cancelled). A send that finds room succeeds even
    // then.
    auto send(T value) noexcept {
        return detail::channel_operation<state, typename state::send_node, T>(on(), std::move(value));
    }
    // Sends at once or fails with reason full. Any thread.
    expected<void, send_error<T>> try_send(T value) noexcept { return on().try_send(std::move(value)); }
    // As send(), for threads that run no tasks.
    expected<void, send_error<T>> blocking_send(T value) {
        typename state::send_node self(std::move(value));
        return detail::blocking(on(), self, "blocking_send");
    }

    // No more in, for all senders; what is inside still comes out. Waiting senders fail with reason closed.
    void close() noexcept { on().close(); }
    // Drops what is inside and wakes both sides, with reason aborted.
    void abort() noexcept { on().abort(); }
    [[nodiscard]] channel_counts counts() const noexcept { return on().counts(); }

private:
    template <class U, class C>
    friend priority_ends<U, C> priority_channel(std::size_t, C);
    explicit priority_sender(state* shared) noexcept : priority_sender::shared_end(shared) {}
    state& on() const noexcept { return this->checked("a sender that was moved from or given up was used"); }
};

template <class T, class Compare>
class priority_receiver
    : public detail::shared_end<detail::priority_state<T, Compare>, &detail::priority_state<T, Compare>::add_receiver,
                                &detail::priority_state<T, Compare>::drop_receiver> {
    using state = detail::priority_state<T, Compare>;

public:
    // Awaits an item and gives the highest; resumes on the awaiting task's executor. recv_error::closed when the channel is
    // closed and drained, ::aborted when it was aborted. Throws cancelled when the task was asked to stop while it waited; no
    // item is lost then. Receivers that wait are served in order of arrival.
    auto recv() noexcept { return detail::channel_operation<state, typename state::recv_node>(on()); }
    // The highest at once, or recv_error::empty. Any thread.
    expected<T, recv_error> try_recv() noexcept { return on().try_recv(); }
    // As recv(), for threads that run no tasks.
    expected<T, recv_error> blocking_recv() {
        typename state::recv_node self;
        return detail::blocking(on(), self, "blocking_recv");
    }

    void close() noexcept { on().close(); }
    void abort() noexcept { on().abort(); }
    [[nodiscard]] channel_counts counts() const noexcept { return on().counts(); }

private:
    template <class U, class C>
    friend priority_ends<U, C> priority_channel(std::size_t, C);
    explicit priority_receiver(state* shared) noexcept : priority_receiver::shared_end(shared) {}
    state& on() const noexcept { return this->checked("a receiver that was moved from or given up was used"); }
};

template <class T, class Compare>
priority_ends<T, Compare> priority_channel(std::size_t capacity, Compare compare) {
    auto* const shared = new detail::priority_state<T, Compare>(capacity, std::move(compare));
    return {priority_sender<T, Compare>(shared), priority_receiver<T, Compare>(shared)};
}

}  // namespace leat
