// bell: an eventfd that another process rings, for tasks, whose event loop can wait for a descriptor and not for a futex. Used by
// rings and locks in shared memory.
#pragma once

#include <optional>

#include <leat/process/shared_memory.hpp>

namespace leat {

// Non-blocking, close-on-exec.
[[nodiscard]] expected<io::unique_fd, shared_error> make_bell();
// What is wrong with one that came from another process; afterwards it is as if made here.
[[nodiscard]] std::optional<shared_error> check_bell(int fd);
void ring_bell(int fd) noexcept;
void silence_bell(int fd) noexcept;

}  // namespace leat
