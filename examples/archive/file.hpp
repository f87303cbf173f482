// A descriptor that is closed with its owner, and the few calls on it that the archive needs: whole, or std::system_error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <leat/io/unique_fd.hpp>

namespace archive {

// Throws the error of the last call, as "what: why".
[[noreturn]] void fail(const std::string& what);

leat::io::unique_fd open_to_read(const std::string& path);
void write_all(int fd, std::string_view bytes, const std::string& path);
// As many bytes as there are from `offset` on, at most `count`.
std::string read_at(int fd, std::uint64_t offset, std::size_t count, const std::string& path);
std::uint64_t size_of(int fd, const std::string& path);
// The entries of the folder that a path lies in are on the disk when this returns.
void sync_folder_of(const std::string& path);
bool exists(const std::string& path);

}  // namespace archive
