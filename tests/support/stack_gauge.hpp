// For tests of how much of a stack is used.
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

// Calls itself so many times, with some 250 bytes of stack each; gives the number.
[[gnu::noinline]] inline int recurse(int depth) {
    volatile char frame[200] = {};
    frame[depth % 200] = 1;
    return depth == 0 ? 0 : recurse(depth - 1) + frame[depth % 200];
}
constexpr int deeper_than_any_stack = 1 << 30;

}  // namespace leat_test
