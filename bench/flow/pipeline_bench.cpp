// Question: what does a flow add to each item on its way from a source through a parallel stage to a sink, in order?
//
// Peer: oneTBB parallel_pipeline, serial_in_order | parallel | serial_in_order, on as many threads, with as many tokens as
// the flow holds items. The work of an item in the stage is none, and some microsecond.
// Not measured: stages that wait, uneven items, unordered flows, longer chains, memory. The flow also keeps an account of
// each stage and item, which the peer does not.
#include <ranges>

#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

namespace {

constexpr unsigned threads = 2;
constexpr std::size_t queue = 64;          // in front of the stage, and of the sink
constexpr std::size_t tokens = 2 * queue;  // the same number of items under way

std::uint64_t through_leat(leat::runtime& where, std::uint64_t count, unsigned steps) {
    std::uint64_t sum = 0;
    leat::flow_graph graph = leat::from(std::views::iota(std::uint64_t{0}, count)) |
                             leat::map("work", [steps](std::uint64_t item) { return bench::spin(item, steps); })
                                 .concurrency(threads)
                                 .buffer(queue) |
                             leat::for_each("sum", [&sum](std::uint64_t item) { sum = sum * 31 + item; }).buffer(queue);
    where.run(leat::run_flow(std::move(graph)));
    return sum;
}

std::uint64_t through_tbb(tbb::task_arena& where, std::uint64_t count, unsigned steps) {
    std::uint64_t sum = 0;
    std::uint64_t next = 0;
    const auto source = [&](tbb::flow_control& control) {
        if (next == count) control.stop();
        return next++;
    };
    const auto work = [steps](std::uint64_t item) { return bench::spin(item, steps); };
    const auto sink = [&](std::uint64_t item) { sum = sum * 31 + item; };
    where.execute([&] {
        tbb::parallel_pipeline(tokens,
                               tbb::make_filter<void, std::uint64_t>(tbb::filter_mode::serial_in_order, source) &
                                   tbb::make_filter<std::uint64_t, std::uint64_t>(tbb::filter_mode::parallel, work) &
                                   tbb::make_filter<std::uint64_t, void>(tbb::filter_mode::serial_in_order, sink));
    });
    return sum;
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "pipeline");
    const auto pool = leat::make_runtime(leat::run_options(threads));
    tbb::task_arena arena(static_cast<int>(threads));
    const auto measure = [&](const char* name, std::uint64_t count, unsigned steps) {
        const auto per_item = [count](auto work) {
            return [count, work] {
                std::uint64_t sum = 0;
                const double time = bench::nanoseconds_of([&] { sum = work(); });
                return bench::sample{time / static_cast<double>(count), sum};
            };
        };
        bench.compare(name, "oneTBB parallel_pipeline", "ns/item",
                      per_item([&, count, steps] { return through_leat(*pool, count, steps); }),
                      per_item([&, count, steps] { return through_tbb(arena, count, steps); }));
    };
    measure("no work", bench.size(200'000, 5'000), 0);
    measure("1 us of work", bench.size(200'000, 5'000), 500);
    return bench.exit_code();
}
