#include "process_room.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <system_error>
#include <unistd.h>

namespace leat {

expected<room_parts, shared_error> room_parts::make(std::size_t bytes) {
    auto memory = shared_memory::create(bytes);
    if (!memory) return unexpected(std::move(memory.error()));
    auto bell = make_bell();
    if (!bell) return unexpected(std::move(bell.error()));
    return room_parts{std::move(*memory), std::move(*bell)};
}

expected<room_parts, shared_error> room_parts::attach(int first, std::size_t least) {
    io::unique_fd bell(first + 1);
    auto memory = shared_memory::attach(io::unique_fd(first), least);
    if (!memory) return unexpected(std::move(memory.error()));
    if (auto error = check_bell(bell.get())) return unexpected(std::move(*error));
    ::fcntl(memory->fd(), F_SETFD, FD_CLOEXEC);
    return room_parts{std::move(*memory), std::move(bell)};
}

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
