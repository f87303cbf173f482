#include <flow/open_to_read.hpp>

#include <cerrno>
#include <fcntl.h>
#include <system_error>

#include <fmt/format.h>

namespace leat {

int open_to_read(const std::string& path) {
    const int fd = path == "-" ? ::fcntl(0, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        throw std::system_error(errno, std::system_category(),
                                path == "-" ? "cannot read standard input" : fmt::format("cannot open '{}'", path));
    return fd;
}

}  // namespace leat
