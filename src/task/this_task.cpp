#include <leat/task/this_task.hpp>

namespace leat::detail {

bool sleeper::suspend(context& line, std::coroutine_handle<> at) noexcept {
    line_ = &line;
    executor& where = line.where();
    const time_point start = where.now();
    if (relative_ != duration::min()) {
        // A time beyond the clock waits for ever (until stopped).
        due = relative_ > time_point::max() - start ? time_point::max() : start + relative_;
    }
    if (!line.prepare_wait(at, "sleep")) return false;
    ticket_ = line.current_ticket();
    if (due > start) where.start(*this);
    else if (line.withdraw(ticket_, context::wake::timed_out)) return line.yields_at(at);
    return line.commit_wait();
}

void sleeper::wake(timer& self) noexcept {
    auto& mine = static_cast<sleeper&>(self);
    context& line = *mine.line_;
    if (line.claim(mine.ticket_, context::wake::timed_out)) line.resume();
}

void sleeper::await_resume() {
    line_->where().cancel(*this);
    if (line_->woken_by() == context::wake::cancelled) throw_cancelled();
}

}  // namespace leat::detail
