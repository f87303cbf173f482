// Ends descriptors in bulk, with the kernel's call for it or by reading /proc.
#include "raw_calls.hpp"

#include <linux/close_range.h>

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

}  // namespace leat::raw
