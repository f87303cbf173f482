#include "archive_reader.hpp"

#include <new>

#include <fmt/format.h>

#include "chunker.hpp"
#include "file.hpp"

namespace archive {

std::string unpacker::unpack(const chunk& what, std::string_view stored) {
    if (context_ == nullptr) context_.reset(ZSTD_createDCtx());
    if (context_ == nullptr) throw std::bad_alloc();
    if (what.size > default_lengths.most) throw damaged("it says to be longer than chunks are");
    std::string content(what.size, '\0');
    const std::size_t size =
        ZSTD_decompressDCtx(context_.get(), content.data(), content.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) != 0) throw damaged(ZSTD_getErrorName(size));
    if (size != what.size || hash_of(content) != what.name) throw damaged("its content is not what it was");
    return content;
}

archive_reader::archive_reader(const std::string& path) : path_(path), file_(open_to_read(path)) {
    try {
        read_index();
    } catch (const damaged& error) {
        throw damaged(fmt::format("'{}' is damaged: {}", path, error.what()));
    }
}

void archive_reader::read_index() {
    const std::uint64_t size = size_of(file_.get(), path_);
    if (read_at(file_.get(), 0, header.size(), path_) != header) throw damaged("it does not begin as an archive does");
    if (size < header.size() + trailer_size) throw damaged("it has no end: it is cut off");
    end_ = size - trailer_size;
    trailer_ = decode_trailer(read_at(file_.get(), end_, trailer_size, path_));
    if (trailer_.index_offset > end_) throw damaged("its end points to no index");
    const std::string bytes = read_at(file_.get(), trailer_.index_offset, end_ - trailer_.index_offset, path_);
    if (hash_of(bytes) != trailer_.of_index) throw damaged("its index is not what it was");
    index_ = decode_index(bytes);
}

std::string archive_reader::read(std::uint32_t number, unpacker& with) const {
    const chunk& what = index_.chunks[number];
    const auto where = [&] { return fmt::format("chunk {} ({} bytes at {})", number, what.stored, what.offset); };
    if (what.offset > end_ || what.stored > end_ - what.offset) throw damaged(where() + " is not in the archive");
    const std::string stored = read_at(file_.get(), what.offset, what.stored, path_);
    try {
        return with.unpack(what, stored);
    } catch (const damaged& error) {
        throw damaged(fmt::format("{} is damaged: {}", where(), error.what()));
    }
}

bool archive_reader::is_untouched() const {
    running_hash all;
    constexpr std::size_t piece = std::size_t{1} << 20U;
    for (std::uint64_t at = 0; at < end_;) {
        const std::string bytes = read_at(file_.get(), at, std::min<std::uint64_t>(piece, end_ - at), path_);
        if (bytes.empty()) return false;
        all.add(bytes);
        at += bytes.size();
    }
    return all.value() == trailer_.of_all;
}

}  // namespace archive
