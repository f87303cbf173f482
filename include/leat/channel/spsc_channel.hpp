// spsc_channel<T>: a bounded queue from one task (or plain thread) to one other, and the fastest: a send or a receive that
// finds room or an item takes no lock and does not touch the task's context.
//
//   auto [out, in] = leat::spsc_channel<int>(1024);
//   if (auto sent = co_await out.send(i); !sent) …           // sent.error().value is i again
//   while (auto item = co_await in.recv()) use(*item);        // ends when the sender has gone
//
// One sender, one receiver, each moved and not copied, each used by one task at a time; close() and abort() may come from
// anywhere. When the sender has gone the channel is closed, when the receiver has gone it is aborted and the sender gets its
// values back. Both operations count against the task's share of its executor as those of channel<T> do. Who has to wait for an
// end that was last seen on another thread first looks on for at most some ten microseconds, and for less when that was in
// vain.
#pragma once

#include <algorithm>
#include <bit>
#include <memory>
#include <optional>
#include <span>
#include <tuple>

#include <leat/channel/channel.hpp>
#include <leat/channel/spsc_core.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T>
class spsc_sender;
template <class T>
class spsc_receiver;

template <class T>
struct spsc_ends {
    spsc_sender<T> out;
    spsc_receiver<T> in;
};

// Makes a channel that holds at most `capacity` items; at least one (a bug otherwise). Its memory is taken here, for the next
// power of two. Throws std::bad_alloc.
template <class T>
spsc_ends<T> spsc_channel(std::size_t capacity);

// Why not all of a batch was sent: `sent` items are inside, the others are where they were.
struct send_many_error {
    enum class reason : unsigned char { closed, aborted, full, cancelled };
    reason why;
    std::size_t sent;
};

namespace detail {

template <class T>
class spsc_state final : public spsc_core {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "items of a channel move without throwing: send a std::unique_ptr of other types");

public:
    explicit spsc_state(std::size_t capacity)
        : spsc_core(capacity),
          mask_(std::bit_ceil(capacity) - 1),
          slots_(std::make_unique<env::shared<slot>[]>(std::bit_ceil(capacity))) {}

    // Moves as many of them inside as there is room for; gives how many. The others stay.
    std::size_t put(std::span<T> items) noexcept {
        const std::uint64_t at = tail();
        const std::uint64_t count = room(at, items.size());
        if (count == 0) return 0;
        for (std::uint64_t i = 0; i < count; ++i) std::construct_at(place(at + i), std::move(items[i]));
        if (publish(at, count)) [[likely]]
            return count;
        for (std::uint64_t i = 0; i < count; ++i) {  // closed meanwhile: they come back
            std::destroy_at(&items[i]);
            std::construct_at(&items[i], take(at + i));
        }
        return 0;
    }
    bool put(T& item) noexcept { return put(std::span<T>(&item, 1)) == 1; }
    // Gives as many of the oldest items as there are, at most `most`, to use(T&&), and how many that was.
    template <class Use>
    std::size_t take(std::size_t most, Use use) noexcept {
        std::uint64_t at = 0;
        if (!head(at)) [[unlikely]]
            return drop_all(), 0;
        const std::uint64_t count = ready(at, most);
        if (count == 0) return 0;
        for (std::uint64_t i = 0; i < count; ++i) use(take(at + i));
        retire(at, count);
        return count;
    }

    void drop_sender() noexcept {
        end(phase::closed);
        if (drop(sender_end)) delete this;
    }
    void drop_receiver() noexcept {
        end(phase::aborted);
        drop_all();
        if (drop(receiver_end)) delete this;
    }

private:
    struct slot {
        alignas(T) std::byte bytes[sizeof(T)];
    };
    T* place(std::uint64_t index) noexcept {
        return std::launder(reinterpret_cast<T*>(slots_[index & mask_].write().bytes));
    }
    T take(std::uint64_t index) noexcept {
        T* const at = place(index);
        T item = std::move(*at);
        std::destroy_at(at);
        return item;
    }
    // For the receiver of an aborted channel.
    void drop_all() noexcept {
        std::uint64_t at = 0;
        (void)head(at);
        while (const std::uint64_t count = ready(at, ~std::uint64_t{0})) {
            for (std::uint64_t i = 0; i < count; ++i) std::destroy_at(place(at + i));
            retire(at, count);
            count_dropped(count);
            at += count;
        }
    }

    const std::uint64_t mask_;
    const std::unique_ptr<env::shared<slot>[]> slots_;
};

// The awaiters. Each tries in await_ready(), without the context; it asks that when there is nothing to do but wait, or when
// the end has used up a part of the budget.
template <class T>
struct spsc_send_awaiter {
    using why = typename send_error<T>::reason;
    spsc_send_awaiter(spsc_state<T>& owner, T&& item) noexcept : channel(owner), value(std::move(item)) {}
    bool await_ready() noexcept { return channel.send_may_go_on() && (sent = channel.put(value)); }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
        return suspend(at.promise().leat_context(), at);
    }
    bool suspend(context& line, std::coroutine_handle<> at) noexcept {
        if ((sent = channel.put(value))) return channel.send_yields(line, at);
        asked = true;
        return channel.wait_for_room(line, at, 1);
    }
    expected<void, send_error<T>> await_resume() noexcept {
        if (sent) [[likely]]
            return {};
        if (asked && channel.send_gave_up()) return unexpected(send_error<T>(why::cancelled, std::move(value)));
        if (channel.put(value)) return {};
        return unexpected(send_error<T>(channel.template why_not_sent<why>(), std::move(value)));
    }
    spsc_state<T>& channel;
    T value;
    bool sent = false;
    bool asked = false;  // it began to wait, or was refused to
};

// Sends the rest each time that there is room for it, or for as much as the channel holds: a line that waits again has not
// been resumed in between.
template <class T>
struct spsc_send_many_awaiter : frame_stub {
    using why = send_many_error::reason;
    spsc_send_many_awaiter(spsc_state<T>& owner, std::span<T> items) noexcept
        : frame_stub(&resumed), channel(owner), rest(items) {}
    bool await_ready() noexcept { return channel.send_may_go_on() && put(); }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
        return suspend(at.promise().leat_context(), at);
    }
    bool suspend(context& on, std::coroutine_handle<> at) noexcept {
        line = &on;
        continuation = at;
        if (put()) return channel.send_yields(on, at);
        return waits_for_room();
    }
    expected<void, send_many_error> await_resume() noexcept {
        if (rest.empty()) [[likely]]
            return {};
        return unexpected(send_many_error{cancelled ? why::cancelled : channel.template why_not_sent<why>(), sent});
    }

    // True when all are inside.
    bool put() noexcept {
        const std::size_t count = channel.put(rest);
        rest = rest.subspan(count);
        sent += count;
        return rest.empty();
    }
    bool waits_for_room() noexcept {
        while (!channel.wait_for_room(*line, handle(), std::min(rest.size(), channel.capacity()))) {
            cancelled = channel.send_gave_up();
            if (cancelled || channel.now() != spsc_core::phase::open || put()) return false;
        }
        return true;
    }
    static void resumed(frame_stub* stub) noexcept {
        auto& self = *static_cast<spsc_send_many_awaiter*>(stub);
        self.cancelled = self.channel.send_gave_up();
        if (!self.cancelled && !self.put() && self.waits_for_room()) return;
        self.continuation.resume();
    }

    spsc_state<T>& channel;
    std::span<T> rest;
    std::size_t sent = 0;
    context* line = nullptr;
    std::coroutine_handle<> continuation;
    bool cancelled = false;
};

// Receives into one place (a std::optional) or many (a std::span).
template <class T, class Into>
struct spsc_receive_awaiter {
    static constexpr bool is_many = std::is_same_v<Into, std::span<T>>;
    explicit spsc_receive_awaiter(spsc_state<T>& owner) noexcept : channel(owner) {}
    spsc_receive_awaiter(spsc_state<T>& owner, std::span<T> to) noexcept
        requires is_many
        : channel(owner), into(to) {}
    bool await_ready() noexcept { return channel.receive_may_go_on() && take(); }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
        return suspend(at.promise().leat_context(), at);
    }
    bool suspend(context& line, std::coroutine_handle<> at) noexcept {
        if (take()) return channel.receive_yields(line, at);
        asked = true;
        return channel.wait_for_item(line, at);
    }
    auto await_resume() {
        if (count == 0) [[unlikely]] {
            if (asked && channel.receive_gave_up()) throw_cancelled();
            (void)take();
        }
        return result();
    }

    bool take() noexcept {
        if constexpr (is_many) {
            T* to = into.data();
            count = channel.take(into.size(), [&to](T&& item) { *to++ = std::move(item); });
            return count != 0 || into.empty();
        } else {
            count = channel.take(1, [this](T&& item) { into.emplace(std::move(item)); });
            return count != 0;
        }
    }
    auto result() noexcept {
        using result = expected<std::conditional_t<is_many, std::size_t, T>, recv_error>;
        if (count == 0) [[unlikely]] {
            if constexpr (is_many)
                if (into.empty()) return result(count);
            const recv_error why = channel.why_not_received();
            // The last item may have come between the look for one and the end.
            if (why != recv_error::closed || !take()) return result(unexpected(why));
        }
        if constexpr (is_many) return result(count);
        else return result(std::move(*into));
    }

    spsc_state<T>& channel;
    Into into;
    std::size_t count = 0;
    bool asked = false;  // it began to wait, or was refused to
};

// What is given to co_await: the awaiter is made in the awaiting frame.
template <class Awaiter, class State, class... Given>
class [[nodiscard]] spsc_operation {
public:
    explicit spsc_operation(State& on, Given&&... what) noexcept : channel_(&on), given_(std::move(what)...) {}
    Awaiter operator co_await() && noexcept {
        return std::apply([this](Given&... what) { return Awaiter(*channel_, std::move(what)...); }, given_);
    }

private:
    State* channel_;
    [[no_unique_address]] std::tuple<Given...> given_;
};

// The same on a thread that runs no tasks.
template <class Awaiter>
auto spsc_blocking(Awaiter&& self, const char* what) {
    if (self.await_ready()) return self.await_resume();
    thread_line line(what);
    if (self.suspend(line, {})) line.park();
    return self.await_resume();  // asks the line how its wait ended
}

}  // namespace detail

template <class T>
class spsc_sender : public detail::sole_end<detail::spsc_state<T>, &detail::spsc_state<T>::drop_sender> {
    using state = detail::spsc_state<T>;
    using awaiter = detail::spsc_send_awaiter<T>;
    using many_awaiter = detail::spsc_send_many_awaiter<T>;

public:
    // Awaits room and sends; resumes on the awaiting task's executor. Fails with the value when the channel is closed or
    // aborted, or when the task was asked to stop while it waited (reason cancelled). A send that finds room succeeds even
    // then.
    auto send(T value) noexcept { return detail::spsc_operation<awaiter, state, T>(on(), std::move(value)); }
    // Sends at once or fails with reason full.
    expected<void, send_error<T>> try_send(T value) noexcept {
        using why = typename send_error<T>::reason;
        if (on().put(value)) return {};
        const auto refused = on().template why_not_sent<why>();
        return unexpected(send_error<T>(refused, std::move(value)));
    }
    // As send(), for threads that run no tasks (a bug in others, told when it has to wait).
    expected<void, send_error<T>> blocking_send(T value) {
        return detail::spsc_blocking(awaiter(on(), std::move(value)), "blocking_send");
    }

    // Moves all of `items` into the channel, awaiting room as often as that takes; those for which there is room are inside
    // at once, and the receiver finds them together. Fails as send() does, with the number of those that are inside; the
    // others are in `items` as they were. The items live in their place until the operation has ended.
    auto send_many(std::span<T> items) noexcept {
        return detail::spsc_operation<many_awaiter, state, std::span<T>>(on(), std::move(items));
    }
    // Moves those inside for which there is room; fails with reason full when that was not all.
    expected<void, send_many_error> try_send_many(std::span<T> items) noexcept {
        const std::size_t sent = on().put(items);
        if (sent == items.size()) return {};
        return unexpected(send_many_error{on().template why_not_sent<send_many_error::reason>(), sent});
    }
    expected<void, send_many_error> blocking_send_many(std::span<T> items) {
        many_awaiter self(on(), items);
        while (!self.put()) {
            thread_line line("blocking_send_many");
            if (on().wait_for_room(line, {}, std::min(self.rest.size(), on().capacity()))) line.park();
            else if (on().now() != state::phase::open) break;
        }
        return self.await_resume();
    }

    // No more in; what is inside still comes out. A waiting sender fails with reason closed. Any thread.
    void close() noexcept { on().end(state::phase::closed); }
    // The same, and the receiver drops what is inside, when it next looks or goes; fails who waits with reason aborted. Any
    // thread.
    void abort() noexcept { on().end(state::phase::aborted); }
    // Any thread.
    [[nodiscard]] channel_counts counts() const noexcept { return on().snapshot(); }

private:
    template <class U>
    friend spsc_ends<U> spsc_channel(std::size_t);
    explicit spsc_sender(state* shared) noexcept : spsc_sender::sole_end(shared) {}
    state& on() const noexcept { return this->checked("a sender that was moved from or given up was used"); }
};

template <class T>
class spsc_receiver : public detail::sole_end<detail::spsc_state<T>, &detail::spsc_state<T>::drop_receiver> {
    using state = detail::spsc_state<T>;
    using awaiter = detail::spsc_receive_awaiter<T, std::optional<T>>;
    using many_awaiter = detail::spsc_receive_awaiter<T, std::span<T>>;

public:
    // Awaits the next value; resumes on the awaiting task's executor. Ends with recv_error::closed when the channel is
    // closed and drained, ::aborted when it was aborted. Throws cancelled when the task was asked to stop while it waited;
    // no value is lost then.
    auto recv() noexcept { return detail::spsc_operation<awaiter, state>(on()); }
    // The next value at once, or recv_error::empty.
    expected<T, recv_error> try_recv() noexcept {
        awaiter self(on());
        (void)self.take();
        return self.result();
    }
    // As recv(), for threads that run no tasks (a bug in others, told when it has to wait).
    expected<T, recv_error> blocking_recv() { return detail::spsc_blocking(awaiter(on()), "blocking_recv"); }

    // Awaits a value and gives as many as are there then: assigns them to the first places of `into`, which lives until the
    // operation has ended, and gives their number. Ends as recv() does. 0 only when `into` is empty.
    auto recv_many(std::span<T> into) noexcept {
        static_assert(std::is_nothrow_move_assignable_v<T>, "recv_many assigns without throwing");
        return detail::spsc_operation<many_awaiter, state, std::span<T>>(on(), std::move(into));
    }
    expected<std::size_t, recv_error> try_recv_many(std::span<T> into) noexcept {
        static_assert(std::is_nothrow_move_assignable_v<T>, "recv_many assigns without throwing");
        many_awaiter self(on(), into);
        (void)self.take();
        return self.result();
    }
    expected<std::size_t, recv_error> blocking_recv_many(std::span<T> into) {
        static_assert(std::is_nothrow_move_assignable_v<T>, "recv_many assigns without throwing");
        return detail::spsc_blocking(many_awaiter(on(), into), "blocking_recv_many");
    }

    // As the sender's.
    void close() noexcept { on().end(state::phase::closed); }
    void abort() noexcept { on().end(state::phase::aborted); }
    [[nodiscard]] channel_counts counts() const noexcept { return on().snapshot(); }

private:
    template <class U>
    friend spsc_ends<U> spsc_channel(std::size_t);
    explicit spsc_receiver(state* shared) noexcept : spsc_receiver::sole_end(shared) {}
    state& on() const noexcept { return this->checked("a receiver that was moved from or given up was used"); }
};

template <class T>
spsc_ends<T> spsc_channel(std::size_t capacity) {
    auto* const shared = new detail::spsc_state<T>(capacity);
    return {spsc_sender<T>(shared), spsc_receiver<T>(shared)};
}

}  // namespace leat
