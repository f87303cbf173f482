#include <leat/sync/event.hpp>

namespace leat {

// True once the bit says that somebody waits; false when it is set. Lock held.
bool event::announce_waiter() noexcept {
    std::uint32_t word = word_.load(env::acquire);
    while (word == 0) {
        // acquire pairs with set(). (Where it succeeds relaxed would do: it only says that set() needs the lock. But GCC
        // warns of a failure order that is the stronger one.)
        if (word_.compare_exchange_weak(word, bit_waited, env::acquire, env::acquire)) return true;
    }
    return (word & bit_set) == 0;
}

bool event::join(request& self, std::coroutine_handle<> at) noexcept {
    env::lock_guard held(lock_);
    return announce_waiter() && queue(self, at);
}

bool event::watch(waiter& self) noexcept {
    env::lock_guard held(lock_);
    if (!announce_waiter()) return false;
    waiters_.push_back(self);
    return true;
}

void event::unwatch(waiter& self) noexcept {
    env::lock_guard held(lock_);
    waiters_.remove(self);
}

void event::set_slow() noexcept {
    resume_list served;
    {
        env::lock_guard held(lock_);
        word_.exchange(bit_set, env::release);
        claim_all(served);
    }
    served.resume_all();
}

}  // namespace leat
