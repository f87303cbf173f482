#include <leat/sync/permits.hpp>

namespace leat::detail {

bool permits::wait(request& self, std::coroutine_handle<> at) noexcept {
    if (self.count > most_) bug_here("asked for more permits than there may be");
    env::lock_guard held(lock_);
    std::size_t word = word_.load(env::relaxed);  // relaxed: the exchanges below decide
    while ((word & bit_waited) == 0) {
        if (can_take(word, self.count)) {
            // acquire: as in try_take().
            if (word_.compare_exchange_weak(word, word - self.count * one, env::acquire, env::relaxed)) return false;
        } else if (word_.compare_exchange_weak(word, word | bit_waited, env::relaxed, env::relaxed)) {
            break;  // relaxed: only says that what follows needs the lock
        }
    }
    if (queue(self, at)) return true;
    // relaxed: as above. The word is ours while the bit is set.
    if (waiters_.empty()) word_.fetch_and(~bit_waited, env::relaxed);
    return false;
}

// Where that differs from has_ended_well(): who leaves lets others go on.
bool permits::served(request& self) noexcept {
    self.line->set_waits_at(nullptr);
    if (!self.gave_up()) return true;
    resume_list others;
    {
        env::lock_guard held(lock_);
        // If it was unlinked, who did that has served those behind it, and the word may be anybody's.
        if (self.linked) {
            waiters_.remove(self);
            serve(word_.load(env::acquire) / one, others);  // it may have stood in the way of smaller requests
        }
    }
    others.resume_all();
    return false;
}

void permits::give_slow(std::size_t count, bool only_if_none) noexcept {
    resume_list served;
    {
        env::lock_guard held(lock_);
        // Takes the word, so that it is ours whether somebody waits still or not. acquire: what was done before the others
        // gave theirs goes on to who takes them from here.
        const std::size_t there = word_.fetch_or(bit_waited, env::acquire) / one;
        if (only_if_none && waiters_.empty() && there > 0) count = 0;
        if (count > most_ - there) bug_here("more permits were released than there may be");
        serve(there + count, served);
    }
    served.resume_all();
}

void permits::serve(std::size_t there, resume_list& served) noexcept {
    while (waiter* const first = waiters_.first()) {
        auto& asks = static_cast<request&>(*first);
        if (asks.count > there) break;
        waiters_.remove(asks);
        if (!asks.claim()) continue;  // it is leaving
        there -= asks.count;
        served.add(asks);
    }
    // release: as in give().
    word_.store(there * one + (waiters_.empty() ? 0 : bit_waited), env::release);
}

}  // namespace leat::detail
