#include "figures.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>

namespace leat {

std::string rate_text(double per_second) {
    if (std::isinf(per_second)) return "any number of items/s";
    if (per_second >= 1000) return count_text(static_cast<std::uint64_t>(std::min(per_second, 1e18))) + " items/s";
    if (per_second >= 100) return fmt::format("{:.0f} items/s", per_second);
    if (per_second >= 1 || per_second == 0) return fmt::format("{:.1f} items/s", per_second);
    return fmt::format("{:.2g} items/s", per_second);
}

std::string time_text(double seconds) {
    if (seconds >= 2 * 86'400) return fmt::format("{:.1f} days", seconds / 86'400);
    if (seconds >= 2 * 3600) return fmt::format("{:.1f} h", seconds / 3600);
    if (seconds >= 120) return fmt::format("{:.1f} min", seconds / 60);
    if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
    if (seconds >= 1e-3) return fmt::format("{:.2f} ms", seconds * 1e3);
    if (seconds >= 1e-6) return fmt::format("{:.2f} us", seconds * 1e6);
    return seconds > 0 ? fmt::format("{:.0f} ns", seconds * 1e9) : "0 s";
}

std::string bytes_text(double bytes) {
    constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < std::size(units); ++unit) bytes /= 1024;
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string count_text(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(static_cast<std::size_t>(at), 1, ',');
    return digits;
}

}  // namespace leat
