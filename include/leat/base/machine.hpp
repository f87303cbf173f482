// machine: how many CPUs and how much memory this process may really use, which in a container or under a batch system is
// less than what the hardware has. The runtime takes its number of workers from here, caches and windows their bounds.
//
// CPUs are the least of the affinity mask and of every CPU quota of the control groups, v1 or v2, from the group of this
// process up through all its ancestors; memory is the least of the physical memory and of every memory limit on the same
// way. A limit that cannot be read or understood is left out and named in `ignored`: nothing here fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace leat {

// Where the figures are taken from; tests point it at a tree of their own.
struct machine_source {
    machine_source() {}
    explicit machine_source(std::string root_) : root(std::move(root_)) {}

    std::string root;                       // prefix of /proc and of the mount points named there; empty: this machine
    std::optional<unsigned> affinity_cpus;  // instead of the affinity mask of the calling thread
};

struct machine {
    machine() {}

    double cpus = 1;                 // the share of CPU time in CPUs: 0.5 is half of one; above 0
    unsigned worker_count = 1;       // `cpus` rounded up: threads that can use the share to the full; at least 1
    std::uint64_t memory_bytes = 0;  // 0: unknown

    std::string cpus_from;    // "affinity", or the file that holds the tightest quota
    std::string memory_from;  // likewise for memory
    std::vector<std::string>
        ignored;  // one sentence for each figure left out: where, what was found, what was expected

    // One line for a person: the figures and where each came from.
    [[nodiscard]] std::string why() const;
};

// Reads the figures anew at each call (some dozen small files): a caller keeps what it needs. Any thread.
[[nodiscard]] machine effective_machine(const machine_source& source = {});

}  // namespace leat
