#include "file_reader.hpp"

#include <cerrno>
#include <climits>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace archive {

namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20U;

void describe(entry& what, const struct stat& status) {
    what.mode = status.st_mode & 07777U;
    what.modified_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

file_reader::file_reader(const found& from) {
    entry_.path = from.name;
    describe(entry_, from.status);
    if (S_ISDIR(from.status.st_mode)) {
        entry_.what = entry::kind::folder;
        problem_ = from.problem;  // the folder is there, if not what is in it
    } else if (!from.problem.empty()) {
        give_up(from.problem);
    } else if (S_ISLNK(from.status.st_mode)) {
        read_link(from.path);
    } else if (S_ISREG(from.status.st_mode)) {
        open_file(from.path);
    } else {
        give_up("neither a file nor a folder nor a link");
    }
}

void file_reader::open_file(const std::string& path) {
    // It may have become something else since it was looked at: no waiting for the other end of a pipe.
    file_ = leat::io::unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    struct stat status{};
    if (!file_ || ::fstat(file_.get(), &status) != 0) return give_up(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) return give_up("it is no file any more");
    describe(entry_, status);
    left_ = static_cast<std::uint64_t>(status.st_size);
    buffer_.reserve(std::min<std::uint64_t>(left_, buffer_size));
}

void file_reader::read_link(const std::string& path) {
    entry_.what = entry::kind::link;
    char target[PATH_MAX];
    const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
    if (length < 0) return give_up(std::strerror(errno));
    entry_.target.assign(target, static_cast<std::size_t>(length));
}

bool file_reader::next(std::string& chunk) {
    if (buffer_.size() - at_ < default_lengths.most && left_ > 0) fill();
    if (failed_ || at_ == buffer_.size()) return false;
    const std::size_t length = first_chunk(std::string_view(buffer_).substr(at_));
    chunk.assign(buffer_, at_, length);
    at_ += length;
    return true;
}

void file_reader::fill() {
    buffer_.erase(0, at_);
    at_ = 0;
    while (left_ > 0 && buffer_.size() < buffer_size) {
        const std::size_t had = buffer_.size();
        buffer_.resize(had + std::min<std::uint64_t>(left_, buffer_size - had));
        const ssize_t got = ::read(file_.get(), buffer_.data() + had, buffer_.size() - had);
        const int error = errno;
        buffer_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0 && error == EINTR) continue;
        if (got < 0) return give_up(std::strerror(error));
        if (got == 0) {
            problem_ = fmt::format("it became shorter while it was read: {} bytes are in the archive, {} are missing",
                                   entry_.size, left_);
            left_ = 0;
            return;
        }
        left_ -= static_cast<std::uint64_t>(got);
        entry_.size += static_cast<std::uint64_t>(got);
    }
}

void file_reader::give_up(std::string why) {
    problem_ = std::move(why);
    failed_ = true;
    left_ = 0;
}

}  // namespace archive
