// Ends descriptors in bulk, with the kernel's call for it or by reading /proc; and the filter for sockets.
#include "raw_calls.hpp"

#include <cstdint>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/socket.h>

namespace leat::raw {

namespace {

// What getdents64 writes, one record after the other.
struct directory_entry {
    unsigned long long inode;
    long long offset;
    unsigned short length;
    unsigned char type;
    char name[1];
};

// The number that `name` is; -1 for "." and "..".
LEAT_UNINSTRUMENTED int descriptor_number(const char* name) noexcept {
    int number = 0;
    for (const char* at = name; *at != '\0'; ++at) {
        if (*at < '0' || *at > '9') return -1;
        number = number * 10 + (*at - '0');
    }
    return number;
}

}  // namespace

LEAT_UNINSTRUMENTED bool end_descriptors_one_by_one(int first, descriptor_end how) noexcept {
    const long list = ::syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (list < 0) return false;
    alignas(directory_entry) char entries[4096];
    // Closing while listing skips none: the list is in the order of the numbers and goes on after the last one given.
    while (true) {
        const long bytes = ::syscall(SYS_getdents64, list, entries, sizeof entries);
        if (bytes <= 0) {
            ::syscall(SYS_close, list);
            return bytes == 0;
        }
        for (long at = 0; at < bytes;) {
            const auto* entry = reinterpret_cast<const directory_entry*>(entries + at);
            const int fd = descriptor_number(entry->name);
            if (fd >= first && fd != list) {
                if (how == descriptor_end::close_now) ::syscall(SYS_close, fd);
                else ::syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
            }
            at += entry->length;
        }
    }
}

LEAT_UNINSTRUMENTED bool end_descriptors(int first, descriptor_end how) noexcept {
    const unsigned flags = how == descriptor_end::close_on_exec ? CLOSE_RANGE_CLOEXEC : 0;
    if (::syscall(SYS_close_range, first, ~0u, flags) == 0) return true;
    return end_descriptors_one_by_one(first, how);
}

#if defined(__x86_64__) || defined(__aarch64__)

namespace {

#    if defined(__x86_64__)
constexpr std::uint32_t this_architecture = AUDIT_ARCH_X86_64;
#    else
constexpr std::uint32_t this_architecture = AUDIT_ARCH_AARCH64;
#    endif
constexpr std::uint32_t io_uring_setup = 425;    // on every architecture
constexpr std::uint32_t x32_calls = 0x40000000;  // x86-64: from here on those of another ABI; unused on arm64
constexpr std::uint16_t load = BPF_LD | BPF_W | BPF_ABS;
constexpr std::uint16_t if_equal = BPF_JMP | BPF_JEQ | BPF_K;
constexpr std::uint16_t if_at_least = BPF_JMP | BPF_JGE | BPF_K;
constexpr std::uint16_t give = BPF_RET | BPF_K;

// Each jump says how many instructions to leave out: if it holds, if not.
constexpr sock_filter socket_filter[] = {
    {load, 0, 0, offsetof(seccomp_data, arch)},
    {if_equal, 0, 6, this_architecture},
    {load, 0, 0, offsetof(seccomp_data, nr)},
    {if_at_least, 4, 0, x32_calls},
    {if_equal, 3, 0, io_uring_setup},  // it could make sockets, too
    {if_equal, 0, 3, SYS_socket},
    {load, 0, 0, offsetof(seccomp_data, args[0])},  // the lower half: both are little-endian
    {if_equal, 1, 2, AF_UNIX},
    {give, 0, 0, SECCOMP_RET_ERRNO | ENOSYS},
    {give, 0, 0, SECCOMP_RET_ALLOW},
    {give, 0, 0, SECCOMP_RET_ERRNO | EACCES},
};

}  // namespace

LEAT_UNINSTRUMENTED bool refuse_sockets() noexcept {
    const sock_fprog program{sizeof socket_filter / sizeof *socket_filter, const_cast<sock_filter*>(socket_filter)};
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

#else

LEAT_UNINSTRUMENTED bool refuse_sockets() noexcept {
    errno = ENOSYS;
    return false;
}

#endif

}  // namespace leat::raw
