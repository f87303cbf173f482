// For tests of what processes share: puts descriptors where spawn_options::pass would.
#pragma once

#include <cstdlib>
#include <unistd.h>
#include <vector>

#include <leat/process/spawn.hpp>

namespace leat_test {

// Gives the first of them.
inline int give(const std::vector<leat::passed_descriptor>& all) {
    for (const auto& each : all)
        if (::dup2(each.here, each.there) < 0) std::abort();
    return all.front().there;
}

}  // namespace leat_test
