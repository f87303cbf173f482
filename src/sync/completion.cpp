#include <leat/sync/completion.hpp>

#include <leat/base/bug.hpp>
#include <leat/task/thread_line.hpp>

namespace leat {

completion::~completion() {
    if (!waiters_.empty() || !observers_.empty()) bug("what a task waits for was destroyed before it happened");
}

void completion::drop_ref() noexcept {
    // acq_rel: who destroys it, or finds itself alone, sees what the others did.
    if (refs_.fetch_sub(1, env::acq_rel) == 1) delete this;
}

bool completion::link(waiter_queue& queue, waiter& node) noexcept {
    env::lock_guard held(lock_);
    if (state_.load(env::relaxed) != ending::pending) return false;  // relaxed: written under the lock
    queue.push_back(node);
    return true;
}

void completion::unwatch(waiter& node) noexcept {
    env::lock_guard held(lock_);
    waiters_.remove(node);
}

void completion::unobserve(observer& node) noexcept {
    env::lock_guard held(lock_);
    observers_.remove(node);
}

void completion::complete(const outcome_base& how) noexcept {
    const ending end = how.is_value() ? ending::value : how.is_error() ? ending::error : ending::cancelled;
    resume_list woken;
    {
        env::lock_guard held(lock_);
        state_.store(end, env::release);  // pairs with how()
        while (waiter* const each = waiters_.claim_first()) woken.add(*each);
        while (waiter* const each = observers_.first()) {
            observers_.remove(*each);
            auto& told = static_cast<observer&>(*each);
            told.tell(told, woken);
        }
    }
    drop_ref();  // before the resumptions: a line that is the only one left finds that it is, and moves the value out
    woken.resume_all();
}

bool completion::suspend(lone_waiter& self, context& line, std::coroutine_handle<> at, const char* what) noexcept {
    self.line = &line;
    if (!is_complete()) {
        env::lock_guard held(lock_);
        if (state_.load(env::relaxed) == ending::pending) {  // relaxed: written under the lock
            self.waited = true;
            if (!line.begin_wait(at, what)) return false;
            self.wait_as(line);
            waiters_.push_back(self);
            return true;
        }
    }
    return line.yields_at(at);
}

bool completion::leave(lone_waiter& self) noexcept {
    if (!self.waited || self.line->woken_by() == context::wake::ready) return true;
    unwatch(self);
    return false;
}

bool completion::block_until(time_point deadline, const char* what) noexcept {
    thread_line line(what);
    lone_waiter self;
    if (!suspend(self, line, {}, what)) return true;
    if (deadline == time_point::max()) line.park();
    else line.park_until(deadline, line.current_ticket());
    return leave(self);
}

}  // namespace leat
