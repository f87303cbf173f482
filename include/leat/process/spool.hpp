// spool: bytes of unknown number, in memory while they are few, in an unlinked temporary file beyond that, read again in
// pieces. What run_command() captures standard output in.
//
// Invariant: the content is memory_ alone until it spills; then it is the file alone.
// Not thread-safe: one caller at a time; reading from several threads is fine while nobody appends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include <leat/io/unique_fd.hpp>

namespace leat {

// The temporary file could not be made, written or read: which directory, what the system said.
class spool_error : public std::runtime_error {
public:
    spool_error(int code, const std::string& message) : std::runtime_error(message), code_(code) {}
    [[nodiscard]] int code() const noexcept { return code_; }  // errno

private:
    int code_;
};

class spool {
public:
    static constexpr std::size_t default_memory_bytes = std::size_t{1} << 20U;

    // Keeps up to `memory_bytes` in memory; the file, if it comes to that, is made in `directory`, which is by default
    // TMPDIR, or /tmp where that is not set.
    explicit spool(std::size_t memory_bytes = default_memory_bytes, std::string directory = {});
    spool(spool&&) noexcept = default;
    spool& operator=(spool&&) noexcept = default;

    // Adds bytes at the end. Throws spool_error when the disk is full, and the like; what was there stays readable.
    // Blocks on the disk once it has spilled, or when this append makes it spill (see fits()).
    void append(std::span<const char> bytes);
    // Whether so many bytes more stay in memory, so that appending them does not touch the disk.
    [[nodiscard]] bool fits(std::size_t bytes) const noexcept;

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] bool in_memory() const noexcept { return !file_; }
    // All of it when in_memory(), else empty.
    [[nodiscard]] std::string_view memory() const noexcept { return memory_; }
    // The file when it has spilled, for copying it by system calls; -1 else. Owned by the spool.
    [[nodiscard]] int file() const noexcept { return file_.get(); }

    // Fills `piece` with what is at `offset`; the number of bytes read, less than asked for only at the end. Throws
    // spool_error. Blocks on the disk when it has spilled.
    [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<char> piece) const;
    // All of it in one string: for content known to be small.
    [[nodiscard]] std::string text() const;
    // Moves all of it out; the spool is empty afterwards and can be filled again.
    [[nodiscard]] std::string take_text();

private:
    void spill();
    void write_to_file(std::string_view bytes);

    std::size_t memory_bytes_;
    std::string directory_;
    std::string memory_;
    io::unique_fd file_;
    std::uint64_t size_ = 0;
};

}  // namespace leat
