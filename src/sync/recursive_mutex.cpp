#include <leat/sync/recursive_mutex.hpp>

namespace leat {

recursive_mutex::guard recursive_mutex::locked_by(const void* who, const context* line,
                                                  const detail::lock_attempt& how) noexcept {
    owner_.store(who, env::relaxed);  // relaxed: see is_owned_by()
    ++depth_.write();
    return guard(*this, line, how);
}

void recursive_mutex::unlock(const guard&) noexcept {
    if (!is_mine()) bug_here("unlocked by somebody who does not own it");
    if (--depth_.write() != 0) return;
    owner_.store(nullptr, env::relaxed);
    give(1);
}

}  // namespace leat
