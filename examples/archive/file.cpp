#include "file.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace archive {

void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

leat::io::unique_fd open_to_read(const std::string& path) {
    leat::io::unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) fail(fmt::format("'{}'", path));
    return file;
}

void write_all(int fd, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) fail(fmt::format("cannot write to '{}'", path));
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
}

std::string read_at(int fd, std::uint64_t offset, std::size_t count, const std::string& path) {
    std::string bytes(count, '\0');
    std::size_t got = 0;
    while (got < count) {
        const ssize_t more = ::pread(fd, bytes.data() + got, count - got, static_cast<off_t>(offset + got));
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) fail(fmt::format("cannot read '{}'", path));
        if (more == 0) break;
        got += static_cast<std::size_t>(more);
    }
    bytes.resize(got);
    return bytes;
}

std::uint64_t size_of(int fd, const std::string& path) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) fail(fmt::format("'{}'", path));
    return static_cast<std::uint64_t>(status.st_size);
}

void sync_folder_of(const std::string& path) {
    std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (folder.empty()) folder = ".";
    const leat::io::unique_fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL)) fail(fmt::format("'{}'", folder.string()));
}

bool exists(const std::string& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0;
}

}  // namespace archive
