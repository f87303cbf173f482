// What the stand-ins of env.hpp ask of the explorer: the thin line between the templates there and the engine here.
//
// Invariant: everything in `detail` but `running` and `born`/`died` is called from a fiber of a scenario only, that is
// while `running` is true. None of it returns when the schedule has failed.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <explore/place.hpp>

namespace leat::explore::detail {

// True while a fiber of a scenario runs. The explorer lives on one thread of the system, so a plain variable will do.
inline bool running = false;

enum class object_kind : unsigned char { atomic, shared, mutex, gate };

enum class operation : unsigned char {
    // Steps: the scheduler may switch threads before each.
    load,
    store,
    exchange,
    fetch_add,
    fetch_sub,
    fetch_and,
    fetch_or,
    fetch_xor,
    compare_exchange,
    lock,
    try_lock,
    unlock,
    futex_wait,
    futex_return,
    futex_wake,
    join,
    pause,
    open,
    pass,
    // Events: only written into the trace.
    read,
    write,
    start,
    finish,
    choose,
    note,
};

// An object begins or ends its life; outside scenarios nothing happens.
void object_born(const void* object, object_kind kind, const place& where) noexcept;
void object_died(const void* object, object_kind kind) noexcept;
inline void born(const void* object, object_kind kind, const place& where) noexcept {
    if (running) object_born(object, kind, where);
}
inline void died(const void* object, object_kind kind) noexcept {
    if (running) object_died(object, kind);
}

// The scheduling point before a step on an atomic: returns when it is this thread's turn to take it. `value` is what the
// atomic holds, null when its loads always see the newest.
void before(operation op, const void* object, const std::uint64_t* value, std::memory_order order,
            const place& where) noexcept;
// What the load sees of an atomic that holds `newest`.
std::uint64_t load_value(std::uint64_t newest) noexcept;
// The step was taken: what it did to the value. `changed` tells spinning threads that a new look is worth while.
void after_store(std::uint64_t value, bool changed) noexcept;
void after_update(std::uint64_t old_value, std::uint64_t new_value, bool changed) noexcept;
void after_failed_exchange(std::uint64_t value, std::memory_order order) noexcept;
// Whether a compare_exchange_weak that could succeed fails this time (options.spurious).
bool fails_spuriously() noexcept;

// An access to a plain shared variable: no scheduling point, but checked for races.
void plain_access(operation read_or_write, const void* object, const place& where) noexcept;

// The first eight bytes of a value, for the trace.
template <class T>
std::uint64_t bits(const T& value) noexcept {
    std::uint64_t out = 0;
    std::memcpy(&out, &value, sizeof(T) < sizeof out ? sizeof(T) : sizeof out);
    return out;
}

}  // namespace leat::explore::detail
