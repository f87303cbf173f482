// readable: waits once for a file descriptor that somebody else owns: a pidfd, an eventfd, a socket of another library.
#pragma once

#include <leat/io/descriptor.hpp>
#include <leat/task/task.hpp>

namespace leat::io {

// Waits until reading from `fd` would not block; the descriptor must stay open meanwhile and is made non-blocking. Resumes
// on the awaiting task's executor; throws cancelled when stopped, std::system_error when the system cannot watch `fd`.
task<> readable(int fd);
// The same until `deadline` at most: false when that came first.
task<bool> readable_until(int fd, time_point deadline);

}  // namespace leat::io
