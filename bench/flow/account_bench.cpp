// Question: what does a flow's account of time cost, the division of each worker's life into busy, I/O, core, starved and blocked?
//
// The same flow with and without it, in turns: parallel and serial stages of plain functions, quick and slow, and stages that
// wait for their turn at a thread. Both sides count items and time batches, which the engine needs for itself.
// Not measured: the counts of items; more than two cores.
#include <algorithm>
#include <ctime>
#include <ranges>
#include <vector>

#include <flow/line_clock.hpp>
#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace {

constexpr unsigned threads = 2;

struct cell {
    const char* name;
    unsigned stages;
    unsigned steps;  // of bench::spin in each stage; about 2 ns each
    unsigned jobs;
    bool yields;  // each stage is a coroutine that yields once
    std::uint64_t items;
};

leat::task<std::uint64_t> work_and_yield(std::uint64_t item, unsigned steps) {
    co_await leat::this_task::yield();
    co_return bench::spin(item + 1, steps);
}

std::uint64_t run(leat::runtime& where, const cell& what, bool with_account) {
    leat::line_clock::is_used = with_account;
    std::uint64_t sum = 0;
    auto line = leat::from(std::views::iota(std::uint64_t{0}, what.items)) |
                leat::map("first", [](std::uint64_t item) { return item; }).concurrency(what.jobs);
    for (unsigned i = 0; i < what.stages; ++i) {
        if (what.yields)
            line = std::move(line) | leat::map(fmt::format("work {}", i), [steps = what.steps](std::uint64_t item) {
                                         return work_and_yield(item, steps);
                                     }).concurrency(what.jobs);
        else
            line = std::move(line) | leat::map(fmt::format("work {}", i), [steps = what.steps](std::uint64_t item) {
                                         return bench::spin(item + 1, steps);
                                     }).concurrency(what.jobs);
    }
    leat::flow_graph graph =
        std::move(line) | leat::for_each("sum", [&sum](std::uint64_t item) { sum = sum * 31 + item; });
    where.run(leat::run_flow(std::move(graph)));
    leat::line_clock::is_used = true;
    return sum;
}

double cpu_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "account");
    const auto pool = leat::make_runtime(leat::run_options(threads));
    for (const cell& what :
         {cell{"4 parallel, 100 ns", 4, 50, threads, false, 300'000},
          cell{"4 parallel, 1 us", 4, 500, threads, false, 40'000},
          cell{"16 parallel, 1 us", 16, 500, threads, false, 10'000}, cell{"4 serial, 1 us", 4, 500, 1, false, 40'000},
          cell{"1 parallel, 10 us", 1, 5'000, threads, false, 16'000},
          cell{"2 that yield, 1 us", 2, 500, threads, true, 40'000},
          cell{"2 that yield, 10 us", 2, 5'000, threads, true, 8'000}}) {
        if (!bench.wanted(what.name)) continue;
        cell sized = what;
        sized.items = bench.size(what.items, 200);
        std::uint64_t sums[2] = {};
        std::vector<double> time[2];
        std::vector<double> cpu[2];
        for (unsigned round = 0; round < bench.rounds(15); ++round) {
            for (const unsigned with : {0U, 1U}) {
                const double before = cpu_ns();
                const double took = bench::nanoseconds_of([&] { sums[with] = run(*pool, sized, with == 1); });
                const auto items = static_cast<double>(sized.items);
                cpu[with].push_back((cpu_ns() - before) / items);
                time[with].push_back(took / items);
            }
        }
        if (sums[0] != sums[1]) bench.fail(fmt::format("{}: the two give different results", what.name));
        const auto median = [](std::vector<double>& of) {
            std::sort(of.begin(), of.end());
            return of[of.size() / 2];
        };
        bench.record(what.name, "without the account", "ns/item", {median(time[1]), sums[1]},
                     {median(time[0]), sums[0]});
        bench.record(what.name, "without the account", "CPU ns/item", {median(cpu[1]), sums[1]},
                     {median(cpu[0]), sums[0]});
    }
    return bench.exit_code();
}
