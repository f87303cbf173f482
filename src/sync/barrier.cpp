#include <leat/sync/barrier.hpp>

namespace leat::detail {

barrier_core::phase barrier_core::arrive(std::size_t count, std::size_t dropped) noexcept {
    phase now(0);
    {
        env::lock_guard held(lock_);
        now = phase(number_.load(env::relaxed));  // relaxed: written under the lock
        if (count > due_) bug_here("more have arrived than are expected");
        due_ -= count;
        expected_ -= dropped;
        if (due_ != 0 || count == 0) return now;
    }
    // Nobody else can arrive before the next phase, and so nobody else comes here.
    at_end_(*this);
    resume_list served;
    {
        env::lock_guard held(lock_);
        due_ = expected_;
        number_.store(now.number_ + 1, env::release);  // pairs with is_over()
        claim_all(served);
    }
    served.resume_all();
    return now;
}

void barrier_core::drop(phase arrived) noexcept {
    {
        env::lock_guard held(lock_);
        if (!is_over(arrived)) {
            --expected_;
            return;
        }
    }
    arrive_and_drop();
}

bool barrier_core::join(request& self, std::coroutine_handle<> at) noexcept {
    env::lock_guard held(lock_);
    return !is_over(self.where.of) && queue(self, at);
}

}  // namespace leat::detail
