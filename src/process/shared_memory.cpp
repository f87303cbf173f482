#include <leat/process/shared_memory.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <system_error>
#include <unistd.h>

#include "sealed_memory.hpp"

namespace leat {

namespace sealed_memory {

namespace {

constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int allocate(int fd, std::size_t bytes) noexcept {
    for (;;) {
        if (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0) return 0;
        if (errno != EINTR) return errno;
    }
}

}  // namespace

shared_error system_error(const char* doing, int code) {
    using kind = shared_error::kind;
    const bool shortage =
        code == ENOMEM || code == ENOSPC || code == EMFILE || code == ENFILE || code == EDQUOT || code == EFBIG;
    return {shortage ? kind::no_memory : kind::refused, code,
            fmt::format("{} failed: {}", doing, std::generic_category().message(code))};
}

std::size_t in_pages(std::size_t bytes) noexcept {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    constexpr std::size_t most = SIZE_MAX / 4;  // also twice that, as rings map it, is an address
    return bytes > most ? 0 : (bytes + page - 1) / page * page;
}

// Where the limit on files (`ulimit -f`) is smaller, the system sends SIGXFSZ beside the error: here the error is enough.
class no_size_signal {
public:
    no_size_signal() noexcept {
        ::sigemptyset(&only_);
        ::sigaddset(&only_, SIGXFSZ);
        ::pthread_sigmask(SIG_BLOCK, &only_, &before_);
    }
    no_size_signal(const no_size_signal&) = delete;
    no_size_signal& operator=(const no_size_signal&) = delete;
    ~no_size_signal() {
        constexpr timespec at_once{};
        if (::sigismember(&before_, SIGXFSZ) == 0)
            while (::sigtimedwait(&only_, nullptr, &at_once) == SIGXFSZ) {
            }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    sigset_t only_{};
    sigset_t before_{};
};

expected<io::unique_fd, shared_error> create(std::size_t bytes) {
    const no_size_signal quiet;
    io::unique_fd fd(::memfd_create("leat", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return unexpected(system_error("making shared memory", errno));
    if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
        return unexpected(system_error("giving shared memory its size", errno));
    if (const int code = allocate(fd.get(), bytes); code != 0) {
        auto error = system_error("taking shared memory", code);
        error.message += fmt::format(" ({} bytes were asked for)", bytes);
        return unexpected(std::move(error));
    }
    if (::fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return unexpected(system_error("sealing shared memory", errno));
    return fd;
}

expected<std::size_t, shared_error> size_of(int fd) {
    using kind = shared_error::kind;
    const int has = ::fcntl(fd, F_GET_SEALS);
    if (has < 0) {
        const int code = errno;
        return unexpected(shared_error(kind::not_shared, code,
                                       code == EBADF ? fmt::format("descriptor {} is not open", fd)
                                                     : fmt::format("descriptor {} is not of shared memory", fd)));
    }
    // Pages of other file systems with seals (hugetlbfs) can be missing when they are touched.
    struct statfs system{};
    if (::fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return unexpected(shared_error(
            kind::not_shared, 0, fmt::format("descriptor {} is of memory that may not be there when it is used", fd)));
    constexpr int fixed = F_SEAL_SHRINK | F_SEAL_GROW;
    if ((has & fixed) != fixed)
        return unexpected(shared_error(kind::not_sealed, 0,
                                       fmt::format("the size of the memory of descriptor {} is not sealed", fd)));
    if ((has & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
        return unexpected(
            shared_error(kind::not_shared, 0, fmt::format("the memory of descriptor {} cannot be written", fd)));
    // After the seals: from here on the size stays.
    struct stat about{};
    if (::fstat(fd, &about) != 0) return unexpected(system_error("asking for the size of shared memory", errno));
    return static_cast<std::size_t>(about.st_size);
}

}  // namespace sealed_memory

namespace {

expected<std::span<std::byte>, shared_error> map(int fd, std::size_t bytes) {
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return unexpected(sealed_memory::system_error("mapping shared memory", errno));
    return std::span(static_cast<std::byte*>(at), bytes);
}

}  // namespace

expected<shared_memory, shared_error> shared_memory::create(std::size_t bytes) {
    const std::size_t whole = sealed_memory::in_pages(bytes);
    if (whole == 0)
        return unexpected(
            shared_error(shared_error::kind::bad_size, 0, fmt::format("there is no shared memory of {} bytes", bytes)));
    auto fd = sealed_memory::create(whole);
    if (!fd) return unexpected(std::move(fd.error()));
    auto bytes_there = map(fd->get(), whole);
    if (!bytes_there) return unexpected(std::move(bytes_there.error()));
    return shared_memory(std::move(*fd), *bytes_there);
}

expected<shared_memory, shared_error> shared_memory::attach(io::unique_fd fd, std::size_t least) {
    const auto size = sealed_memory::size_of(fd.get());
    if (!size) return unexpected(shared_error(size.error()));
    if (*size < least || *size == 0)
        return unexpected(shared_error(
            shared_error::kind::wrong_size, 0,
            fmt::format("the memory of descriptor {} has {} bytes, and {} are needed", fd.get(), *size, least)));
    auto bytes_there = map(fd.get(), *size);
    if (!bytes_there) return unexpected(std::move(bytes_there.error()));
    return shared_memory(std::move(fd), *bytes_there);
}

shared_memory::~shared_memory() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace leat
