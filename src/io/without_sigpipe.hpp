// Writes that report a reader who has gone as EPIPE, and only as that: SIGPIPE would end the program, and its action is the
// application's to choose.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>
#include <sys/types.h>
#include <unistd.h>

namespace leat::io {

// As write(2), with SIGPIPE held back from this thread, and taken from it again when this write caused one.
inline ssize_t write_without_sigpipe(int fd, const void* bytes, std::size_t count) noexcept {
    sigset_t sigpipe;
    sigset_t before;
    ::sigemptyset(&sigpipe);
    ::sigaddset(&sigpipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    const ssize_t written = ::write(fd, bytes, count);
    const int error = errno;
    if (::sigismember(&before, SIGPIPE) == 0) {
        // One that is pending now can only be ours: it is sent to the thread that writes, and was not blocked before.
        constexpr timespec at_once{0, 0};
        if (written < 0 && error == EPIPE)
            while (::sigtimedwait(&sigpipe, nullptr, &at_once) < 0 && errno == EINTR) {
            }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    errno = error;
    return written;
}

}  // namespace leat::io
