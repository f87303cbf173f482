// Question: what does dedup cost an item, with its keys in memory and on disk, for keys that are new and keys that are known?
//
// Peer: the same flow with a filter over a std::unordered_set, which forgets its keys with the process and calls an item seen
// before it has reached the sink. Half of the items, and then all of them, have keys that were there before.
// Not measured: texts as keys, indexes that are larger than the memory, journals.
#include <atomic>
#include <filesystem>
#include <ranges>
#include <unordered_set>

#include <unistd.h>

#include <leat/flow/dedup.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace {

std::uint64_t key_of(std::uint64_t item) { return item / 2 * 0x9e3779b97f4a7c15U; }

template <class Stage>
std::uint64_t through(leat::runtime& where, std::uint64_t count, Stage unique) {
    std::uint64_t sum = 0;
    leat::flow_graph graph = leat::from(std::views::iota(std::uint64_t{0}, count)) | std::move(unique) |
                             leat::for_each("sum", [&sum](std::uint64_t item) { sum = sum * 31 + item; });
    const leat::report done = where.run(leat::run_flow(std::move(graph)));
    return done.end == leat::flow_end::complete ? sum : ~sum;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "dedup");
    const auto pool = leat::make_runtime(leat::run_options(2));
    const std::uint64_t count = bench.size(400'000, 5'000);
    const std::string path =
        (std::filesystem::temp_directory_path() / "leat-bench-dedup-").string() + std::to_string(::getpid());

    const auto by_hand = [&] {
        auto seen = std::make_shared<std::unordered_set<std::uint64_t>>();
        return through(*pool, count, leat::filter("unique", [seen](std::uint64_t item) {
                                         return seen->insert(key_of(item)).second;
                                     }).concurrency(1));
    };
    const auto in_memory = [&] { return through(*pool, count, leat::dedup("unique", key_of).expecting(count)); };
    const auto new_on_disk = [&] {
        return through(*pool, count, leat::dedup("unique", key_of).expecting(count).on_disk(path));
    };
    const auto known_on_disk = [&] {
        return through(*pool, count, leat::dedup("unique", key_of).expecting(count).on_disk(path).keep());
    };
    const auto nothing = [&] {
        return through(*pool, count, leat::filter("unique", [](std::uint64_t) { return false; }));
    };
    bench.compare("in memory", "a set by hand", "ns/item", bench::per_unit(count, in_memory),
                  bench::per_unit(count, by_hand));
    bench.compare("on disk, half of them new", "a set by hand", "ns/item", bench::per_unit(count, new_on_disk),
                  bench::per_unit(count, by_hand), 5);
    (void)new_on_disk();
    bench.compare("on disk, all known", "none passes", "ns/item", bench::per_unit(count, known_on_disk),
                  bench::per_unit(count, nothing), 5);
    for (const char* const end : {"", "-wal", "-shm", ".bloom"}) std::filesystem::remove(path + end);
    return bench.exit_code();
}
