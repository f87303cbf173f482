// machine_load: how much of the machine's CPUs and memory is taken, by anybody, as Linux says. 0 where it does not say.
#pragma once

#include <cstdint>

namespace leat {

// Used by one at a time.
class machine_load {
public:
    // Of the time since the last call; of no meaning in the first.
    [[nodiscard]] double cpu_share();
    [[nodiscard]] static double memory_share();
    // Of this process.
    [[nodiscard]] static double own_memory_share();

private:
    std::uint64_t busy_ = 0, all_ = 0;  // ticks at the last call
};

}  // namespace leat
