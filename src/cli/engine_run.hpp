// engine_run: runs of a flow file some of whose stages are on the cluster of an engine. For `leat run` and `leat dlq`.
#pragma once

#include <cli/screen.hpp>
#include <functional>
#include <memory>
#include <string>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/coordination.hpp>
#include <leat/flow/flow_file.hpp>
#include <leat/flow/run_flow.hpp>

namespace leat::cli {

struct engine_choice {
    std::string url;        // empty: none
    unsigned replicas = 1;  // 0: as the journal in the engine has them
};

// Puts the stages of the flow file at `path` that are to be there on the engine. Null: there is none, and the flow runs here alone.
// Throws usage_error where the flow cannot be there, or has to be and there is no engine.
std::shared_ptr<cluster::coordinator> place_flow(flow_file& file, const std::string& path, const engine_choice& on,
                                                 const std::shared_ptr<flow_control>& control, screen& messages);

// A run whose journal is in the engine, under the flow's lease. It is the flow's coordinator before it knows what there is to do.
class engine_run {
public:
    // Called when the journal is open; may change the file's graph.
    using choose_mode = std::function<journal_mode(journal& kept)>;

    engine_run(flow_file& file, std::string path, engine_choice on, std::shared_ptr<flow_control> control,
               screen& messages)
        : file_(file), path_(std::move(path)), on_(std::move(on)), control_(std::move(control)), screen_(messages) {}

    // What is wrong with the engine or with who has the flow is in the report; usage_error is thrown. `session` has the control,
    // the observer, and an item_key where items have other names in the journal than their own.
    task<report> run(const flow_options& session, choose_mode choose);
    // Null where it has not come to that.
    [[nodiscard]] const std::shared_ptr<cluster::coordinator>& placed() const noexcept { return placed_; }

private:
    task<report> connect_and_run(const flow_options& session, const choose_mode& choose);
    task<report> run_held(std::shared_ptr<cluster::broker> engine, cluster::coordination& mine,
                          const flow_options& session, const choose_mode& choose);

    flow_file& file_;
    std::string path_;
    engine_choice on_;
    std::shared_ptr<flow_control> control_;
    screen& screen_;
    std::shared_ptr<cluster::coordinator> placed_;
};

// Connects, becomes the flow's coordinator for as long as `use` looks at its journal, which is in the engine. Throws cluster_refused
// where there is none or another one runs the flow, and what `use` throws.
task<> with_engine_journal(std::string url, std::string flow, std::function<void(journal&)> use);

}  // namespace leat::cli
