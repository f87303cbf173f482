#include <leat/process/spool.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>

namespace leat {

namespace {

spool_error failed(std::string_view what, const std::string& directory) {
    const int error = errno;
    return {error, fmt::format("{} a temporary file in {}: {}", what, directory, std::strerror(error))};
}

std::string temporary_directory() {
    const char* const named =
        std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): as in spawn, nobody may change it
    return named != nullptr && *named != '\0' ? named : "/tmp";
}

io::unique_fd unlinked_file(const std::string& directory) {
    io::unique_fd file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    // Not every file system has files without a name, and older kernels take the flags for those of a directory.
    if (file || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)) return file;
    std::string path = directory + "/leat-spool-XXXXXX";
    file = io::unique_fd(::mkostemp(path.data(), O_CLOEXEC));
    if (file) ::unlink(path.c_str());
    return file;
}

}  // namespace

spool::spool(std::size_t memory_bytes, std::string directory)
    : memory_bytes_(memory_bytes), directory_(std::move(directory)) {}

bool spool::fits(std::size_t bytes) const noexcept {
    return !file_ && size_ <= memory_bytes_ && bytes <= memory_bytes_ - size_;
}

void spool::append(std::span<const char> bytes) {
    if (fits(bytes.size())) {
        memory_.append(bytes.data(), bytes.size());
    } else {
        if (!file_) spill();
        write_to_file({bytes.data(), bytes.size()});
    }
    size_ += bytes.size();
}

void spool::spill() {
    if (directory_.empty()) directory_ = temporary_directory();
    file_ = unlinked_file(directory_);
    if (!file_) throw failed("cannot make", directory_);
    const std::uint64_t size = std::exchange(size_, 0);
    try {
        write_to_file(memory_);
    } catch (...) {
        file_.reset();
        size_ = size;
        throw;
    }
    size_ = size;
    std::string().swap(memory_);
}

// At size_, wherever a failed write has left the file.
void spool::write_to_file(std::string_view bytes) {
    for (std::uint64_t at = size_; !bytes.empty();) {
        const ssize_t put = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) throw failed("cannot write", directory_);
        at += static_cast<std::uint64_t>(put);
        bytes.remove_prefix(static_cast<std::size_t>(put));
    }
}

std::size_t spool::read_at(std::uint64_t offset, std::span<char> piece) const {
    if (offset >= size_) return 0;
    std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size_ - offset));
    if (!file_) {
        std::memcpy(piece.data(), memory_.data() + offset, want);
        return want;
    }
    std::size_t done = 0;
    while (done < want) {
        const ssize_t got = ::pread(file_.get(), piece.data() + done, want - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw failed("cannot read", directory_);
        if (got == 0) {
            errno = EIO;  // somebody cut the file
            throw failed("cannot read", directory_);
        }
        done += static_cast<std::size_t>(got);
    }
    return done;
}

std::string spool::text() const {
    if (!file_) return memory_;
    std::string all(static_cast<std::size_t>(size_), '\0');
    (void)read_at(0, all);
    return all;
}

std::string spool::take_text() {
    std::string all = file_ ? text() : std::move(memory_);
    memory_.clear();
    file_.reset();
    size_ = 0;
    return all;
}

}  // namespace leat
