// Reads the small text files in which the kernel answers questions (/proc, /sys). Used by machine and cgroup.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace leat::text_file {

// The content of `path`, or nothing, with errno set. Stops after 16 MiB: these files are small.
[[nodiscard]] std::optional<std::string> read(const std::string& path);

// Cuts the next piece up to `separator` (or the end) off the front of `rest`.
[[nodiscard]] std::string_view cut(std::string_view& rest, char separator) noexcept;

[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept;

// The decimal number that `text` is, sign allowed, nothing else around it.
[[nodiscard]] std::optional<std::int64_t> number(std::string_view text) noexcept;

}  // namespace leat::text_file
