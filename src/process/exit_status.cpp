// The words for how a process ended.
#include <leat/process/exit_status.hpp>

#include <csignal>
#include <cstring>
#include <fmt/format.h>

namespace leat {

namespace {

std::string signal_name(int signal) {
    if (const char* name = ::sigabbrev_np(signal)) return fmt::format("SIG{}", name);
    if (signal >= SIGRTMIN && signal <= SIGRTMAX) return fmt::format("SIGRTMIN+{}", signal - SIGRTMIN);
    return "unknown";
}

}  // namespace

std::string exit_status::text() const {
    switch (how_) {
        case kind::exited:
            return fmt::format("exited with {}", value_);
        case kind::signalled:
            return fmt::format("killed by signal {} ({}){}", value_, signal_name(value_),
                               core_dumped_ ? ", core dumped" : "");
        case kind::lost:
            break;
    }
    return "ended, but its exit status is lost: SIGCHLD is ignored here, or something else waits for any child";
}

}  // namespace leat
