// Stacks of fibers, and going from one to another: what fiber.hpp and run_in_fiber.hpp rest on. For users there is only
// fiber_options here.
//
// A switch is Boost.Context's jump: it keeps the registers that a call keeps and the floating-point control words (rounding,
// masks), which therefore belong to each fiber; a new one has those of its maker. It is inlined into its caller, since the
// processor predicts no return from a function that has jumped away in between.
//
// Invariants:
//  1. Who is resumed notes where the other side is suspended (settle): only it is told.
//  2. What C++ knows of exceptions being handled is kept per thread; the resuming side swaps it (exception_swap), so that a
//     fiber may suspend inside a catch block and go on elsewhere.
//  3. The sanitizers are told of each switch when their runtime is in the process, whatever this header was compiled with:
//     a program may mix builds, and the layout of nothing here depends on one.
#pragma once

#include <cstddef>

#include <boost/context/detail/fcontext.hpp>

namespace leat {

struct fiber_options {
    // Address space for the stack, rounded up to pages; memory is used as far as it is touched. Below it lies a guard of
    // 64 KiB: a fiber that needs more stack ends the program by SIGSEGV there (as a thread does), before it writes to
    // anything else, unless a single frame is larger than the guard. Compile with -fstack-clash-protection against that.
    std::size_t stack_bytes = std::size_t{256} * 1024;

    fiber_options() = default;
    explicit fiber_options(std::size_t bytes) noexcept : stack_bytes(bytes) {}
};

namespace detail {

// The memory of one stack. Up to 64 stacks of the default size are kept for reuse, by the whole process.
class fiber_stack {
public:
    // Throws std::bad_alloc when the system has no memory, or has reached its number of mappings (two a fiber; Linux allows
    // 65530: some 32000 fibers).
    explicit fiber_stack(fiber_options options);
    fiber_stack(fiber_stack&& other) noexcept
        : bottom_(other.bottom_), size_(other.size_), sanitizer_(other.sanitizer_) {
        other.bottom_ = nullptr;
    }
    fiber_stack& operator=(fiber_stack&&) = delete;
    ~fiber_stack();

    void* bottom() const noexcept { return bottom_; }
    std::size_t size() const noexcept { return size_; }
    void* sanitizer() const noexcept { return sanitizer_; }

private:
    void* bottom_;
    std::size_t size_;
    void* sanitizer_;  // ThreadSanitizer's name for it
};

// Where a stack is suspended.
struct stack_point {
    boost::context::detail::fcontext_t at = nullptr;
    // For the sanitizers; bottom is null where there is none.
    const void* bottom = nullptr;
    std::size_t size = 0;
    void* sanitizer = nullptr;
};

// What a switch carries. It lies on the stack that is left, and is read before that one goes on.
struct parcel {
    void* to;                       // what is resumed, for its very first time
    void* from;                     // the fiber that is left; nullptr for whoever resumes one
    void* value;                    // on the stack that is left
    stack_point* sender = nullptr;  // the stack that is left, for the sanitizers
    parcel(void* receiver, void* giver, void* what) noexcept : to(receiver), from(giver), value(what) {}
};

using arrival = boost::context::detail::transfer_t;

// Where `entry` begins on a stack, below `reserved` bytes at its top. It passes what it gets through arrived() to settle().
[[nodiscard]] stack_point point_of_entry(const fiber_stack& stack, std::size_t reserved,
                                         void (*entry)(arrival)) noexcept;
arrival arrived(arrival first) noexcept;

// Leaves this stack for `to`; returns when this one is resumed. What is inlined must be inlined all the way up to the
// user's loop, so that no function returns between two jumps.
arrival annotated_jump(const stack_point& to, parcel& sends, bool for_good) noexcept;
[[gnu::always_inline]] inline arrival jump(const stack_point& to, parcel& sends) noexcept {
    if (to.bottom != nullptr) [[unlikely]]
        return annotated_jump(to, sends, false);
    return boost::context::detail::jump_fcontext(to.at, &sends);
}
// For the end of `entry`. The parcel then lies in a function that AddressSanitizer leaves alone: it keeps locals of others
// elsewhere, and frees those of a stack that is left for good before the other side has read them.
[[noreturn]] void jump_for_good(const stack_point& to, parcel& sends) noexcept;

// Invariant 1: `left` is where the stack is suspended that we came from.
[[gnu::always_inline]] inline parcel& settle(stack_point& left, arrival came) noexcept {
    auto& got = *static_cast<parcel*>(came.data);
    if (got.sender != nullptr) [[unlikely]]
        left = *got.sender;
    left.at = came.fctx;
    return got;
}

// What the C++ runtime keeps for each thread: the exceptions being handled, and how many are in flight. The layout is that
// of the Itanium C++ ABI.
struct exception_state {
    void* handled = nullptr;
    unsigned in_flight = 0;
    [[nodiscard]] bool any() const noexcept { return handled != nullptr || in_flight != 0; }
};
// Of this thread; asked anew after each switch.
exception_state& thread_exceptions() noexcept;

// Invariant 2, around a jump into a fiber. Almost always nothing is being handled on either side.
class exception_swap {
public:
    [[gnu::always_inline]] explicit exception_swap(exception_state& theirs) noexcept {
        exception_state& thread = thread_exceptions();
        if (thread.any()) [[unlikely]] {
            ours_ = thread;
            thread = {};
        }
        if (theirs.any()) [[unlikely]] {
            thread = theirs;
            theirs = {};
        }
    }
    [[gnu::always_inline]] void back(exception_state& theirs) noexcept {
        exception_state& thread = thread_exceptions();
        if (thread.any()) [[unlikely]] {
            theirs = thread;
            thread = {};
        }
        if (ours_.any()) [[unlikely]]
            thread = ours_;
    }

private:
    exception_state ours_;
};

}  // namespace detail
}  // namespace leat
