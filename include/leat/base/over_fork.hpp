// hold_over_fork: a lock of the whole process that a forked child can go on with: no other thread is inside at the fork.
#pragma once

#include <leat/base/env.hpp>

namespace leat::env {

// From now on fork() waits for `lock`. For one lock alone, which lives to the end of the process. Not in the explorer's build.
void hold_over_fork(mutex& lock) noexcept;

}  // namespace leat::env
