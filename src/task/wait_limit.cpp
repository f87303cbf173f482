#include <leat/task/wait_limit.hpp>

namespace leat::detail {

bool wait_limit::suspend(context& line, std::coroutine_handle<> at) noexcept {
    executor& where = line.where();
    const time_point now = where.now();
    due = limit_.from(now);
    ticket_ = line.current_ticket();
    line_ = &line;
    if (due <= now) {
        if (line.withdraw(ticket_, context::wake::timed_out)) return line.yields_at(at);
    } else if (due != time_point::max()) {
        where.start(*this);
    }
    return line.commit_wait();
}

void wait_limit::end_wait(timer& self) noexcept {
    auto& mine = static_cast<wait_limit&>(self);
    context& line = *mine.line_;
    if (line.claim(mine.ticket_, context::wake::timed_out)) line.resume();
}

}  // namespace leat::detail
