// sealed_memory: memory without a name whose size cannot change, as a descriptor. What shared_memory and the rings map.
#pragma once

#include <cstddef>

#include <leat/process/shared_memory.hpp>

namespace leat::sealed_memory {

// Whole pages, so many that `bytes` fit; 0 when no such number exists.
[[nodiscard]] std::size_t in_pages(std::size_t bytes) noexcept;
// All zero, and all there. `bytes`: whole pages.
[[nodiscard]] expected<io::unique_fd, shared_error> create(std::size_t bytes);
// The size of the memory that another made, once it is known that it stays so.
[[nodiscard]] expected<std::size_t, shared_error> size_of(int fd);
// What went wrong with errno; `doing` completes "… failed: <reason>".
[[nodiscard]] shared_error system_error(const char* doing, int code);

}  // namespace leat::sealed_memory
