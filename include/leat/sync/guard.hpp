// guard: holds a lock and unlocks it when destroyed: the same shape for every lock. Move-only; empty once it was unlocked or
// moved from. A guard must not outlive its lock (destroying a lock that is held is a bug).
#pragma once

#include <utility>

namespace leat::detail {

// How the lock is held, where there are several ways.
enum class hold : bool { alone, shared };

template <class Lock, hold How = hold::alone>
class [[nodiscard]] guard {
public:
    guard() noexcept = default;  // holds nothing
    guard(guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
    guard& operator=(guard&& other) noexcept {
        guard old(std::move(other));
        std::swap(lock_, old.lock_);
        return *this;
    }
    ~guard() { unlock(); }
    // Unlocks now: the first of those who wait has the lock then, and is posted, never resumed inside. Harmless when that
    // was done.
    void unlock() noexcept {
        if (lock_ != nullptr) std::exchange(lock_, nullptr)->unlock(*this);
    }
    [[nodiscard]] bool owns_lock() const noexcept { return lock_ != nullptr; }
    explicit operator bool() const noexcept { return owns_lock(); }
    // Null when it holds nothing.
    [[nodiscard]] Lock* lock() const noexcept { return lock_; }

private:
    friend Lock;
    explicit guard(Lock& locked) noexcept : lock_(&locked) {}
    Lock* lock_ = nullptr;
};

}  // namespace leat::detail
