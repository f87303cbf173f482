// The seam to the machine: atomics, plain shared variables, locks, futex, threads, clock, randomness. The layers base to
// runtime reach those only through the names in leat::env; a test bans the originals elsewhere.
//
// Why: the same sources are compiled a second time with LEAT_EXPLORE defined, when every name below comes from the
// interleaving explorer of the tests, which then owns each step that one thread can see of another. That second build is
// a library of its own and is never linked with this one.
//
// Rules for users of the seam:
//  1. A variable that two threads touch without a lock is an env::atomic, or an env::shared when other synchronisation
//     orders its accesses (the explorer reports a race on it when that synchronisation is missing).
//  2. Nothing waits except in env::futex_wait, env::mutex::lock and env::thread::join.
#pragma once

#include <chrono>
#include <cstdint>

namespace leat {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;
using duration = clock::duration;

}  // namespace leat

#if defined(LEAT_EXPLORE)
#    include <explore/env.hpp>
#else

#    include <atomic>
#    include <utility>

namespace leat::env {

template <class T>
using atomic = std::atomic<T>;

inline constexpr auto relaxed = std::memory_order_relaxed;
inline constexpr auto acquire = std::memory_order_acquire;
inline constexpr auto release = std::memory_order_release;
inline constexpr auto acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;

// A plain variable that several threads use in turn, ordered by something else.
template <class T>
class shared {
public:
    shared() = default;
    explicit shared(T value) : value_(std::move(value)) {}
    const T& read() const noexcept { return value_; }
    T& write() noexcept { return value_; }

private:
    T value_{};
};

// Sleeps while `word` holds `expected`; returns at once when it does not. Spurious returns are possible. With a deadline,
// returns false when it has passed.
void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected) noexcept;
[[nodiscard]] bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected,
                                    time_point deadline) noexcept;
// Wakes at most `count` sleepers of `word`. `word` may already be gone: the address is only a name here, and a sleeper of
// a later object at that address sees a spurious return.
void futex_wake(const atomic<std::uint32_t>& word, int count) noexcept;

// A lock for a few instructions: never held over a suspension, a callback of the user or a system call that waits. (The
// one exception is the pool's lock on its poller, which others only try.)
class mutex {
public:
    mutex() = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;

    void lock() noexcept {
        std::uint32_t free = 0;
        // acquire pairs with the release in unlock(): the next owner sees what the last one wrote.
        if (!state_.compare_exchange_weak(free, 1, acquire, relaxed)) lock_slow();
    }
    [[nodiscard]] bool try_lock() noexcept {
        std::uint32_t free = 0;
        return state_.compare_exchange_strong(free, 1, acquire, relaxed);
    }
    void unlock() noexcept {
        if (state_.exchange(0, release) == 2) futex_wake(state_, 1);
    }

private:
    void lock_slow() noexcept;
    atomic<std::uint32_t> state_{0};  // 0: free; 1: held; 2: held, and somebody may sleep
};

// A thread. Joined before it is destroyed (a bug otherwise).
class thread {
public:
    thread() = default;
    // Starts body(argument) on a new thread named `name` (cut to 15 bytes). False when the system refuses one.
    [[nodiscard]] bool start(const char* name, void (*body)(void*), void* argument) noexcept;
    thread(thread&& other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
    thread& operator=(thread&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~thread();
    bool joinable() const noexcept { return handle_ != 0; }
    void join() noexcept;
    // In a forked child, which has none of its parent's threads: there is nothing to join.
    void forget() noexcept { handle_ = 0; }

private:
    unsigned long handle_ = 0;  // pthread_t; 0: none
};

[[nodiscard]] time_point now() noexcept;

// Unpredictable bits from the system, for seeds.
[[nodiscard]] std::uint64_t entropy() noexcept;

// A hint inside a bounded spin.
inline void pause() noexcept {
#    if defined(__x86_64__)
    __builtin_ia32_pause();
#    elif defined(__aarch64__)
    asm volatile("yield");
#    endif
}

// The slots that each thread has for the library. Read anew after every suspension: coroutines and fibers move between
// threads, and a compiler may keep the address of a thread-local over the suspension, hence the call that is never inlined.
enum class slot : unsigned char { worker, context, fiber, simulation, count };
[[nodiscard]] void*& this_thread(slot which) noexcept;

// Two that are read for each fork and each frame, and so without a call where that can be had: the two instructions say
// anew each time which thread it is, which a compiler does not where it is left to address the variable.
enum class quick_slot : unsigned char { fork, frames, count };
#    if defined(__x86_64__) && defined(__linux__)
namespace detail {
[[gnu::tls_model("initial-exec")]] extern constinit thread_local void*
    quick_slots[static_cast<unsigned>(quick_slot::count)] asm("leat_quick_slots");
}
[[nodiscard]] inline void*& this_thread(quick_slot which) noexcept {
#        if !defined(__clang__) || __clang_major__ >= 17
    // Read in coroutines alone, in whose middle no fiber suspends; at their own suspensions GCC returns before it optimises,
    // and Clang from 17 on looks the address up anew.
    if (which == quick_slot::fork) return detail::quick_slots[static_cast<unsigned>(which)];
#        endif
    void** slots = nullptr;
    // The initial-exec model of the ELF TLS specification (Drepper 2005, section 4.4.6).
    asm volatile("movq leat_quick_slots@GOTTPOFF(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(slots) : : "cc");
    return slots[static_cast<unsigned>(which)];
}
#    else
[[nodiscard]] void*& this_thread(quick_slot which) noexcept;
#    endif

}  // namespace leat::env

#endif

namespace leat::env {

template <class Lock>
class [[nodiscard]] lock_guard {
public:
    explicit lock_guard(Lock& lock) noexcept : lock_(lock) { lock_.lock(); }
    lock_guard(const lock_guard&) = delete;
    lock_guard& operator=(const lock_guard&) = delete;
    ~lock_guard() { lock_.unlock(); }

private:
    Lock& lock_;
};

}  // namespace leat::env
