// What the channel kinds beside channel<T> have in common: the node of a wait, the operation that is awaited, the handles
// of the ends. Used by their headers; users see those.
//
// A kind has a state, which its ends share. For each operation that waits it has a node type, derived from wait_node, and
//     bool begin(node&, context&, std::coroutine_handle<>);   // as an await_suspend: true when the line waits
//     Result end(node&);                                      // what the operation gives, once it does not wait any more
#pragma once

#include <tuple>
#include <utility>

#include <leat/base/bug.hpp>
#include <leat/sync/waiter_queue.hpp>
#include <leat/task/thread_line.hpp>

namespace leat::detail {

struct wait_node : waiter {
    bool waited = false;
    // Whether the wait was ended by a stop or a timer instead of by the channel. For the line itself, after its wait.
    [[nodiscard]] bool gave_up() const noexcept { return waited && line->woken_by() != context::wake::ready; }
};

// Makes the node wait in `queue`. False when a stop was requested: then it has given up. node.line is set. With the lock of
// the queue held; the last thing before that is released.
[[nodiscard]] bool wait_in(waiter_queue& queue, wait_node& node, std::coroutine_handle<> at, const char* what) noexcept;
// Ends the waits of all in `queue`. With its lock held.
void claim_all(waiter_queue& queue, resume_list& woken) noexcept;

// An operation as a value: it can be moved until it is awaited, once. The awaiter is made in the awaiting frame.
template <class State, class Node, class... Given>
class [[nodiscard]] channel_operation {
public:
    template <class... G>
    explicit channel_operation(State& on, G&&... given) noexcept : on_(&on), given_(std::forward<G>(given)...) {}

    struct awaiter {
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> at) noexcept {
            return on.begin(node, at.promise().leat_context(), at);
        }
        decltype(auto) await_resume() { return on.end(node); }
        State& on;
        Node node;
    };
    awaiter operator co_await() && noexcept {
        return std::apply([this](auto&... given) { return awaiter{*on_, Node(std::move(given)...)}; }, given_);
    }

private:
    State* on_;
    std::tuple<Given...> given_;
};

// The same on a thread that runs no tasks: parks it.
template <class State, class Node>
decltype(auto) blocking(State& on, Node& node, const char* what) {
    thread_line line(what);
    if (on.begin(node, line, {})) line.park();
    return on.end(node);
}

// The handle of an end. `Drop`, a member function of the state, gives up the end's share in the state, which may be gone then; so the handle knows no more
// of it afterwards.
template <class State, auto Drop>
class sole_end {
public:
    sole_end(sole_end&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    sole_end& operator=(sole_end&& other) noexcept {
        sole_end old(std::move(other));
        std::swap(state_, old.state_);
        return *this;
    }
    ~sole_end() { reset(); }
    // Gives this end up.
    void reset() noexcept {
        if (state_ != nullptr) (std::exchange(state_, nullptr)->*Drop)();
    }

protected:
    explicit sole_end(State* shared) noexcept : state_(shared) {}
    [[nodiscard]] State& checked(const char* unusable) const noexcept {
        if (state_ == nullptr) bug(unusable);
        return *state_;
    }
    State* state_;
};

// The same for an end that is copied to share it; `Add` takes one more share.
template <class State, auto Add, auto Drop>
class shared_end : public sole_end<State, Drop> {
public:
    shared_end(const shared_end& other) noexcept : sole_end<State, Drop>(other.state_) {
        if (this->state_ != nullptr) (this->state_->*Add)();
    }
    shared_end(shared_end&&) noexcept = default;
    shared_end& operator=(shared_end other) noexcept {
        std::swap(this->state_, other.state_);
        return *this;
    }
    ~shared_end() = default;

protected:
    using sole_end<State, Drop>::sole_end;
};

}  // namespace leat::detail
