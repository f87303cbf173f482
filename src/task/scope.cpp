#include <leat/task/scope.hpp>

#include <string>

#include <leat/base/bug.hpp>

namespace leat {

namespace {

context& line_or_bug(std::source_location where) {
    context* const line = context::current();
    if (line == nullptr) bug("a scope was made outside a task: start one with leat::run or leat::main", where);
    return *line;
}

}  // namespace

scope::scope(std::source_location where) : scope(line_or_bug(where)) {}

scope::~scope() {
    if (joined_.load(env::relaxed)) return;  // relaxed: tasks that spawn have arrived, or it is a bug anyway
    std::string names;
    std::size_t named = 0;
    for_each([&](stop_node& each) {
        const context* const line = context::of(each);
        if (line == nullptr) return;
        names += named++ == 0 ? ": " : ", ";
        names += line->name();
    });
    // Those are in no list yet.
    if (named < pending()) names += " (" + std::to_string(pending() - named) + " have not waited for anything so far)";
    bug("a scope was destroyed before it was joined, with " + std::to_string(pending()) + " of its tasks running" +
        names);
}

void scope::fail(std::exception_ptr error) noexcept {
    {
        env::lock_guard held(lock_);
        if (first_error_) return;
        first_error_ = std::move(error);
    }
    request_stop();
}

void scope::hold(detail::held_error& error) noexcept {
    env::lock_guard held(lock_);
    error.next_ = held_;
    if (held_ != nullptr) held_->link_ = &error.next_;
    error.link_ = &held_;
    held_ = &error;
}

bool scope::let_go(detail::held_error& error) noexcept {
    env::lock_guard held(lock_);
    return take_out(error);
}

bool scope::take_out(detail::held_error& error) noexcept {
    if (error.link_ == nullptr) return false;
    *error.link_ = error.next_;
    if (error.next_ != nullptr) error.next_->link_ = error.link_;
    error.link_ = nullptr;
    return true;
}

detail::held_error* scope::next_held() noexcept {
    env::lock_guard held(lock_);
    detail::held_error* const newest = held_;
    if (newest != nullptr) (void)take_out(*newest);
    return newest;
}

std::exception_ptr scope::finish(const context& line, bool throws) {
    ends_.reset();
    joined_.store(true, env::relaxed);
    std::exception_ptr untaken;  // the oldest
    while (detail::held_error* const each = next_held())
        if (std::exception_ptr error = each->surrender()) untaken = std::move(error);
    std::exception_ptr error;
    {
        env::lock_guard held(lock_);  // a handle may have been dropped just before it was asked
        error = std::exchange(first_error_, nullptr);
    }
    if (!error) error = std::move(untaken);
    if (!throws) return error;
    if (error) std::rethrow_exception(error);
    if (line.stop_requested()) detail::throw_cancelled();
    return nullptr;
}

}  // namespace leat
