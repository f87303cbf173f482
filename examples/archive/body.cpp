#include "body.hpp"

#include <optional>

#include "file.hpp"

namespace archive {

namespace {

constexpr std::size_t longest_record = std::size_t{256} << 20U;  // an entry of a file of some terabytes
constexpr std::size_t piece = std::size_t{1} << 20U;

// What is left of the file, a window at a time.
class window {
public:
    window(int fd, std::uint64_t end, const std::string& path) : fd_(fd), end_(end), path_(path) {}
    // `count` bytes from `at` on within what follows; fewer at the end.
    std::string_view look(std::size_t at, std::size_t count) {
        if (bytes_.size() - from_ < at + count) {
            bytes_.erase(0, from_);
            from_ = 0;
            const std::uint64_t begin = offset_ + bytes_.size();
            const std::uint64_t wanted = std::max(at + count, piece) - bytes_.size();
            if (begin < end_) bytes_ += read_at(fd_, begin, std::min(wanted, end_ - begin), path_);
        }
        const std::string_view all = std::string_view(bytes_).substr(from_);
        return all.size() <= at ? std::string_view() : all.substr(at, count);
    }
    void pass(std::size_t count) {
        from_ += count;
        offset_ += count;
    }
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

private:
    int fd_;
    std::uint64_t end_;
    const std::string& path_;
    std::string bytes_;
    std::size_t from_ = 0;
    std::uint64_t offset_ = 0;  // of bytes_[from_] in the file
};

std::optional<chunk> chunk_at(window& in) {
    const std::string_view head = in.look(0, chunk_record_size);
    if (head.size() < chunk_record_size) return std::nullopt;
    byte_reader numbers(head.substr(1));
    chunk what;
    what.offset = in.offset() + chunk_record_size;
    what.stored = numbers.get<std::uint32_t>();
    what.size = numbers.get<std::uint32_t>();
    what.name = numbers.get_hash();
    if (what.stored > longest_record || in.look(chunk_record_size, what.stored).size() < what.stored)
        return std::nullopt;
    return what;
}

std::optional<std::string> entry_at(window& in) {
    const std::string_view head = in.look(1, 4);
    if (head.size() < 4) return std::nullopt;
    const auto length = byte_reader(head).get<std::uint32_t>();
    if (length > longest_record) return std::nullopt;
    std::string encoded(in.look(5, length));
    if (encoded.size() < length) return std::nullopt;
    const std::string whole = encode_entry_record(encoded);
    if (in.look(0, whole.size()) != whole) return std::nullopt;
    return encoded;
}

}  // namespace

void add_entry(body& to, std::string_view encoded_entry) {
    put(to.encoded_entries, static_cast<std::uint32_t>(encoded_entry.size()));
    to.encoded_entries += encoded_entry;
    ++to.entries;
}

body read_body(int fd, std::uint64_t end, const std::string& path,
               const std::function<bool(const chunk&, std::string_view)>& is_good) {
    body all;
    window in(fd, end, path);
    const auto accept = [&](std::size_t bytes) {
        all.hash.add(in.look(0, bytes));
        in.pass(bytes);
        all.length = in.offset();
    };
    if (in.look(0, header.size()) != header) return all;
    accept(header.size());
    for (;;) {
        const std::string_view kind = in.look(0, 1);
        if (kind == "C") {
            const auto what = chunk_at(in);
            if (!what || (is_good && !is_good(*what, in.look(chunk_record_size, what->stored)))) return all;
            all.chunks.push_back(*what);
            accept(chunk_record_size + what->stored);
        } else if (kind == "E") {
            const auto encoded = entry_at(in);
            if (!encoded) return all;
            add_entry(all, *encoded);
            accept(1 + 4 + encoded->size() + 8);
        } else {
            all.ends_with_index = kind == "I";
            return all;
        }
    }
}

}  // namespace archive
