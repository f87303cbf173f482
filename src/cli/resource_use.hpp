// resource_use: what a run used of the machine: CPU time of the program and its children, and memory of the program.
#pragma once

#include <leat/flow/report.hpp>

namespace leat::cli {

class resource_use {
public:
    // Counts from here on.
    resource_use();
    // Puts into `done` what was used since, and the effective CPUs.
    void note(report& done) const;

private:
    double cpu_s_;
};

// The most memory that the program has had so far, in bytes; 0 where it is not known.
[[nodiscard]] double peak_memory() noexcept;

}  // namespace leat::cli
