// Question: blocks that become several chunks each, of which those seen before fall out before the costly stage: what does a
// flow make of variable fan-out, with a serial stage between two parallel ones and its output in order?
//
// Blocks of 1 MiB are cut by content (16 to 256 KiB) and named, chunks seen before are left out, the others compressed with
// zstd -3, and the output is hashed in order. Peers: a plain loop; and oneTBB parallel_pipeline, which has no fan-out, so that
// its items stay whole blocks of some sixteen chunks, with as many tokens as hold the chunks that the flow has room for. Two
// threads each, and each run in a process of its own. The input, in memory, is made of words; half of it repeats what was
// before, shifted.
// The peak of memory has the input in it, 96 MiB.
// Not measured: reading and writing, fan-out of thousands.
#include <map>
#include <ranges>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/apart.hpp>
#include <support/bench.hpp>
#include <support/words.hpp>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>
#include <xxhash.h>
#include <zstd.h>

#include "../../examples/archive/chunker.hpp"

namespace {

constexpr unsigned threads = 2;
constexpr std::size_t block_size = std::size_t{1} << 20U;
constexpr std::size_t queue = 64;               // chunks in front of each stage but the first
constexpr std::size_t tokens = 3 * queue / 16;  // blocks

struct chunk {
    std::string_view content;
    XXH128_hash_t name{};
    bool is_new = true;
    std::string stored;
};

std::string_view block_of(const std::string& input, std::size_t number) {
    return std::string_view(input).substr(number * block_size, block_size);
}
std::size_t blocks_in(const std::string& input) { return (input.size() + block_size - 1) / block_size; }

std::vector<chunk> cut(std::string_view block) {
    std::vector<chunk> all;
    while (!block.empty()) {
        chunk next;
        next.content = block.substr(0, archive::first_chunk(block));
        next.name = XXH3_128bits(next.content.data(), next.content.size());
        block.remove_prefix(next.content.size());
        all.push_back(std::move(next));
    }
    return all;
}

class seen {
public:
    void look(chunk& what) { what.is_new = names_.insert({what.name.low64, what.name.high64}).second; }

private:
    struct low_half {
        std::size_t operator()(const std::pair<std::uint64_t, std::uint64_t>& name) const noexcept {
            return name.first;
        }
    };
    std::unordered_set<std::pair<std::uint64_t, std::uint64_t>, low_half> names_;
};

void compress(chunk& what) {
    struct free_context {
        void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    };
    thread_local const std::unique_ptr<ZSTD_CCtx, free_context> context(ZSTD_createCCtx());
    if (!what.is_new) return;
    what.stored.resize(ZSTD_compressBound(what.content.size()));
    what.stored.resize(ZSTD_compressCCtx(context.get(), what.stored.data(), what.stored.size(), what.content.data(),
                                         what.content.size(), 3));
}

class output {
public:
    void write(const chunk& what) {
        sum_ = XXH3_64bits_withSeed(&what.name, sizeof what.name, sum_);
        if (what.is_new) sum_ = XXH3_64bits_withSeed(what.stored.data(), what.stored.size(), sum_);
        ++chunks_;
        fresh_ += what.is_new ? 1 : 0;
    }
    [[nodiscard]] std::uint64_t checksum() const noexcept { return sum_ ^ chunks_ ^ (fresh_ << 32U); }

private:
    std::uint64_t sum_ = 0;
    std::uint64_t chunks_ = 0;
    std::uint64_t fresh_ = 0;
};

struct figures {
    double seconds;
    std::uint64_t checksum;
};

template <class Work>
figures timed(Work work) {
    output out;
    const double time = bench::nanoseconds_of([&] { work(out); });
    return {time / 1e9, out.checksum()};
}

figures one_after_the_other(const std::string& input) {
    return timed([&](output& out) {
        seen index;
        for (std::size_t i = 0; i < blocks_in(input); ++i) {
            for (chunk& each : cut(block_of(input, i))) {
                index.look(each);
                compress(each);
                out.write(each);
            }
        }
    });
}

figures through_leat(const std::string& input) {
    const auto where = leat::make_runtime(leat::run_options(threads));
    return timed([&](output& out) {
        seen index;
        leat::flow_graph graph =
            leat::from(std::views::iota(std::size_t{0}, blocks_in(input))) |
            leat::flat_map("cut", [&input](std::size_t number) { return cut(block_of(input, number)); })
                .concurrency(threads)
                .buffer(1) |
            leat::map("look",
                      [&index](chunk what) {
                          index.look(what);
                          return what;
                      })
                .concurrency(1)
                .buffer(queue) |
            leat::map("compress",
                      [](chunk what) {
                          compress(what);
                          return what;
                      })
                .concurrency(threads)
                .buffer(queue) |
            leat::for_each("write", [&out](const chunk& what) { out.write(what); }).buffer(queue);
        where->run(leat::run_flow(std::move(graph)));
    });
}

figures through_tbb(const std::string& input) {
    tbb::task_arena arena(static_cast<int>(threads));
    arena.initialize();
    return timed([&](output& out) {
        using block = std::vector<chunk>;
        using mode = tbb::filter_mode;
        seen index;
        std::size_t next = 0;
        const auto source = [&](tbb::flow_control& control) {
            if (next == blocks_in(input)) control.stop();
            return next++;
        };
        const auto cut_block = [&](std::size_t number) { return new block(cut(block_of(input, number))); };
        const auto look = [&](block* what) {
            for (chunk& each : *what) index.look(each);
            return what;
        };
        const auto compress_block = [](block* what) {
            for (chunk& each : *what) compress(each);
            return what;
        };
        const auto write = [&](block* what) {
            for (const chunk& each : *what) out.write(each);
            delete what;
        };
        arena.execute([&] {
            tbb::parallel_pipeline(tokens, tbb::make_filter<void, std::size_t>(mode::serial_in_order, source) &
                                               tbb::make_filter<std::size_t, block*>(mode::parallel, cut_block) &
                                               tbb::make_filter<block*, block*>(mode::serial_in_order, look) &
                                               tbb::make_filter<block*, block*>(mode::parallel, compress_block) &
                                               tbb::make_filter<block*, void>(mode::serial_in_order, write));
        });
    });
}

// Words, and now and then a piece of what was before.
std::string make_input(std::size_t size) {
    bench::word_text fresh(1);
    std::string all = fresh.take(std::min<std::size_t>(size, block_size));
    for (std::uint64_t i = 1; all.size() < size; ++i) {
        const std::uint64_t drawn = bench::spin(i, 3) >> 8U;
        const std::size_t length = std::min<std::size_t>(size - all.size(), 100'000 + drawn % 700'000);
        if (drawn % 2 == 0 && length < all.size()) all += all.substr((drawn >> 20U) % (all.size() - length), length);
        else all += fresh.take(length);
    }
    return all;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "dedup_compress");
    const std::string name = "blocks, chunks, zstd";
    if (!bench.wanted(name)) return bench.exit_code();
    const std::string input = make_input(bench.size(std::uint64_t{96} << 20U, std::uint64_t{2} << 20U));
    struct side {
        const char* name;
        figures (*run)(const std::string& input);
        std::map<std::string, std::vector<double>> values;
        std::uint64_t checksum = 0;
    };
    side sides[] = {{"leat", through_leat, {}, 0},
                    {"oneTBB parallel_pipeline", through_tbb, {}, 0},
                    {"a plain loop", one_after_the_other, {}, 0}};
    const char* const units[] = {"s", "CPU s", "MiB peak"};
    for (unsigned round = 0; round < bench.rounds(5); ++round) {
        for (side& each : sides) {
            const auto got = bench::run_apart([&] { return each.run(input); });
            if (!got) {
                bench.fail(fmt::format("{} came to no end", each.name));
                return bench.exit_code();
            }
            each.checksum = got->value.checksum;
            const double measured[] = {got->value.seconds, got->cpu_s, got->peak_mib};
            for (std::size_t i = 0; i < std::size(units); ++i) each.values[units[i]].push_back(measured[i]);
        }
    }
    for (std::size_t peer = 1; peer < std::size(sides); ++peer)
        for (const char* unit : units)
            bench.record(name.c_str(), sides[peer].name, unit, {median(sides[0].values[unit]), sides[0].checksum},
                         {median(sides[peer].values[unit]), sides[peer].checksum});
    return bench.exit_code();
}
