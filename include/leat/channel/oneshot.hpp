// oneshot<T>: one value, once, from one task (or thread) to one other: an answer, a result.
//
//   auto [out, in] = leat::oneshot<int>();
//   (void)std::move(out).send(42);                 // never waits
//   if (auto answer = co_await in.recv()) use(*answer);
//
// Two ends, each moved and not copied, each used by one task at a time. A sender that goes without having sent closes it; a
// receiver that goes gives the sender its value back.
#pragma once

#include <memory>
#include <optional>

#include <leat/channel/channel.hpp>
#include <leat/channel/channel_end.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T>
class oneshot_sender;
template <class T>
class oneshot_receiver;

template <class T>
struct oneshot_ends {
    oneshot_sender<T> out;
    oneshot_receiver<T> in;
};

// Throws std::bad_alloc.
template <class T>
oneshot_ends<T> oneshot();

namespace detail {

// What does not depend on the type.
class oneshot_core {
public:
    enum class phase : unsigned char {
        open,
        sent,    // the value is there
        closed,  // it was taken, or never comes
    };
    oneshot_core() = default;
    oneshot_core(const oneshot_core&) = delete;
    oneshot_core& operator=(const oneshot_core&) = delete;

    // For await_suspend: false when the wait is over already.
    bool begin(wait_node& node, context& line, std::coroutine_handle<> at) noexcept;
    // After it: whether it was ended by a stop.
    bool gave_up(wait_node& node) noexcept;
    [[nodiscard]] bool receiver_is_here() const noexcept;

protected:
    // The sender's last act. True when its end was the last.
    [[nodiscard]] bool end_sender() noexcept;
    [[nodiscard]] bool end_receiver() noexcept;

    mutable env::mutex lock_;
    phase phase_ = phase::open;
    bool sender_here_ = true;
    bool receiver_here_ = true;
    waiter_queue receiving_;
};

template <class T>
class oneshot_state final : public oneshot_core {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "the value of a oneshot moves without throwing: send a std::unique_ptr of other types");

public:
    // Moves the value inside; false, and it stays, when the receiver has gone.
    bool put(T& value) noexcept {
        env::lock_guard held(lock_);
        if (!receiver_here_) return false;
        value_.emplace(std::move(value));
        phase_ = phase::sent;
        return true;
    }
    expected<T, recv_error> take() noexcept {
        env::lock_guard held(lock_);
        if (phase_ == phase::open) return unexpected(recv_error::empty);
        if (phase_ == phase::closed) return unexpected(recv_error::closed);
        phase_ = phase::closed;
        expected<T, recv_error> taken(std::move(*value_));
        value_.reset();  // of what was moved from
        return taken;
    }
    using oneshot_core::begin;
    expected<T, recv_error> end(wait_node& node) {
        if (gave_up(node)) throw_cancelled();
        return take();
    }
    void drop_sender() noexcept {
        if (end_sender()) delete this;
    }
    void drop_receiver() noexcept {
        if (end_receiver()) delete this;
    }

private:
    std::optional<T> value_;
};

}  // namespace detail

template <class T>
class oneshot_sender : public detail::sole_end<detail::oneshot_state<T>, &detail::oneshot_state<T>::drop_sender> {
    using state = detail::oneshot_state<T>;

public:
    // Hands the value over and gives this end up; never waits. Fails with the value and reason aborted when the receiver has
    // gone. A value that the receiver never takes is destroyed with it.
    expected<void, send_error<T>> send(T value) && noexcept {
        const bool put = this->checked("a oneshot was sent to twice").put(value);
        this->reset();
        if (put) return {};
        return unexpected(send_error<T>(send_error<T>::reason::aborted, std::move(value)));
    }
    // Whether the receiver has gone: then nobody needs the value. A snapshot.
    [[nodiscard]] bool abandoned() const noexcept {
        return !this->checked("a oneshot was asked about that has been sent to").receiver_is_here();
    }

private:
    template <class U>
    friend oneshot_ends<U> oneshot();
    explicit oneshot_sender(state* shared) noexcept : oneshot_sender::sole_end(shared) {}
};

template <class T>
class oneshot_receiver : public detail::sole_end<detail::oneshot_state<T>, &detail::oneshot_state<T>::drop_receiver> {
    using state = detail::oneshot_state<T>;

public:
    // Awaits the value; resumes on the awaiting task's executor. recv_error::closed when the sender has gone without one, or
    // when the value was received before. Throws cancelled when the task was asked to stop while it waited; the value can
    // still be received then.
    auto recv() noexcept { return detail::channel_operation<state, detail::wait_node>(on()); }
    // The value if it is there, or recv_error::empty.
    expected<T, recv_error> try_recv() noexcept { return on().take(); }
    // As recv(), for threads that run no tasks.
    expected<T, recv_error> blocking_recv() {
        detail::wait_node node;
        return detail::blocking(on(), node, "blocking_recv");
    }

private:
    template <class U>
    friend oneshot_ends<U> oneshot();
    explicit oneshot_receiver(state* shared) noexcept : oneshot_receiver::sole_end(shared) {}
    state& on() const noexcept { return this->checked("a receiver that was moved from or given up was used"); }
};

template <class T>
oneshot_ends<T> oneshot() {
    auto* const shared = new detail::oneshot_state<T>;
    return {oneshot_sender<T>(shared), oneshot_receiver<T>(shared)};
}

}  // namespace leat
