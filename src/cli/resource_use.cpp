#include <cli/resource_use.hpp>

#include <sys/resource.h>

#include <leat/base/machine.hpp>

namespace leat::cli {

namespace {

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// Of children those that have ended and were waited for, as all are at the end of a run.
double cpu_seconds() {
    double all = 0;
    for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
        rusage used{};
        if (::getrusage(who, &used) == 0) all += seconds(used.ru_utime) + seconds(used.ru_stime);
    }
    return all;
}

}  // namespace

resource_use::resource_use() : cpu_s_(cpu_seconds()) {}

void resource_use::note(report& done) const {
    done.cpus = effective_machine().cpus;
    done.cpu_s = cpu_seconds() - cpu_s_;
    done.peak_bytes = peak_memory();
}

double peak_memory() noexcept {
    rusage used{};
    return ::getrusage(RUSAGE_SELF, &used) == 0 ? static_cast<double>(used.ru_maxrss) * 1024 : 0;  // in KiB on Linux
}

}  // namespace leat::cli
