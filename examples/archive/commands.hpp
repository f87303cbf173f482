// What the program can do. Each gives its exit code: 0, or 1 when it has told of problems. Throws what ends it at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <leat/task/task.hpp>

namespace archive {

struct create_options {
    bool resume = false;
    int level = 3;                                        // of zstd
    std::uint64_t save_every = std::uint64_t{64} << 20U;  // bytes of the archive
    std::string output;
    std::vector<std::string> paths;
};

leat::task<int> create(create_options options);
leat::task<int> extract(std::string path, std::string folder);
leat::task<int> verify(std::string path);
int list(const std::string& path);

// One line to standard error.
void tell(const std::string& what);

}  // namespace archive
