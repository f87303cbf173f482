// lock_order: finds locks that are taken in different orders, which is a deadlock that waits for its day, in runs in which
// none happens. Part of a build with the option LEAT_LOCK_ORDER. Of others it is nothing: no byte, and no instruction when
// they are optimised.
//
// A line that asks for lock B while it holds A makes the edge A -> B, with both places in the program. An edge that closes a
// circle is logged as a warning, once for a pair of locks: who held and who asked, and where, on every edge of the circle.
// The idea is that of Goodlock (Havelund: "Using runtime analysis to guide model checking of Java programs", SPIN 2000) and
// of the Linux kernel's lockdep (Documentation/locking/lockdep-design.rst). Edges are between locks, not classes of locks.
//
// What makes an edge is certain to have been held and waited for:
//  1. Who tries, or waits for a limited time, holds what it gets, and asks for nothing: it does not wait for ever.
//  2. A guard that never moved is held by the line that locked it. What that line asks for after the guard has moved (to
//     another task, perhaps) counts only once that line itself has unlocked: then the lock was held all the time.
//     (Not seen to move: a guard in the frame of an async_generator that another line goes on with.)
//  3. A share counts as the lock: writers queue between two readers. Two orders count also when both are one line's, or when
//     a third lock keeps them apart: the next who takes them in either order may be without.
//  4. What a lock made ends with it: its edges are forgotten, so a lock at the same address begins anew.
// Not found: the same lock asked for twice by one line, and what a line asks for while only its parent holds.
//
// The option changes the size of guards and of operations. So it belongs to the whole program: the CMake target leat::sync
// carries the definition of the same name to all that link it. Who compiles by other means defines it as the library has it.
#pragma once

#include <source_location>
#include <type_traits>
#include <utility>

#include <leat/sync/permits.hpp>

namespace leat::detail {

#if defined(LEAT_LOCK_ORDER)

// Where in the program somebody locks: the default argument of what locks is lock_site::current().
using lock_site = std::source_location;

// One locking, as it is asked for.
struct lock_attempt {
    enum class kind : bool { waits, gives_up };
    constexpr lock_attempt(lock_site where, kind which) noexcept : at(where), how(which) {}
    lock_site at;
    kind how;
};

// `line` (null: the calling plain thread) begins to ask for `lock`. May log, with no lock of the library held.
void lock_asked_for(const wait_place& lock, const context* line, const lock_attempt& how) noexcept;
// `lock` ends, and what is known about it.
void lock_gone(const wait_place& lock) noexcept;

// What a guard knows of its lock: who has locked it, and where. Moves with the guard.
struct held_lock;
class lock_hold {
public:
    lock_hold() noexcept = default;
    lock_hold(const wait_place& lock, const context* line, const lock_attempt& how) noexcept;
    lock_hold(lock_hold&& other) noexcept;
    lock_hold& operator=(lock_hold&& other) noexcept;
    ~lock_hold() { end(); }
    // The calling line is about to unlock. May log.
    void end() noexcept;
    // Where it was locked. Something is held.
    [[nodiscard]] lock_site at() const noexcept;

private:
    held_lock* record_ = nullptr;
};

#else

struct lock_site {
    static constexpr lock_site current() noexcept { return {}; }
};
struct lock_attempt {
    enum class kind : bool { waits, gives_up };
    constexpr lock_attempt(lock_site, kind) noexcept {}
};
inline void lock_asked_for(const wait_place&, const context*, const lock_attempt&) noexcept {}
inline void lock_gone(const wait_place&) noexcept {}
struct lock_hold {
    constexpr lock_hold() noexcept = default;
    constexpr lock_hold(const wait_place&, const context*, const lock_attempt&) noexcept {}
    void end() noexcept {}
    [[nodiscard]] constexpr lock_site at() const noexcept { return {}; }
};

#endif

// What an operation of a lock is told.
template <class Lock>
struct lock_asked {
    lock_asked(Lock* which, lock_site at, lock_attempt::kind kind = lock_attempt::kind::waits) noexcept
        : lock(which), how(at, kind) {}
    Lock* lock;
    [[no_unique_address]] lock_attempt how;
};

// The request for all permits, or one, of a lock.
struct lock_request : permits::request {
    lock_request(permits& lock, std::size_t number, lock_attempt attempt) noexcept
        : permits::request(lock, number), how_asked(attempt) {}
    bool begin(context& who, std::coroutine_handle<> at) noexcept {
        lock_asked_for(from, plain_thread ? nullptr : &who, how_asked);
        return permits::request::begin(who, at);
    }
    // The line that has it; null for a plain thread.
    [[nodiscard]] const context* owner() const noexcept { return plain_thread ? nullptr : line; }
    [[no_unique_address]] lock_attempt how_asked;
};

#if !defined(LEAT_LOCK_ORDER)
static_assert(sizeof(lock_request) == sizeof(permits::request) && sizeof(lock_asked<int>) == sizeof(int*),
              "costs nothing");
#endif

}  // namespace leat::detail
