#include "archive_writer.hpp"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "file.hpp"

namespace archive {

namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20U;

leat::io::unique_fd open_part(const std::string& part, bool resume) {
    leat::io::unique_fd file(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (resume ? 0 : O_EXCL), 0666));
    if (!file && errno == EEXIST)
        throw std::runtime_error(
            fmt::format("'{}' is there already: --resume goes on with it, and removing it begins anew", part));
    if (!file) fail(fmt::format("cannot write to '{}'", part));
    struct stat mine{};
    struct stat named{};
    const bool is_ours = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 && ::fstat(file.get(), &mine) == 0 &&
                         ::stat(part.c_str(), &named) == 0 && mine.st_ino == named.st_ino;
    if (!is_ours) throw std::runtime_error(fmt::format("another run is writing '{}'", part));
    return file;
}

}  // namespace

archive_writer::archive_writer(std::string path, bool resume, int level)
    : path_(std::move(path)), part_(part_of(path_)), record_(record_of(path_)) {
    if (exists(path_)) throw std::runtime_error(fmt::format("'{}' is there already", path_));
    file_ = open_part(part_, resume);
    certain_.level = level;
    if (resume) go_on();
    if (certain_.length == 0) {
        if (::ftruncate(file_.get(), 0) != 0) fail(fmt::format("cannot write to '{}'", part_));
        body_ = {};
        append(header);
    }
}

void archive_writer::go_on() {
    const auto record = progress::load(record_);
    if (!record) return;
    if (record->level != certain_.level)
        throw std::runtime_error(fmt::format("'{}' was begun with --level {}", part_, record->level));
    body_ = read_body(file_.get(), record->length, part_);
    if (body_.length != record->length || body_.hash.value() != record->content)
        throw damaged(fmt::format("'{}' does not hold what '{}' says: remove both, and begin anew", part_, record_));
    certain_ = *record;
    const auto end = static_cast<off_t>(certain_.length);
    if (::ftruncate(file_.get(), end) != 0 || ::lseek(file_.get(), end, SEEK_SET) != end)
        fail(fmt::format("cannot write to '{}'", part_));
}

void archive_writer::append(std::string_view bytes) {
    body_.hash.add(bytes);
    body_.length += bytes.size();
    buffer_ += bytes;
    if (buffer_.size() >= buffer_size) flush();
}

void archive_writer::flush() {
    write_all(file_.get(), buffer_, part_);
    buffer_.clear();
}

void archive_writer::add_chunk(hash128 name, std::size_t size, std::string_view stored) {
    const chunk what{body_.length + chunk_record_size, static_cast<std::uint32_t>(stored.size()),
                     static_cast<std::uint32_t>(size), name};
    append(encode_chunk_record(what));
    append(stored);
    body_.chunks.push_back(what);
}

void archive_writer::add_entry(const entry& what) {
    const std::string encoded = encode(what);
    append(encode_entry_record(encoded));
    archive::add_entry(body_, encoded);
}

void archive_writer::save(std::uint64_t visited, std::uint64_t names, std::uint64_t problems) {
    flush();
    if (::fdatasync(file_.get()) != 0) fail(fmt::format("cannot write to '{}'", part_));
    certain_.length = body_.length;
    certain_.content = body_.hash.value();
    certain_.visited = visited;
    certain_.names = names;
    certain_.problems = problems;
    certain_.save(record_);
}

void archive_writer::finish() {
    trailer end;
    end.index_offset = body_.length;
    const std::string index = encode_index(body_.chunks, body_.entries, body_.encoded_entries);
    end.of_index = hash_of(index);
    append(index);
    end.of_all = body_.hash.value();
    append(encode(end));
    flush();
    if (::fsync(file_.get()) != 0) fail(fmt::format("cannot write to '{}'", part_));
    if (::renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0)
        fail(fmt::format("cannot rename '{}' to '{}'", part_, path_));
    sync_folder_of(path_);
    std::remove((record_ + ".new").c_str());
    std::remove(record_.c_str());  // what a crash leaves of it here is not looked at: its archive is gone
}

}  // namespace archive
