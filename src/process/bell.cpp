#include "bell.hpp"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <string_view>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sealed_memory.hpp"

namespace leat {

expected<io::unique_fd, shared_error> make_bell() {
    io::unique_fd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell) return unexpected(sealed_memory::system_error("making an eventfd", errno));
    return bell;
}

std::optional<shared_error> check_bell(int fd) {
    char target[64];
    const auto length = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), target, sizeof target);
    if (length <= 0 || std::string_view(target, static_cast<std::size_t>(length)) != "anon_inode:[eventfd]")
        return shared_error(shared_error::kind::not_shared, 0, fmt::format("descriptor {} is not an eventfd", fd));
    // The mode is everybody's who has it open.
    if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return sealed_memory::system_error("making an eventfd non-blocking", errno);
    return {};
}

void ring_bell(int fd) noexcept {
    const std::uint64_t one = 1;
    (void)!::write(fd, &one, sizeof one);  // fails when it has rung 2^64 - 2 times, and then it rings
}

void silence_bell(int fd) noexcept {
    std::uint64_t rung = 0;
    (void)!::read(fd, &rung, sizeof rung);
}

}  // namespace leat
