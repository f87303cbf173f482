// Stop: how a task is asked to end. A stop_source is a node of a tree that follows the tree of scopes; asking one to stop
// asks all below it. Nothing here allocates: links live in the contexts and scopes themselves.
//
// Invariants:
//  1. Requests are passed on while the source's lock is held, so unlink() returns only when one under way has ended.
//  2. What they are passed on to therefore never resumes anything in place, and neither links to nor unlinks from its own
//     source: it claims a wait and posts, or passes the request on to a source further down (locks are taken downwards).
#pragma once

#include <cstdint>

#include <leat/base/bug.hpp>
#include <leat/base/env.hpp>

namespace leat {

class stop_source;

// A place in a source's list, of one source at most. The owner alone changes it; it is unlinked before it is destroyed (a
// bug otherwise).
class stop_node {
public:
    stop_node(const stop_node&) = delete;
    stop_node& operator=(const stop_node&) = delete;

    // What it passes requests on to, for readers of a source's list.
    enum class target : unsigned char { function, source, line };
    [[nodiscard]] target leads_to() const noexcept { return static_cast<target>(upstream_ & mask_target); }

protected:
    explicit stop_node(target to) noexcept : upstream_(static_cast<std::uintptr_t>(to)) {}
    ~stop_node() {
        if (is_linked()) bug("a stop callback was destroyed while attached");
    }

    // Names the source that link() links to.
    void follow(stop_source& source) noexcept;
    // The source followed; null when there is none.
    [[nodiscard]] stop_source* upstream() const noexcept;
    [[nodiscard]] bool is_linked() const noexcept { return (upstream_ & bit_linked) != 0; }
    // Requests to the source are passed on, inside this call when there was one already. Harmless without a source.
    void link() noexcept;
    // Afterwards they are not, and none is being passed on. The source is still followed. Harmless when not linked.
    void unlink() noexcept {
        if (is_linked()) leave_list();
    }

private:
    friend class stop_source;
    void leave_list() noexcept;
    void pass_on() noexcept;

    // upstream_: the address of the source; bits 0-1: enum target; bit 2: linked.
    static constexpr std::uintptr_t mask_target = 3, bit_linked = 4;
    std::uintptr_t upstream_;
    stop_node* next_ = nullptr;   // this and the next under the source's lock, while linked
    stop_node** link_ = nullptr;  // what points to this: the head or the predecessor's next_
};

// A function that is called when a source is asked to stop.
class stop_callback : public stop_node {
public:
    using function = void (*)(stop_callback&) noexcept;  // an exception out of it ends the program

    explicit stop_callback(function body) noexcept : stop_node(target::function), body_(body) {}

    // Calls the function once when `source` is asked to stop: inside this call when that has happened already.
    void attach(stop_source& source) noexcept {
        follow(source);
        link();
    }
    // Afterwards the function is not called and is not running. Harmless when not attached.
    void detach() noexcept { unlink(); }

private:
    friend class stop_node;
    function body_;
};

class stop_source {
public:
    stop_source() = default;
    stop_source(const stop_source&) = delete;
    stop_source& operator=(const stop_source&) = delete;
    ~stop_source() {
        if (first_ != nullptr) bug("a stop source was destroyed before the tasks below it ended");
    }

    // Asks; the first call passes it on, before it returns. Any thread.
    void request_stop() noexcept;
    // acquire pairs with the release in request_stop(): who sees the request sees what was written before it.
    [[nodiscard]] bool stop_requested() const noexcept { return requested_.load(env::acquire); }

    // Calls visit(node) for each that is linked, under the lock (invariant 2 holds for it too). Any thread.
    template <class Visit>
    void for_each(Visit visit) noexcept {
        env::lock_guard held(lock_);
        for (stop_node* each = first_; each != nullptr; each = each->next_) visit(*each);
    }

private:
    friend class stop_node;
    stop_node* first_ = nullptr;  // newest first
    env::mutex lock_;
    env::atomic<bool> requested_{false};  // false, then true for good
};

inline void stop_node::follow(stop_source& source) noexcept {
    upstream_ = reinterpret_cast<std::uintptr_t>(&source) | (upstream_ & mask_target);
}

inline stop_source* stop_node::upstream() const noexcept {
    static_assert(alignof(stop_source) > (mask_target | bit_linked), "the bits below an address are ours");
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address with bits of ours
    return reinterpret_cast<stop_source*>(upstream_ & ~(mask_target | bit_linked));
}

// A source below another: asked to stop when that one is, or by itself. What scopes and groups of arms own.
class child_stop_source : public stop_source, protected stop_node {
public:
    explicit child_stop_source(stop_source& parent) noexcept : stop_node(target::source) {
        follow(parent);
        link();
    }
    // Without a parent: shielded from the requests above.
    child_stop_source() noexcept : stop_node(target::source) {}
    ~child_stop_source() { unlink(); }

    // The source that `node` passes requests on to; null when it is something else.
    static child_stop_source* of(stop_node& node) noexcept {
        return node.leads_to() == target::source ? &static_cast<child_stop_source&>(node) : nullptr;
    }
};

// Tells whether the task that gave it has been asked to stop. A view: valid while that task runs.
class stop_token {
public:
    stop_token() = default;
    explicit stop_token(const stop_source& source) noexcept : source_(&source) {}
    [[nodiscard]] bool stop_requested() const noexcept { return source_ != nullptr && source_->stop_requested(); }

private:
    const stop_source* source_ = nullptr;
};

}  // namespace leat
