#include <leat/sync/condition_variable.hpp>

#include <leat/task/this_task.hpp>

namespace leat {

// A wait for a notification that ends in one way or another, without the lock; or did not begin, with the lock.
struct condition_variable::request : detail::request {
    struct asked {
        condition_variable* from;
        mutex::guard* held;
    };
    explicit request(asked which) noexcept : what(which) {}
    bool begin(context& who, std::coroutine_handle<> at) noexcept {
        line = &who;
        in_two_steps = true;  // whoever notifies may find the line before it has let the mutex go
        if (!what.from->join(*this, at)) return false;
        locked_at = mutex::locked_at(*what.held);
        what.held->unlock();
        return true;
    }
    bool end() noexcept { return what.from->has_ended_well(*this); }
    asked what;
    [[no_unique_address]] mutex::site locked_at{};  // where it is said to be locked again
};

// That wait, for a limited time; gives how it ended.
class condition_variable::awaiter : request {
public:
    using request::locked_at;
    awaiter(asked which, time_limit until) noexcept : request(which), limit_(until) {}
    bool await_ready() const noexcept { return false; }
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
        context& who = self.promise().leat_context();
        return begin(who, self) && limit_.suspend(who, self);
    }
    context::wake await_resume() noexcept {
        limit_.cancel();
        (void)end();
        return line->woken_by();
    }

private:
    detail::wait_limit limit_;
};

bool condition_variable::join(request& self, std::coroutine_handle<> at) noexcept {
    if (!self.what.held->owns_lock()) bug_here("waited for without the lock");
    env::lock_guard held(lock_);
    return queue(self, at);
}

task<bool> condition_variable::sleep(mutex::guard& held, time_limit limit) {
    mutex* const of = held.lock();
    awaiter notified({this, &held}, limit);
    const context::wake how = co_await notified;
    if (!held.owns_lock()) held = co_await of->lock_deaf(notified.locked_at);
    if (how == context::wake::cancelled) detail::throw_cancelled();
    co_return how == context::wake::ready;
}

bool condition_variable::blocking_sleep(mutex::guard& held, time_limit limit) noexcept {
    mutex* const of = held.lock();
    thread_line line("blocking_wait");
    request self({this, &held});
    if (self.begin(line, {}) && line.commit_wait()) line.park_until(limit.from(env::now()), line.current_ticket());
    const bool woken = self.end();
    held = of->blocking_lock(self.locked_at);
    return woken;
}

task<time_point> condition_variable::until_when(time_limit limit) { co_return limit.from(co_await this_task::now()); }

void condition_variable::notify_one() noexcept {
    waiter* first = nullptr;
    {
        env::lock_guard held(lock_);
        first = waiters_.claim_first();
    }
    if (first != nullptr) first->resume();
}

void condition_variable::notify_all() noexcept {
    resume_list served;
    {
        env::lock_guard held(lock_);
        claim_all(served);
    }
    served.resume_all();
}

}  // namespace leat
