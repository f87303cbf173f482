// explain: what a report says about what limited the run, and what more workers would have brought. docs/model.md has the terms.
#pragma once

#include <cstddef>
#include <string>

#include <leat/flow/flow_model.hpp>
#include <leat/flow/report.hpp>

namespace leat {

// The stages of a report as the model has them: service time = busy time / items that were given, visits = those / items of the
// source. The source itself is in no report: its service time is zero here. The time of all stages that needed a CPU is
// taken as the CPU time of the run, where the report has it.
[[nodiscard]] flow_model model_of(const report& of);

// What held the run to its rate.
struct bottleneck {
    enum class kind : std::uint8_t {
        none,    // nothing was given, or it took no time
        stage,   // the workers of `stage` were busy all the time
        cpus,    // all CPUs were taken; `stage` took most
        source,  // the stages waited for items
        order,   // the workers of `stage` waited for their turn, or for room, and nobody behind them was busy
        spread,  // nobody was busy all the time; `stage` was the most
    };
    kind what = kind::none;
    std::size_t stage = 0;
    double utilization = 0;  // of the workers of `stage`
    std::string sentence;    // "parse is the bottleneck: …", without a line end
};
[[nodiscard]] bottleneck bottleneck_of(const report& of);

// The bottleneck in a sentence, what one more worker would bring, and what each stage could do. Several lines, each ended.
[[nodiscard]] std::string explain(const report& of);

// The run beside its plan, in a sentence; empty without one.
[[nodiscard]] std::string compared_with_plan(const report& of);

}  // namespace leat
