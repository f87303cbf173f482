// An order of objects, for who must go about several of them in one order wherever it meets others that do. Part of the seam:
// env.hpp.
#pragma once

#include <functional>

namespace leat::env {

#if defined(LEAT_EXPLORE)

// By when they were made: their addresses differ from schedule to schedule.
[[nodiscard]] bool lies_before(const void* one, const void* other) noexcept;

#else

// By address; null before all.
[[nodiscard]] inline bool lies_before(const void* one, const void* other) noexcept { return std::less<>()(one, other); }

#endif

}  // namespace leat::env
