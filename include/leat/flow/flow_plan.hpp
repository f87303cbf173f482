// flow_plan: what a whole run will take, told from a sample: the flow's first items go through its stages, and not into its sink.
// `leat plan`.
//
//   leat::flow_sample part(std::move(graph), 500);
//   leat::report run = co_await leat::run_flow(part.take_graph(), options);
//   leat::flow_plan told = part.plan(run);
//
// The stages are the real ones: what they do outside the flow, they do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <leat/flow/flow_model.hpp>
#include <leat/flow/report.hpp>
#include <leat/flow/stage.hpp>

namespace leat {

struct flow_plan {
    flow_model model;
    flow_prediction prediction;
    plan_forecast forecast;
    bool is_whole = false;    // the source had no more items than the sample
    double sample_s = 0;      // what the sample took
    std::size_t slowest = 0;  // the stage whose workers would help first, in the model

    // The prediction for a person, with what one more worker would bring. Several lines, each ended.
    [[nodiscard]] std::string to_text(const std::string& flow) const;
};

class flow_sample {
public:
    // The first `items` items of each source; the sinks take items and keep none: they count as skipped. Throws
    // std::invalid_argument for a graph without a source or a sink.
    flow_sample(flow_graph graph, std::uint64_t items);
    ~flow_sample();
    flow_sample(const flow_sample&) = delete;

    // To be run, once; it refers to this.
    [[nodiscard]] flow_graph take_graph() { return std::move(graph_); }
    // After that run, whose report is given. `base_bytes`: the memory that the program had before it; 0: not known.
    [[nodiscard]] flow_plan plan(const report& run, double base_bytes = 0) const;

private:
    class limited_source;
    class empty_sink;

    flow_graph graph_;
    std::vector<std::shared_ptr<limited_source>> sources_;
    std::vector<std::shared_ptr<empty_sink>> sinks_;
    std::vector<stage_policy> policies_;  // of the stages
};

}  // namespace leat
