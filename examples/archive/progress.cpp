#include "progress.hpp"

#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "file.hpp"

namespace archive {

namespace {
constexpr std::string_view mark = "leatarc1 progress";
}

std::optional<progress> progress::load(const std::string& path) {
    if (!exists(path)) return std::nullopt;
    const auto file = open_to_read(path);
    const std::string bytes = read_at(file.get(), 0, 4096, path);
    try {
        byte_reader in(bytes);
        const std::string_view content = in.take(mark.size() + 8 + 16 + 8 + 8 + 8 + 4);
        const bool is_whole = in.get_hash() == hash_of(content) && content.starts_with(mark) && in.left() == 0;
        if (!is_whole) throw damaged("it is damaged");
        in = byte_reader(content.substr(mark.size()));
        progress made;
        made.length = in.get<std::uint64_t>();
        made.content = in.get_hash();
        made.visited = in.get<std::uint64_t>();
        made.names = in.get<std::uint64_t>();
        made.problems = in.get<std::uint64_t>();
        made.level = in.get<std::int32_t>();
        return made;
    } catch (const damaged& error) {
        throw damaged(fmt::format("'{}' is no record of progress: {}", path, error.what()));
    }
}

void progress::save(const std::string& path) const {
    std::string bytes(mark);
    put(bytes, length);
    put(bytes, content);
    put(bytes, visited);
    put(bytes, names);
    put(bytes, problems);
    put(bytes, level);
    put(bytes, hash_of(bytes));
    const std::string fresh = path + ".new";
    {
        const leat::io::unique_fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
        if (!file) fail(fmt::format("cannot write to '{}'", fresh));
        write_all(file.get(), bytes, fresh);
        if (::fsync(file.get()) != 0) fail(fmt::format("cannot write to '{}'", fresh));
    }
    if (::rename(fresh.c_str(), path.c_str()) != 0) fail(fmt::format("cannot rename '{}'", fresh));
    sync_folder_of(path);
}

}  // namespace archive
