#include <leat/channel/channel_core.hpp>

#include <leat/base/bug.hpp>

namespace leat::detail {

channel_core::channel_core(channel_bounds bounds, overflow policy, bool has_size) noexcept
    : policy_(policy), has_size_(has_size), bounds_(bounds) {
    check_bounds(bounds);
}

channel_core::~channel_core() {
    if (!sending_.empty() || !receiving_.empty()) bug("a channel was destroyed while tasks wait at it");
}

void channel_core::check_bounds(channel_bounds bounds) const noexcept {
    if (bounds.items == channel_bounds::unlimited && !has_size_)
        bug("a channel without a size function needs a bound in items");
}

void channel_core::fail_all(waiter_queue& queue, result why, resume_list& failed) noexcept {
    while (waiter* const each = queue.claim_first()) {
        static_cast<end_waiter*>(each)->how = why;
        failed.add(*each);
    }
}

bool channel_core::wait_in(waiter_queue& queue, end_waiter& self, context& line, std::coroutine_handle<> at,
                           const char* what) noexcept {
    if (!line.begin_wait(at, what)) return false;
    self.wait_as(line);
    queue.push_back(self);
    return true;
}

void channel_core::wait_in(waiter_queue& queue, end_waiter& self, context& line) noexcept {
    self.how = result::none;
    self.line = &line;
    queue.push_back(self);
}

bool channel_core::waits_another(const waiter_queue& queue, const context& line) noexcept {
    const waiter* each = queue.first();
    while (each != nullptr && each->line == &line) each = each->next;
    return each != nullptr;
}

void channel_core::close_locked(resume_list& woken) noexcept {
    if (phase_ != phase::open) return;
    phase_ = phase::closed;
    fail_all(sending_, result::closed, woken);
    end_receivers_if_drained(woken);
}

void channel_core::end_receivers_if_drained(resume_list& woken) noexcept {
    if (depth_ == 0 && end_for_receivers() == result::closed) fail_all(receiving_, result::closed, woken);
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
    const std::uint64_t sent = received_ + depth_ + dropped_;  // invariant 4
    return {depth_, bytes_, bounds_.items, sent, received_, dropped_, reserved_, senders_, receivers_};
}

void channel_core::add_sender() noexcept {
    env::lock_guard held(lock_);
    ++senders_;
}

void channel_core::add_receiver() noexcept {
    env::lock_guard held(lock_);
    ++receivers_;
}

void channel_core::add_observer() noexcept {
    env::lock_guard held(lock_);
    ++observers_;
}

void channel_core::drop_sender() noexcept {
    resume_list woken;
    bool gone = false;
    {
        env::lock_guard held(lock_);
        if (--senders_ == 0) close_locked(woken);
        gone = unused();
    }
    woken.resume_all();
    if (gone) delete this;
}

void channel_core::drop_observer() noexcept {
    bool gone = false;
    {
        env::lock_guard held(lock_);
        --observers_;
        gone = unused();
    }
    if (gone) delete this;
}

}  // namespace leat::detail
