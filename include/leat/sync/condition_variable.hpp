// condition_variable: waits until something that a mutex protects has come true.
//
//   leat::mutex::guard held = co_await lock.lock();
//   co_await changed.wait(held, [&] { return !jobs.empty(); });      // held again, and there is a job
//   …
//   { auto held = co_await lock.lock(); jobs.push_back(…); }
//   changed.notify_one();
//
// Whoever notifies after a change under the mutex is seen: a waiter is in the queue before it lets the mutex go. A
// notification goes to a waiter that takes it: one that is stopped or out of time leaves it to the next.
#pragma once

#include <leat/sync/mutex.hpp>
#include <leat/task/task.hpp>

namespace leat {

class condition_variable : detail::waiting_room {
    struct request;
    class awaiter;

public:
    condition_variable() noexcept : waiting_room(this_kind) {}
    // Destroying one with waiters is a bug.
    ~condition_variable() = default;

    // Wakes the first who waits, or all; they are posted, never resumed inside. Any thread, with the mutex or without.
    void notify_one() noexcept;
    void notify_all() noexcept;

    // Unlocks `held`, waits for a notification, locks again, until predicate() is true: asked with the lock held, at first
    // before any wait. Resumes on the awaiting task's executor with the lock held, however it ends: throws cancelled when the
    // task was stopped while it waited and the predicate has not come true, and what the predicate throws. (Waiting for the
    // lock again is deaf to stop requests: it takes as long as others hold it.) `held` must hold its mutex: a bug otherwise.
    template <class Predicate>
    task<> wait(mutex::guard& held, Predicate predicate) {
        while (!predicate()) (void)co_await sleep(held, time_limit::never());
    }
    // The same for a limited time; gives what predicate() says in the end.
    template <class Predicate>
    task<bool> wait_for(mutex::guard& held, time_limit limit, Predicate predicate) {
        const time_point until = co_await until_when(limit);
        while (!predicate()) {
            const bool woken = co_await sleep(held, until);
            if (!woken) co_return predicate();
        }
        co_return true;
    }
    template <class Predicate>
    task<bool> wait_until(mutex::guard& held, time_point until, Predicate predicate) {
        return wait_for(held, time_limit(until), std::move(predicate));
    }
    // As wait(), for threads that run no tasks.
    template <class Predicate>
    void blocking_wait(mutex::guard& held, Predicate predicate) {
        while (!predicate()) (void)blocking_sleep(held, time_limit::never());
    }
    template <class Predicate>
    bool blocking_wait_for(mutex::guard& held, time_limit limit, Predicate predicate) {
        const time_point until = limit.from(env::now());
        while (!predicate())
            if (!blocking_sleep(held, until)) return predicate();
        return true;
    }

private:
    static constexpr kind this_kind{"a condition variable"};

    // False when the time was over first. The lock is held again, also when it throws.
    task<bool> sleep(mutex::guard& held, time_limit limit);
    bool blocking_sleep(mutex::guard& held, time_limit limit) noexcept;
    static task<time_point> until_when(time_limit limit);
    bool join(request& self, std::coroutine_handle<> at) noexcept;
};

}  // namespace leat
