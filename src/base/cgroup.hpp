// The limits that control groups, v1, v2 or both side by side, put on this process. Used by machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace leat {

template <class T>
struct cgroup_limit {
    T value;
    std::string file;  // that says so
};

struct cgroup_limits {
    std::optional<cgroup_limit<double>> cpus;
    std::optional<cgroup_limit<std::uint64_t>> memory_bytes;
    std::vector<std::string> ignored;  // a sentence for each limit that could not be read
};

// The tightest limits on the way from the group of this process to the top of what is mounted. Paths are taken under
// `root` ("" in production). Nothing is set where there are no control groups.
[[nodiscard]] cgroup_limits read_cgroup_limits(const std::string& root);

}  // namespace leat
