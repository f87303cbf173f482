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
