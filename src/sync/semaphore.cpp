#include <leat/sync/semaphore.hpp>

#include <leat/base/bug.hpp>
#include <leat/task/outcome.hpp>

namespace leat {

semaphore::~semaphore() {
    if (!waiters_.empty()) bug("a semaphore was destroyed while tasks wait for it");
}

std::optional<semaphore::permit> semaphore::try_acquire(std::size_t count) noexcept {
    env::lock_guard held(lock_);
    if (!waiters_.empty() || available_ < count) return std::nullopt;
    available_ -= count;
    return permit(*this, count);
}

std::size_t semaphore::available() const noexcept {
    env::lock_guard held(lock_);
    return available_;
}

bool semaphore::wait(awaiter& self, context& line, std::coroutine_handle<> at) noexcept {
    self.line = &line;
    {
        env::lock_guard held(lock_);
        if (!waiters_.empty() || available_ < self.count) {
            self.waited = true;
            if (!line.begin_wait(at, "semaphore")) return false;
            self.wait_as(line);
            waiters_.push_back(self);
            return true;
        }
        available_ -= self.count;
    }
    return line.yields_at(at);
}

void semaphore::leave(awaiter& self) {
    if (!self.waited || self.line->woken_by() == context::wake::ready) return;
    resume_list served;
    {
        env::lock_guard held(lock_);
        waiters_.remove(self);
        serve(served);  // it may have stood in the way of smaller requests
    }
    served.resume_all();
    detail::throw_cancelled();
}

void semaphore::release(std::size_t count) noexcept {
    resume_list served;
    {
        env::lock_guard held(lock_);
        available_ += count;
        serve(served);
    }
    served.resume_all();
}

void semaphore::serve(resume_list& served) noexcept {
    while (waiter* const first = waiters_.first()) {
        auto& asks = static_cast<awaiter&>(*first);
        if (asks.count > available_) return;
        // Only the first is looked at, so claim_first() takes it or, when it is leaving, drops it.
        waiters_.remove(asks);
        if (!asks.line->claim(asks.wait, context::wake::ready)) continue;
        available_ -= asks.count;
        served.add(asks);
    }
}

}  // namespace leat
