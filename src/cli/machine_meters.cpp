#include <cli/machine_meters.hpp>

#include <fstream>
#include <string>

namespace leat::cli {

std::optional<unsigned> runnable_tasks() {
    std::ifstream file("/proc/loadavg");
    double average = 0;
    unsigned running = 0;
    for (int each = 0; each < 3; ++each) file >> average;
    if (!(file >> running)) return std::nullopt;
    return running > 0 ? running - 1 : 0;
}

std::optional<std::uint64_t> available_memory() {
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(line.find(':') + 1)) * 1024;
    return std::nullopt;
}

}  // namespace leat::cli
