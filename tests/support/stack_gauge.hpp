// For tests that the stack stays flat.
#pragma once

#include <algorithm>
#include <cstdint>

namespace leat_test {

// The span of the stack that was seen, in bytes.
class stack_gauge {
public:
    [[gnu::noinline]] void look() noexcept {
        const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        low_ = std::min(low_, here);
        high_ = std::max(high_, here);
    }
    [[nodiscard]] std::uintptr_t span_bytes() const noexcept { return high_ - low_; }

private:
    std::uintptr_t low_ = UINTPTR_MAX;
    std::uintptr_t high_ = 0;
};

constexpr std::uintptr_t flat_bytes = 512 * 1024;

}  // namespace leat_test
