#include "ending.hpp"

#include <csignal>

#include <leat/io/descriptor.hpp>
#include <leat/task/this_task.hpp>

namespace leat {

void ask_to_end(child_process& child) noexcept {
    child.signal_group(SIGTERM);
    child.signal_group(SIGCONT);
}

task<ending> end_of(child_process& child, time_point deadline, duration grace) {
    using wake = context::wake;
    context& line = co_await this_task::line();
    io::descriptor exit(child.pidfd());
    const wake first = co_await exit.readable(deadline);
    if (first == wake::ready) co_return ending::by_itself;
    ask_to_end(child);
    co_await exit.readable_deaf(later(line.where().now(), grace));
    child.signal_group(SIGKILL);
    co_await exit.readable_deaf();
    co_return first == wake::timed_out ? ending::timed_out : ending::stopped;
}

}  // namespace leat
