#include <leat/channel/feed_core.hpp>

#include <leat/task/outcome.hpp>

namespace leat::detail {

bool feed_core::begin(node_type& node, context& line, std::coroutine_handle<> at) noexcept {
    node.line = &line;
    {
        env::lock_guard held(lock_);
        if (published_ == *node.seen && !closed_) return wait_in(waiting_, node, at, "news of a channel");
    }
    return line.yields_at(at);
}

void feed_core::leave(node_type& node) {
    if (!node.gave_up()) return;
    {
        env::lock_guard held(lock_);
        waiting_.remove(node);
    }
    throw_cancelled();
}

void feed_core::publish(resume_list& woken) noexcept {
    ++published_;
    claim_all(waiting_, woken);
}

void feed_core::close() noexcept {
    resume_list woken;
    {
        env::lock_guard held(lock_);
        closed_ = true;
        claim_all(waiting_, woken);
    }
    woken.resume_all();
}

void feed_core::add_sender() noexcept {
    env::lock_guard held(lock_);
    ++senders_;
}

std::uint64_t feed_core::add_receiver() noexcept {
    env::lock_guard held(lock_);
    ++receivers_;
    return published_;
}

std::size_t feed_core::receivers() const noexcept {
    env::lock_guard held(lock_);
    return receivers_;
}

bool feed_core::remove_sender() noexcept {
    resume_list woken;
    bool last = false;
    {
        env::lock_guard held(lock_);
        if (--senders_ == 0) {
            closed_ = true;
            claim_all(waiting_, woken);
        }
        last = senders_ == 0 && receivers_ == 0;
    }
    woken.resume_all();
    return last;
}

bool feed_core::remove_receiver() noexcept {
    env::lock_guard held(lock_);
    --receivers_;
    return senders_ == 0 && receivers_ == 0;
}

}  // namespace leat::detail
