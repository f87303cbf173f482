// Question: does a flow that compresses a file in blocks, in order, keep up with the programs that do nothing else?
//
// Peers, each with two threads and the same level and block size, from file to file: pbzip2 and lbzip2 (-9, blocks of 900 kB),
// pigz (-6 -i, blocks of 128 KiB, each on its own), zstd -T2 (-3 and -9, jobs of 4 MiB). Ours is a source that reads blocks, a
// stage of two workers with the library, and a sink that writes; its runtime is made within the time. What it writes is the
// same as a plain loop writes, and it and what the peers write is unpacked and compared, once.
// Not measured: disks (the files are in the page cache), more than two threads, memory.
#include <map>
#include <memory>

#include <sys/resource.h>
#include <sys/stat.h>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <support/programs.hpp>
#include <support/words.hpp>
#include <zstd.h>

#ifdef LEAT_BENCH_BZIP2
#    include <bzlib.h>
#endif
#ifdef LEAT_BENCH_ZLIB
#    include <zlib.h>
#endif

namespace {

constexpr unsigned threads = 2;

// --- The libraries: compress a block to a stream of its own, and unpack streams that follow each other ---

#ifdef LEAT_BENCH_BZIP2
struct bzip2 {
    static constexpr std::size_t block = 900'000;
    std::string operator()(const std::string& in) const {
        std::string out(in.size() + in.size() / 100 + 600, '\0');
        auto size = static_cast<unsigned>(out.size());
        if (BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(in.data()), static_cast<unsigned>(in.size()),
                                     9, 0, 0) != BZ_OK)
            throw std::runtime_error("bzip2 failed");
        out.resize(size);
        return out;
    }
    static std::string unpack(std::string in, std::size_t size) {
        std::string out(size + 1, '\0');
        bz_stream stream{};
        stream.next_in = in.data();
        stream.avail_in = static_cast<unsigned>(in.size());
        stream.next_out = out.data();
        stream.avail_out = static_cast<unsigned>(out.size());
        while (stream.avail_in > 0 && stream.avail_out > 0) {
            if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK) return {};
            int got = BZ_OK;
            while (got == BZ_OK && stream.avail_in > 0 && stream.avail_out > 0) got = BZ2_bzDecompress(&stream);
            BZ2_bzDecompressEnd(&stream);
            if (got != BZ_STREAM_END) return {};
        }
        out.resize(out.size() - stream.avail_out);
        return out;
    }
};
#endif

#ifdef LEAT_BENCH_ZLIB
class gzip {
public:
    static constexpr std::size_t block = std::size_t{128} << 10U;
    gzip() = default;
    gzip(const gzip& /*other*/) {}  // each worker has a stream of its own
    gzip& operator=(const gzip&) = delete;
    std::string operator()(const std::string& in) {
        if (stream_ == nullptr) {
            stream_.reset(new z_stream{});
            if (deflateInit2(stream_.get(), 6, Z_DEFLATED, gzip_format, 8, Z_DEFAULT_STRATEGY) != Z_OK)
                throw std::runtime_error("zlib failed");
            room_.resize(deflateBound(stream_.get(), block));
        }
        deflateReset(stream_.get());
        stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
        stream_->avail_in = static_cast<unsigned>(in.size());
        stream_->next_out = reinterpret_cast<Bytef*>(room_.data());
        stream_->avail_out = static_cast<unsigned>(room_.size());
        if (deflate(stream_.get(), Z_FINISH) != Z_STREAM_END) throw std::runtime_error("zlib failed");
        return room_.substr(0, stream_->total_out);
    }
    static std::string unpack(std::string in, std::size_t size) {
        std::string out(size + 1, '\0');
        z_stream stream{};
        stream.next_in = reinterpret_cast<Bytef*>(in.data());
        stream.avail_in = static_cast<unsigned>(in.size());
        stream.next_out = reinterpret_cast<Bytef*>(out.data());
        stream.avail_out = static_cast<unsigned>(out.size());
        while (stream.avail_in > 0 && stream.avail_out > 0) {
            if (inflateInit2(&stream, gzip_format) != Z_OK) return {};
            int got = Z_OK;
            while (got == Z_OK && stream.avail_in > 0 && stream.avail_out > 0) got = inflate(&stream, Z_NO_FLUSH);
            inflateEnd(&stream);
            if (got != Z_STREAM_END) return {};
        }
        out.resize(out.size() - stream.avail_out);
        return out;
    }

private:
    static constexpr int gzip_format = 15 + 16;
    struct end_stream {
        void operator()(z_stream* stream) const noexcept {
            deflateEnd(stream);
            delete stream;
        }
    };
    std::unique_ptr<z_stream, end_stream> stream_;
    std::string room_;
};
#endif

template <int Level>
class zstd {
public:
    static constexpr std::size_t block = std::size_t{4} << 20U;
    zstd() = default;
    zstd(const zstd& /*other*/) {}  // each worker has a context of its own
    zstd& operator=(const zstd&) = delete;
    std::string operator()(const std::string& in) {
        if (context_ == nullptr) {
            context_.reset(ZSTD_createCCtx());
            ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, Level);
            ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
        }
        room_.resize(std::max(room_.size(), ZSTD_compressBound(in.size())));
        const std::size_t size = ZSTD_compress2(context_.get(), room_.data(), room_.size(), in.data(), in.size());
        if (ZSTD_isError(size) != 0) throw std::runtime_error(ZSTD_getErrorName(size));
        return room_.substr(0, size);
    }
    static std::string unpack(const std::string& in, std::size_t size) {
        std::string out(size + 1, '\0');
        const std::size_t got = ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
        if (ZSTD_isError(got) != 0) return {};
        out.resize(got);
        return out;
    }

private:
    struct free_context {
        void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, free_context> context_;
    std::string room_;
};

// --- Files ---

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string content(std::filesystem::file_size(path), '\0');
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    return content;
}

leat::generator<std::string> blocks_of(std::string path, std::size_t size) {
    const leat::io::unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    for (;;) {
        std::string block(size, '\0');
        std::size_t got = 0;
        while (got < size) {
            const ssize_t more = ::read(file.get(), block.data() + got, size - got);
            if (more <= 0) break;
            got += static_cast<std::size_t>(more);
        }
        block.resize(got);
        if (got == 0) co_return;
        co_yield std::move(block);
    }
}

void write_all(int fd, const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
        const ssize_t wrote = ::write(fd, bytes.data() + at, bytes.size() - at);
        if (wrote <= 0) throw std::runtime_error("cannot write");
        at += static_cast<std::size_t>(wrote);
    }
}

// --- The sides ---

template <class Compressor>
void through_leat(const std::string& from, const std::string& to) {
    const leat::io::unique_fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    leat::flow_graph graph = leat::from(blocks_of(from, Compressor::block)) |
                             leat::map("compress", Compressor()).concurrency(threads) |
                             leat::for_each("write", [&](const std::string& block) { write_all(out.get(), block); });
    const leat::report done =
        leat::run(leat::run_options(threads), leat::run_flow, std::move(graph), leat::flow_options());
    if (done.end != leat::flow_end::complete) throw std::runtime_error(done.error);
}

template <class Compressor>
std::string in_a_plain_loop(const std::string& from) {
    Compressor compress;
    std::string all;
    for (const std::string& block : blocks_of(from, Compressor::block)) all += compress(block);
    return all;
}

double cpu_seconds(int of_whom) {
    rusage used{};
    ::getrusage(of_whom, &used);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

struct peer {
    const char* program;
    std::vector<std::string> flags;
};

class comparison {
public:
    comparison(bench::session& bench, const std::string& input, std::size_t size)
        : bench_(bench), input_(input), size_(size) {}

    template <class Compressor>
    void measure(const std::string& name, const std::vector<peer>& peers) {
        if (!bench_.wanted(name)) return;
        const bench::scratch_file output("out");
        const std::string original = content_of(input_);
        through_leat<Compressor>(input_, output.path());
        const std::string ours = content_of(output.path());
        if (ours != in_a_plain_loop<Compressor>(input_)) bench_.fail(name + ": not what a plain loop writes");
        if (Compressor::unpack(ours, size_) != original) bench_.fail(name + ": does not unpack to what it was");
        for (const peer& each : peers) {
            const std::string title = fmt::format("{} {}", each.program, fmt::join(each.flags, " "));
            std::vector<std::string> words{bench::in_path(each.program)};
            if (words[0].empty()) {
                bench_.skip(name.c_str(), title.c_str(), "is not installed");
                continue;
            }
            words.insert(words.end(), each.flags.begin(), each.flags.end());
            words.push_back(input_);
            double our_cpu = 0;
            double their_cpu = 0;
            const auto run_ours = [&]() -> bench::sample {
                const double cpu = cpu_seconds(RUSAGE_SELF);
                const double time = bench::nanoseconds_of([&] { through_leat<Compressor>(input_, output.path()); });
                our_cpu = cpu_seconds(RUSAGE_SELF) - cpu;
                return {time / 1e6, 1};
            };
            const auto run_theirs = [&]() -> bench::sample {
                const double cpu = cpu_seconds(RUSAGE_CHILDREN);
                std::uint64_t good = 0;
                const double time = bench::nanoseconds_of([&] {
                    if (bench::start(words, "/dev/null", output.path()) > 0) good = bench::reap();
                });
                their_cpu = cpu_seconds(RUSAGE_CHILDREN) - cpu;
                return {time / 1e6, good};
            };
            bench_.compare(name.c_str(), title.c_str(), "ms", run_ours, run_theirs, 3);
            run_theirs();
            const std::string theirs = content_of(output.path());
            if (Compressor::unpack(theirs, size_) != original) bench_.fail(title + " wrote something else");
            fmt::print("{:<28} CPU {:.2f} s against {:.2f} s, {} bytes against {}\n", "", our_cpu, their_cpu,
                       ours.size(), theirs.size());
        }
    }

private:
    bench::session& bench_;
    const std::string& input_;
    std::size_t size_;
};

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "block_compress");
    const std::size_t size = bench.size(std::uint64_t{32} << 20U, 300'000);
    const bench::scratch_file input("text");
    std::ofstream(input.path(), std::ios::binary) << bench::word_text(1).take(size);
    comparison all(bench, input.path(), size);
#ifdef LEAT_BENCH_BZIP2
    all.measure<bzip2>("bzip2 -9", {{"pbzip2", {"-k", "-c", "-9", "-p2"}}, {"lbzip2", {"-k", "-c", "-9", "-n2"}}});
#else
    bench.skip("bzip2 -9", "pbzip2 and lbzip2", "libbz2-dev was not there when this was built");
#endif
#ifdef LEAT_BENCH_ZLIB
    all.measure<gzip>("gzip -6", {{"pigz", {"-k", "-c", "-6", "-i", "-b128", "-p2"}}});
#else
    bench.skip("gzip -6", "pigz", "zlib1g-dev was not there when this was built");
#endif
    all.measure<zstd<3>>("zstd -3", {{"zstd", {"-k", "-c", "-q", "-3", "-T2", "-B4194304"}}});
    all.measure<zstd<9>>("zstd -9", {{"zstd", {"-k", "-c", "-q", "-9", "-T2", "-B4194304"}}});
    return bench.exit_code();
}
