#include <leat/task/stop.hpp>

#include <leat/base/bug.hpp>

namespace leat {

stop_callback::~stop_callback() {
    if (source_ != nullptr) bug("a stop callback was destroyed while attached");
}

void stop_callback::attach(stop_source& source) noexcept {
    env::lock_guard held(source.lock_);
    source_ = &source;
    next_ = source.first_;
    link_ = &source.first_;
    if (next_ != nullptr) next_->link_ = &next_;
    source.first_ = this;
    // relaxed: written under the lock that is held here.
    if (source.requested_.load(env::relaxed)) body_(*this);
}

void stop_callback::detach() noexcept {
    if (source_ == nullptr) return;
    env::lock_guard held(source_->lock_);
    *link_ = next_;
    if (next_ != nullptr) next_->link_ = link_;
    source_ = nullptr;
    next_ = nullptr;
    link_ = nullptr;
}

stop_source::~stop_source() {
    if (first_ != nullptr) bug("a stop source was destroyed before the tasks below it ended");
}

void stop_source::request_stop() noexcept {
    env::lock_guard held(lock_);
    // relaxed: all writes happen under this lock.
    if (requested_.load(env::relaxed)) return;
    requested_.store(true, env::release);  // pairs with stop_requested()
    for (stop_callback* each = first_; each != nullptr; each = each->next_) each->body_(*each);
}

void child_stop_source::pass_on(stop_callback& self) noexcept { static_cast<link&>(self).target->request_stop(); }

}  // namespace leat
