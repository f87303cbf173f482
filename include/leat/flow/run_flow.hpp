// run_flow: runs a flow and gives its account.
//
//   leat::report done = co_await leat::run_flow(graph, options);
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include <leat/flow/journal.hpp>
#include <leat/flow/report.hpp>
#include <leat/flow/stage.hpp>
#include <leat/sync/semaphore.hpp>

namespace leat {

// What is kept of an item whose attempts have all failed.
struct dead_letter {
    item& what;
    const std::string& stage;
    unsigned attempts;
    const std::string& error;
};

// Who hears of a run while it goes on. Called from any worker, several at once; must not block for long.
class flow_observer {
public:
    virtual ~flow_observer() = default;
    // An item has failed for good in `stage`: what is done with it, its name, how often it was tried, why.
    virtual void item_failed(std::string_view stage, on_error done, std::string_view name, unsigned attempts,
                             std::string_view error) = 0;
    // An attempt at an item, the first being 1, has failed: `again`: another one follows. Before item_failed().
    virtual void attempt_failed(std::string_view /*stage*/, const item& /*what*/, unsigned /*attempt*/,
                                std::string_view /*error*/, bool /*again*/) {}
};

// A handle on a run, shared between who runs it and who watches or ends it. Any thread.
class flow_control {
public:
    flow_control();
    ~flow_control();
    flow_control(const flow_control&) = delete;

    // Lets the source emit no more; what is in flight goes on to its end. The run ends as interrupted.
    void drain() noexcept;
    // Stops everything at once; what is in flight is unfinished.
    void stop() noexcept;

    // The counts so far, without unfinished_names; `total`: of the source, 0 when unknown.
    struct progress {
        report counts;
        std::uint64_t total = 0;
        double elapsed_s = 0;
        std::vector<std::size_t> queued;  // items in the queue in front of each stage; 0 where stages are fused
    };
    [[nodiscard]] progress snapshot() const;

private:
    friend class flow_engine;
    struct state;
    std::shared_ptr<state> state_;
};

struct flow_options {
    flow_options() = default;
    flow_control* control = nullptr;
    flow_observer* observer = nullptr;
    // Keeps a dead letter for good before it returns; throws when it cannot (which fails the flow). Called by one task at
    // a time. Needed when a stage's policy says dead_letter.
    std::function<void(const dead_letter&)> dead_letters;
    // How far ordered output may lag behind the first item that is not done, in items; 0: max(64, 4 * jobs) a stage.
    std::size_t window = 0;
    // The most bytes that may wait in all queues, and for their turn in an order, together: each of those places gets its part of
    // it, in the measure of its own bound. 0: no other bound than theirs. An item that is larger than a place waits alone.
    std::size_t most_bytes = 0;
    // How long a drain may take: then the flow is stopped, and what is left is unfinished. 0: as long as it needs.
    duration drain_timeout{0};
    // The most retries, as a share of the items that came in so far, beyond the first ten; 0: no limit. So a service that is
    // down is not asked for each item as often as a single failure would be.
    double retry_share = 0;
    // How often stages with a range of jobs are looked at, to size them.
    duration sizing_interval = std::chrono::seconds(1);
    // The concurrency pools by name: what stages that name one take a place of for each attempt. The same semaphore may serve
    // several stages and flows.
    std::vector<std::pair<std::string, std::shared_ptr<semaphore>>> pools;

    // Where the run keeps what it has done with each item; null: nowhere. Used from the beginning of the run to its end.
    // Dead letters are kept there, too, unless dead_letters says where.
    leat::journal* journal = nullptr;
    leat::journal_mode journal_mode = leat::journal_mode::fresh;
    // What the flow is, for who compares runs: flow_text() of a flow file.
    std::string journal_flow;
    // What an item of a source is called in the journal. By default the key of a record, name_of() of anything else, and the
    // item's number where that is empty; with several sources, SOURCE: and that. Of items with the same name the second is
    // NAME#2, and so on: the same items in the same order have the same names. Called by one task of each source.
    std::function<std::string(payload&)> item_key;
};

// Runs `graph` on the executor of the awaiting task. Returns in every case with a report that adds up; throws
// std::invalid_argument for a graph that cannot run (no source, no stage, jobs above what the stage can have, dead letters
// without a place), what the journal throws when it cannot be begun, and cancelled, after everything has ended, when the
// awaiting task was stopped.
task<report> run_flow(flow_graph graph, flow_options options = {});

}  // namespace leat
