// The figures of the machine, cut down to what the control groups leave of them (cgroup.cpp).
#include <leat/base/machine.hpp>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <sched.h>
#include <string_view>
#include <unistd.h>

#include "cgroup.hpp"
#include "text_file.hpp"

namespace leat {

namespace {

// The CPUs that the calling thread may run on. A fixed cpu_set_t ends at 1024 CPUs, beyond which the call fails with
// EINVAL until the set is as large as the kernel's.
std::optional<unsigned> affinity_cpus() {
    for (std::size_t cpus = CPU_SETSIZE; cpus <= (1u << 20); cpus *= 2) {
        cpu_set_t* const set = CPU_ALLOC(cpus);
        if (set == nullptr) return std::nullopt;
        const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
        const bool known = ::sched_getaffinity(0, bytes, set) == 0;
        const int error = errno;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (known) return static_cast<unsigned>(std::max(count, 1));
        if (error != EINVAL) return std::nullopt;
    }
    return std::nullopt;
}

void take_cpus(machine& found, const machine_source& source) {
    if (source.affinity_cpus) {
        found.cpus = std::max(*source.affinity_cpus, 1u);
        found.cpus_from = "affinity";
    } else if (const auto count = affinity_cpus()) {
        found.cpus = *count;
        found.cpus_from = "affinity";
    } else {
        const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
        found.cpus = static_cast<double>(std::max(online, 1L));
        found.cpus_from = online > 0 ? "CPUs online" : "nothing known";
        found.ignored.emplace_back("the affinity mask could not be read");
    }
}

// "MemTotal:       16318484 kB"
std::optional<std::uint64_t> total_memory(std::string_view meminfo) {
    constexpr std::string_view key = "MemTotal:";
    while (!meminfo.empty()) {
        auto line = text_file::cut(meminfo, '\n');
        if (!line.starts_with(key)) continue;
        line = text_file::trimmed(line.substr(key.size()));
        const auto kib = text_file::number(text_file::cut(line, ' '));
        if (!kib || *kib <= 0 || *kib > (INT64_MAX >> 10) || line != "kB") return std::nullopt;
        return static_cast<std::uint64_t>(*kib) << 10;
    }
    return std::nullopt;
}

void take_memory(machine& found, const machine_source& source) {
    const auto file = source.root + "/proc/meminfo";
    const auto text = text_file::read(file);
    if (const auto bytes = text ? total_memory(*text) : std::nullopt) {
        found.memory_bytes = *bytes;
        found.memory_from = "physical memory";
        return;
    }
    found.ignored.push_back(file + (text ? ": found no line \"MemTotal: NUMBER kB\"" : ": could not be read"));
    const long pages = ::sysconf(_SC_PHYS_PAGES);
    const long page_bytes = ::sysconf(_SC_PAGESIZE);
    found.memory_from = "nothing known";
    if (pages <= 0 || page_bytes <= 0) return;
    found.memory_bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
    found.memory_from = "physical memory";
}

std::string bytes_text(std::uint64_t bytes) {
    if (bytes == 0) return "unknown";
    constexpr std::string_view units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024; ++unit) value /= 1024;
    return fmt::format("{:.4g} {}", value, units[unit]);
}

}  // namespace

machine effective_machine(const machine_source& source) {
    machine found;
    take_cpus(found, source);
    take_memory(found, source);

    auto limits = read_cgroup_limits(source.root);
    if (limits.cpus && limits.cpus->value < found.cpus) {
        found.cpus = limits.cpus->value;
        found.cpus_from = std::move(limits.cpus->file);
    }
    // Memory without a limit is a number above what any machine has, in v1.
    if (limits.memory_bytes && (found.memory_bytes == 0 || limits.memory_bytes->value < found.memory_bytes)) {
        found.memory_bytes = limits.memory_bytes->value;
        found.memory_from = std::move(limits.memory_bytes->file);
    }
    std::move(limits.ignored.begin(), limits.ignored.end(), std::back_inserter(found.ignored));
    found.worker_count = std::max(1u, static_cast<unsigned>(std::ceil(found.cpus)));
    return found;
}

std::string machine::why() const {
    auto text = fmt::format("{:.4g} CPU{} ({}), so {} worker{}; memory {} ({})", cpus, cpus == 1 ? "" : "s", cpus_from,
                            worker_count, worker_count == 1 ? "" : "s", bytes_text(memory_bytes), memory_from);
    for (const auto& sentence : ignored) text += fmt::format("; ignored {}", sentence);
    return text;
}

}  // namespace leat
