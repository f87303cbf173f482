// Question: how fast is a look-up in a Bloom filter, in the cache and beyond it, and is the rate of false positives the one
// that it was made for?
//
// Peers: std::unordered_set of the keys, and the textbook's Bloom filter below: one array of bits, as many probes as are best,
// two hashes (A. Kirsch, M. Mitzenmacher, "Less Hashing, Same Performance", 2006). All are asked for the same keys, half of
// which they have; what is checked is the answers for those. Rates are measured against the ones asked for; the program fails
// when one is off by more than 10 %, or a filter that fits in cache takes more than 10 ns a look-up.
// Not measured: threads, keys that must be hashed from texts first.
#include <cmath>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>
#include <leat/flow/bloom_filter.hpp>
#include <support/bench.hpp>

namespace {

class textbook_filter {
public:
    textbook_filter(std::uint64_t items, double rate)
        : bits_(static_cast<std::uint64_t>(std::ceil(static_cast<double>(items) * -std::log(rate) / (ln2 * ln2)))),
          probes_(static_cast<unsigned>(std::round(static_cast<double>(bits_) / static_cast<double>(items) * ln2))),
          words_(bits_ / 64 + 1) {}
    void insert(std::uint64_t key) noexcept {
        const std::uint64_t first = bench::spin(key, 2);
        const std::uint64_t step = bench::spin(first, 1) | 1U;
        for (unsigned i = 0; i < probes_; ++i) {
            const std::uint64_t at = (first + i * step) % bits_;
            words_[at / 64] |= std::uint64_t{1} << at % 64;
        }
    }
    [[nodiscard]] bool contains(std::uint64_t key) const noexcept {
        const std::uint64_t first = bench::spin(key, 2);
        const std::uint64_t step = bench::spin(first, 1) | 1U;
        for (unsigned i = 0; i < probes_; ++i) {
            const std::uint64_t at = (first + i * step) % bits_;
            if ((words_[at / 64] >> at % 64 & 1U) == 0) return false;
        }
        return true;
    }

private:
    static constexpr double ln2 = 0.69314718055994531;
    std::uint64_t bits_;
    unsigned probes_;
    std::vector<std::uint64_t> words_;
};

// Keys by number: those below `items` are in, in an order that jumps.
std::uint64_t key_of(std::uint64_t number) { return number * 0x9e3779b97f4a7c15U; }

// Asks for `count` keys, every second of which is in; gives how many of those were found.
template <class Set>
std::uint64_t ask(const Set& set, std::uint64_t items, std::uint64_t count) {
    std::uint64_t found = 0;
    std::uint64_t at = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        at = at + 7919 < items ? at + 7919 : at + 7919 - items;
        const std::uint64_t is_in = i & 1U;
        found += static_cast<std::uint64_t>(set.contains(key_of(at + (1 - is_in) * items))) & is_in;
    }
    return found;
}

void look_ups(bench::session& bench, const std::string& name, std::uint64_t items, double rate, std::uint64_t count) {
    if (!bench.wanted(name)) return;
    leat::bloom_filter ours(items, rate);
    textbook_filter textbook(items, rate);
    std::unordered_set<std::uint64_t> exact;
    for (std::uint64_t i = 0; i < items; ++i) {
        ours.insert(key_of(i));
        textbook.insert(key_of(i));
        exact.insert(key_of(i));
    }
    double best = 1e9;
    const auto side = [&](const auto& set) {
        return bench::per_unit(count, [&set, items](std::uint64_t n) { return ask(set, items, n); });
    };
    const bench::side timed = [&, inner = side(ours)] {
        const bench::sample got = inner();
        best = std::min(best, got.value);
        return got;
    };
    bench.compare(name.c_str(), "the textbook's filter", "ns/look-up", timed, side(textbook));
    bench.compare(name.c_str(), "std::unordered_set", "ns/look-up", timed, side(exact));
    fmt::print("  {}: {} KiB, {}, {:.0f} million look-ups a second\n", name, ours.bytes() / 1024, ours.instructions(),
               1e3 / best);
    if (!bench.tiny() && ours.bytes() < 256 * 1024 && best > 10)
        bench.fail("a look-up in the cache takes more than 10 ns");
}

void rate_of(bench::session& bench, double rate, std::uint64_t items, std::uint64_t wrong_wanted) {
    const std::string name = fmt::format("false positives at {:g}", rate);
    if (!bench.wanted(name)) return;
    leat::bloom_filter filter(items, rate);
    for (std::uint64_t i = 0; i < items; ++i) filter.insert(key_of(i));
    const auto count = static_cast<std::uint64_t>(static_cast<double>(wrong_wanted) / rate);
    std::uint64_t wrong = 0;
    for (std::uint64_t i = items; i < items + count; ++i) wrong += filter.contains(key_of(i)) ? 1U : 0U;
    const double measured = static_cast<double>(wrong) / static_cast<double>(count);
    bench.record(name.c_str(), "what it was made for", "rate", {measured, count}, {rate, count});
    fmt::print("  {:g}: {:.1f} bits a key, {} lanes, measured {:.4g}, {:+.1f} %\n", rate,
               static_cast<double>(filter.bytes()) * 8 / static_cast<double>(items), filter.bits_per_key(), measured,
               (measured / rate - 1) * 100);
    if (!bench.tiny() && std::abs(measured / rate - 1) > 0.1) bench.fail(name + ": off by more than 10 %");
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "bloom");
    const std::uint64_t count = bench.size(20'000'000, 10'000);
    look_ups(bench, "first level cache at 1e-3", 10'000, 1e-3, count);
    look_ups(bench, "second level cache at 1e-3", 100'000, 1e-3, count);
    look_ups(bench, "second level cache at 1e-6", 40'000, 1e-6, count);
    look_ups(bench, "memory at 1e-4", bench.size(20'000'000, 20'000), 1e-4, bench.size(5'000'000, 10'000));
    rate_of(bench, 1e-2, bench.size(1'000'000, 10'000), bench.size(40'000, 100));
    rate_of(bench, 1e-3, bench.size(1'000'000, 10'000), bench.size(40'000, 100));
    rate_of(bench, 1e-4, bench.size(2'000'000, 10'000), bench.size(10'000, 10));
    rate_of(bench, 1e-5, bench.size(4'000'000, 10'000), bench.size(4'000, 1));
    rate_of(bench, 1e-6, bench.size(10'000'000, 10'000), bench.size(1'000, 1));
    return bench.exit_code();
}
