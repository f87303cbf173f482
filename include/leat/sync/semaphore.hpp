// semaphore: a number of permits. acquire() waits in order of arrival; one that asks for many is not overtaken by others
// that ask for few, so nobody starves.
//
// Invariants (under lock_):
//  1. available_ + held permits + permits claimed for waiters not yet resumed = permits given at construction and by
//     release().
//  2. When waiters_ holds one that can be served from available_, somebody is about to serve it: release and the leaving
//     of the first waiter both serve.
#pragma once

#include <cstddef>
#include <optional>

#include <leat/sync/waiter_queue.hpp>

namespace leat {

class semaphore {
public:
    explicit semaphore(std::size_t permits) noexcept : available_(permits) {}
    // Destroying one with waiters is a bug.
    ~semaphore();

    // Permits held; gives them back when destroyed. Move-only. Its semaphore must outlive it.
    class [[nodiscard]] permit {
    public:
        permit(permit&& other) noexcept : owner_(other.owner_), count_(other.count_) { other.owner_ = nullptr; }
        permit& operator=(permit&& other) noexcept {
            permit old(std::move(other));
            std::swap(owner_, old.owner_);
            std::swap(count_, old.count_);
            return *this;
        }
        ~permit() { release(); }
        // Gives them back now. Harmless when that was done.
        void release() noexcept {
            if (owner_ != nullptr) std::exchange(owner_, nullptr)->release(count_);
        }
        // Keeps them out of the semaphore for good (or until somebody calls semaphore::release).
        void forget() noexcept { owner_ = nullptr; }
        [[nodiscard]] std::size_t count() const noexcept { return count_; }

    private:
        friend class semaphore;
        permit(semaphore& owner, std::size_t count) noexcept : owner_(&owner), count_(count) {}
        semaphore* owner_;
        std::size_t count_;
    };

    // Awaits `count` permits (first come, first served); resumes on the awaiting task's executor. Throws cancelled when
    // stopped; then no permit is held and none is lost. Any number of tasks at once.
    auto acquire(std::size_t count = 1) noexcept { return acquire_operation(*this, count); }
    // Permits at once, or none. Does not overtake waiters. Any thread.
    [[nodiscard]] std::optional<permit> try_acquire(std::size_t count = 1) noexcept;
    // Adds permits, and serves waiters: they are posted, never resumed inside. Any thread, also without having acquired.
    void release(std::size_t count = 1) noexcept;
    // A snapshot.
    [[nodiscard]] std::size_t available() const noexcept;

private:
    struct awaiter : private waiter {
        awaiter(semaphore& from, std::size_t permits) noexcept : owner(from), count(permits) {}
        awaiter(const awaiter&) = delete;
        bool await_ready() const noexcept { return false; }
        template <has_context Promise>
        bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
            return owner.wait(*this, self.promise().leat_context(), self);
        }
        permit await_resume() {
            owner.leave(*this);
            return permit(owner, count);
        }
        friend class semaphore;
        semaphore& owner;
        std::size_t count;
        bool waited = false;
    };
    struct [[nodiscard]] acquire_operation {
        acquire_operation(semaphore& from, std::size_t permits) noexcept : owner(from), count(permits) {}
        awaiter operator co_await() const noexcept { return {owner, count}; }
        semaphore& owner;
        std::size_t count;
    };

    bool wait(awaiter& self, context& line, std::coroutine_handle<> at) noexcept;
    void leave(awaiter& self);
    void serve(resume_list& served) noexcept;

    mutable env::mutex lock_;
    std::size_t available_;
    waiter_queue waiters_;
};

}  // namespace leat
