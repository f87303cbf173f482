#include <leat/process/process_identity.hpp>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>

#include <leat/base/env.hpp>

namespace leat {

namespace {

// When the process began, in ticks since the start of the machine: field 22 of its stat (proc(5)). Without allocation.
// Nothing when there is no such process; or, then `is_unknown`, when the system is short of what it takes to look.
std::optional<std::uint64_t> start_of(pid_t pid, bool& is_unknown) noexcept {
    is_unknown = false;
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
    const io::unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    if (!file) {
        is_unknown = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return {};
    }
    char text[1024];
    const ssize_t got = ::read(file.get(), text, sizeof text);
    if (got <= 0) return {};
    std::string_view rest(text, static_cast<std::size_t>(got));
    const auto name_end = rest.rfind(')');  // the name of the program may hold anything
    if (name_end == std::string_view::npos) return {};
    rest.remove_prefix(name_end + 1);
    for (int field = 2; field < 22; ++field) {
        const auto gap = rest.find(' ');
        if (gap == std::string_view::npos) return {};
        rest.remove_prefix(gap + 1);
    }
    std::uint64_t ticks = 0;
    if (std::from_chars(rest.data(), rest.data() + rest.size(), ticks).ec != std::errc()) return {};
    return ticks;
}

}  // namespace

bool has_ended(int pidfd) noexcept {
    pollfd one{pidfd, POLLIN, 0};
    return ::poll(&one, 1, 0) > 0 && one.revents != 0;
}

process_identity process_identity::of(pid_t pid) noexcept {
    if (pid <= 0) return {};
    bool is_unknown = false;
    const auto start = start_of(pid, is_unknown);
    if (!start) return {};
    return process_identity(static_cast<std::uint64_t>(pid) << start_bits |
                            (*start & ((std::uint64_t{1} << start_bits) - 1)));
}

process_identity process_identity::self() noexcept {
    static env::atomic<std::uint64_t> known{0};
    const pid_t here = ::getpid();
    const process_identity before(known.load(env::relaxed));  // relaxed, both: the word is all there is
    if (before.pid() == here) return before;
    const process_identity now = of(here);
    known.store(now.word_, env::relaxed);
    return now;
}

io::unique_fd process_identity::open(bool& ended) const noexcept {
    ended = true;
    if (word_ == 0) return {};
    io::unique_fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid(), 0)));
    if (!fd) {
        ended = errno == ESRCH || errno == EINVAL;
        return {};
    }
    // Looked at once the descriptor holds the id: both are of one process then. Gone from /proc is ended.
    constexpr std::uint64_t start_mask = (std::uint64_t{1} << start_bits) - 1;
    bool is_unknown = false;
    const auto start = start_of(pid(), is_unknown);
    if (is_unknown) {
        ended = has_ended(fd.get());
        return {};
    }
    if (!start || (*start & start_mask) != (word_ & start_mask) || has_ended(fd.get())) return {};
    ended = false;
    return fd;
}

bool process_identity::alive() const noexcept {
    bool ended = false;
    const io::unique_fd fd = open(ended);
    return !ended;
}

}  // namespace leat
