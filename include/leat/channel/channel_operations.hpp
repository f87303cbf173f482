// channel_operations<T>: what awaiting an end of a channel means, and the ends as arms of a select. Users see channel.hpp and
// select.hpp. An operation is a description that can be moved; its awaiter, with the node that waits, is made in the frame
// that awaits it.
#pragma once

#include <exception>
#include <tuple>

#include <leat/channel/channel_state.hpp>
#include <leat/task/async_generator.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

template <class T>
class sender;
template <class T>
class receiver;
template <class T>
class channel_permit;

// What the generator of receiver::stream() throws when the channel was aborted.
class channel_aborted : public std::exception {
public:
    [[nodiscard]] const char* what() const noexcept override { return "the channel was aborted"; }
};

namespace detail {

// An operation whose awaiter is made of these parts.
template <class Awaiter, class... Part>
class [[nodiscard]] end_operation {
public:
    template <class... From>
        requires(sizeof...(From) == sizeof...(Part))
    explicit end_operation(From&&... parts) : parts_(std::forward<From>(parts)...) {}
    Awaiter operator co_await() && { return std::make_from_tuple<Awaiter>(std::move(parts_)); }

private:
    std::tuple<Part...> parts_;
};

// What all awaiters have: `Wait::suspend(line, at)` is for coroutines and, through block_on, for plain threads.
template <class Wait>
struct awaits : Wait {
    using Wait::Wait;
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> at) noexcept(
        noexcept(std::declval<Wait&>().suspend(std::declval<context&>(), at))) {
        return Wait::suspend(at.promise().leat_context(), at);
    }
};

inline send_failure failure_of(channel_core::result how) noexcept {
    using result = channel_core::result;
    return how == result::closed    ? send_failure::closed
           : how == result::aborted ? send_failure::aborted
           : how == result::full    ? send_failure::full
                                    : send_failure::cancelled;
}
inline recv_error error_of(channel_core::result how) noexcept {
    return how == channel_core::result::closed ? recv_error::closed : recv_error::aborted;
}

template <class T>
class channel_operations {
    using state = channel_state<T>;
    using result = channel_core::result;
    using sent = expected<void, send_error<T>>;
    using received = expected<T, recv_error>;

    static received received_of(typename state::recv_waiter& self) noexcept {
        if (self.value) return std::move(*self.value);
        return unexpected(error_of(self.how));
    }
    static expected<channel_permit<T>, send_failure> permit_of(state& channel,
                                                               const typename state::send_waiter& self) noexcept {
        if (self.how == result::moved) return channel_permit<T>(channel, self.weight);
        return unexpected(failure_of(self.how));
    }
    static sent sent_of(result how, T& value) noexcept {
        if (how == result::moved) return {};
        return unexpected(send_error<T>(failure_of(how), std::move(value)));
    }

public:
    // --- Arms ---

    class recv_arm final : public select_arm {
    public:
        explicit recv_arm(const receiver<T>& from) noexcept : recv_arm(from.checked()) {}
        explicit recv_arm(state& from) noexcept : select_arm(&from), channel_(&from) {}
        recv_arm(const recv_arm& other) noexcept : select_arm(other), channel_(other.channel_) {}
        [[nodiscard]] bool try_now(context&) override { return channel_->try_recv(self_); }
        [[nodiscard]] published publish(const own_wait& wait) override { return channel_->publish(self_, wait); }
        [[nodiscard]] bool take_back(context&) noexcept override {
            channel_->leave(self_);
            return self_.how != result::none;
        }
        [[nodiscard]] recv_arm only_if(bool on) && noexcept {
            enable(on);
            return *this;
        }
        received take() noexcept { return received_of(self_); }

    private:
        state* channel_;
        typename state::recv_waiter self_;
    };

    class send_arm final : public select_arm {
    public:
        send_arm(const sender<T>& to, T& value) noexcept : send_arm(to.checked(), value) {}
        send_arm(state& to, T& value) noexcept
            : select_arm(&to), channel_(&to), value_(&value), self_(std::span<T>(&value, 1)) {}
        send_arm(const send_arm& other) noexcept : select_arm(other), channel_(other.channel_), value_(other.value_) {}
        [[nodiscard]] bool try_now(context&) override {
            self_ = typename state::send_waiter(std::span<T>(value_, 1));
            return channel_->try_send(self_);
        }
        [[nodiscard]] published publish(const own_wait& wait) override { return channel_->publish(self_, wait); }
        [[nodiscard]] bool take_back(context&) noexcept override {
            channel_->leave(self_);
            return self_.how != result::none;
        }
        [[nodiscard]] send_arm only_if(bool on) && noexcept {
            enable(on);
            return *this;
        }
        // Of the reasons closed, aborted and full; the value is where it was then.
        expected<void, send_failure> take() noexcept {
            if (self_.how == result::moved) return {};
            return unexpected(failure_of(self_.how));
        }

    private:
        state* channel_;
        T* value_;
        typename state::send_waiter self_{std::size_t{0}};
    };

    class reserve_arm final : public select_arm {
    public:
        reserve_arm(const sender<T>& to, std::size_t bytes) noexcept
            : select_arm(&to.checked()), channel_(&to.checked()), weight_(channel_->weight_of_permit(bytes)) {}
        reserve_arm(const reserve_arm& other) noexcept
            : select_arm(other), channel_(other.channel_), weight_(other.weight_) {}
        [[nodiscard]] bool try_now(context&) override {
            self_ = typename state::send_waiter(weight_);
            return channel_->try_reserve(self_);
        }
        [[nodiscard]] published publish(const own_wait& wait) override { return channel_->publish(self_, wait); }
        [[nodiscard]] bool take_back(context&) noexcept override {
            channel_->leave(self_);
            return self_.how != result::none;
        }
        [[nodiscard]] reserve_arm only_if(bool on) && noexcept {
            enable(on);
            return *this;
        }
        expected<channel_permit<T>, send_failure> take() noexcept { return permit_of(*channel_, self_); }

    private:
        state* channel_;
        std::size_t weight_;
        typename state::send_waiter self_{std::size_t{0}};
    };

    // --- Operations of one end ---

    struct send_wait {
        send_wait(state& to, T&& item) noexcept : channel(to), value(std::move(item)) {}
        send_wait(const send_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return channel.send(value, self, line, at); }
        sent await_resume() noexcept {
            if (!self) [[likely]]
                return {};
            channel.leave(*self);
            return sent_of(self->how, value);
        }
        state& channel;
        T value;
        std::optional<typename state::send_waiter> self;  // none where it went in at once
    };
    using send = end_operation<awaits<send_wait>, state&, T>;

    struct send_many_wait {
        send_many_wait(state& to, std::span<T> items) noexcept : channel(to), values(items), self(items) {}
        send_many_wait(const send_many_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return channel.send(self, line, at); }
        expected<void, batch_error> await_resume() noexcept {
            channel.leave(self);
            if (self.how == result::moved) return {};
            return unexpected(batch_error(failure_of(self.how), values.size() - self.left));
        }
        state& channel;
        std::span<T> values;
        typename state::send_waiter self;
    };
    using send_many = end_operation<awaits<send_many_wait>, state&, std::span<T>>;

    struct reserve_wait {
        reserve_wait(state& to, std::size_t bytes) noexcept : channel(to), self(to.weight_of_permit(bytes)) {}
        reserve_wait(const reserve_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return channel.reserve(self, line, at); }
        expected<channel_permit<T>, send_failure> await_resume() noexcept {
            channel.leave(self);
            return permit_of(channel, self);
        }
        state& channel;
        typename state::send_waiter self;
    };
    using reserve = end_operation<awaits<reserve_wait>, state&, std::size_t>;

    struct recv_wait {
        explicit recv_wait(state& from) noexcept : channel(from) {}
        recv_wait(const recv_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) noexcept { return channel.recv(value, self, line, at); }
        received await_resume() {
            if (value) [[likely]]
                return std::move(*value);
            channel.leave(*self);
            if (self->how == result::none) throw_cancelled();
            return received_of(*self);
        }
        state& channel;
        std::optional<T> value;
        std::optional<typename state::recv_waiter> self;  // none where there was a value at once
    };
    using recv = end_operation<awaits<recv_wait>, state&>;

    struct recv_many_wait {
        recv_many_wait(state& from, std::vector<T>& items, std::size_t count) noexcept
            : channel(from), into(items), most(count) {
            if (most == 0) bug("recv_many was asked for nothing");
        }
        recv_many_wait(const recv_many_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) {
            before = into.size();
            const std::size_t wanted = std::min(most, std::max<std::size_t>(1, channel.counts().depth));
            if (into.capacity() - before < wanted) into.reserve(std::max(before + wanted, 2 * into.capacity()));
            return channel.recv_many(self, into, most, line, at);
        }
        expected<std::size_t, recv_error> await_resume() {
            channel.leave(self);
            if (self.how == result::none) throw_cancelled();
            if (self.value) {
                into.push_back(std::move(*self.value));
                channel.try_recv_many(into, most - 1);
            }
            if (self.how == result::moved) return into.size() - before;
            return unexpected(error_of(self.how));
        }
        state& channel;
        std::vector<T>& into;
        std::size_t most;
        std::size_t before = 0;
        typename state::recv_waiter self;
    };
    using recv_many = end_operation<awaits<recv_many_wait>, state&, std::vector<T>&, std::size_t>;

    // --- The same within a time: a biased select of two arms ---

    template <class Arm>
    struct timed_wait {
        template <class... Part>
        explicit timed_wait(duration limit, Part&&... parts) noexcept
            : arm(std::forward<Part>(parts)...), time(limit) {}
        timed_wait(const timed_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return race.suspend(line, at); }
        static select_arm& arm_at(void* self, std::uint32_t place) noexcept {
            auto& mine = *static_cast<timed_wait*>(self);
            if (place == 0) return mine.arm;
            return mine.time;
        }
        Arm arm;
        time_arm time;
        select_wait race{this, &arm_at, 2, select_wait::order::biased};
    };
    struct timed_send_wait {
        timed_send_wait(state& to, T&& item, duration limit) noexcept
            : value(std::move(item)), race(limit, to, value) {}
        timed_send_wait(const timed_send_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return race.suspend(line, at); }
        sent await_resume() noexcept {
            const std::uint32_t won = race.race.finish();
            if (won == 1) return unexpected(send_error<T>(send_failure::timed_out, std::move(value)));
            if (won != 0) return unexpected(send_error<T>(send_failure::cancelled, std::move(value)));
            const auto how = race.arm.take();
            if (how) return {};
            return unexpected(send_error<T>(how.error(), std::move(value)));
        }
        T value;
        timed_wait<send_arm> race;
    };
    using timed_send = end_operation<awaits<timed_send_wait>, state&, T, duration>;

    struct timed_recv_wait {
        timed_recv_wait(state& from, duration limit) noexcept : race(limit, from) {}
        timed_recv_wait(const timed_recv_wait&) = delete;
        bool suspend(context& line, std::coroutine_handle<> at) { return race.suspend(line, at); }
        received await_resume() {
            const std::uint32_t won = race.race.finish();
            if (won == 1) return unexpected(recv_error::timed_out);
            if (won != 0) throw_cancelled();
            return race.arm.take();
        }
        timed_wait<recv_arm> race;
    };
    using timed_recv = end_operation<awaits<timed_recv_wait>, state&, duration>;

    // --- At once ---

    static sent try_send(state& channel, T&& value) {
        typename state::send_waiter self(std::span<T>(&value, 1));
        if (!channel.try_send(self)) self.how = result::full;
        return sent_of(self.how, value);
    }
    static expected<channel_permit<T>, send_failure> try_reserve(state& channel, std::size_t bytes) {
        typename state::send_waiter self(channel.weight_of_permit(bytes));
        if (!channel.try_reserve(self)) return unexpected(send_failure::full);
        return permit_of(channel, self);
    }
    static received try_recv(state& channel) noexcept {
        typename state::recv_waiter self;
        if (!channel.try_recv(self)) return unexpected(recv_error::empty);
        return received_of(self);
    }

    static async_generator<T> stream(receiver<T> in) {
        for (;;) {
            auto next = co_await in.recv();
            if (!next && next.error() == recv_error::aborted) throw channel_aborted();
            if (!next) co_return;
            co_yield std::move(*next);
        }
    }
};

}  // namespace detail
}  // namespace leat
