#include <leat/task/this_task.hpp>

namespace leat::detail {

bool sleeper::suspend(context& line, std::coroutine_handle<> at) noexcept {
    line_ = &line;
    return line.prepare_wait(at, "sleep") && limit_.suspend(line, at);
}

void sleeper::await_resume() {
    limit_.cancel();
    if (line_->woken_by() == context::wake::cancelled) throw_cancelled();
}

}  // namespace leat::detail
