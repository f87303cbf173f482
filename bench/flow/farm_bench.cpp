// Question: what does an ordered farm with a fixed window make of items whose cost is heavy-tailed: how many get through, how
// long does one take from entering to leaving in its order, how much memory is taken at most?
//
// Peers: oneTBB parallel_pipeline (serial_in_order | parallel | serial_in_order), with as many tokens as the flow has room for
// items, and a oneTBB flow graph (source, limiter of as many, function node, sequencer, serial function node). Two threads
// each, and each run in a process of its own. An item enters when the source makes it, with 16 KiB that the work reads. Its
// cost is drawn from a Pareto distribution (alpha 1.3, at least 5 us, at most 5 ms, 21 us in the mean) with a fixed seed.
// Latency is that of a source that gives whatever there is room for, so a side that lets fewer items in at a time is quicker
// with each; how many it may hold is the same for all.
// Not measured: sources that come at their own pace, stages that wait, more than two cores.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <ranges>
#include <vector>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/apart.hpp>
#include <support/bench.hpp>
#include <tbb/flow_graph.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

namespace {

constexpr unsigned threads = 2;
constexpr std::size_t content_words = 2048;
using clock = std::chrono::steady_clock;

// Room for items: the flow's are all between the oldest item that has not left and the newest, since nothing waits in a queue.
struct room {
    std::size_t items;
};

unsigned cost_steps(std::uint64_t number) {
    constexpr double alpha = 1.3;
    constexpr double least_ns = 5'000;
    constexpr double most_ns = 5e6;
    constexpr double step_ns = 2;
    const double uniform = static_cast<double>(bench::spin(number + 42, 2) >> 11U) * 0x1p-53 + 0x1p-54;
    return static_cast<unsigned>(std::min(most_ns, least_ns * std::pow(uniform, -1 / alpha)) / step_ns);
}

struct job {
    std::uint64_t number = 0;
    clock::time_point entered;
    std::vector<std::uint64_t> content;
    std::uint64_t result = 0;
    [[nodiscard]] std::size_t weight() const { return sizeof(job) + content.size() * sizeof(std::uint64_t); }
};

job make_job(std::uint64_t number) {
    return {number, clock::now(), std::vector<std::uint64_t>(content_words, number), 0};
}
void do_job(job& what) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : what.content) sum = sum * 31 + word;
    what.result = bench::spin(sum, cost_steps(what.number));
}

struct figures {
    double ns_per_item;
    double p50_us;
    double p99_us;
    std::uint64_t checksum;
};

// The sink, and the clock over the whole.
class meter {
public:
    explicit meter(std::uint64_t items) { latencies_.reserve(items); }
    void leave(const job& done) {
        latencies_.push_back(std::chrono::duration<double, std::micro>(clock::now() - done.entered).count());
        sum_ = sum_ * 31 + done.result;
    }
    [[nodiscard]] figures taken() {
        const double time = std::chrono::duration<double, std::nano>(clock::now() - started_).count();
        const auto at = [&](double part) {
            const auto place =
                latencies_.begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(latencies_.size() - 1));
            std::nth_element(latencies_.begin(), place, latencies_.end());
            return *place;
        };
        return {time / static_cast<double>(latencies_.size()), at(0.5), at(0.99), sum_};
    }

private:
    std::vector<double> latencies_;
    std::uint64_t sum_ = 0;
    clock::time_point started_ = clock::now();
};

figures through_leat(std::uint64_t items, room within) {
    const auto where = leat::make_runtime(leat::run_options(threads));
    meter all(items);
    leat::flow_options options;
    options.window = within.items;
    leat::flow_graph graph = leat::from(std::views::iota(std::uint64_t{0}, items) | std::views::transform(make_job)) |
                             leat::map("work",
                                       [](job what) {
                                           do_job(what);
                                           return what;
                                       })
                                 .concurrency(threads) |
                             leat::for_each("leave", [&](const job& done) { all.leave(done); });
    where->run(leat::run_flow(std::move(graph), options));
    return all.taken();
}

figures through_pipeline(std::uint64_t items, room within) {
    tbb::task_arena arena(static_cast<int>(threads));
    arena.initialize();
    meter all(items);
    std::uint64_t next = 0;
    const auto source = [&](tbb::flow_control& control) -> job* {
        if (next < items) return new job(make_job(next++));
        control.stop();
        return nullptr;
    };
    const auto work = [](job* what) {
        do_job(*what);
        return what;
    };
    const auto sink = [&](job* done) {
        all.leave(*done);
        delete done;
    };
    arena.execute([&] {
        tbb::parallel_pipeline(within.items, tbb::make_filter<void, job*>(tbb::filter_mode::serial_in_order, source) &
                                                 tbb::make_filter<job*, job*>(tbb::filter_mode::parallel, work) &
                                                 tbb::make_filter<job*, void>(tbb::filter_mode::serial_in_order, sink));
    });
    return all.taken();
}

figures through_graph(std::uint64_t items, room within) {
    tbb::task_arena arena(static_cast<int>(threads));
    arena.initialize();
    meter all(items);
    std::uint64_t next = 0;
    arena.execute([&] {
        namespace tf = tbb::flow;
        tf::graph graph;
        tf::input_node<job*> source(graph, [&](tbb::flow_control& control) -> job* {
            if (next < items) return new job(make_job(next++));
            control.stop();
            return nullptr;
        });
        tf::limiter_node<job*> limiter(graph, within.items);
        tf::function_node<job*, job*> work(graph, tf::unlimited, [](job* what) {
            do_job(*what);
            return what;
        });
        tf::sequencer_node<job*> order(graph, [](job* what) { return what->number; });
        tf::function_node<job*, tf::continue_msg> sink(graph, tf::serial, [&](job* done) {
            all.leave(*done);
            delete done;
            return tf::continue_msg();
        });
        tf::make_edge(source, limiter);
        tf::make_edge(limiter, work);
        tf::make_edge(work, order);
        tf::make_edge(order, sink);
        tf::make_edge(sink, limiter.decrementer());
        source.activate();
        graph.wait_for_all();
    });
    return all.taken();
}

struct side {
    const char* name;
    figures (*run)(std::uint64_t items, room within);
    std::map<std::string, std::vector<double>> values;  // of the rounds, by unit
    std::uint64_t checksum = 0;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void measure(bench::session& bench, const std::string& name, room within) {
    const std::uint64_t items = bench.size(40'000, 300);
    side sides[] = {{"leat", through_leat, {}, 0},
                    {"oneTBB parallel_pipeline", through_pipeline, {}, 0},
                    {"oneTBB flow graph", through_graph, {}, 0}};
    const char* const units[] = {"ns/item", "p50 us", "p99 us", "MiB peak", "CPU ns/item"};
    for (unsigned round = 0; round < bench.rounds(5); ++round) {
        for (side& each : sides) {
            const auto got = bench::run_apart([&] { return each.run(items, within); });
            if (!got) return bench.fail(fmt::format("{}: {} came to no end", name, each.name));
            each.checksum = got->value.checksum;
            const double measured[] = {got->value.ns_per_item, got->value.p50_us, got->value.p99_us, got->peak_mib,
                                       got->cpu_s * 1e9 / static_cast<double>(items)};
            for (std::size_t i = 0; i < std::size(units); ++i) each.values[units[i]].push_back(measured[i]);
        }
    }
    for (std::size_t peer = 1; peer < std::size(sides); ++peer)
        for (const char* unit : units)
            bench.record(name.c_str(), sides[peer].name, unit, {median(sides[0].values[unit]), sides[0].checksum},
                         {median(sides[peer].values[unit]), sides[peer].checksum});
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "farm");
    for (const room within : {room{32}, room{256}, room{1024}}) {
        const std::string name = fmt::format("room for {}", within.items);
        if (bench.wanted(name)) measure(bench, name, within);
    }
    return bench.exit_code();
}
