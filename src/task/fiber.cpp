#include <leat/task/fiber.hpp>

#include <string>

namespace leat::detail {

[[gnu::no_sanitize_address]] void fiber_core::enter(arrival came) noexcept {
    auto& self = *static_cast<fiber_core*>(static_cast<parcel*>(came.data)->to);
    self.begun_ = true;
    self.body_(self, self.come_from(arrived(came)));
    self.state_ = state::ended;
    parcel sends(nullptr, &self, nullptr);
    jump_for_good(self.resumer_, sends);
}

void fiber_core::unwind() noexcept {
    if (state_ == state::running) bug_in("dropped");
    if (!begun_ || state_ == state::ended) return;
    unwinding_ = true;
    resume(nullptr);  // any further suspension inside throws at once
}

void fiber_core::bug_in(const char* what) const noexcept {
    bug(std::string("a fiber that ") + (ended() ? "has ended" : "runs") + " was " + what);
}

}  // namespace leat::detail
