// mutex: mutual exclusion between tasks, held over suspensions. `auto held = co_await m.lock();` The guard unlocks.
//
// A semaphore of one permit with the words of a lock: first come, first served; unlock hands the lock to the first
// waiter, which is posted, never resumed inside.
#pragma once

#include <leat/sync/semaphore.hpp>

namespace leat {

class mutex {
public:
    // Holds the lock; unlocks when destroyed. Move-only; may be unlocked by another task or thread than locked it.
    class [[nodiscard]] guard {
    public:
        explicit guard(semaphore::permit held) noexcept : held_(std::move(held)) {}
        void unlock() noexcept { held_.release(); }

    private:
        semaphore::permit held_;
    };

    // Awaits the lock; resumes on the awaiting task's executor. Throws cancelled when stopped, without the lock.
    auto lock() noexcept { return lock_operation(one_); }
    // The lock at once, or none. Any thread.
    [[nodiscard]] std::optional<guard> try_lock() noexcept {
        auto held = one_.try_acquire();
        if (!held) return std::nullopt;
        return guard(std::move(*held));
    }
    [[nodiscard]] bool is_locked() const noexcept { return one_.available() == 0; }

private:
    using acquire = decltype(std::declval<semaphore&>().acquire().operator co_await());
    struct awaiter : acquire {
        using acquire::acquire;
        guard await_resume() { return guard(acquire::await_resume()); }
    };
    struct [[nodiscard]] lock_operation {
        explicit lock_operation(semaphore& from) noexcept : one(from) {}
        awaiter operator co_await() const noexcept { return {one, 1}; }
        semaphore& one;
    };
    semaphore one_{1};
};

}  // namespace leat
