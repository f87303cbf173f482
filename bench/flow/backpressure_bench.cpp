// Question: does memory stay flat when a producer is a hundred times faster than its consumer, over ten million items?
//
// Peer: the same run at 5 % of its items, when every buffer has long been full. The figure is resident memory as the sink
// sees it, sampled every few thousand items: the peak of the second half against that of the first 5 %. The program fails
// when it grew by more than 10 % and 2 MiB.
// Not measured: time, peaks between two samples, memory with large items (a buffer's bound in bytes), many stages.
#include <fstream>
#include <ranges>

#include <unistd.h>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace {

constexpr unsigned producer_steps = 5;    // some 10 ns
constexpr unsigned consumer_steps = 500;  // a hundred times that
constexpr double mib = 1024.0 * 1024.0;

double resident_mib() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t all = 0;
    std::uint64_t resident = 0;
    statm >> all >> resident;
    return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / mib;
}

// The peaks that the consumer has seen.
class memory_watch {
public:
    memory_watch(std::uint64_t count, std::uint64_t every) : count_(count), every_(every) {}
    void passed(std::uint64_t items) {
        if (items % every_ != 0) return;
        if (items <= count_ / 20) early = std::max(early, resident_mib());
        if (items >= count_ / 2) late = std::max(late, resident_mib());
    }
    double early = 0;
    double late = 0;

private:
    std::uint64_t count_;
    std::uint64_t every_;
};

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "backpressure");
    const std::uint64_t count = bench.size(10'000'000, 50'000);
    memory_watch memory(count, bench.size(4096, 256));
    std::uint64_t sum = 0;
    std::uint64_t passed = 0;

    const auto produced = [](std::uint64_t item) { return bench::spin(item, producer_steps); };
    leat::flow_graph graph = leat::from(std::views::iota(std::uint64_t{0}, count) | std::views::transform(produced)) |
                             leat::for_each("slow", [&](std::uint64_t item) {
                                 sum ^= bench::spin(item, consumer_steps);
                                 memory.passed(++passed);
                             });
    leat::report done;
    const double time = bench::nanoseconds_of(
        [&] { done = leat::run(leat::run_options(2), leat::run_flow, std::move(graph), leat::flow_options()); });
    fmt::print("{} items in {:.1f} s, {:.0f} ns an item\n", done.out, time / 1e9, time / static_cast<double>(count));
    if (done.out != count || !done.adds_up()) bench.fail("the flow lost items:\n" + done.to_text());

    bench.record("resident memory", "itself at 5 %", "MiB", {memory.late, sum}, {memory.early, sum});
    if (memory.early <= 0) bench.fail("resident memory could not be read");
    if (memory.late > memory.early * 1.1 + 2)
        bench.fail(fmt::format("memory grew from {:.1f} to {:.1f} MiB", memory.early, memory.late));
    return bench.exit_code();
}
