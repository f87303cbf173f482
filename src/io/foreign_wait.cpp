#include <leat/io/foreign_wait.hpp>

namespace leat::io {

void foreign_wait::prepare(leat::context& line, service& by, std::coroutine_handle<> at, const char* what) noexcept {
    line_ = &line;
    service_ = &by;
    (void)line.prepare_wait(at, what, leat::context::interruptible::no);
    ticket_ = line.current_ticket();
}

void foreign_wait::abandon() noexcept {
    if (line_->claim(ticket_, leat::context::wake::ready)) line_->resume();
    (void)line_->commit_wait();  // false: the wait has ended
}

bool foreign_wait::commit(time_point deadline, bool deaf) noexcept {
    if (!deaf) attach(line_->stop());
    if (deadline != time_point::max()) {
        due = deadline;
        line_->where().start(*this);
    }
    return line_->commit_wait();
}

void foreign_wait::at_deadline(timer& self) noexcept { static_cast<foreign_wait&>(self).request_cancel(bit_deadline); }

void foreign_wait::at_stop(stop_callback& self) noexcept { static_cast<foreign_wait&>(self).request_cancel(bit_stop); }

// The line cannot go on while this runs: leave() waits for the end of both callbacks.
void foreign_wait::request_cancel(unsigned bit) noexcept {
    // acq_rel: with completed(), decides which of the two sees the other; whoever finishes sees what both wrote.
    if (state_.fetch_or(bit, env::acq_rel) == 0) service_->run_beside_handlers(*this);
}

void foreign_wait::cancel_beside_handlers(work_item& item) noexcept {
    auto& self = static_cast<foreign_wait&>(item);
    self.cancelled_ = true;
    // relaxed: completed() was called on this thread, or on one that ran handlers before it.
    if ((self.state_.load(env::relaxed) & bit_completed) != 0) self.finish();
    else self.cancel_(self);
}

void foreign_wait::completed() noexcept {
    const bool cancelled = cancelled_;
    const unsigned before = state_.fetch_or(bit_completed, env::acq_rel);  // see request_cancel()
    // A cancelling is queued, or about to be: it finishes.
    if (before != 0 && !cancelled) return;
    finish();
}

void foreign_wait::finish() noexcept {
    leat::context& line = *line_;
    if (line.claim(ticket_, leat::context::wake::ready)) line.resume();
}

leat::context::wake foreign_wait::leave() noexcept {
    line_->where().cancel(*this);
    detach();
    const unsigned state = state_.load(env::relaxed);  // relaxed: both callbacks have ended
    if ((state & bit_stop) != 0) return leat::context::wake::cancelled;
    return (state & bit_deadline) != 0 ? leat::context::wake::timed_out : leat::context::wake::ready;
}

}  // namespace leat::io
