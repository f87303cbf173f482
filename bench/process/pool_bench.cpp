// Question: how many calls of a trivial function do two workers of a process_pool make a second, beside Python's
// multiprocessing.Pool?
//
// The function gives the square of a number. A pool's start is not included, on either side; Python measures itself, inside one
// process for each round. `one by one` awaits each value before the next call; `chunk 1` and `default chunk` map over a list:
// Python's default is a quarter of each worker's share, which ours is given as well; `auto` is the pool's own choice beside it.
// Not measured: functions that take long, large items, more than two workers, Python's start. Python's cost is its interpreter's
// and pickle's as much as its pool's.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <support/bench.hpp>

#include <leat/process/process_pool.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>

namespace {

constexpr unsigned workers = 2;

std::uint32_t squared(std::uint32_t x) { return x * x; }

enum class shape : unsigned char { one_by_one, map };

leat::task<bench::sample> ours(shape how, std::uint32_t count, std::size_t chunk) {
    leat::process_pool pool(workers);
    std::vector<std::uint32_t> items(count);
    std::iota(items.begin(), items.end(), 0U);
    (void)co_await pool.map<squared>(std::span(items).first(workers * std::size_t{4}), 1);  // starts both
    std::uint64_t sum = 0;
    const auto start = std::chrono::steady_clock::now();
    if (how == shape::map) {
        const auto values = co_await pool.map<squared>(items, chunk);
        for (const auto each : values) sum += each;
    } else {
        for (const auto each : items) sum += co_await pool.apply<squared>(each);
    }
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    co_await pool.close();
    co_return bench::sample{time.count() / count, sum};
}

bench::side ours_of(shape how, std::uint32_t count, std::size_t chunk) {
    return [=] { return leat::run(leat::run_options(1), ours, how, count, chunk); };
}

constexpr const char* script = R"(
import multiprocessing as mp, sys, time
def squared(x): return (x * x) & 0xffffffff
if __name__ == '__main__':
    how, count, chunk = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with mp.Pool(%u) as pool:
        pool.map(squared, range(8), 1)
        items = list(range(count))
        start = time.perf_counter_ns()
        if how == 'map': total = sum(pool.map(squared, items, chunk or None))
        else: total = sum(pool.apply(squared, (x,)) for x in items)
        print((time.perf_counter_ns() - start) / count, total)
)";

bench::side python(shape how, std::uint32_t count, std::size_t chunk) {
    return [=]() -> bench::sample {
        // A file, since its workers may have to import it.
        std::array<char, 64> name{"/tmp/leat_pool_bench_XXXXXX"};
        const int fd = ::mkstemp(name.data());
        if (fd < 0) return {0, 0};
        ::close(fd);
        if (std::FILE* const file = std::fopen(name.data(), "w")) {
            std::fprintf(file, script, workers);
            std::fclose(file);
        }
        bench::sample got{0, 0};
        const std::string command =
            fmt::format("python3 {} {} {} {}", name.data(), how == shape::map ? "map" : "apply", count, chunk);
        if (std::FILE* const out = ::popen(command.c_str(), "r")) {
            unsigned long long sum = 0;
            if (std::fscanf(out, "%lf %llu", &got.value, &sum) == 2) got.checksum = sum;
            ::pclose(out);
        }
        std::remove(name.data());
        return got;
    };
}

}  // namespace

int main(int argc, char** argv) {
    if (const auto code = leat::worker_main()) return *code;
    bench::session bench(argc, argv, "pool");
    if (std::system("python3 -c 'import multiprocessing' >/dev/null 2>&1") != 0) {
        bench.skip("all", "multiprocessing.Pool", "there is no python3");
        return bench.exit_code();
    }
    const auto peer = "multiprocessing.Pool";
    const auto few = static_cast<std::uint32_t>(bench.size(10'000, 100));
    const auto some = static_cast<std::uint32_t>(bench.size(100'000, 1000));
    const auto many = static_cast<std::uint32_t>(bench.size(2'000'000, 10'000));
    const std::size_t share = many / (workers * std::size_t{4});
    bench.compare("one by one", peer, "ns/call", ours_of(shape::one_by_one, few, 0), python(shape::one_by_one, few, 0),
                  5);
    bench.compare("map, chunk 1", peer, "ns/item", ours_of(shape::map, some, 1), python(shape::map, some, 1), 5);
    bench.compare("map, default chunk", peer, "ns/item", ours_of(shape::map, many, share), python(shape::map, many, 0),
                  5);
    bench.compare("map, auto", peer, "ns/item", ours_of(shape::map, many, 0), python(shape::map, many, 0), 5);
    return bench.exit_code();
}
