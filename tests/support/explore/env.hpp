// The explorer's side of the seam: included by <leat/base/env.hpp> in its place when LEAT_EXPLORE is defined. The names and
// contracts are those of the real side. Inside a scenario (explorer.hpp) every step of a thread on an atomic, a lock or a
// futex is a point at which the explorer may let another thread go on; outside of one, operations act plainly.
//
// What an order weaker than seq_cst does not promise shows as a data race on the env::shared that it should have published,
// and, with options.stale, as a load that sees an older value; without, a value that was stored is seen by all at once.
// Updates (read-modify-writes, also a compare-exchange that fails) see the newest value. So do all operations on types of
// more than eight bytes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <explore/hooks.hpp>
#include <type_traits>
#include <utility>

namespace leat::env {

inline constexpr auto relaxed = std::memory_order_relaxed;
inline constexpr auto acquire = std::memory_order_acquire;
inline constexpr auto release = std::memory_order_release;
inline constexpr auto acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;

namespace detail {
using explore::place;
using explore::detail::object_kind;
using explore::detail::operation;
// The order of the load in a compare-exchange that fails, when only one order was given.
constexpr std::memory_order failure_order(std::memory_order success) noexcept {
    return success == acq_rel ? acquire : success == release ? relaxed : success;
}
// What fetch_add takes: a distance for pointers.
template <class T>
using difference = std::conditional_t<std::is_pointer_v<T>, std::ptrdiff_t, T>;
}  // namespace detail

// Has the size and layout of the value alone: what the explorer knows of an object it keeps by address.
template <class T>
class atomic {
    static_assert(std::is_trivially_copyable_v<T>);
    using place = detail::place;
    using op = detail::operation;

public:
    using value_type = T;
    static constexpr bool is_always_lock_free = sizeof(T) <= sizeof(std::uint64_t);

    constexpr atomic(place where = place::current()) noexcept(std::is_nothrow_default_constructible_v<T>) : value_() {
        announce(where);
    }
    constexpr atomic(T value, place where = place::current()) noexcept  // NOLINT(google-explicit-constructor)
        : value_(value) {
        announce(where);
    }
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;
    constexpr ~atomic() {
        if (!std::is_constant_evaluated()) explore::detail::died(this, detail::object_kind::atomic);
    }

    bool is_lock_free() const noexcept { return is_always_lock_free; }

    T load(std::memory_order order = seq_cst, place where = place::current()) const noexcept {
        if (!explore::detail::running) return value_;
        before(op::load, order, where);
        T value = value_;
        const std::uint64_t seen = explore::detail::load_value(explore::detail::bits(value));
        if constexpr (is_always_lock_free) std::memcpy(static_cast<void*>(&value), &seen, sizeof(T));
        return value;
    }
    void store(T desired, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        if (!explore::detail::running) {
            value_ = desired;
            return;
        }
        before(op::store, order, where);
        const bool changed = !same(value_, desired);
        value_ = desired;
        explore::detail::after_store(explore::detail::bits(desired), changed);
    }
    T exchange(T desired, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::exchange, order, where, [desired](T) { return desired; });
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure,
                                 place where = place::current()) noexcept {
        return compare_exchange(expected, desired, success, failure, false, where);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order order = seq_cst,
                                 place where = place::current()) noexcept {
        return compare_exchange(expected, desired, order, detail::failure_order(order), false, where);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                               place where = place::current()) noexcept {
        return compare_exchange(expected, desired, success, failure, true, where);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order order = seq_cst,
                               place where = place::current()) noexcept {
        return compare_exchange(expected, desired, order, detail::failure_order(order), true, where);
    }

    T fetch_add(detail::difference<T> n, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::fetch_add, order, where, [n](T old) { return static_cast<T>(old + n); });
    }
    T fetch_sub(detail::difference<T> n, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::fetch_sub, order, where, [n](T old) { return static_cast<T>(old - n); });
    }
    T fetch_and(T mask, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::fetch_and, order, where, [mask](T old) { return static_cast<T>(old & mask); });
    }
    T fetch_or(T mask, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::fetch_or, order, where, [mask](T old) { return static_cast<T>(old | mask); });
    }
    T fetch_xor(T mask, std::memory_order order = seq_cst, place where = place::current()) noexcept {
        return update(op::fetch_xor, order, where, [mask](T old) { return static_cast<T>(old ^ mask); });
    }

    operator T() const noexcept { return load(); }  // NOLINT(google-explicit-constructor)
    T operator=(T desired) noexcept {               // NOLINT(misc-unconventional-assign-operator): as in std::atomic
        store(desired);
        return desired;
    }
    T operator++() noexcept { return static_cast<T>(fetch_add(1) + 1); }
    T operator++(int) noexcept { return fetch_add(1); }
    T operator--() noexcept { return static_cast<T>(fetch_sub(1) - 1); }
    T operator--(int) noexcept { return fetch_sub(1); }
    T operator+=(detail::difference<T> n) noexcept { return static_cast<T>(fetch_add(n) + n); }
    T operator-=(detail::difference<T> n) noexcept { return static_cast<T>(fetch_sub(n) - n); }

    // For the explorer: the value, without a step.
    const T& peek() const noexcept { return value_; }

private:
    constexpr void announce(const place& where) noexcept {
        if (!std::is_constant_evaluated()) explore::detail::born(this, detail::object_kind::atomic, where);
    }
    void before(op what, std::memory_order order, const place& where) const noexcept {
        const std::uint64_t value = explore::detail::bits(value_);
        explore::detail::before(what, this, is_always_lock_free ? &value : nullptr, order, where);
    }
    // As the machine compares: all bytes.
    static bool same(const T& a, const T& b) noexcept { return std::memcmp(&a, &b, sizeof(T)) == 0; }

    template <class Change>
    T update(op what, std::memory_order order, const place& where, Change change) noexcept {
        if (explore::detail::running) this->before(what, order, where);
        const T before = value_;
        value_ = change(before);
        if (explore::detail::running)
            explore::detail::after_update(explore::detail::bits(before), explore::detail::bits(value_),
                                          !same(before, value_));
        return before;
    }
    bool compare_exchange(T& expected, T desired, std::memory_order success, std::memory_order failure, bool weak,
                          const place& where) noexcept {
        const bool watched = explore::detail::running;
        if (watched) this->before(op::compare_exchange, success, where);
        const T before = value_;
        if (!same(before, expected) || (weak && watched && explore::detail::fails_spuriously())) {
            expected = before;
            if (watched) explore::detail::after_failed_exchange(explore::detail::bits(before), failure);
            return false;
        }
        value_ = desired;
        if (watched)
            explore::detail::after_update(explore::detail::bits(before), explore::detail::bits(desired),
                                          !same(before, desired));
        return true;
    }

    T value_;
};

template <class T>
class shared {
    using place = detail::place;

public:
    shared(place where = place::current()) { announce(where); }
    explicit shared(T value, place where = place::current()) : value_(std::move(value)) { announce(where); }
    shared(const shared& other, place where = place::current()) : value_(other.read(where)) { announce(where); }
    shared(shared&& other, place where = place::current()) : value_(std::move(other.write(where))) { announce(where); }
    shared& operator=(const shared& other) { return write() = other.read(), *this; }
    shared& operator=(shared&& other) { return write() = std::move(other.write()), *this; }
    ~shared() { explore::detail::died(this, detail::object_kind::shared); }

    const T& read(place where = place::current()) const noexcept {
        if (explore::detail::running) explore::detail::plain_access(detail::operation::read, this, where);
        return value_;
    }
    T& write(place where = place::current()) noexcept {
        if (explore::detail::running) explore::detail::plain_access(detail::operation::write, this, where);
        return value_;
    }

private:
    void announce(const place& where) noexcept { explore::detail::born(this, detail::object_kind::shared, where); }
    T value_{};
};

void futex_wait(const atomic<std::uint32_t>& word, std::uint32_t expected,
                detail::place where = detail::place::current()) noexcept;
[[nodiscard]] bool futex_wait_until(const atomic<std::uint32_t>& word, std::uint32_t expected, time_point deadline,
                                    detail::place where = detail::place::current()) noexcept;
void futex_wake(const atomic<std::uint32_t>& word, int count, detail::place where = detail::place::current()) noexcept;

class mutex {
    using place = detail::place;

public:
    mutex(place where = place::current()) noexcept { explore::detail::born(this, detail::object_kind::mutex, where); }
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() { explore::detail::died(this, detail::object_kind::mutex); }

    void lock(place where = place::current()) noexcept;
    [[nodiscard]] bool try_lock(place where = place::current()) noexcept;
    void unlock(place where = place::current()) noexcept;

private:
    bool held_ = false;  // used outside scenarios; inside, the explorer knows the owner
};

class thread {
public:
    thread() = default;
    // A thread of the scenario. Outside scenarios there are none: false.
    [[nodiscard]] bool start(const char* name, void (*body)(void*), void* argument,
                             detail::place where = detail::place::current()) noexcept;
    thread(thread&& other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
    thread& operator=(thread&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~thread();
    bool joinable() const noexcept { return handle_ != 0; }
    void join(detail::place where = detail::place::current()) noexcept;
    void forget() noexcept { handle_ = 0; }

private:
    unsigned long handle_ = 0;  // number of the thread in its scenario plus one; 0: none
};

// Virtual time: stands still until nothing can happen without it.
[[nodiscard]] time_point now() noexcept;

// The same bits in every run of a schedule.
[[nodiscard]] std::uint64_t entropy() noexcept;

// Lets the others go on until one of them has changed something.
void pause(detail::place where = detail::place::current()) noexcept;

enum class slot : unsigned char { worker, context, fiber, simulation, fork, frames, count };
[[nodiscard]] void*& this_thread(slot which) noexcept;
enum class quick_slot : unsigned char { fork, frames };
[[nodiscard]] inline void*& this_thread(quick_slot which) noexcept {
    return this_thread(which == quick_slot::fork ? slot::fork : slot::frames);
}

// The guard of the seam for this mutex: as that one, and the trace shows where it was made.
template <class Lock>
class lock_guard;
template <>
class [[nodiscard]] lock_guard<mutex> {
public:
    explicit lock_guard(mutex& lock, detail::place where = detail::place::current()) noexcept
        : lock_(lock), where_(where) {
        lock_.lock(where_);
    }
    lock_guard(const lock_guard&) = delete;
    lock_guard& operator=(const lock_guard&) = delete;
    ~lock_guard() { lock_.unlock(where_); }

private:
    mutex& lock_;
    detail::place where_;
};

}  // namespace leat::env
