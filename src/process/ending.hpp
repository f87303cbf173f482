// ending: waits for the end of a child, and brings it about when the time is over or a stop is requested.
#pragma once

#include <leat/process/child_process.hpp>
#include <leat/task/task.hpp>

namespace leat {

enum class ending : unsigned char { by_itself, timed_out, stopped };

// Returns once the child has ended; it is not yet waited for, so its group can still be signalled. At `deadline`, or when the
// awaiting task is asked to stop, the group gets SIGTERM, and SIGKILL after `grace` or when the child has ended. Throws
// std::system_error when the system cannot watch the child; then it may still run.
task<ending> end_of(child_process& child, time_point deadline, duration grace);

// `start` + `time`, where a time beyond the clock means for ever.
inline time_point later(time_point start, duration time) noexcept {
    return time > time_point::max() - start ? time_point::max() : start + time;
}

// SIGTERM, for stopped processes too.
void ask_to_end(child_process& child) noexcept;

}  // namespace leat
