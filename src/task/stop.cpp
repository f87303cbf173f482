#include <leat/task/stop.hpp>

#include <leat/task/context.hpp>

namespace leat {

void stop_node::link() noexcept {
    stop_source* const source = upstream();
    if (source == nullptr) return;
    env::lock_guard held(source->lock_);
    upstream_ |= bit_linked;
    next_ = source->first_;
    link_ = &source->first_;
    if (next_ != nullptr) next_->link_ = &next_;
    source->first_ = this;
    // relaxed: written under the lock that is held here.
    if (source->requested_.load(env::relaxed)) pass_on();
}

void stop_node::leave_list() noexcept {
    env::lock_guard held(upstream()->lock_);
    *link_ = next_;
    if (next_ != nullptr) next_->link_ = link_;
    upstream_ &= ~bit_linked;
}

void stop_node::pass_on() noexcept {
    switch (leads_to()) {
        case target::function: {
            auto& mine = static_cast<stop_callback&>(*this);
            return mine.body_(mine);
        }
        case target::source:
            return child_stop_source::of(*this)->request_stop();
        case target::line:
            return context::of(*this)->request_stop();
    }
}

void stop_source::request_stop() noexcept {
    env::lock_guard held(lock_);
    // relaxed: all writes happen under this lock.
    if (requested_.load(env::relaxed)) return;
    requested_.store(true, env::release);  // pairs with stop_requested()
    for (stop_node* each = first_; each != nullptr; each = each->next_) each->pass_on();
}

}  // namespace leat
