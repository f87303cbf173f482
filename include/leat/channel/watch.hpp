// watch<T>: the latest value of something, for many who want to know it: settings, a state, progress. What lies between two
// looks is skipped.
//
//   auto [out, in] = leat::watch(settings());
//   out.send(settings(…));                              // never waits
//   while (co_await in.changed()) apply(*in.borrow());  // ends when the last sender has gone
//
// Any number of senders, copied to share them; any number of receivers, each of which knows what it has seen and is used by one
// task at a time; a copy has seen what the original has. A value is never changed, only replaced: who has borrowed one keeps
// it.
#pragma once

#include <memory>

#include <leat/channel/channel.hpp>
#include <leat/channel/feed_core.hpp>

namespace leat {

template <class T>
class watch_sender;
template <class T>
class watch_receiver;

template <class T>
struct watch_ends {
    watch_sender<T> out;
    watch_receiver<T> in;
};

// The initial value counts as seen. Throws std::bad_alloc.
template <class T>
watch_ends<T> watch(T initial);

namespace detail {

template <class T>
class watch_state final : public feed_core {
public:
    using node_type = feed_core::node_type;

    explicit watch_state(T&& initial) : value_(std::make_shared<const T>(std::move(initial))) {}

    void send(T&& value) {
        auto next = std::make_shared<const T>(std::move(value));
        resume_list woken;
        {
            env::lock_guard held(lock_);
            value_.swap(next);  // the former one is destroyed outside the lock
            publish(woken);
        }
        woken.resume_all();
    }
    std::shared_ptr<const T> look(std::uint64_t& seen) noexcept {
        env::lock_guard held(lock_);
        seen = published_;
        return value_;
    }
    std::shared_ptr<const T> look() const noexcept {
        env::lock_guard held(lock_);
        return value_;
    }
    expected<void, recv_error> end(node_type& node) {
        leave(node);
        return news(*node.seen);
    }
    expected<void, recv_error> news(std::uint64_t& seen) noexcept {
        env::lock_guard held(lock_);
        if (seen == published_) return unexpected(closed_ ? recv_error::closed : recv_error::empty);
        seen = published_;
        return {};
    }
    void add_copy() noexcept { (void)add_receiver(); }
    void drop_sender() noexcept {
        if (remove_sender()) delete this;
    }
    void drop_receiver() noexcept {
        if (remove_receiver()) delete this;
    }

private:
    std::shared_ptr<const T> value_;
};

}  // namespace detail

template <class T>
class watch_receiver : public detail::shared_end<detail::watch_state<T>, &detail::watch_state<T>::add_copy,
                                                 &detail::watch_state<T>::drop_receiver> {
    using state = detail::watch_state<T>;
    using node = typename state::node_type;

public:
    // Awaits a value newer than what this receiver has seen, which counts as seen then; resumes on the awaiting task's
    // executor. recv_error::closed when the last sender has gone and its last value was seen. Throws cancelled when the task
    // was asked to stop while it waited; then nothing new counts as seen.
    auto changed() noexcept {
        return detail::channel_operation<state, node, std::reference_wrapper<std::uint64_t>>(on(), std::ref(seen_));
    }
    // The same at once, or recv_error::empty.
    expected<void, recv_error> try_changed() noexcept { return on().news(seen_); }
    // As changed(), for threads that run no tasks.
    expected<void, recv_error> blocking_changed() {
        node self(seen_);
        return detail::blocking(on(), self, "blocking_changed");
    }
    // The latest value, which counts as seen. It stays as it is for who holds it, whatever is sent.
    [[nodiscard]] std::shared_ptr<const T> borrow() noexcept { return on().look(seen_); }
    // A copy of it.
    [[nodiscard]] T get() { return *borrow(); }

private:
    template <class U>
    friend watch_ends<U> watch(U);
    friend class watch_sender<T>;
    watch_receiver(state* shared, std::uint64_t seen) noexcept : watch_receiver::shared_end(shared), seen_(seen) {}
    state& on() const noexcept { return this->checked("a receiver that was moved from or given up was used"); }
    std::uint64_t seen_;
};

template <class T>
class watch_sender : public detail::shared_end<detail::watch_state<T>, &detail::watch_state<T>::add_sender,
                                               &detail::watch_state<T>::drop_sender> {
    using state = detail::watch_state<T>;

public:
    // Replaces the value, and wakes all who wait for a change; also when there is no receiver. Never waits. Throws
    // std::bad_alloc; then nothing has changed. Any number of threads at once: the last one's value stays.
    void send(T value) { on().send(std::move(value)); }
    // The latest value.
    [[nodiscard]] std::shared_ptr<const T> borrow() const noexcept { return on().look(); }
    // A receiver that has seen the latest value.
    [[nodiscard]] watch_receiver<T> subscribe() const noexcept {
        const std::uint64_t seen = on().add_receiver();
        return watch_receiver<T>(this->state_, seen);
    }
    [[nodiscard]] std::size_t receivers() const noexcept { return on().receivers(); }

private:
    template <class U>
    friend watch_ends<U> watch(U);
    explicit watch_sender(state* shared) noexcept : watch_sender::shared_end(shared) {}
    state& on() const noexcept { return this->checked("a sender that was moved from or given up was used"); }
};

template <class T>
watch_ends<T> watch(T initial) {
    auto* const shared = new detail::watch_state<T>(std::move(initial));
    return {watch_sender<T>(shared), watch_receiver<T>(shared, 0)};
}

}  // namespace leat
