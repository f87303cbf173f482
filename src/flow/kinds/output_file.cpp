#include <flow/kinds/output_file.hpp>

#include <cerrno>
#include <fcntl.h>
#include <span>
#include <sys/stat.h>
#include <system_error>

#include <fmt/format.h>

#include <leat/runtime/blocking.hpp>

namespace leat {

namespace {

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::system_category(), what); }

bool is_regular_or_new(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return true;
    if (S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        fail(fmt::format("cannot write '{}'", path));
    }
    return S_ISREG(status.st_mode);
}

int open_stream(const std::string& path) {
    const int fd = path == "-" ? ::fcntl(1, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) fail(path == "-" ? "cannot write to standard output" : fmt::format("cannot write '{}'", path));
    return fd;
}

int open_part(const std::string& path, const std::string& part) {
    const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) fail(fmt::format("cannot write '{}', which is to become '{}'", part, path));
    return fd;
}

struct progress {
    std::size_t bytes = 0;
    int error = 0;
};
progress write_all(int fd, std::string_view bytes) {
    progress done;
    while (done.bytes < bytes.size()) {
        const ssize_t wrote = ::write(fd, bytes.data() + done.bytes, bytes.size() - done.bytes);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
            done.error = wrote == 0 ? EIO : errno;
            break;
        }
        done.bytes += static_cast<std::size_t>(wrote);
    }
    return done;
}

int cut_back(int fd, std::uint64_t length) {
    const auto end = static_cast<off_t>(length);
    return ::ftruncate(fd, end) == 0 && ::lseek(fd, end, SEEK_SET) == end ? 0 : errno;
}

// Closes first: some file systems tell of a failed write only then.
void close_and_rename(int fd, const std::string& part, const std::string& path) {
    if (::close(fd) != 0 && errno != EINTR) fail(fmt::format("cannot write '{}'", part));
    if (::rename(part.c_str(), path.c_str()) != 0) fail(fmt::format("cannot rename '{}' to '{}'", part, path));
}

}  // namespace

std::string output_file::shown() const {
    return path_ == "-" ? "standard output" : fmt::format("'{}'", part_.empty() ? path_ : part_);
}

task<> output_file::open() {
    bool regular = false;
    if (path_ != "-") regular = co_await blocking(&is_regular_or_new, path_);
    if (!regular) {
        const int fd = co_await blocking(&open_stream, path_);
        stream_.emplace(io::unique_fd(fd));
        co_return;
    }
    part_ = path_ + ".part";
    const int fd = co_await blocking(&open_part, path_, part_);
    file_ = io::unique_fd(fd);
}

task<output_file::written> output_file::write(std::string_view bytes, const std::vector<std::size_t>& ends) {
    written done;
    if (stream_) {
        const std::span<const char> all(bytes.data(), bytes.size());
        expected<void, std::error_code> sent = co_await stream_->write_all(all);
        if (sent) done.parts = ends.size();
        else done.error = sent.error();
        co_return done;
    }
    const progress got = co_await blocking(&write_all, file_.get(), bytes);
    while (done.parts < ends.size() && ends[done.parts] <= got.bytes) ++done.parts;
    const std::size_t whole = done.parts == 0 ? 0 : ends[done.parts - 1];
    length_ += whole;
    if (got.error == 0) co_return done;
    done.error = std::error_code(got.error, std::system_category());
    if (got.bytes > whole) {
        const int cut = co_await blocking(&cut_back, file_.get(), length_);
        if (cut != 0)
            throw std::system_error(cut, std::system_category(),
                                    fmt::format("cannot write {}: {}; nor cut it back to its last whole item", shown(),
                                                done.error.message()));
    }
    co_return done;
}

task<> output_file::finish() {
    if (stream_) {
        stream_.reset();
        co_return;
    }
    if (file_) co_await blocking(&close_and_rename, file_.release(), part_, path_);
}

void output_file::close() noexcept {
    stream_.reset();
    if (file_ && length_ == 0) ::unlink(part_.c_str());
    file_.reset();
}

}  // namespace leat
