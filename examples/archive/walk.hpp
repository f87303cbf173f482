// The files below some paths, in an order that depends on their names alone.
#pragma once

#include <string>
#include <vector>

#include <sys/stat.h>

#include <leat/task/generator.hpp>

namespace archive {

struct found {
    std::string path;  // on the disk
    std::string name;  // in the archive
    struct stat status{};
    std::string problem;  // empty, or why it cannot be read
};

// A path to begin at, and what it is called in the archive: without a leading /, without . and ..
struct start {
    std::string path;
    std::string name;
};
// Sorted; a path that lies below another one is left out. Throws std::invalid_argument for one that leads out of the working
// folder by .., since it would have no name.
std::vector<start> starts_of(const std::vector<std::string>& paths);

// The names in one folder that are not to be found: the archive itself while it is written.
struct left_out {
    std::string folder;
    std::vector<std::string> names;
};

// Each path and what is below it: a folder before what is in it, that in the order of its bytes. Links are not followed.
// What cannot be looked at has a problem, and is given all the same.
leat::generator<found> walk(std::vector<start> from, left_out never);

}  // namespace archive
