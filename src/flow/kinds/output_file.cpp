#include <flow/kinds/output_file.hpp>

#include <algorithm>
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

// What of `bytes`, parts that end at `ends`, is in the file whole.
struct whole_parts {
    std::size_t count = 0;
    std::size_t bytes = 0;
    int error = 0;      // of a write
    int cut_error = 0;  // of the cut that should have taken the rest back
};
// In one call of the blocking pool: a stop between the write and the cut would leave a torn item.
whole_parts write_parts(int fd, std::string_view bytes, const std::vector<std::size_t>* ends, std::uint64_t length) {
    const progress got = write_all(fd, bytes);
    whole_parts done;
    done.error = got.error;
    while (done.count < ends->size() && (*ends)[done.count] <= got.bytes) done.bytes = (*ends)[done.count++];
    if (done.error != 0 && got.bytes > done.bytes) done.cut_error = cut_back(fd, length + done.bytes);
    return done;
}

std::optional<std::uint64_t> size_of(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return static_cast<std::uint64_t>(status.st_size);
}

int open_to_go_on(const std::string& part, std::uint64_t length) {
    io::unique_fd fd(::open(part.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || cut_back(fd.get(), length) != 0) fail(fmt::format("cannot go on with '{}'", part));
    return fd.release();
}

// The first `length` bytes of `path` as `part`.
int copy_to_part(const std::string& path, const std::string& part, std::uint64_t length) {
    const io::unique_fd from(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!from) fail(fmt::format("cannot read '{}', which is to be added to", path));
    io::unique_fd to(open_part(path, part));
    std::string room(std::size_t{1} << 20U, '\0');
    while (length > 0) {
        const ssize_t got = ::read(from.get(), room.data(), std::min<std::uint64_t>(room.size(), length));
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = EIO;
        if (got <= 0) fail(fmt::format("cannot read '{}', which is to be added to", path));
        const progress done = write_all(to.get(), std::string_view(room.data(), static_cast<std::size_t>(got)));
        errno = done.error;
        if (errno != 0) fail(fmt::format("cannot write '{}'", part));
        length -= static_cast<std::uint64_t>(got);
    }
    return to.release();
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

task<bool> output_file::open_stream() {
    bool regular = false;
    if (path_ != "-") regular = co_await blocking(&is_regular_or_new, path_);
    if (regular) {
        part_ = path_ + ".part";
        co_return false;
    }
    const int fd = co_await blocking(&leat::open_stream, path_);
    stream_.emplace(io::unique_fd(fd));
    co_return true;
}

void output_file::take_file(int fd, std::uint64_t length) {
    file_ = io::unique_fd(fd);
    length_ = length;
    is_finished_ = false;
    synced_ = fd;
}

task<> output_file::open() {
    const bool is_stream = co_await open_stream();
    if (is_stream) co_return;
    const int fd = co_await blocking(&open_part, path_, part_);
    take_file(fd, 0);
}

task<> output_file::go_on(std::uint64_t length) {
    const bool is_stream = co_await open_stream();
    if (is_stream) co_return;
    const std::optional<std::uint64_t> in_part = co_await blocking(&size_of, part_);
    const std::optional<std::uint64_t> in_file = co_await blocking(&size_of, path_);
    if (in_part && *in_part >= length) {
        const int fd = co_await blocking(&open_to_go_on, part_, length);
        take_file(fd, length);
    } else if (!in_part && in_file && *in_file == length) {
        length_ = length;
        is_finished_ = true;
    } else if (!in_part && in_file && *in_file > length) {
        const int fd = co_await blocking(&copy_to_part, path_, part_, length);
        take_file(fd, length);
    } else if (length == 0) {
        const int fd = co_await blocking(&open_part, path_, part_);
        take_file(fd, 0);
    } else {
        const std::string found = in_part ? fmt::format("has {}", *in_part) : "is not there";
        throw std::runtime_error(
            fmt::format("'{}' should have {} bytes, which are on record as written, and {}; --fresh does all again",
                        part_, length, found));
    }
}

task<> output_file::add_to() {
    const std::optional<std::uint64_t> in_file = co_await blocking(&size_of, path_);
    if (in_file && path_ != "-") co_await go_on(*in_file);
    else co_await open();
}

void output_file::sync() const {
    const int fd = synced_;
    if (fd >= 0 && ::fdatasync(fd) != 0) fail(fmt::format("cannot bring '{}' to the disk", part_));
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
    if (is_finished_) {
        const int fd = co_await blocking(&copy_to_part, path_, part_, length_);
        take_file(fd, length_);
    }
    const whole_parts got = co_await blocking(&write_parts, file_.get(), bytes, &ends, length_);
    done.parts = got.count;
    length_ += got.bytes;
    if (got.error == 0) co_return done;
    done.error = std::error_code(got.error, std::system_category());
    if (got.cut_error != 0)
        throw std::system_error(
            got.cut_error, std::system_category(),
            fmt::format("cannot write {}: {}; nor cut it back to its last whole item", shown(), done.error.message()));
    co_return done;
}

task<> output_file::finish() {
    if (stream_) {
        stream_.reset();
        co_return;
    }
    synced_ = -1;
    if (file_) co_await blocking(&close_and_rename, file_.release(), part_, path_);
}

void output_file::close() noexcept {
    stream_.reset();
    synced_ = -1;
    if (file_ && length_ == 0) ::unlink(part_.c_str());
    file_.reset();
}

}  // namespace leat
