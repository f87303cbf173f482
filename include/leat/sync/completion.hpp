// completion: something that happens once, and that any number may wait for: the end of a submitted task (task_handle.hpp),
// a promise that is kept (future.hpp). Both have it on the heap, shared by who makes it happen and who waits.
//
// Who waits for several things at once has it as an arm (select: on_done):
//   try         is_complete(); then the handle's or future's operations do not wait.
//   register    watch(waiter), between prepare_wait() and commit_wait(), the waiter's line and wait being set. False when it
//               is complete already: then nothing was registered.
//   unregister  unwatch(waiter), by the line once it goes on, whoever ended its wait. Harmless when it was not registered.
// Waiting takes nothing out: the value, or the error, is there until an operation of the handle takes it.
//
// Invariants:
//  1. What is to be told was written before complete(); who has seen is_complete() may read it.
//  2. Nodes are linked under lock_, and only before the completion; complete() unlinks all of them.
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include <leat/sync/waiter_queue.hpp>
#include <leat/task/frame_cache.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

class completion {
public:
    enum class ending : std::uint8_t { pending, value, error, cancelled };

    // A node that is told in place, under the completion's lock, instead of resuming a line: it claims waits, adds them to
    // `woken`, and neither resumes nor touches the completion.
    struct observer : waiter {
        using function = void (*)(observer& self, resume_list& woken) noexcept;
        explicit observer(function body) noexcept : tell(body) {}
        function tell;
    };
    // A waiter that waits for this alone.
    struct lone_waiter : waiter {
        bool waited = false;
    };

    completion(const completion&) = delete;
    completion& operator=(const completion&) = delete;
    static void* operator new(std::size_t size) { return detail::allocate_frame(size); }
    static void operator delete(void* block, std::size_t size) noexcept { detail::free_frame(block, size); }

    // acquire pairs with complete().
    [[nodiscard]] ending how() const noexcept { return state_.load(env::acquire); }
    [[nodiscard]] bool is_complete() const noexcept { return how() != ending::pending; }

    // Any thread.
    [[nodiscard]] bool watch(waiter& node) noexcept { return link(waiters_, node); }
    void unwatch(waiter& node) noexcept;
    [[nodiscard]] bool observe(observer& node) noexcept { return link(observers_, node); }
    void unobserve(observer& node) noexcept;  // afterwards it is not being told

    // For await_suspend: true when the line waits (or has had its share and was posted). `what` is a literal.
    [[nodiscard]] bool suspend(lone_waiter& self, context& line, std::coroutine_handle<> at, const char* what) noexcept;
    // For await_resume: false when the wait was ended by a stop or a timer.
    [[nodiscard]] bool leave(lone_waiter& self) noexcept;
    // For a plain thread: false when the time was over first.
    bool block_until(time_point deadline, const char* what) noexcept;

    // How many share it.
    void add_ref() noexcept { refs_.fetch_add(1, env::relaxed); }  // relaxed: the caller has one already
    void drop_ref() noexcept;
    // Whether there are only so many: then what the others did with it is done. acquire pairs with drop_ref().
    [[nodiscard]] bool shared_by(std::uint32_t count) const noexcept { return refs_.load(env::acquire) == count; }

protected:
    completion() noexcept = default;  // one reference: the maker's
    virtual ~completion();
    // It has happened, so. Once; gives up one reference, before anybody goes on.
    void complete(const outcome_base& how) noexcept;

    mutable env::mutex lock_;

private:
    [[nodiscard]] bool link(waiter_queue& queue, waiter& node) noexcept;

    env::atomic<ending> state_{ending::pending};  // pending, then one of the others for good
    env::atomic<std::uint32_t> refs_{1};
    waiter_queue waiters_;
    waiter_queue observers_;  // a list alone: nobody claims them
};

namespace detail {

// A handle or a future: what several of them are waited for by (wait, as_completed, select).
template <class T>
concept has_completion = requires(const T& owner) {
    { owner.completes() } -> std::same_as<completion&>;
};

// A reference to a completion of type C.
template <class C>
class counted {
public:
    counted() noexcept = default;
    // Takes over a reference that the caller has.
    static counted adopt(C* owned) noexcept { return counted(owned); }
    counted(const counted& other) noexcept : to_(other.to_) {
        if (to_ != nullptr) to_->add_ref();
    }
    counted(counted&& other) noexcept : to_(std::exchange(other.to_, nullptr)) {}
    template <class D>
    explicit counted(const counted<D>& other) noexcept : to_(other.get()) {
        if (to_ != nullptr) to_->add_ref();
    }
    counted& operator=(counted other) noexcept {
        std::swap(to_, other.to_);
        return *this;
    }
    ~counted() {
        if (to_ != nullptr) to_->drop_ref();
    }
    [[nodiscard]] C* get() const noexcept { return to_; }
    C& operator*() const noexcept { return *to_; }
    C* operator->() const noexcept { return to_; }
    explicit operator bool() const noexcept { return to_ != nullptr; }
    // The reference is the caller's now.
    [[nodiscard]] C* release() noexcept { return std::exchange(to_, nullptr); }

private:
    explicit counted(C* owned) noexcept : to_(owned) {}
    C* to_ = nullptr;
};

// The wait of one line for one completion, which it keeps alive.
class completion_awaiter {
public:
    completion_awaiter(counted<completion> of, const char* what) noexcept : of_(std::move(of)), what_(what) {}
    completion_awaiter(const completion_awaiter&) = delete;
    completion_awaiter& operator=(const completion_awaiter&) = delete;
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        return suspend(self.promise().leat_context(), self);
    }
    bool suspend(context& line, std::coroutine_handle<> at) noexcept { return of_->suspend(node_, line, at, what_); }
    void await_resume() {
        if (!of_->leave(node_)) throw_cancelled();
    }

private:
    counted<completion> of_;
    const char* what_;
    completion::lone_waiter node_;
};

}  // namespace detail
}  // namespace leat
