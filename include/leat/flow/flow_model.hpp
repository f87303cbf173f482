// flow_model: what a flow can do, from the times of its stages: rate, time, items in flight, memory, the bottleneck, and what one
// more worker would bring. Pure functions: `leat plan` feeds them from a sample, `leat explain` from a report.
//
// The formulas are those of operational analysis; docs/model.md has them with their sources and their limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace leat {

// A stage as the model sees it. Figures below zero, or that are no numbers, count as zero.
struct model_stage {
    model_stage() = default;
    model_stage(std::string called, double service, unsigned workers)
        : name(std::move(called)), service_s(service), jobs(workers) {}

    std::string name;
    double service_s = 0;      // a worker's time for an item that arrives, waiting for input and for room not included
    unsigned jobs = 1;         // items at work at a time
    unsigned most_jobs = 0;    // what it could have; 0: any number
    bool fused = false;        // an item stays with the worker that did the stage before: the two share its time
    double fan_out = 1;        // items that leave for each that arrives: a filter below 1, a batch of n: 1/n
    double gathered = 0;       // items that it keeps to make one of them, as a batch does
    double buffer_items = 64;  // what the queue in front of it holds; nothing of a fused stage
    double buffer_bytes = 64.0 * 1024 * 1024;
    double item_bytes = 0;  // of an item that arrives, on average
    double cpu_share = 1;   // of the service time that needs a CPU; the rest waits: for disks, networks, other programs
};

struct flow_model {
    std::vector<model_stage>
        stages;                 // in their order: the source first, whose service time is what it takes for an item
    double cpus = 1;            // effective CPUs; 0: as many as are needed
    double most_in_flight = 0;  // items of the source in the flow at a time, at most; 0: as the buffers have it
};

// One stage at the predicted rate.
struct stage_prediction {
    double visits = 1;       // items that arrive for each item of the source
    double demand_s = 0;     // of a worker's time for each item of the source
    double capacity = 0;     // items of the source a second that its workers could do; infinite when they take no time
    double utilization = 0;  // the share of its workers' time
    double items = 0;        // queued, gathered and at work
    double bytes = 0;        // of those
};

struct flow_prediction {
    enum class limit : std::uint8_t {
        nothing,    // no stage takes any time
        stage,      // the workers of `bottleneck`
        cpus,       // all CPUs are taken
        in_flight,  // the bound on items in flight
    };
    limit limited_by = limit::nothing;
    std::size_t bottleneck = 0;  // the stage with the least capacity, whatever limits the flow
    double rate = 0;             // items of the source a second, once it runs evenly; infinite when nothing takes time
    double fill_s = 0;           // until the first item has come out
    double total_s = 0;          // for all items
    double latency_s = 0;        // that an item spends in the flow, once it runs evenly
    double in_flight = 0;        // items queued, gathered and at work, once it runs evenly
    double bytes = 0;            // of those
    double most_bytes = 0;       // with every queue full: what it may come to
    double cpus = 0;             // that are used
    std::vector<stage_prediction> stages;

    // "parse limits the flow: its 2 workers can do 40.0 items/s …". Without a line end.
    [[nodiscard]] std::string sentence(const flow_model& of) const;
    // The sentence, the figures and a table of the stages; several lines, each ended.
    [[nodiscard]] std::string to_text(const flow_model& of, std::uint64_t items) const;
};

// For `items` items of the source. A model without stages predicts nothing.
[[nodiscard]] flow_prediction predict(const flow_model& model, std::uint64_t items);

// What more workers at one stage would bring.
struct model_gain {
    double rate_before = 0;
    double rate_after = 0;
    std::string capped_by;  // what limits then: a stage by name, "the CPUs", …; empty: still this stage
    bool possible = true;   // false: the stage can have no more
    // rate_after / rate_before; 1 when there is no rate.
    [[nodiscard]] double factor() const noexcept;
    // "one more (2 → 3): 60.0 items/s, 1.5 times as much; then store limits".
    [[nodiscard]] std::string to_text(const model_stage& of, unsigned more) const;
};
// `stage` is a place in model.stages; of a fused one, all that share its workers get more.
[[nodiscard]] model_gain gain_of_jobs(const flow_model& model, std::size_t stage, unsigned more = 1);

}  // namespace leat
