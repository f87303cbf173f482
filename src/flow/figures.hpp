// Figures as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace leat {

[[nodiscard]] std::string rate_text(double per_second);      // "41.2 items/s"
[[nodiscard]] std::string time_text(double seconds);         // "3.40 ms"
[[nodiscard]] std::string bytes_text(double bytes);          // "12.5 MiB"
[[nodiscard]] std::string count_text(std::uint64_t number);  // "1,234,567"

}  // namespace leat
