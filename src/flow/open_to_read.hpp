// open_to_read: how a source gets its file, or standard input.
#pragma once

#include <string>

namespace leat {

// A descriptor of the file, or another of standard input where the path is "-". Blocks, for a FIFO until somebody writes to
// it. Throws std::system_error.
[[nodiscard]] int open_to_read(const std::string& path);

}  // namespace leat
