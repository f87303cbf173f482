// create: the files are cut into chunks; these are named, those seen before left out, the others compressed, and all written in
// the order of the files.
#include <cstdio>
#include <filesystem>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <xxhash.h>
#include <zstd.h>

#include "archive_writer.hpp"
#include "commands.hpp"
#include "file.hpp"
#include "file_reader.hpp"
#include "walk.hpp"

namespace archive {

namespace {

// What is known of a file when all its chunks are on their way.
struct file_end {
    entry what;
    std::string problem;
    bool failed = false;
    std::uint64_t visited = 0;  // files, this one included
    std::uint64_t names = 0;    // hash of their names
};

// A chunk, or the end of a file. Carries its content until it is compressed, and then that.
struct piece {
    std::string content;
    std::size_t size = 0;  // of the content
    hash128 name;
    std::uint32_t number = 0;
    bool is_new = false;
    std::optional<file_end> end;
    [[nodiscard]] std::size_t weight() const noexcept { return sizeof(piece) + content.capacity(); }
};

// All files below the paths, from the one on where an interrupted run is certain.
leat::generator<piece> pieces_of(std::vector<start> from, left_out never, progress certain) {
    std::uint64_t visited = 0;
    std::uint64_t names = 0;
    const std::runtime_error changed(
        "files came or went since the archive was begun: remove its .part, and begin anew");
    for (const found& each : walk(std::move(from), std::move(never))) {
        if (each.name.empty()) {  // the working folder itself
            if (!each.problem.empty()) throw std::runtime_error(fmt::format("'{}': {}", each.path, each.problem));
            continue;
        }
        ++visited;
        names = XXH3_64bits_withSeed(each.name.data(), each.name.size() + 1, names);
        if (visited == certain.visited && names != certain.names) throw changed;
        if (visited <= certain.visited) continue;
        file_reader file(each);
        for (std::string content; file.next(content);) {
            piece next;
            next.size = content.size();
            next.content = std::move(content);
            co_yield std::move(next);
        }
        piece last;
        last.end = file_end{file.what(), file.problem(), file.failed(), visited, names};
        co_yield std::move(last);
    }
    if (visited < certain.visited) throw changed;
}

piece name_content(piece in) {
    if (!in.end) in.name = hash_of(in.content);
    return in;
}

// Numbers the chunks. It sees them one at a time and in order, so those that are new are numbered as they will be written.
class numbering {
public:
    explicit numbering(const std::vector<chunk>& there) {
        for (const chunk& each : there) numbers_.try_emplace(each.name, next_++);
    }
    piece operator()(piece in) {
        if (in.end) return in;
        const auto [known, is_new] = numbers_.try_emplace(in.name, next_);
        if (is_new) ++next_;
        else in.content = {};
        in.number = known->second;
        in.is_new = is_new;
        return in;
    }

private:
    struct low_half {
        std::size_t operator()(const hash128& name) const noexcept { return name.low; }
    };
    std::unordered_map<hash128, std::uint32_t, low_half> numbers_;
    std::uint32_t next_ = 0;
};

// Each worker has one of its own.
class compressor {
public:
    explicit compressor(int level) : level_(level) {}
    compressor(const compressor& other) : level_(other.level_) {}
    compressor& operator=(const compressor&) = delete;
    piece operator()(piece in) {
        if (!in.is_new) return in;
        if (context_ == nullptr) context_.reset(ZSTD_createCCtx());
        if (context_ == nullptr) throw std::bad_alloc();
        std::string stored(ZSTD_compressBound(in.content.size()), '\0');
        const std::size_t size = ZSTD_compressCCtx(context_.get(), stored.data(), stored.size(), in.content.data(),
                                                   in.content.size(), level_);
        if (ZSTD_isError(size) != 0) throw std::runtime_error(ZSTD_getErrorName(size));
        in.content.assign(stored, 0, size);
        in.content.shrink_to_fit();
        return in;
    }

private:
    struct free_context {
        void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    };
    int level_;
    std::unique_ptr<ZSTD_CCtx, free_context> context_;
};

// The sink: writes what comes, and remembers it in the file's entry until the file ends.
class keeper {
public:
    keeper(archive_writer& to, std::uint64_t save_every)
        : to_(to), save_every_(save_every), problems_(to.found().problems) {}

    void take(piece& in) {
        if (in.end) return end_file(*in.end);
        if (in.is_new) to_.add_chunk(in.name, in.size, in.content);
        chunks_.add_chunk(in.number);
    }
    [[nodiscard]] std::uint64_t problems() const noexcept { return problems_; }
    void print(const std::string& path) const {
        fmt::print("{}: {} entries, {} bytes of files, {} chunks that differ, {} bytes\n", path, entries_, bytes_,
                   to_.chunks().size(), to_.length());
    }

private:
    void end_file(file_end& file) {
        if (!file.problem.empty()) {
            ++problems_;
            tell(fmt::format("'{}': {}{}", file.what.path, file.problem, file.failed ? "; left out" : ""));
        }
        if (!file.failed) {
            file.what.chunks = std::move(chunks_.chunks);
            to_.add_entry(file.what);
            ++entries_;
            bytes_ += file.what.size;
        }
        chunks_ = {};
        if (to_.uncertain_bytes() >= save_every_) to_.save(file.visited, file.names, problems_);
    }

    archive_writer& to_;
    std::uint64_t save_every_;
    std::uint64_t problems_;
    entry chunks_;  // of the file that is being written
    std::uint64_t entries_ = 0;
    std::uint64_t bytes_ = 0;
};

}  // namespace

leat::task<int> create(create_options options) {
    const std::string record = archive_writer::record_of(options.output);
    const std::string part = archive_writer::part_of(options.output);
    if (options.resume && exists(options.output) && !exists(part)) {
        std::remove(record.c_str());
        fmt::print("{}: is complete\n", options.output);
        co_return 0;
    }
    std::vector<start> from = starts_of(options.paths);
    archive_writer to(options.output, options.resume, options.level);
    if (to.found().visited > 0) fmt::print("{}: goes on behind {} entries\n", options.output, to.found().visited);

    namespace fs = std::filesystem;
    const fs::path output(options.output);
    const auto name_of = [](const std::string& path) { return fs::path(path).filename().string(); };
    left_out never{output.has_parent_path() ? output.parent_path().string() : ".",
                   {name_of(part), name_of(record), name_of(record + ".new")}};

    // Queues are bounded in bytes, too: a chunk is at most 256 KiB.
    constexpr std::size_t items = 64;
    constexpr std::size_t bytes = std::size_t{8} << 20U;
    keeper kept(to, options.save_every);
    leat::flow_graph work = leat::from(pieces_of(std::move(from), std::move(never), to.found())) |
                            leat::map("name", name_content).buffer(items, bytes) |
                            leat::map("number", numbering(to.chunks())).concurrency(1).buffer(items, bytes) |
                            leat::map("compress", compressor(options.level)).buffer(items, bytes) |
                            leat::for_each("write", [&kept](piece in) { kept.take(in); }).buffer(items, bytes);
    const leat::report done = co_await leat::run_flow(std::move(work));
    if (done.end != leat::flow_end::complete) {
        tell(fmt::format("{}; what is there can be gone on with: --resume", done.error));
        co_return 1;
    }
    to.finish();
    kept.print(options.output);
    co_return kept.problems() == 0 ? 0 : 1;
}

}  // namespace archive
