// once: something that is done one time, by whoever comes first; the others wait until it is done. When it fails, the next
// one tries. It outlives all calls.
#pragma once

#include <functional>

#include <leat/sync/mutex.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

class once {
public:
    [[nodiscard]] bool is_done() const noexcept { return done_.load(env::acquire); }  // pairs with finish()

    // Awaits fn(args…), which returns a task, unless one has been done or is being done; that it waits for. Throws what its
    // own fn threw, or cancelled when it was stopped: then the first of those who wait does its own. Resumes on the awaiting
    // task's executor. Calling the same once inside is a bug. Arguments are decay-copied, std::ref becomes a reference.
    template <class Function, class... Argument>
    task<> call(Function fn, Argument... args) {
        if (is_done()) co_return;
        forbid_inside(co_await this_task::line());
        const mutex::guard mine = co_await turn_.lock();
        if (is_done()) co_return;
        co_await std::invoke(std::move(fn), std::forward<std::unwrap_ref_decay_t<Argument>>(args)...);
        finish();
    }
    // The same, but waits for others only so long: false when they have not done it by then. Its own fn has no limit.
    template <class Function, class... Argument>
    task<bool> call_for(time_limit limit, Function fn, Argument... args) {
        if (is_done()) co_return true;
        forbid_inside(co_await this_task::line());
        const std::optional<mutex::guard> mine = co_await turn_.lock_for(limit);
        if (is_done()) co_return true;
        if (!mine) co_return false;
        co_await std::invoke(std::move(fn), std::forward<std::unwrap_ref_decay_t<Argument>>(args)...);
        finish();
        co_return true;
    }
    // A function that does not wait, on any thread: done here, or false when another is at it.
    template <class Function>
    bool try_call(Function&& fn) {
        if (is_done()) return true;
        const std::optional<mutex::guard> mine = turn_.try_lock();
        if (is_done()) return true;
        if (!mine) return false;
        std::invoke(std::forward<Function>(fn));
        finish();
        return true;
    }
    // As call(), with a function that does not wait, for threads that run no tasks.
    template <class Function>
    void blocking_call(Function&& fn) {
        if (is_done()) return;
        const mutex::guard mine = turn_.blocking_lock();
        if (is_done()) return;
        std::invoke(std::forward<Function>(fn));
        finish();
    }

private:
    void forbid_inside(const context& line) const noexcept {
        if (turn_.holder() == &line) bug("a once: called inside its own function");
    }
    void finish() noexcept { done_.store(true, env::release); }

    mutex turn_;
    env::atomic<bool> done_{false};  // false; true once it was done
};

}  // namespace leat
