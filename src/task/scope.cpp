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

detail::spawned_base::spawned_base(scope& owner, task_options how) noexcept
    : arm_base(owner.line_, owner.where_, how.urgency, &at_end), owner_(owner) {
    rename(how.name);
}

void detail::spawned_base::at_end(arm_base& self) noexcept {
    auto& mine = static_cast<spawned_base&>(self);
    scope& owner = mine.owner_;
    if (mine.result().is_error()) owner.fail(mine.result().error());
    delete &mine;  // before the arrival: arguments and frame are gone when the scope is joined
    owner.ends_.arrive();
}

scope::scope(std::source_location where) : scope(line_or_bug(where)) {}

scope::~scope() {
    if (joined_.load(env::relaxed)) return;  // relaxed: tasks that spawn have arrived, or it is a bug anyway
    std::string names;
    stop_.for_each([&](stop_callback& each) {
        const context* const line = context::of(each);
        if (line == nullptr) return;
        names += names.empty() ? ": " : ", ";
        names += line->name();
    });
    bug("a scope was destroyed before it was joined, with " + std::to_string(pending()) + " of its tasks running" +
        names);
}

void scope::add(std::unique_ptr<detail::spawned_base> task) noexcept {
    joined_.store(false, env::relaxed);  // relaxed: read by the owner, after the arrivals
    ends_.add();
    task->attach(stop_);
    task.release()->post();
}

void scope::fail(std::exception_ptr error) noexcept {
    {
        env::lock_guard held(lock_);
        if (first_error_) return;
        first_error_ = std::move(error);
    }
    stop_.request_stop();
}

std::exception_ptr scope::finish(const context& line, bool throws) {
    ends_.reset();
    joined_.store(true, env::relaxed);
    std::exception_ptr error = std::exchange(first_error_, nullptr);
    if (!throws) return error;
    if (error) std::rethrow_exception(error);
    if (line.stop_requested()) detail::throw_cancelled();
    return nullptr;
}

}  // namespace leat
