// guard: holds a lock and unlocks it when destroyed: the same shape for every lock. Move-only; empty once it was unlocked or
// moved from. A guard must not outlive its lock (destroying a lock that is held is a bug).
#pragma once

#include <utility>

#include <leat/sync/lock_order.hpp>

namespace leat::detail {

// How the lock is held, where there are several ways.
enum class hold : bool { alone, shared };

template <class Lock, hold How = hold::alone>
class [[nodiscard]] guard {
public:
    guard() noexcept = default;  // holds nothing
    // NOLINTNEXTLINE(performance-move-const-arg): empty where the order of locks is not looked at
    guard(guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), hold_(std::move(other.hold_)) {}
    guard& operator=(guard&& other) noexcept {
        guard old(std::move(other));
        std::swap(lock_, old.lock_);
        std::swap(hold_, old.hold_);
        return *this;
    }
    ~guard() { unlock(); }
    // Unlocks now: the first of those who wait has the lock then, and is posted, never resumed inside. Harmless when that
    // was done.
    void unlock() noexcept {
        if (lock_ == nullptr) return;
        hold_.end();
        std::exchange(lock_, nullptr)->unlock(*this);
    }
    [[nodiscard]] bool owns_lock() const noexcept { return lock_ != nullptr; }
    explicit operator bool() const noexcept { return owns_lock(); }
    // Null when it holds nothing.
    [[nodiscard]] Lock* lock() const noexcept { return lock_; }

private:
    friend Lock;
    // `line`: who has locked it, null for the calling plain thread.
    guard(Lock& locked, const context* line, const lock_attempt& how) noexcept
        : lock_(&locked), hold_(locked, line, how) {}
    Lock* lock_ = nullptr;
    [[no_unique_address]] lock_hold hold_;
};

}  // namespace leat::detail
