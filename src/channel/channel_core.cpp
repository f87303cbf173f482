#include <leat/channel/channel_core.hpp>

#include <leat/base/bug.hpp>

namespace leat::detail {

channel_core::~channel_core() {
    if (!sending_.empty() || !receiving_.empty()) bug("a channel was destroyed while tasks wait at it");
}

void channel_core::fail_all(waiter_queue& queue, result why, resume_list& failed) noexcept {
    while (waiter* const each = queue.claim_first()) {
        static_cast<end_waiter*>(each)->how = why;
        failed.add(*each);
    }
}

bool channel_core::wait_in(waiter_queue& queue, end_waiter& self, context& line, std::coroutine_handle<> at,
                           const char* what) noexcept {
    self.waited = true;
    if (!line.begin_wait(at, what)) return false;
    self.wait_as(line);
    queue.push_back(self);
    return true;
}

void channel_core::close_locked(resume_list& woken) noexcept {
    if (phase_ != phase::open) return;
    phase_ = phase::closed;
    fail_all(sending_, result::closed, woken);
    fail_all(receiving_, result::closed, woken);  // they wait only while nothing is inside
}

void channel_core::close() noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        close_locked(woken);
    }
    woken.resume_all();
}

channel_counts channel_core::counts() const noexcept {
    env::lock_guard held(lock_);
    return {depth_, bytes_, bounds_.items, sent_, received_, senders_, receivers_};
}

void channel_core::add_sender() noexcept {
    env::lock_guard held(lock_);
    ++senders_;
}

void channel_core::add_receiver() noexcept {
    env::lock_guard held(lock_);
    ++receivers_;
}

bool channel_core::drop_sender() noexcept {
    resume_list woken;
    bool gone = false;
    {
        env::lock_guard held(lock_);
        if (--senders_ == 0) close_locked(woken);
        gone = senders_ == 0 && receivers_ == 0;
    }
    woken.resume_all();
    return gone;
}

}  // namespace leat::detail
