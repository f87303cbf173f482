#include "sandbox_rules.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "raw_calls.hpp"

namespace leat {

namespace {

using kind = spawn_error::kind;

// As the kernel has them; the headers of Debian 12 are of version 2.
namespace landlock {
constexpr std::uint64_t execute = 1U << 0U;
constexpr std::uint64_t write_file = 1U << 1U;
constexpr std::uint64_t read_file = 1U << 2U;
constexpr std::uint64_t read_dir = 1U << 3U;
constexpr std::uint64_t truncate = 1U << 14U;   // version 3
constexpr std::uint64_t ioctl_dev = 1U << 15U;  // version 5
constexpr std::uint64_t tcp = 3;                // bind, connect: version 4
constexpr unsigned path_beneath = 1;

struct ruleset {
    std::uint64_t files;
    std::uint64_t network;
    std::uint64_t scoped;
};
struct __attribute__((packed)) path_rule {
    std::uint64_t access;
    std::int32_t parent;
};

// All that a version can refuse with files: one bit more now and then, and none in version 4.
constexpr std::uint64_t all_of(int version) noexcept {
    if (version >= 5) return (1U << 16U) - 1;
    if (version >= 3) return (1U << 15U) - 1;
    return version == 2 ? (1U << 14U) - 1 : (1U << 13U) - 1;
}
// What there is to a file that is no directory.
constexpr std::uint64_t of_files = execute | write_file | read_file | truncate | ioctl_dev;
constexpr std::uint64_t reading = read_file | read_dir;
}  // namespace landlock

spawn_error refused(int error, std::string_view what) {
    const bool shortage = error == EMFILE || error == ENFILE || error == ENOMEM;
    return {shortage ? kind::no_resources : kind::refused, error,
            fmt::format("the sandbox could not be prepared: {}: {}", what, std::strerror(error))};
}

}  // namespace

sandbox_rules::~sandbox_rules() {
    if (setting_.ruleset >= 0) ::close(setting_.ruleset);
}

std::optional<spawn_error> sandbox_rules::prepare(const sandbox& wanted, const sandbox_support& support,
                                                  const std::string& program, int above) {
    if (std::string why = why_no_sandbox(wanted, support); !why.empty())
        return spawn_error(kind::no_sandbox, 0, std::move(why));
    setting_.wanted = true;
    version_ = support.landlock;
    setting_.socket_filter = wanted.no_network != sandbox_need::none && support.socket_filter;
    return make_ruleset(wanted, program, above);
}

std::optional<spawn_error> sandbox_rules::make_ruleset(const sandbox& wanted, const std::string& program, int above) {
    const bool paths = wanted.paths != sandbox_need::none && version_ > 0;
    landlock::ruleset handled{};
    if (paths) handled.files = landlock::all_of(version_);
    if (wanted.no_network != sandbox_need::none && version_ >= 4) handled.network = landlock::tcp;
    if (handled.files == 0 && handled.network == 0) return std::nullopt;

    // Older kernels take the longer struct as long as what they do not know is zero. Close-on-exec by itself.
    const int made = static_cast<int>(::syscall(raw::landlock_create_ruleset, &handled, sizeof handled, 0));
    if (made < 0) return refused(errno, "a Landlock ruleset");
    setting_.ruleset = made;
    if (made <= above) {
        setting_.ruleset = ::fcntl(made, F_DUPFD_CLOEXEC, above + 1);
        const int error = errno;
        ::close(made);
        if (setting_.ruleset < 0) return refused(error, "a Landlock ruleset");
    }
    if (!paths) return std::nullopt;
    if (auto error = allow(program, landlock::execute | landlock::read_file)) return error;
    for (const std::string& path : wanted.read)
        if (auto error = allow(path, landlock::reading)) return error;
    for (const std::string& path : wanted.execute)
        if (auto error = allow(path, landlock::reading | landlock::execute)) return error;
    for (const std::string& path : wanted.write)
        if (auto error = allow(path, landlock::all_of(version_) & ~landlock::execute)) return error;
    return std::nullopt;
}

std::optional<spawn_error> sandbox_rules::allow(const std::string& path, std::uint64_t access) {
    const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    struct stat about{};
    if (fd < 0 || ::fstat(fd, &about) != 0) {
        const int error = errno;
        if (fd >= 0) ::close(fd);
        return refused(error, path);
    }
    if (!S_ISDIR(about.st_mode)) access &= landlock::of_files;
    const landlock::path_rule rule{access & landlock::all_of(version_), fd};
    const long added = ::syscall(raw::landlock_add_rule, setting_.ruleset, landlock::path_beneath, &rule, 0);
    const int error = errno;
    ::close(fd);
    if (added != 0) return refused(error, path);
    return std::nullopt;
}

}  // namespace leat
