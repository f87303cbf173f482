// What the explorer knows of the objects of a schedule: for each atomic, shared variable and mutex a cell, found by its
// address, with the vector clocks that tell which accesses are ordered. Used by the engine.
//
// The rules are those of the C++ memory model for happens-before:
//  1. A release store publishes the clock of its thread, a relaxed one publishes nothing; an update (read-modify-write)
//     continues the release sequence it found, and joins its own clock when it releases. An acquire takes what the
//     value it read was published with.
//  2. A lock takes the clock that the last unlock left. A started thread takes its starter's, a join the clock of the end.
//  3. A futex orders nothing.
//  4. Accesses to a shared of which one writes, the first access to an atomic and its making, and the last accesses to
//     any object and its end must be ordered.
//
// And with options.stale those for the values of an atomic, as in Norris and Demsky, CDSChecker (OOPSLA 2013):
//  5. The stores to an atomic are ordered as they were made. A load sees any of them but those that are older than one
//     that happens before the load, or that a load which happens before it has seen (coherence). An update sees the newest.
//  6. The sequentially consistent operations are ordered as they were made. So a seq_cst load sees nothing older than the
//     newest seq_cst store, nor than what a seq_cst load has seen.
//  7. No load sees a store that comes later in the schedule: what only a machine that lets stores overtake earlier loads
//     would show is not shown (RC11: Lahav, Vafeiadis, Kang, Hur and Dreyer, PLDI 2017, forbids it as well).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <explore/hooks.hpp>
#include <string>
#include <utility>
#include <vector>

namespace leat::explore::detail {

inline constexpr unsigned max_threads = 8;

struct vector_clock {
    std::array<std::uint32_t, max_threads> at{};
    void join(const vector_clock& other) noexcept {
        for (unsigned i = 0; i < max_threads; ++i) at[i] = std::max(at[i], other.at[i]);
    }
};

struct access {
    std::uint32_t epoch = 0;  // the thread's own time then; 0: none
    bool wrote = false;
    place where;
};

// A value that an atomic was given.
struct stored {
    std::uint64_t value = 0;
    vector_clock published;  // what came with it
    int writer = -1;         // -1: before the schedule
    std::uint32_t written = 0;
    bool seq_cst = false;                              // was stored or seen by an operation of that order
    std::array<std::uint32_t, max_threads> seen_at{};  // each thread's own time when it first saw it; 0: never

    // Whether it was stored or seen by something that happens before what a thread of this clock does.
    [[nodiscard]] bool known_at(const vector_clock& clock) const noexcept {
        if (writer < 0 || written <= clock.at[static_cast<unsigned>(writer)]) return true;
        for (unsigned i = 0; i < max_threads; ++i)
            if (seen_at[i] != 0 && seen_at[i] <= clock.at[i]) return true;
        return false;
    }
};

struct cell {
    const void* address = nullptr;
    object_kind kind = object_kind::atomic;
    bool alive = true;
    std::uint32_t number = 0;
    int owner = -1;      // of a mutex: the thread that holds it
    unsigned count = 0;  // of a gate: how often it may still be passed
    const char* label = nullptr;
    // What came with the value that an atomic holds, or the last unlock of a mutex.
    vector_clock published;
    std::vector<stored> history;  // of an atomic, with options.stale: its values, the oldest first; empty: not used yet
    int writer = -1;              // who wrote last, made or destroyed it; -1: made before the schedule
    access written;
    std::array<access, max_threads> touched;  // the last access of each thread

    [[nodiscard]] std::string name() const;
};

// The cells of one schedule. Objects that are older than the schedule get theirs when they are first used.
class memory {
public:
    void begin_schedule() noexcept;

    // The cell of the object, whether it lives or not.
    cell& find(const void* address, object_kind kind) {
        slot& found = look_up(address, kind);
        return found.stamp == stamp_ ? *found.what : insert(found, address, kind);
    }
    // A fresh cell for an object that begins to live; the dead one at that address keeps its own.
    cell& make(const void* address, object_kind kind) { return insert(look_up(address, kind), address, kind); }
    // As find(), or nullptr when nothing was seen at that address.
    cell* peek(const void* address, object_kind kind) noexcept {
        slot& found = look_up(address, kind);
        return found.stamp == stamp_ ? found.what : nullptr;
    }

    // A number for the object that begins at `place`, the same in each schedule that has made the same choices: that of the
    // first cell in it. 0 where nothing is, and for null.
    std::uint32_t number_at(const void* place);

private:
    struct slot {
        std::uint64_t stamp = 0;  // the schedule that it belongs to
        const void* address = nullptr;
        object_kind kind = object_kind::atomic;
        cell* what = nullptr;
    };
    slot& look_up(const void* address, object_kind kind) noexcept;
    cell& insert(slot& where, const void* address, object_kind kind);
    void grow();

    std::uint64_t stamp_ = 1;
    std::vector<slot> table_ = std::vector<slot>(256);  // open addressing; a power of two
    std::size_t filled_ = 0;                            // slots of this schedule
    std::deque<cell> cells_;                            // reused from schedule to schedule
    std::size_t used_ = 0;
    std::vector<std::pair<const void*, std::uint32_t>> numbered_;  // what number_at() has said
};

}  // namespace leat::explore::detail
