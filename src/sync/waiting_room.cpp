#include <leat/sync/waiting_room.hpp>

#include <string>

#include <leat/base/bug.hpp>

namespace leat::detail {

waiting_room::~waiting_room() {
    env::lock_guard held(lock_);  // who has let the last one go may still be inside
    if (!waiters_.empty()) bug_here("destroyed while somebody waits for it");
}

bool waiting_room::queue(request& self, std::coroutine_handle<> at) noexcept {
    context& line = *self.line;
    self.waited = true;
    line.set_waits_at(this);
    if (!(self.in_two_steps ? line.prepare_wait(at, name(), self.how) : line.begin_wait(at, name(), self.how)))
        return false;
    self.wait_as(line);
    waiters_.push_back(self);
    return true;
}

bool waiting_room::has_ended_well(request& self) noexcept {
    self.line->set_waits_at(nullptr);
    if (!self.gave_up()) return true;
    env::lock_guard held(lock_);
    waiters_.remove(self);
    return false;
}

void waiting_room::claim_all(resume_list& served) noexcept {
    while (waiter* const each = waiters_.claim_first()) served.add(*each);
}

void waiting_room::bug_here(const char* what) const noexcept { bug(std::string(name()) + ": " + what); }

}  // namespace leat::detail
