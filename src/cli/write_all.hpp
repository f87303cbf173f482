// write_all: a text to a descriptor that blocks.
#pragma once

#include <string_view>

namespace leat::cli {

// Writes all of it, going on after signals. False, with errno, when it cannot.
[[nodiscard]] bool write_all(int fd, std::string_view text) noexcept;

}  // namespace leat::cli
