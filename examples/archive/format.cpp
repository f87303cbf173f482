#include "format.hpp"

#include <new>

#include <fmt/format.h>

namespace archive {

hash128 hash_of(std::string_view bytes) noexcept {
    const XXH128_hash_t made = XXH3_128bits(bytes.data(), bytes.size());
    return {made.low64, made.high64};
}

running_hash::running_hash() : state_(XXH3_createState()) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
}
void running_hash::add(std::string_view bytes) noexcept {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}
hash128 running_hash::value() const noexcept {
    const XXH128_hash_t made = XXH3_128bits_digest(state_.get());
    return {made.low64, made.high64};
}

void put(std::string& to, hash128 value) {
    put(to, value.low);
    put(to, value.high);
}
hash128 byte_reader::get_hash() {
    hash128 value;
    value.low = get<std::uint64_t>();
    value.high = get<std::uint64_t>();
    return value;
}

void entry::add_chunk(std::uint32_t number) {
    if (!chunks.empty() && chunks.back().first + chunks.back().count == number) ++chunks.back().count;
    else chunks.push_back({number, 1});
}

std::string encode(const entry& what) {
    std::string bytes;
    bytes.push_back(static_cast<char>(what.what));
    put(bytes, what.mode);
    put(bytes, what.modified_ns);
    put(bytes, what.size);
    for (const std::string* text : {&what.path, &what.target}) {
        put(bytes, static_cast<std::uint32_t>(text->size()));
        bytes += *text;
    }
    put(bytes, static_cast<std::uint32_t>(what.chunks.size()));
    for (const chunk_run& each : what.chunks) {
        put(bytes, each.first);
        put(bytes, each.count);
    }
    return bytes;
}

namespace {

// Whether extracting to such a path stays inside the folder that is extracted to.
bool is_safe(std::string_view path) {
    if (path.empty() || path.find('\0') != path.npos) return false;
    for (std::size_t from = 0; from <= path.size();) {
        const std::size_t end = std::min(path.find('/', from), path.size());
        const std::string_view part = path.substr(from, end - from);
        if (part.empty() || part == "." || part == "..") return false;
        from = end + 1;
    }
    return true;
}

}  // namespace

entry decode_entry(std::string_view bytes) {
    byte_reader in(bytes);
    entry what;
    what.what = static_cast<entry::kind>(in.get<char>());
    if (what.what != entry::kind::file && what.what != entry::kind::folder && what.what != entry::kind::link)
        throw damaged("an entry is of no known kind");
    what.mode = in.get<std::uint32_t>();
    what.modified_ns = in.get<std::int64_t>();
    what.size = in.get<std::uint64_t>();
    what.path = in.take(in.get<std::uint32_t>());
    what.target = in.take(in.get<std::uint32_t>());
    if (!is_safe(what.path) || what.target.find('\0') != what.target.npos)
        throw damaged(fmt::format("an entry has the path '{}', which leads out of the archive", what.path));
    const auto runs = in.get<std::uint32_t>();
    if (std::uint64_t{runs} * 8 != in.left()) throw damaged("an entry has another length than it says");
    for (std::uint32_t i = 0; i < runs; ++i) {
        const auto first = in.get<std::uint32_t>();
        what.chunks.push_back({first, in.get<std::uint32_t>()});
    }
    return what;
}

std::string encode_chunk_record(const chunk& what) {
    std::string bytes = "C";
    put(bytes, what.stored);
    put(bytes, what.size);
    put(bytes, what.name);
    return bytes;
}

std::string encode_entry_record(std::string_view encoded_entry) {
    std::string bytes = "E";
    put(bytes, static_cast<std::uint32_t>(encoded_entry.size()));
    bytes += encoded_entry;
    put(bytes, static_cast<std::uint64_t>(XXH3_64bits(encoded_entry.data(), encoded_entry.size())));
    return bytes;
}

std::string encode_index(const std::vector<chunk>& chunks, std::uint64_t entries, std::string_view encoded_entries) {
    std::string bytes = "I";
    put(bytes, static_cast<std::uint64_t>(chunks.size()));
    for (const chunk& each : chunks) {
        put(bytes, each.offset);
        put(bytes, each.stored);
        put(bytes, each.size);
        put(bytes, each.name);
    }
    put(bytes, entries);
    bytes += encoded_entries;
    return bytes;
}

index decode_index(std::string_view bytes) {
    byte_reader in(bytes);
    index all;
    constexpr std::size_t bytes_of_chunk = 8 + 4 + 4 + 16;
    if (in.take(1) != "I") throw damaged("there is no index where it should be");
    const auto chunks = in.get<std::uint64_t>();
    if (chunks > in.left() / bytes_of_chunk) throw damaged("the index has more chunks than it has room for");
    all.chunks.reserve(chunks);
    std::vector<std::uint64_t> size_before{0};  // of the chunks before each, and of all
    for (std::uint64_t i = 0; i < chunks; ++i) {
        chunk each;
        each.offset = in.get<std::uint64_t>();
        each.stored = in.get<std::uint32_t>();
        each.size = in.get<std::uint32_t>();
        each.name = in.get_hash();
        all.chunks.push_back(each);
        size_before.push_back(size_before.back() + each.size);
    }
    const auto entries = in.get<std::uint64_t>();
    for (std::uint64_t i = 0; i < entries; ++i) {
        entry each = decode_entry(in.take(in.get<std::uint32_t>()));
        std::uint64_t size = 0;
        for (const chunk_run& run : each.chunks) {
            if (std::uint64_t{run.first} + run.count > chunks)
                throw damaged(fmt::format("'{}' has a chunk that is not there", each.path));
            size += size_before[std::uint64_t{run.first} + run.count] - size_before[run.first];
        }
        if (size != each.size) throw damaged(fmt::format("'{}' has another size than its chunks", each.path));
        all.entries.push_back(std::move(each));
    }
    if (in.left() != 0) throw damaged("the index is longer than what is in it");
    return all;
}

namespace {
constexpr std::string_view trailer_mark = "leatend1";
}

std::string encode(const trailer& what) {
    std::string bytes;
    put(bytes, what.index_offset);
    put(bytes, what.of_index);
    put(bytes, what.of_all);
    bytes += trailer_mark;
    return bytes;
}

trailer decode_trailer(std::string_view bytes) {
    byte_reader in(bytes);
    trailer what;
    what.index_offset = in.get<std::uint64_t>();
    what.of_index = in.get_hash();
    what.of_all = in.get_hash();
    if (in.take(in.left()) != trailer_mark) throw damaged("it has no end: it is cut off, or no archive");
    return what;
}

}  // namespace archive
