// channel<T>: a bounded queue between tasks (and plain threads), the joint of everything in leat.
//
//   auto [out, in] = leat::channel<int>(64);
//   if (auto sent = co_await out.send(i); !sent) …           // sent.error().value is i again
//   while (auto item = co_await in.recv()) use(*item);        // ends when the last sender has gone
//
// Any number of senders and receivers; first in, first out; waiting senders and receivers are served in order of arrival.
// Ends are copied to share them; when the last sender has gone the channel is closed, when the last receiver has gone it
// is aborted and senders get their values back. All functions of one end may be called from several tasks at once, except
// that an end must not be destroyed or assigned while it is used.
#pragma once

#include <optional>

#include <leat/base/expected.hpp>
#include <leat/channel/channel_core.hpp>
#include <leat/channel/ring.hpp>
#include <leat/task/outcome.hpp>
#include <leat/task/thread_line.hpp>

namespace leat {

// Why a value was not sent; the value comes back.
template <class T>
struct send_error {
    enum class reason : unsigned char { closed, aborted, full, cancelled };
    reason why;
    T value;
    send_error(reason cause, T unsent) noexcept : why(cause), value(std::move(unsent)) {}
};

// Why nothing was received: closed and drained, aborted, or (try_recv only) empty just now.
enum class recv_error : unsigned char { closed, aborted, empty };

template <class T>
class sender;
template <class T>
class receiver;

template <class T>
struct channel_ends {
    sender<T> out;
    receiver<T> in;
};

// Makes a channel that holds at most `bounds.items` items and, when `size_of` is given, `bounds.bytes` bytes by it. size_of
// is called under the channel's lock, more than once an item: it gives the same each time and does not throw.
template <class T>
channel_ends<T> channel(channel_bounds bounds, std::size_t (*size_of)(const T&) = nullptr);

namespace detail {

template <class T>
class channel_state final : public channel_core {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "items of a channel move without throwing: send a std::unique_ptr of other types");
    using send_expected = expected<void, send_error<T>>;
    using recv_expected = expected<T, recv_error>;

public:
    using why = typename send_error<T>::reason;

    struct send_waiter : end_waiter {
        explicit send_waiter(T&& item) noexcept : value(std::move(item)) {}
        T value;
    };
    struct recv_waiter : end_waiter {
        std::optional<T> value;
    };

    channel_state(channel_bounds bounds, std::size_t (*size_of)(const T&)) noexcept
        : channel_core(bounds), size_of_(size_of) {}

    // Both: for await_suspend; true when the line waits (or has had its share and was posted).
    bool send(send_waiter& self, context& line, std::coroutine_handle<> at) {
        self.line = &line;
        self.weight = size_of_ == nullptr ? 0 : size_of_(self.value);
        resume_list woken;
        {
            env::lock_guard held(lock_);
            if (phase_ == phase::open && !put(self, woken))
                return wait_in(sending_, self, line, at, "send to a channel");
            if (phase_ != phase::open) self.how = phase_ == phase::closed ? result::closed : result::aborted;
        }
        woken.resume_all();
        return line.yields_at(at);
    }
    bool recv(recv_waiter& self, context& line, std::coroutine_handle<> at) noexcept {
        self.line = &line;
        resume_list woken;
        {
            env::lock_guard held(lock_);
            take(self.value, woken);
            if (!self.value) {
                if (phase_ == phase::open) return wait_in(receiving_, self, line, at, "receive from a channel");
                self.how = phase_ == phase::closed ? result::closed : result::aborted;
            }
        }
        woken.resume_all();
        return line.yields_at(at);
    }

    send_expected sent(send_waiter& self) noexcept {
        if (self.gave_up()) {
            resume_list woken;
            {
                env::lock_guard held(lock_);
                sending_.remove(self);
                admit(woken);  // it may have stood in the way of a lighter one
            }
            woken.resume_all();
            return unexpected(send_error<T>(why::cancelled, std::move(self.value)));
        }
        if (self.how == result::moved) return {};
        return unexpected(
            send_error<T>(self.how == result::closed ? why::closed : why::aborted, std::move(self.value)));
    }
    recv_expected received(recv_waiter& self) {
        if (self.gave_up()) {
            {
                env::lock_guard held(lock_);
                receiving_.remove(self);
            }
            throw_cancelled();
        }
        if (self.value) return std::move(*self.value);
        return unexpected(self.how == result::closed ? recv_error::closed : recv_error::aborted);
    }

    send_expected try_send(T&& item) {
        send_waiter self(std::move(item));
        self.weight = size_of_ == nullptr ? 0 : size_of_(self.value);
        resume_list woken;
        why refused{};
        {
            env::lock_guard held(lock_);
            if (phase_ != phase::open) refused = phase_ == phase::closed ? why::closed : why::aborted;
            else if (!put(self, woken)) refused = why::full;
            else self.waited = true;
        }
        if (!self.waited) return unexpected(send_error<T>(refused, std::move(self.value)));
        woken.resume_all();
        return {};
    }
    recv_expected try_recv() noexcept {
        std::optional<T> value;
        resume_list woken;
        phase now{};
        {
            env::lock_guard held(lock_);
            take(value, woken);
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
        ring<T> dropped;  // destroyed outside the lock: destructors of items are the user's
        {
            env::lock_guard held(lock_);
            abort_locked(woken, dropped);
        }
        woken.resume_all();
    }
    void set_bounds(channel_bounds bounds) noexcept {
        resume_list woken;
        {
            env::lock_guard held(lock_);
            bounds_ = bounds;
            admit(woken);
        }
        woken.resume_all();
    }
    void drop_sender() noexcept {
        if (channel_core::drop_sender()) delete this;
    }
    void drop_receiver() noexcept {
        resume_list woken;
        ring<T> dropped;
        bool gone = false;
        {
            env::lock_guard held(lock_);
            if (--receivers_ == 0) abort_locked(woken, dropped);
            gone = receivers_ == 0 && senders_ == 0;
        }
        woken.resume_all();
        if (gone) delete this;
    }

private:
    // Moves the value to a waiting receiver or inside. False when it must wait. Lock held.
    bool put(send_waiter& self, resume_list& woken) {
        if (waiter* const first = receiving_.claim_first()) {
            auto& receiver = static_cast<recv_waiter&>(*first);
            receiver.value.emplace(std::move(self.value));
            count_passed();
            woken.add(receiver);
            return true;
        }
        if (!sending_.empty() || !fits(self.weight)) return false;
        items_.make_room();
        items_.push(std::move(self.value));
        count_in(self.weight);
        return true;
    }
    // Takes the oldest value, if there is one, and lets waiting senders follow. Lock held.
    void take(std::optional<T>& value, resume_list& woken) noexcept {
        if (!items_.empty()) {
            value.emplace(items_.pop());
            count_out(size_of_ == nullptr ? 0 : size_of_(*value));
            admit(woken);
        } else if (waiter* const first = sending_.claim_first()) {
            auto& sender = static_cast<send_waiter&>(*first);
            value.emplace(std::move(sender.value));
            count_passed();
            woken.add(sender);
        }
    }
    void abort_locked(resume_list& woken, ring<T>& dropped) noexcept {
        if (phase_ == phase::aborted) return;
        phase_ = phase::aborted;
        fail_all(sending_, result::aborted, woken);
        fail_all(receiving_, result::aborted, woken);
        items_.swap(dropped);
        depth_ = bytes_ = 0;
    }
    // Lets in those who wait and fit. Lock held.
    void admit(resume_list& woken) noexcept {
        while (waiter* const first = sending_.first()) {
            auto& sender = static_cast<send_waiter&>(*first);
            if (!fits(sender.weight)) return;
            sending_.remove(sender);
            items_.make_room();  // noexcept: what cannot be kept cannot be given back either
            if (!sender.line->claim(sender.wait, context::wake::ready)) continue;
            items_.push(std::move(sender.value));
            count_in(sender.weight);
            woken.add(sender);
        }
    }

    ring<T> items_;
    std::size_t (*size_of_)(const T&);
};

}  // namespace detail

template <class T>
class sender {
    using state = detail::channel_state<T>;

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

    // Awaits room and sends; resumes on the awaiting task's executor. Fails with the value when the channel is closed or
    // aborted, or when the task was asked to stop while it waited (reason cancelled, not an exception, so that the value
    // is not lost). A send that finds room succeeds even then.
    auto send(T value) noexcept { return send_operation(checked(), std::move(value)); }
    // Sends at once or fails with reason full. Any thread.
    expected<void, send_error<T>> try_send(T value) { return checked().try_send(std::move(value)); }
    // As send(), for threads that run no tasks.
    expected<void, send_error<T>> blocking_send(T value) {
        thread_line line("blocking_send");
        typename state::send_waiter self(std::move(value));
        if (checked().send(self, line, {})) line.park();
        return checked().sent(self);
    }

    // No more in, for all senders; what is inside still comes out. Waiting senders fail with reason closed.
    void close() noexcept { checked().close(); }
    // Drops what is inside and wakes both sides, with reason aborted.
    void abort() noexcept { checked().abort(); }
    // Larger lets waiting senders in; smaller keeps what is inside.
    void set_bounds(channel_bounds bounds) noexcept { checked().set_bounds(bounds); }
    [[nodiscard]] channel_counts counts() const noexcept { return checked().counts(); }
    // Gives this end up; the last one closes the channel.
    void reset() noexcept {
        if (state_ != nullptr) std::exchange(state_, nullptr)->drop_sender();
    }

private:
    template <class U>
    friend channel_ends<U> channel(channel_bounds, std::size_t (*)(const U&));
    explicit sender(state* shared) noexcept : state_(shared) {}
    state& checked() const noexcept {
        if (state_ == nullptr) bug("a sender that was moved from or given up was used");
        return *state_;
    }

    struct awaiter {
        awaiter(state& owner, T&& value) noexcept : channel(owner), self(std::move(value)) {}
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> at) {
            return channel.send(self, at.promise().leat_context(), at);
        }
        expected<void, send_error<T>> await_resume() noexcept { return channel.sent(self); }
        state& channel;
        typename state::send_waiter self;
    };
    struct [[nodiscard]] send_operation {
        send_operation(state& owner, T&& item) noexcept : channel(&owner), value(std::move(item)) {}
        awaiter operator co_await() && noexcept { return {*channel, std::move(value)}; }
        state* channel;
        T value;
    };

    state* state_;
};

template <class T>
class receiver {
    using state = detail::channel_state<T>;

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

    // Awaits the next value; resumes on the awaiting task's executor. Ends with recv_error::closed when the channel is
    // closed and drained, ::aborted when it was aborted. Throws cancelled when the task was asked to stop while it waited;
    // no value is lost then.
    auto recv() noexcept { return recv_operation(checked()); }
    // The next value at once, or recv_error::empty. Any thread.
    expected<T, recv_error> try_recv() noexcept { return checked().try_recv(); }
    // As recv(), for threads that run no tasks.
    expected<T, recv_error> blocking_recv() {
        thread_line line("blocking_recv");
        typename state::recv_waiter self;
        if (checked().recv(self, line, {})) line.park();
        return checked().received(self);
    }

    void close() noexcept { checked().close(); }
    void abort() noexcept { checked().abort(); }
    void set_bounds(channel_bounds bounds) noexcept { checked().set_bounds(bounds); }
    [[nodiscard]] channel_counts counts() const noexcept { return checked().counts(); }
    // Gives this end up; the last one aborts the channel.
    void reset() noexcept {
        if (state_ != nullptr) std::exchange(state_, nullptr)->drop_receiver();
    }

private:
    template <class U>
    friend channel_ends<U> channel(channel_bounds, std::size_t (*)(const U&));
    explicit receiver(state* shared) noexcept : state_(shared) {}
    state& checked() const noexcept {
        if (state_ == nullptr) bug("a receiver that was moved from or given up was used");
        return *state_;
    }

    struct awaiter {
        explicit awaiter(state& owner) noexcept : channel(owner) {}
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
            return channel.recv(self, at.promise().leat_context(), at);
        }
        expected<T, recv_error> await_resume() { return channel.received(self); }
        state& channel;
        typename state::recv_waiter self;
    };
    struct [[nodiscard]] recv_operation {
        explicit recv_operation(state& owner) noexcept : channel(&owner) {}
        awaiter operator co_await() const noexcept { return awaiter(*channel); }
        state* channel;
    };

    state* state_;
};

template <class T>
channel_ends<T> channel(channel_bounds bounds, std::size_t (*size_of)(const T&)) {
    auto* const shared = new detail::channel_state<T>(bounds, size_of);
    return {sender<T>(shared), receiver<T>(shared)};
}

}  // namespace leat
