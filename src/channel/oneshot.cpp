#include <leat/channel/oneshot.hpp>

namespace leat::detail {

bool oneshot_core::begin(wait_node& node, context& line, std::coroutine_handle<> at) noexcept {
    node.line = &line;
    {
        env::lock_guard held(lock_);
        if (phase_ == phase::open) return wait_in(receiving_, node, at, "receive from a oneshot");
    }
    return line.yields_at(at);
}

bool oneshot_core::gave_up(wait_node& node) noexcept {
    if (!node.gave_up()) return false;
    env::lock_guard held(lock_);
    receiving_.remove(node);
    return true;
}

bool oneshot_core::receiver_is_here() const noexcept {
    env::lock_guard held(lock_);
    return receiver_here_;
}

bool oneshot_core::end_sender() noexcept {
    resume_list woken;
    bool last = false;
    {
        env::lock_guard held(lock_);
        if (phase_ == phase::open) phase_ = phase::closed;
        claim_all(receiving_, woken);
        sender_here_ = false;
        last = !receiver_here_;
    }
    woken.resume_all();
    return last;
}

bool oneshot_core::end_receiver() noexcept {
    env::lock_guard held(lock_);
    receiver_here_ = false;
    return !sender_here_;
}

}  // namespace leat::detail
