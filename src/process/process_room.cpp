#include "process_room.hpp"

#include <cerrno>
#include <sys/epoll.h>
#include <system_error>
#include <unistd.h>

namespace leat {

void process_room::watch() {
    if (events_ && events_of_ == ::getpid()) return;
    io::unique_fd events(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event what{};
    what.events = EPOLLIN | static_cast<std::uint32_t>(EPOLLET);
    if (!events || ::epoll_ctl(events.get(), EPOLL_CTL_ADD, bell_.get(), &what) != 0)
        throw std::system_error(errno, std::generic_category(), "waiting for another process");
    events_ = std::move(events);
    events_of_ = ::getpid();
}

void process_room::silence() const noexcept {
    epoll_event rung{};
    (void)::epoll_wait(events_.get(), &rung, 1, 0);
}

}  // namespace leat
