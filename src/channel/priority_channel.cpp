#include <leat/channel/priority_channel.hpp>

namespace leat::detail {

priority_core::priority_core(std::size_t capacity) noexcept : capacity_(capacity) {
    if (capacity == 0) bug("a priority_channel holds at least one item");
}

void priority_core::fail_all(waiter_queue& queue, result how, resume_list& woken) noexcept {
    while (waiter* const each = queue.claim_first()) {
        static_cast<node_type*>(each)->how = how;
        woken.add(*each);
    }
}

void priority_core::close_locked(resume_list& woken) noexcept {
    if (phase_ != phase::open) return;
    phase_ = phase::closed;
    fail_all(sending_, result::closed, woken);
    fail_all(receiving_, result::closed, woken);  // they wait only while nothing is inside
}

void priority_core::close() noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        close_locked(woken);
    }
    woken.resume_all();
}

void priority_core::add_sender() noexcept {
    env::lock_guard held(lock_);
    ++senders_;
}

void priority_core::add_receiver() noexcept {
    env::lock_guard held(lock_);
    ++receivers_;
}

bool priority_core::remove_sender() noexcept {
    resume_list woken;
    bool last = false;
    {
        env::lock_guard held(lock_);
        if (--senders_ == 0) close_locked(woken);
        last = senders_ == 0 && receivers_ == 0;
    }
    woken.resume_all();
    return last;
}

}  // namespace leat::detail
