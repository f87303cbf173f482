// Stop: how a task is asked to end. A stop_source is a node of a tree that follows the tree of scopes; asking one to stop
// asks all below it. Nothing here allocates: links live in the contexts and scopes themselves.
//
// Invariants:
//  1. Callbacks run while the source's lock is held, so detach() returns only when a call under way has ended.
//  2. A callback therefore never resumes anything in place, and neither attaches to nor detaches from its own source: it
//     claims a wait and posts, or passes the request on to a source further down the tree (locks are taken downwards).
#pragma once

#include <leat/base/env.hpp>

namespace leat {

class stop_source;

// A place in a source's list. Attached at most once at a time; detached before it is destroyed (a bug otherwise).
class stop_callback {
public:
    using function = void (*)(stop_callback&) noexcept;

    explicit stop_callback(function body) noexcept : body_(body) {}
    stop_callback(const stop_callback&) = delete;
    stop_callback& operator=(const stop_callback&) = delete;
    ~stop_callback();

    // Calls the function once when `source` is asked to stop: inside this call when that has happened already.
    void attach(stop_source& source) noexcept;
    // Whether `which` is what is called: so a reader of a source's list knows what is attached.
    [[nodiscard]] bool calls(function which) const noexcept { return body_ == which; }
    // Afterwards the function is not called and is not running. Harmless when not attached.
    void detach() noexcept;

private:
    friend class stop_source;
    function body_;
    stop_source* source_ = nullptr;
    stop_callback* next_ = nullptr;
    stop_callback** link_ = nullptr;  // what points to this: the head or the predecessor's next_
};

class stop_source {
public:
    stop_source() = default;
    stop_source(const stop_source&) = delete;
    stop_source& operator=(const stop_source&) = delete;
    ~stop_source();

    // Asks; the first call runs the callbacks, before it returns. Any thread.
    void request_stop() noexcept;
    // acquire pairs with the release in request_stop(): who sees the request sees what was written before it.
    [[nodiscard]] bool stop_requested() const noexcept { return requested_.load(env::acquire); }

    // Calls visit(callback) for each that is attached, under the lock (invariant 2 holds for it too). Any thread.
    template <class Visit>
    void for_each(Visit visit) noexcept {
        env::lock_guard held(lock_);
        for (stop_callback* each = first_; each != nullptr; each = each->next_) visit(*each);
    }

private:
    friend class stop_callback;
    env::mutex lock_;
    env::atomic<bool> requested_{false};  // false, then true for good
    stop_callback* first_ = nullptr;      // newest first
};

// A source below another: asked to stop when that one is, or by itself. What scopes and groups of arms own.
class child_stop_source : public stop_source {
public:
    explicit child_stop_source(stop_source& parent) noexcept : link_(this) { link_.attach(parent); }
    // Without a parent: shielded from the requests above.
    child_stop_source() noexcept : link_(this) {}
    ~child_stop_source() { link_.detach(); }

    // The source that attached `callback` to its parent; null when it is no such source's.
    static stop_source* of(stop_callback& callback) noexcept {
        return callback.calls(&pass_on) ? static_cast<link&>(callback).target : nullptr;
    }

private:
    struct link : stop_callback {
        explicit link(stop_source* below) noexcept : stop_callback(&pass_on), target(below) {}
        stop_source* target;
    };
    static void pass_on(stop_callback& self) noexcept;
    link link_;
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
