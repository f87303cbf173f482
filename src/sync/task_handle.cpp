#include <leat/sync/task_handle.hpp>

namespace leat::detail {

std::exception_ptr task_completion::ended(const outcome_base& how) noexcept {
    env::lock_guard held(lock_);
    line_ = nullptr;
    if (how.is_error()) {
        if (!owned_) return how.error();
        untaken_ = how.error();
        add_ref();  // the list's
        scope_->hold(*this);
    } else {
        scope_ = nullptr;
    }
    return nullptr;
}

void task_completion::stop() noexcept {
    env::lock_guard held(lock_);
    if (line_ != nullptr) line_->request_stop();
}

void task_completion::taken() noexcept {
    bool unlisted = false;
    {
        env::lock_guard held(lock_);
        if (!untaken_) return;
        untaken_ = nullptr;
        unlisted = scope_->let_go(*this);
    }
    if (unlisted) drop_ref();
}

void task_completion::dropped() noexcept {
    bool unlisted = false;
    {
        env::lock_guard held(lock_);
        owned_ = false;
        if (!untaken_) return;
        scope_->fail(std::exchange(untaken_, nullptr));
        unlisted = scope_->let_go(*this);  // last: as long as it is in the list, the scope waits for this lock
    }
    if (unlisted) drop_ref();
}

std::exception_ptr task_completion::surrender() noexcept {
    std::exception_ptr error;
    {
        env::lock_guard held(lock_);
        error = std::exchange(untaken_, nullptr);
        scope_ = nullptr;
    }
    drop_ref();
    return error;
}

}  // namespace leat::detail
