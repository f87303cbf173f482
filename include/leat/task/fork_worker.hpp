// What fork.hpp stands on: the frame of a forked coroutine, and the worker that runs such frames: a deque of continuations
// that others may steal, and a stack of frames. Not for users.
//
// The scheme is continuation stealing on a cactus of segmented stacks, as in libfork (Williams and Elliott, Libfork:
// portable continuation-stealing with stackless coroutines, 2024): fork offers the parent and runs the child; a child that
// ends takes its parent back, and where a thief was quicker it arrives at the parent's join instead.
//
// Invariants:
//  1. A frame is run by one worker at a time, the one of the thread that it runs on. What else lies on that worker's stack
//     waits for a frame above it, or is offered.
//  2. A frame's children lie on the stack of whoever ran it when they were made: its home, unless its continuation was
//     stolen. So a worker whose child finds its parent stolen stands on the parent's home exactly if no thief ran it there:
//     then it leaves that stack with the parent. A thief's own stack is empty by then, and stays the thief's.
//  3. Past its join a frame runs on its home stack again: who brings the last child, or the parent itself, takes it.
//  4. `stolen` counts the thefts of a continuation since its last join. Each orphans exactly one child, which decrements
//     `arrived` once; the parent adds `stolen` to it when it waits. Who brings the sum to zero goes on with the parent, the
//     others touch it no more. Without a theft nobody touches either: there is no atomic update on that path.
//  5. Who goes to sleep, or asks a tree to stop, alerts the workers afterwards; who ends an alert looks for sleepers and for
//     the stop request afterwards. So a fork needs no look at either. An alert that comes while a worker forks may be seen at
//     its next fork only: a sleeper is then missed until that, which costs parallelism and never progress, since the worker
//     itself runs what nobody steals.
//  6. Outside of run() a worker's deque is empty, and its stack has no frames.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>

#include <leat/task/context.hpp>
#include <leat/task/fork_deque.hpp>
#include <leat/task/outcome.hpp>

namespace leat::detail {

class fork_worker;
struct fork_stack;

// Who awaits a tree of forks. Lives in the awaiting frame.
struct fork_root : stop_callback {
    fork_root() noexcept
        : stop_callback(
              [](stop_callback& self) noexcept { static_cast<fork_root&>(self).line->where().alert_fork_workers(); }) {}
    context* line = nullptr;
    std::coroutine_handle<> awaiting;
};

enum class fork_kind : unsigned char { called, forked, root };

// The part of a fork_task's promise that does not depend on its type; at the promise's own address.
class fork_frame {
public:
    fork_frame() noexcept {}
    fork_frame(const fork_frame&) = delete;
    fork_frame& operator=(const fork_frame&) = delete;
    ~fork_frame() {
        if (failed()) drop_failure();
    }

    std::coroutine_handle<> handle() noexcept { return std::coroutine_handle<fork_frame>::from_promise(*this); }

    // How it fails: by an exception, or cancelled; the first of its own and its forked children's.
    // relaxed: whoever asks runs the frame after its children have arrived.
    [[nodiscard]] bool failed() const noexcept { return failure_.load(env::relaxed) != none; }
    // With the exception being handled.
    void fail_with_current() noexcept;
    // Throws what it has failed with, which it then has not.
    [[noreturn]] void rethrow_failure();

    // For one whose callee lingers: destroys that; throws what it has failed with.
    void end_of_call();

    // Written by who makes it a child or a root: nothing twice on the way down.
    fork_frame* parent;
    fork_stack* home;    // invariant 2
    void* result;        // where its value goes; the promise knows the type
    fork_frame* callee;  // the child that it has called last
    fork_kind kind;
    bool in_place;  // `result` is raw storage, not an object

    bool callee_lingers = false;  // it has ended, and is still there: end_of_call()
    bool at_end = false;  // its body is at an end: not to be resumed. A root's, or one that waits for its children
    env::shared<std::int32_t> stolen;      // invariant 4
    env::atomic<std::int32_t> arrived{0};  // invariant 4

private:
    friend class fork_worker;
    enum : unsigned char { none, being_set, error, cancelled };
    void fail(unsigned char how, std::exception_ptr why) noexcept;
    void drop_failure() noexcept;

    env::atomic<unsigned char> failure_{none};  // none, then being_set and error (with error_), or cancelled
    union {
        std::exception_ptr error_;
    };
};

class fork_worker {
public:
    // How a worker tells sleepers that there is something to steal.
    struct bell {
        // Within [1, 2^32): somebody sleeps, and nobody is on the way.
        const env::atomic<std::uint64_t>* idle = nullptr;
        void (*ring)(void* owner) noexcept = nullptr;
        void* owner = nullptr;
    };

    // A worker whom nobody steals from.
    fork_worker() noexcept;
    explicit fork_worker(const bell& sleepers) noexcept : bell_(sleepers) {}
    fork_worker(const fork_worker&) = delete;
    fork_worker& operator=(const fork_worker&) = delete;
    ~fork_worker();

    // --- For the scheduler ---

    // Something to steal, or null. Any thread.
    [[nodiscard]] fork_frame* steal() noexcept { return deque_.steal(); }
    [[nodiscard]] bool has_work() const noexcept { return !deque_.empty(); }
    // Whether it is inside run(). Any thread, a snapshot.
    [[nodiscard]] bool busy() const noexcept { return busy_.load(env::relaxed); }  // relaxed: a hint
    // Makes the worker look for sleepers and for a stop request at its next fork. Any thread.
    void alert() noexcept { deque_.alert(); }
    [[nodiscard]] bool alerted() const noexcept { return deque_.alerted(); }
    // The line that awaits the tree of a frame that was stolen. Only the thief, before it runs the frame.
    [[nodiscard]] static context& line_of(const fork_frame& stolen) noexcept;
    // Runs what was stolen from another worker, and all that comes of it. Only the owner.
    void run_stolen(fork_frame& frame) noexcept;

    // --- For awaiters outside of frames ---

    // Runs a root; true when it has ended, else somebody posts root.line at its end. Throws std::bad_alloc before it began.
    static bool run_root(fork_frame& frame, fork_root& root);
    // Goes on with a frame that step_aside() had left, on the calling thread of the executor of `line`.
    static void run_again(fork_frame& frame, context& line) noexcept;

    // --- For frames, and what they await: on the worker's own thread ---

    // The worker whose frame runs on this thread; null outside of frames. Asked anew after each suspension.
    static fork_worker* here() noexcept { return static_cast<fork_worker*>(env::this_thread(env::quick_slot::fork)); }
    context& line() const noexcept { return *line_; }
    // Throws cancelled when the awaiting task was asked to stop.
    void check_stop() const {
        if (line_->stop_requested()) [[unlikely]]
            throw_cancelled();
    }

    // A place for a frame of `bytes` on the stack; the last one taken is the first to be given back.
    [[nodiscard]] void* take(std::size_t bytes) {
        bytes = (bytes + 15) & ~std::size_t{15};
        char* const place = top_;
        if (bytes > static_cast<std::size_t>(limit_ - place)) [[unlikely]]
            return take_from_new_segment(bytes);
        top_ = place + bytes;
        return place;
    }
    void give_back(void* place) noexcept {
        top_ = static_cast<char*>(place);
        if (place == first_) [[unlikely]]
            drop_segment();
    }
    // Whether `place` was taken last, or shortly before.
    [[nodiscard]] bool holds(const void* place) const noexcept { return place >= bottom_ && place < top_; }
    fork_stack* stack() const noexcept { return stack_; }

    // Before offer(), or in its place where nothing is offered: throws cancelled when the awaiting task was asked to stop,
    // and std::bad_alloc.
    void prepare() {
        if (!deque_.ready()) [[unlikely]]
            attend();
    }
    // Offers the frame's continuation to thieves.
    void offer(fork_frame& frame) noexcept { deque_.push(frame); }
    [[nodiscard]] bool has_offers() const noexcept { return !deque_.empty(); }
    // A forked child has ended and its frame is gone: what to go on with.
    [[nodiscard]] std::coroutine_handle<> after_child(fork_frame& parent) noexcept {
        if (deque_.take_back()) [[likely]]
            return parent.handle();
        return after_orphan(parent);
    }
    // The frame is at its end; what that means is dealt with in run(), outside of it. To be returned by its await_suspend.
    [[nodiscard]] std::coroutine_handle<> end(fork_frame& frame) noexcept {
        ended_ = &frame;
        return std::noop_coroutine();
    }
    // The frame waits for children that were orphaned: what to go on with.
    [[nodiscard]] std::coroutine_handle<> join(fork_frame& frame) noexcept;
    // The frame is about to wait for something that is no child of it.
    void step_aside(fork_frame& frame) noexcept;

    // Symmetric transfer, or by way of run() where nesting would eat the stack (see task.hpp).
    template <int Bound>
    [[nodiscard]] std::coroutine_handle<> transfer(std::coroutine_handle<> to) noexcept {
        if constexpr (Bound != 0) {
            if (++nested_ > Bound) {
                next_ = to;
                return std::noop_coroutine();
            }
        }
        return to;
    }

private:
    bool run(fork_frame& first) noexcept;
    std::coroutine_handle<> finish(fork_frame& frame) noexcept;
    std::coroutine_handle<> after_orphan(fork_frame& parent) noexcept;
    bool arrive(fork_frame& parent) noexcept;
    bool all_arrived(fork_frame& frame) noexcept;
    void go_home(fork_frame& frame) noexcept;
    void attend();
    void use_root(fork_root& root) noexcept;
    void mark_stolen(fork_frame& frame) noexcept;
    void* take_from_new_segment(std::size_t bytes);
    void drop_segment() noexcept;
    void use_segment() noexcept;
    void leave_stack() noexcept;
    void take_stack(fork_stack* stack) noexcept;
    void get_stack();
    void keep_spare(fork_stack* stack) noexcept;

    // The stack: free from top_ to limit_. bottom_: where its segment begins; first_: the same, or null in the lowest.
    char* top_ = nullptr;
    char* limit_ = nullptr;
    char* first_ = nullptr;
    char* bottom_ = nullptr;
    fork_stack* stack_ = nullptr;  // null: none yet
    context* line_ = nullptr;      // of the root whose frames run: root_->line
    fork_root* root_ = nullptr;
    bell bell_;
    std::coroutine_handle<> next_;  // run() goes on with it
    fork_frame* ended_ = nullptr;   // run() finishes it
    int nested_ = 0;
    bool root_ended_ = false;
    env::atomic<bool> busy_{false};  // inside run()
    fork_stack* spare_ = nullptr;    // empty ones
    unsigned spares_ = 0;
    fork_deque deque_;
};

}  // namespace leat::detail
