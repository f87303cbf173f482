// context: one sequential line of execution: a spawned task together with all it awaits one after the other, an arm of
// when_all, or a plain thread while it waits. Every promise holds a pointer to its context, an awaited child inherits it.
//
// The context is also what waits: it has at most one wait at a time, and its word decides who ends that wait. Whoever claims
// it first (a primitive under its lock, or with the ticket of the wait; a stop request; a timer) alone may resume.
//
// Invariants:
//  1. Only the line itself begins a wait; exactly one claim of it succeeds; the claimer calls resume() exactly once.
//  2. From begin_wait(), or commit_wait(), to its resumption the line may already run elsewhere: it touches nothing but
//     what a lock shared with its resumption protects.
//  3. A context outlives all tickets in queues: the line removes its queue nodes before it goes on.
//  4. The line runs on threads of its executor alone. It moves only while it runs and has no wait (move_to), so whatever it
//     waits with (a timer, a registration) begins and ends at the same executor.
#pragma once

#include <coroutine>
#include <cstdint>
#include <source_location>

#include <leat/base/env.hpp>
#include <leat/task/executor.hpp>
#include <leat/task/line_label.hpp>
#include <leat/task/stop.hpp>
#include <leat/task/wait_place.hpp>
#include <leat/task/work_item.hpp>

namespace leat {

class context : public work_item, protected stop_node {
public:
    enum class wake : unsigned char { ready, cancelled, timed_out };
    // Names one wait of one context. Copied into queues; stale once claimed.
    struct ticket {
        std::uint64_t word = 0;
    };
    enum class interruptible : bool { no, yes };

    // A line of its own on `where`; `name` is a literal: who watches the workers may read it after the line has ended.
    context(executor& where, const char* name) noexcept : context(where, line_label(name)) {}
    // A line below `parent`: its executor, name and priority, a wait and a stop of its own. NOLINTNEXTLINE(google-explicit-constructor)
    explicit context(const context& parent) noexcept : context(parent, *parent.exec_, parent.urgency) {}
    // The same, on an executor and with a priority of its own. Any thread: the parent may be running.
    context(const context& parent, executor& where, priority how_urgent) noexcept : context(where, parent.called_) {
        urgency = how_urgent;
    }
    ~context() { unlink(); }

    // Stop requests to `upstream` reach this context, until detach(). The line puts itself into the list of the source when
    // it first waits, or something is attached below it: one that ends before has never taken the source's lock.
    void attach(stop_source& upstream) noexcept { follow(upstream); }
    void detach() noexcept { unlink(); }
    // Asks this line and everything below it to stop; ends an interruptible wait with wake::cancelled. Any thread, as long
    // as the context is known to live.
    void request_stop() noexcept;
    // For the line itself.
    [[nodiscard]] bool stop_requested() const noexcept {
        if (stop_.stop_requested()) return true;
        return !is_linked() && upstream() != nullptr && upstream()->stop_requested();
    }
    // What is stopped with this line: for the line itself, to attach to and to ask.
    stop_source& stop() noexcept {
        if (!is_linked()) link();
        return stop_;
    }
    // The same for a reader of the tree, which leaves it as it is.
    stop_source& below() noexcept { return stop_; }
    // The context that `node` passes requests on to; null when it is something else.
    static context* of(stop_node& node) noexcept {
        return node.leads_to() == target::line ? &static_cast<context&>(node) : nullptr;
    }
    // The same for an item that was posted.
    static context* of(work_item& item) noexcept {
        return item.run == &resume_coroutine ? static_cast<context*>(&item) : nullptr;
    }

    // Where the line runs, and is resumed. For the line itself, and for whoever holds the ticket of its wait.
    executor& where() const noexcept { return *exec_; }
    const char* name() const noexcept { return called_.name(); }
    // Where it was spawned, or the line above that was; line 0 below the root of a run.
    std::source_location spawned_at() const noexcept { return called_.spawned_at(); }
    void rename(line_label called) noexcept { called_ = called; }
    // What the line waits for, a literal; nullptr while it runs. Any thread, a snapshot.
    const char* waits_for() const noexcept {
        return waits_for_.load(env::relaxed);
    }  // relaxed: a report, orders nothing
    // The object that it waits at, where that is one that can say who holds it; nullptr otherwise. For the line itself, and
    // for reports on lines that all stand still: what waits is in no queue, and so the link for that names the place.
    const wait_place* waits_at() const noexcept {
        const auto word = reinterpret_cast<std::uintptr_t>(work_item::next);
        // NOLINTNEXTLINE(performance-no-int-to-ptr): an address with a bit of ours
        return (word & bit_place) != 0 ? reinterpret_cast<const wait_place*>(word & ~bit_place) : nullptr;
    }

    // --- Waiting, called by the line itself ---

    // Before a wait, and with nullptr after it: for reports.
    void set_waits_at(wait_place* place) noexcept {
        const std::uintptr_t word = place == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(place) | bit_place;
        work_item::next = reinterpret_cast<work_item*>(word);  // NOLINT(performance-no-int-to-ptr): as in waits_at()
    }

    // Begins a wait that resumes at `at`. False, and no wait, when a stop was requested that could interrupt it. From here
    // on the line counts as suspended: for callers that publish the ticket under a lock which the resumed line takes too,
    // or by one last atomic step. `what` is a literal for reports.
    [[nodiscard]] bool begin_wait(std::coroutine_handle<> at, const char* what,
                                  interruptible how = interruptible::yes) noexcept {
        return begin(at, what, how, bit_suspended);
    }
    // The same in two steps, for callers that publish in several places: prepare, publish, commit. Claims may come in
    // between. commit_wait() returns false when the wait has ended meanwhile: then do not suspend.
    [[nodiscard]] bool prepare_wait(std::coroutine_handle<> at, const char* what,
                                    interruptible how = interruptible::yes) noexcept {
        return begin(at, what, how, 0);
    }
    [[nodiscard]] bool commit_wait() noexcept;
    // For a line that need not wait after all: ends the wait that it has begun and not committed, so that it may go on
    // without a suspension. False when somebody else has ended it already, and will call resume().
    [[nodiscard]] bool withdraw(ticket which, wake reason) noexcept;
    // The ticket of the wait just begun: to be copied into queues before anybody can claim it. A stop request may have
    // ended the wait meanwhile: then the ticket is stale already.
    [[nodiscard]] ticket current_ticket() const noexcept {
        // The number alone is taken from the word, whose state may be another's claim. relaxed: the line's own wait.
        return {(word_.load(env::relaxed) & (~(one_wait - 1) | bit_deaf)) | state_waiting};
    }
    // How the last wait ended, a refused begin counting as cancelled; for the line itself.
    [[nodiscard]] wake woken_by() const noexcept {
        return static_cast<wake>((word_.load(env::relaxed) & mask_reason) >> shift_reason);  // relaxed: own last wait
    }

    // --- Ending a wait, called by anybody who holds the ticket ---

    // True for exactly one caller a ticket: it must then hand over what was waited for and call resume().
    [[nodiscard]] bool claim(ticket which, wake reason) noexcept;
    // The same for who holds a lock instead, under which something of the wait is queued: the line takes that back, under
    // the lock, before it goes on, so there can be no later wait than the one meant.
    [[nodiscard]] bool claim(wake reason) noexcept;
    // For the claimer, instead of resume(): adds the line to those that are posted together. False, and nothing done, where
    // it has to be resumed by itself: it has not suspended yet, is urgent, or belongs to another executor than the others.
    [[nodiscard]] bool join(item_chain& together) noexcept;
    // Posts the line to its executor, or lets its commit_wait() return false. It may be gone when this returns.
    void resume() noexcept;

    // --- Running ---

    // The context whose code runs on this thread; nullptr outside tasks.
    static context* current() noexcept { return static_cast<context*>(env::this_thread(env::slot::context)); }
    // The same, and a bug that names `what` outside tasks.
    static context& required(const char* what) noexcept;
    // Makes this the current context of the thread, when a line starts or goes on in place.
    void enter() noexcept { env::this_thread(env::slot::context) = this; }

    // For the line itself, while it runs and until it next waits or is posted: keeps a handle where that of its resumption
    // will be.
    void keep(std::coroutine_handle<> handle) noexcept { resume_point_ = handle; }
    [[nodiscard]] std::coroutine_handle<> kept() const noexcept { return resume_point_; }

    // Posts the line to go on at `at`, behind what is ready now (last) or soon.
    void post_at(std::coroutine_handle<> at, bool last) noexcept;

    // Moves the line: it goes on at `at` on `where`, and stays there. The last thing that await_suspend does.
    void move_to(executor& where, std::coroutine_handle<> at) noexcept;

    // One unit of the cooperative budget, for an operation that completed at once, or for so many of them: true when the
    // line has had its share and has been posted to go on at `at`, behind the others. The last thing that await_suspend does.
    [[nodiscard]] bool yields_at(std::coroutine_handle<> at, int operations = 1) noexcept {
        if (budget_ == 0) {
            post_at(at, true);
            return true;
        }
        budget_ = static_cast<std::uint8_t>(budget_ > operations ? budget_ - operations : 0);
        return false;
    }

    // A number below `below` (1 to 65536), for choices that are to be fair. For the line itself; from a generator of its
    // own, which its executor seeds: in a simulation from the seed of the run.
    [[nodiscard]] std::uint32_t draw(std::uint32_t below) noexcept {
        if (lot == 0) lot = static_cast<std::uint16_t>(exec_->random() | 1U);
        // Marsaglia: "Xorshift RNGs", Journal of Statistical Software 8 (2003), in 16 bits.
        lot ^= static_cast<std::uint16_t>(lot << 7U);
        lot ^= static_cast<std::uint16_t>(lot >> 9U);
        lot ^= static_cast<std::uint16_t>(lot << 8U);
        return (std::uint32_t{lot} * below) >> 16U;
    }

    // Counts resumptions nested on this stack: those that the compiler makes no tail call of, and arms that start in place.
    // False when it is time to go through the run queue instead.
    [[nodiscard]] bool nest(int bound = nested_bound) noexcept { return nested_++ < bound; }
    static constexpr int nested_bound = 128;  // about 100 KB of stack in the widest build (-O0, ASan)
    // The same for a line that starts in place on the stack of `outer` (null: at its bottom).
    [[nodiscard]] bool nest_inside(const context* outer) noexcept {
        nested_ = outer == nullptr ? 0 : outer->nested_;
        return nest();
    }

protected:
    context(executor& where, line_label called) noexcept
        : work_item(&resume_coroutine), stop_node(target::line), exec_(&where), called_(called) {}

private:
    static constexpr std::uint8_t share = 255;  // operations a line may complete without a suspension

    // word_: bits 0-1: 0 running, 1 waiting, 2 claimed, 3 claimed and handed over before the commit; bit 2: the wait cannot
    // be interrupted; bit 3: stop was requested; bits 4-5: how the wait ended (enum wake); bit 6: the coroutine is
    // suspended, so that resuming means posting; from bit 8: number of the wait.
    static constexpr std::uint64_t mask_state = 3, state_waiting = 1, state_claimed = 2, state_handed = 3;
    static constexpr std::uint64_t bit_deaf = 1U << 2U, bit_stop = 1U << 3U, bit_suspended = 1U << 6U;
    static constexpr unsigned shift_reason = 4;
    static constexpr std::uint64_t mask_reason = 3U << shift_reason;
    static constexpr std::uint64_t one_wait = 1U << 8U;

    // In work_item::next, while that is the place where the line waits. No link has it.
    static constexpr std::uintptr_t bit_place = 1;

    bool begin(std::coroutine_handle<> at, const char* what, interruptible how, std::uint64_t suspended) noexcept;
    // `before` with its wait claimed.
    static std::uint64_t claimed(std::uint64_t before, wake reason) noexcept {
        return (before & ~(mask_state | mask_reason)) | state_claimed |
               (static_cast<std::uint64_t>(reason) << shift_reason);
    }

    static void resume_coroutine(work_item& item) noexcept;
    static void resume_here(work_item& item) noexcept;

    env::atomic<std::uint64_t> word_{0};
    std::coroutine_handle<> resume_point_;
    executor* exec_;  // written by the line while it runs; a claim of its wait orders the reads of others
    line_label called_;
    env::atomic<const char*> waits_for_{nullptr};  // nullptr: runs; else a literal
    [[no_unique_address]] stop_source stop_;       // what runs below this line; what follows lies in its padding
    std::uint8_t budget_ = share;
    std::uint16_t nested_ = 0;
};

// A promise whose coroutine runs on a context: what can await the operations of this library.
template <class Promise>
concept has_context = requires(Promise& promise) {
    { promise.leat_context() } noexcept -> std::same_as<context&>;
};

// A continuation that is a function instead of a coroutine: what a context that is nobody's child continues with. It begins
// as GCC and Clang let every frame begin, with the function that resumes; tests/task/frame_stub_test.cpp probes it. It lacks
// the function that destroys, which follows in a frame: never destroyed through its handle.
struct frame_stub {
    using function = void (*)(frame_stub*) noexcept;
    explicit constexpr frame_stub(function body) noexcept : resume(body) {}
    std::coroutine_handle<> handle() noexcept {
        void* head = this;
        // Hides which function this is. Frames are resumed with a calling convention of the compiler's own (the same code
        // for one pointer); where Clang sees through to a function of the ordinary one it takes the call for impossible.
        asm volatile("" : "+r"(head) : : "memory");
        return std::coroutine_handle<>::from_address(head);
    }

    function resume;
};

}  // namespace leat
