#include <flow/machine_load.hpp>

#include <algorithm>
#include <fstream>
#include <string>

#include <unistd.h>

namespace leat {

namespace {

// A line of /proc/meminfo in KiB; 0: there is none.
double meminfo(const std::string& key) {
    std::ifstream file("/proc/meminfo");
    std::string name;
    for (double value = 0; file >> name;) {
        if (name == key && file >> value) return value;
        file.ignore(256, '\n');
    }
    return 0;
}

}  // namespace

double machine_load::cpu_share() {
    // user nice system idle iowait irq softirq steal …; guests are in the first two.
    std::ifstream file("/proc/stat");
    std::string name;
    if (!(file >> name) || name != "cpu") return 0;
    std::uint64_t all = 0, busy = 0;
    for (int column = 0; column < 8; ++column) {
        std::uint64_t ticks = 0;
        if (!(file >> ticks)) break;
        all += ticks;
        if (column != 3 && column != 4) busy += ticks;
    }
    const auto passed = static_cast<double>(all - all_), worked = static_cast<double>(busy - busy_);
    all_ = all;
    busy_ = busy;
    return passed > 0 ? std::clamp(worked / passed, 0.0, 1.0) : 0;
}

double machine_load::memory_share() {
    const double total = meminfo("MemTotal:");
    return total > 0 ? std::clamp(1 - meminfo("MemAvailable:") / total, 0.0, 1.0) : 0;
}

double machine_load::own_memory_share() {
    std::ifstream file("/proc/self/statm");
    double size = 0, resident = 0;
    if (!(file >> size >> resident)) return 0;
    const double total = meminfo("MemTotal:") * 1024;
    return total > 0 ? resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / total : 0;
}

}  // namespace leat
