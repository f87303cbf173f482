// A finished archive. Threads may read chunks at the same time, each with an unpacker of its own.
#pragma once

#include <memory>
#include <string>

#include <leat/io/unique_fd.hpp>
#include <zstd.h>

#include "format.hpp"

namespace archive {

class unpacker {
public:
    unpacker() = default;
    unpacker(const unpacker& /*other*/) {}  // a copy is as good as a fresh one
    unpacker& operator=(const unpacker&) = delete;
    // Throws `damaged` when the content does not have the chunk's name and size.
    [[nodiscard]] std::string unpack(const chunk& what, std::string_view stored);

private:
    struct free_context {
        void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
    };
    std::unique_ptr<ZSTD_DCtx, free_context> context_;
};

class archive_reader {
public:
    // Reads and checks the index. Throws `damaged`, or std::system_error.
    explicit archive_reader(const std::string& path);

    [[nodiscard]] const index& content() const noexcept { return index_; }
    // The content of a chunk. Throws `damaged`, which says where.
    [[nodiscard]] std::string read(std::uint32_t number, unpacker& with) const;
    // Reads the whole archive: whether it is what was written.
    [[nodiscard]] bool is_untouched() const;

private:
    void read_index();

    std::string path_;
    leat::io::unique_fd file_;
    trailer trailer_;
    std::uint64_t end_ = 0;  // where the trailer begins
    index index_;
};

}  // namespace archive
