// Question: what does a flow add to an item in a chain of 1 to 16 stages, parallel, serial or in turn, with no work, 100 ns,
// 1, 10 or 100 us of it in each stage; and how much of two cores does it make use of? "Queued" are serial stages each of which
// was given a queue of its own (.buffer), so that neighbours overlap where the flow would have one worker do them in turn.
//
// Peers: oneTBB parallel_pipeline with the same mix of filters, on as many threads; and threads written by hand, with a
// bounded queue (mutex and condition variables) in front of each serial stage and of each run of parallel ones, one thread a
// serial stage and two a run. All keep the order, and hold as many items: a queue of 64 for each hop of the flow.
// A cell's line: nanoseconds an item, one after the other in a plain loop and through each side; then, for each side,
// what it adds to the ideal an item and stage, T_seq / (2 * T_2), and the CPU time that it adds to the plain loop's an item and
// stage. The ideal is half of the plain loop's time, and all of it where one serial stage has all the work. The figures are
// those of each side's best round: the sides run in turn, but the machine may be shared. Where it is, believe the CPU time.
// Not measured: stages that wait, uneven items (farm_bench), large items, unordered flows, memory. The flow also keeps an
// account of each stage and item, which the peers do not. Work is calibrated, so checksums differ between machines.
#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <limits>
#include <mutex>
#include <ranges>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>
#include <support/bench.hpp>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

namespace {

constexpr unsigned threads = 2;
constexpr std::size_t queue = 64;  // in front of what is not fused with the stage before it: a flow's default

enum class mix : std::uint8_t { parallel, serial, queued, mixed };
constexpr const char* name_of(mix kind) {
    switch (kind) {
        case mix::parallel:
            return "parallel";
        case mix::serial:
            return "serial";
        case mix::queued:
            return "queued";
        default:
            return "mixed";
    }
}

struct chain {
    mix kind;
    unsigned stages;
    unsigned steps;  // of bench::spin, in each stage
    std::uint64_t items;

    [[nodiscard]] bool is_parallel(unsigned stage) const {
        return kind == mix::parallel || (kind == mix::mixed && stage % 2 == 0);
    }
    // Whether a person would put a queue in front of the stage: not between two parallel ones.
    [[nodiscard]] bool has_queue(unsigned stage) const {
        return stage == 0 || !is_parallel(stage) || !is_parallel(stage - 1);
    }
    // The queues of all stages, and of the sink.
    [[nodiscard]] std::size_t in_flight() const {
        std::size_t queues = 1;
        for (unsigned i = 0; i < stages; ++i) queues += has_queue(i) ? 1 : 0;
        return queues * queue;
    }
    // How many of its stages can be at work at a time, on two threads.
    [[nodiscard]] double ideal_speedup() const { return !is_parallel(0) && stages == 1 ? 1 : threads; }
};

std::uint64_t stage_work(std::uint64_t item, unsigned steps) { return bench::spin(item + 1, steps); }
void add_to(std::uint64_t& sum, std::uint64_t item) { sum = sum * 31 + item; }

std::uint64_t one_after_the_other(const chain& what) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < what.items; ++i) {
        std::uint64_t item = i;
        for (unsigned stage = 0; stage < what.stages; ++stage) item = stage_work(item, what.steps);
        add_to(sum, item);
    }
    return sum;
}

std::uint64_t through_leat(leat::runtime& where, const chain& what) {
    std::uint64_t sum = 0;
    const auto stage = [&](unsigned number) {
        auto made = leat::map(fmt::format("work {}", number), [steps = what.steps](std::uint64_t item) {
                        return stage_work(item, steps);
                    }).concurrency(what.is_parallel(number) ? threads : 1);
        if (what.kind == mix::queued) return std::move(made).buffer(queue);
        return made;
    };
    auto line = leat::from(std::views::iota(std::uint64_t{0}, what.items)) | stage(0);
    for (unsigned number = 1; number < what.stages; ++number) line = std::move(line) | stage(number);
    leat::flow_graph graph = std::move(line) | leat::for_each("sum", [&sum](std::uint64_t item) { add_to(sum, item); });
    where.run(leat::run_flow(std::move(graph)));
    return sum;
}

std::uint64_t through_tbb(tbb::task_arena& where, const chain& what) {
    std::uint64_t sum = 0;
    std::uint64_t next = 0;
    const auto source = [&](tbb::flow_control& control) {
        if (next == what.items) control.stop();
        return next++;
    };
    const auto work = [steps = what.steps](std::uint64_t item) { return stage_work(item, steps); };
    const auto sink = [&](std::uint64_t item) { add_to(sum, item); };
    auto line = tbb::make_filter<void, std::uint64_t>(tbb::filter_mode::serial_in_order, source);
    for (unsigned stage = 0; stage < what.stages; ++stage) {
        const auto mode = what.is_parallel(stage) ? tbb::filter_mode::parallel : tbb::filter_mode::serial_in_order;
        line = line & tbb::make_filter<std::uint64_t, std::uint64_t>(mode, work);
    }
    const auto all = line & tbb::make_filter<std::uint64_t, void>(tbb::filter_mode::serial_in_order, sink);
    where.execute([&] { tbb::parallel_pipeline(what.in_flight(), all); });
    return sum;
}

// A bounded queue that gives items in their order, whatever the order they come in.
class ordered_queue {
public:
    explicit ordered_queue(std::uint64_t items) : end_(items), slots_(queue) {}
    void push(std::uint64_t place, std::uint64_t item) {
        std::unique_lock lock(lock_);
        room_.wait(lock, [&] { return place < next_ + queue; });
        slots_[place % queue] = {item, true};
        if (place == next_) {
            lock.unlock();
            filled_.notify_one();
        }
    }
    // False when all have been taken.
    bool pop(std::uint64_t& place, std::uint64_t& item) {
        std::unique_lock lock(lock_);
        filled_.wait(lock, [&] { return next_ == end_ || slots_[next_ % queue].full; });
        if (next_ == end_) return false;
        place = next_++;
        slot& mine = slots_[place % queue];
        item = mine.item;
        mine.full = false;
        const bool is_last = next_ == end_;
        const bool is_next_there = !is_last && slots_[next_ % queue].full;
        lock.unlock();
        room_.notify_all();
        if (is_last) filled_.notify_all();
        else if (is_next_there) filled_.notify_one();
        return true;
    }

private:
    struct slot {
        std::uint64_t item = 0;
        bool full = false;
    };
    std::mutex lock_;
    std::condition_variable filled_;
    std::condition_variable room_;
    std::uint64_t next_ = 0;
    std::uint64_t end_;
    std::vector<slot> slots_;
};

std::uint64_t through_threads(const chain& what) {
    struct run {
        unsigned stages;
        bool parallel;
    };
    std::vector<run> runs;
    for (unsigned stage = 0; stage < what.stages; ++stage) {
        if (what.has_queue(stage)) runs.push_back({0, what.is_parallel(stage)});
        ++runs.back().stages;
    }
    std::deque<ordered_queue> queues;
    for (std::size_t i = 0; i <= runs.size(); ++i) queues.emplace_back(what.items);
    std::vector<std::thread> all;
    all.emplace_back([&] {
        for (std::uint64_t i = 0; i < what.items; ++i) queues.front().push(i, i);
    });
    for (std::size_t i = 0; i < runs.size(); ++i) {
        for (unsigned copy = 0; copy < (runs[i].parallel ? threads : 1); ++copy) {
            all.emplace_back([&in = queues[i], &out = queues[i + 1], stages = runs[i].stages, steps = what.steps] {
                std::uint64_t place = 0;
                std::uint64_t item = 0;
                while (in.pop(place, item)) {
                    for (unsigned stage = 0; stage < stages; ++stage) item = stage_work(item, steps);
                    out.push(place, item);
                }
            });
        }
    }
    std::uint64_t sum = 0;
    std::uint64_t place = 0;
    std::uint64_t item = 0;
    while (queues.back().pop(place, item)) add_to(sum, item);
    for (std::thread& each : all) each.join();
    return sum;
}

// Nanoseconds of one step of bench::spin.
double calibrated_step() {
    constexpr unsigned steps = 1'000'000;
    double best = std::numeric_limits<double>::max();
    std::uint64_t kept = 1;
    for (int round = 0; round < 10; ++round)
        best = std::min(best, bench::nanoseconds_of([&] { kept = bench::spin(kept, steps); }));
    return kept == 0 ? 1 : best / steps;
}

double cpu_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// The best of the rounds of one side; nanoseconds an item.
struct figures {
    double time = std::numeric_limits<double>::max();
    double cpu = std::numeric_limits<double>::max();
    std::uint64_t checksum = 0;
};

template <class Side>
void run_once(figures& all, std::uint64_t items, Side side) {
    const double cpu = cpu_ns();
    const double time = bench::nanoseconds_of([&] { all.checksum = side(); });
    all.time = std::min(all.time, time / static_cast<double>(items));
    all.cpu = std::min(all.cpu, (cpu_ns() - cpu) / static_cast<double>(items));
}

// How leat's overhead stands to oneTBB's in the cells of one amount of work.
struct ratios {
    double worst = 0;
    double logs = 0;
    unsigned cells = 0;
    void add(double ratio) {
        worst = std::max(worst, ratio);
        logs += std::log(ratio);
        ++cells;
    }
    [[nodiscard]] double middle() const { return std::exp(logs / cells); }
};
struct tally {
    ratios wall;
    ratios cpu;
    double least_use = 1;  // of two cores, where a stage is parallel
};

class matrix {
public:
    explicit matrix(bench::session& bench) : bench_(bench) {}

    void measure(const chain& what, const std::string& name, tally& sum) {
        figures plain;
        figures ours;
        figures tbb;
        figures by_hand;
        const unsigned rounds = bench_.rounds(3) + (bench_.tiny() ? 0 : 1);  // one to get warm, and the best counts
        for (unsigned round = 0; round < rounds; ++round) {
            run_once(plain, what.items, [&] { return one_after_the_other(what); });
            run_once(ours, what.items, [&] { return through_leat(*pool_, what); });
            run_once(tbb, what.items, [&] { return through_tbb(arena_, what); });
            run_once(by_hand, what.items, [&] { return through_threads(what); });
        }
        if (ours.checksum != plain.checksum) bench_.fail(name + ": the flow lost or reordered items");
        const double ideal = plain.time / what.ideal_speedup();
        const auto added = [&](const figures& side) { return (side.time - ideal) / what.stages; };
        const auto use = [&](const figures& side) { return plain.time / (threads * side.time); };
        const auto spent = [&](const figures& side) { return (side.cpu - plain.cpu) / what.stages; };
        // What is below half a percent of the ideal is noise, and counts as so much.
        const double noise = 0.005 * ideal / what.stages;
        const auto over = [&](double mine, double other) { return std::max(mine, noise) / std::max(other, noise); };
        const double ratio = over(added(ours), added(tbb));
        const double cpu_ratio = over(spent(ours), spent(tbb));
        fmt::print(
            "{:<19} {:>9.4g} | {:>9.4g} {:>9.4g} {:>9.4g} | {:>7.4g} {:>7.4g} {:>7.4g} {:>5.2f} | {:>4.2f} {:>4.2f} "
            "{:>4.2f} "
            "| {:>7.4g} {:>7.4g} {:>7.4g} {:>5.2f}\n",
            name, plain.time, ours.time, tbb.time, by_hand.time, added(ours), added(tbb), added(by_hand), ratio,
            use(ours), use(tbb), use(by_hand), spent(ours), spent(tbb), spent(by_hand), cpu_ratio);
        bench_.note(name.c_str(), "oneTBB parallel_pipeline", "ns/item", {ours.time, ours.checksum},
                    {tbb.time, tbb.checksum});
        bench_.note(name.c_str(), "threads with queues", "ns/item", {ours.time, ours.checksum},
                    {by_hand.time, by_hand.checksum});
        bench_.note((name + ", CPU").c_str(), "oneTBB parallel_pipeline", "ns/item", {ours.cpu, ours.checksum},
                    {tbb.cpu, tbb.checksum});
        sum.wall.add(ratio);
        sum.cpu.add(cpu_ratio);
        if (what.kind == mix::parallel) sum.least_use = std::min(sum.least_use, use(ours));
    }

private:
    bench::session& bench_;
    std::unique_ptr<leat::runtime> pool_ = leat::make_runtime(leat::run_options(threads));
    tbb::task_arena arena_{static_cast<int>(threads)};
};

struct work {
    const char* name;
    double ns;
};

// So many that a run takes some tenth of a second.
std::uint64_t items_for(const bench::session& bench, const work& what, unsigned stages) {
    if (bench.tiny()) return what.ns > 1000 ? 3 : 50;
    constexpr double aimed_at_ns = 1e8;
    constexpr double guessed_overhead_ns = 500;
    return std::max<std::uint64_t>(
        256, static_cast<std::uint64_t>(aimed_at_ns / (stages * (what.ns + guessed_overhead_ns))));
}

}  // namespace

int main(int argc, char** argv) {
    bench::session bench(argc, argv, "pipeline");
    matrix all(bench);
    const double step = calibrated_step();
    fmt::print("a step of work takes {:.2f} ns\n", step);
    fmt::print("{:<19} {:>9} | {:>29} | {:>23} {:>5} | {:>14} | {:>23} {:>5}\n", "", "alone", "ns an item",
               "added a stage, ns", "/ TBB", "T_seq/(2 T_2)", "CPU added a stage, ns", "/ TBB");
    fmt::print("{:<19} {:>9} | {:>9} {:>9} {:>9} | {:>7} {:>7} {:>7} {:>5} | {:>4} {:>4} {:>4} | {:>7} {:>7} {:>7}\n",
               "stages, work", "", "leat", "oneTBB", "threads", "leat", "oneTBB", "threads", "", "leat", "TBB", "thr.",
               "leat", "oneTBB", "threads");
    for (const work each : {work{"no work", 0}, work{"100 ns", 100}, work{"1 us", 1'000}, work{"10 us", 10'000},
                            work{"100 us", 100'000}}) {
        tally sum;
        for (const mix kind : {mix::parallel, mix::serial, mix::queued, mix::mixed}) {
            for (const unsigned stages : {1U, 2U, 4U, 8U, 16U}) {
                if (stages == 1 && (kind == mix::mixed || kind == mix::queued)) continue;  // nothing new
                const std::string name = fmt::format("{} {}, {}", stages, name_of(kind), each.name);
                if (!bench.wanted(name)) continue;
                const auto steps = static_cast<unsigned>(std::lround(each.ns / step));
                all.measure({kind, stages, steps, items_for(bench, each, stages)}, name, sum);
            }
        }
        if (sum.wall.cells > 0)
            fmt::print(
                "{}: what leat adds, over what oneTBB adds: {:.2f} in the middle, {:.2f} at worst; of CPU time {:.2f} "
                "and "
                "{:.2f}; least use of two cores by parallel stages: {:.2f}\n",
                each.name, sum.wall.middle(), sum.wall.worst, sum.cpu.middle(), sum.cpu.worst, sum.least_use);
    }
    return bench.exit_code();
}
