// cluster_flow: a flow some of whose stages run on a cluster. Whoever runs the flow is its *coordinator*: sources, sinks and the
// other stages run there, in the local engine; the items of a *segment*, stages one behind the other that are on the cluster,
// travel to *workers* (cluster_worker.hpp), and what comes of them travels back.
//
//   auto file = leat::load_flow_file("licences.toml", kinds);
//   auto placed = leat::cluster::place_on_cluster(*file, text, engine, options);     // changes file->graph
//   if (!placed) { print(placed.error()); return 2; }
//   leat::report done = co_await leat::run_flow(std::move(file->graph), leat::prepare_flow(*file));
//   print((*placed)->report().to_text());
//
// Names in the engine, for operators and permissions, FLOW being name_in_engine() of the flow's name and RUN of each run anew:
//   stream    df-FLOW-RUN-N         the items of segment N, a work queue;      subjects df.FLOW.RUN.N.*
//   stream    df-FLOW-RUN-N-out     what became of them, a work queue;         subjects df.FLOW.RUN.N.out.*
//   stream    df-FLOW-dead          items that nobody could do; stays;         subjects df.FLOW.dead.*
//   bucket    leat-runs             manifest.FLOW.RUN, closed.FLOW.RUN, drain.FLOW, lease.FLOW
//   bucket    leat-workers          FLOW.RUN.WORKER, gone when a worker has not been heard of for a quarter of a minute
//
// Delivery. Each item has a number, its lineage, that is given once in a run. An item may be done twice (its worker died, or
// did not answer in time); the coordinator takes the first result of each lineage, and drops and counts what comes late. A
// result is acknowledged when all its items have gone on into the local engine. A coordinator that takes over begins a run of its
// own, and its journal (flow/journal.hpp) says which items are done: nothing of the run before is read, so nothing of it can take
// effect twice. Items that the engine has lost, which a server without synchronous writes may do after a power failure, are sent
// again.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/cluster/broker.hpp>
#include <leat/flow/flow_file.hpp>
#include <leat/task/executor.hpp>

namespace leat::cluster {

class lease;

// The flow cannot be run on this engine now: another coordinator runs it, a name is taken, no permission. The text is for the user.
class cluster_refused : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct placement_options {
    placement_options() = default;
    std::string flow;  // what it is called in the engine; empty: as the flow is
    // All stages that can be there, but those that read files of the coordinator's machine. Otherwise those that say so.
    bool whole = false;
    std::size_t window = 1024;                             // items of a segment on their way at a time
    std::size_t window_bytes = std::size_t{64} << 20U;     // and bytes of them
    std::size_t parcel_items = 512;                        // items in one message, at most
    std::size_t parcel_bytes = std::size_t{256} << 10U;    // and bytes
    duration parcel_time = std::chrono::milliseconds(20);  // a worker's work on one message, about
    duration gather =
        std::chrono::milliseconds(1);              // how long an item may wait for others, while some are on their way
    unsigned parcels_in_flight = 16;               // messages that the engine has not confirmed yet
    duration ack_wait = std::chrono::seconds(30);  // a worker that is silent for so long is given up
    unsigned most_deliveries = 5;                  // of an item, before it is given up as poison
    duration lost_after =
        std::chrono::seconds(10);  // silence after which the engine is asked whether it lost something
    unsigned replicas = 1;
    bool in_memory = false;
    // The flow's lease where the caller holds it, as one does who keeps the journal in the engine (coordination.hpp); it outlives
    // the run. Null: the run takes it, and gives it up.
    lease* held = nullptr;
    std::function<void(const std::string&)> log;  // a line, without its end; any thread
    std::function<void()> on_drain;               // somebody has asked the flow to drain (ask_to_drain): once
};

// What the coordinator has counted of a run.
struct cluster_report {
    std::string flow;
    std::string run;
    std::string server;  // of the engine
    std::string durability;
    std::uint64_t items = 0;     // sent to workers
    std::uint64_t answered = 0;  // of these: what became of them is known
    std::uint64_t parcels = 0;   // messages with items
    std::uint64_t bytes = 0;     // of these
    std::uint64_t result_parcels = 0;
    std::uint64_t result_bytes = 0;
    std::uint64_t redelivered = 0;  // messages that were delivered again, to workers or from them
    std::uint64_t late = 0;         // results of items that were answered already
    std::uint64_t resent = 0;       // items that the engine had lost
    std::uint64_t poison = 0;       // items given up
    std::uint64_t malformed = 0;    // messages that were none
    // The engine's own account at the end, read twice: nothing was left to do. Empty: so it was; else what was wrong.
    std::string unsettled;
    bool read_at_end = false;  // it was read at all

    // Whether every item was answered, and the engine says the same.
    [[nodiscard]] bool adds_up() const noexcept { return items == answered && read_at_end && unsettled.empty(); }
    // Several lines, each ended.
    [[nodiscard]] std::string to_text() const;
};

// The coordinator of one run. Any thread.
class coordinator {
public:
    virtual ~coordinator() = default;
    [[nodiscard]] virtual cluster_report report() const = 0;
    // Why the flow cannot go on: the lease was lost, a stream was removed. Empty: it can.
    [[nodiscard]] virtual std::string failure() const = 0;
    // Which stages run on the cluster: "parse+embed" for a segment of two.
    [[nodiscard]] virtual std::vector<std::string> segments() const = 0;
};

// Puts stages of the flow on the cluster: in file.graph each segment becomes one stage, which sends its items to the workers.
// `text` is the flow file's, which workers read too. Touches nothing: the run begins when run_flow() starts the stages, and
// ends, with all that is of it in the engine removed, when it closes them. The error is for the user: a stage that cannot be
// there, or none that is to be.
[[nodiscard]] expected<std::shared_ptr<coordinator>, std::string> place_on_cluster(flow_file& file,
                                                                                   std::string_view text,
                                                                                   std::shared_ptr<broker> engine,
                                                                                   placement_options options = {});
// The same, with a connection that `open` gives when the flow starts, and that is closed when it ends.
[[nodiscard]] expected<std::shared_ptr<coordinator>, std::string> place_on_cluster(
    flow_file& file, std::string_view text, std::function<task<std::shared_ptr<broker>>()> open,
    placement_options options = {});

// What the flow is called in names of streams and subjects: its letters, digits, '-' and '_'; others become '_'.
[[nodiscard]] std::string name_in_engine(std::string_view flow);

// --- From anywhere ---

struct worker_status {
    std::string name;
    std::uint64_t held = 0;  // items that it has at hand
    std::uint64_t done = 0;
    std::string problem;  // why it does nothing: it has another version of the flow, a program is missing
};

struct segment_status {
    std::string name;
    std::uint64_t waiting = 0;      // messages that no worker has taken yet
    std::uint64_t at_work = 0;      // that workers hold
    std::uint64_t redelivered = 0;  // of those
    std::uint64_t sent = 0;         // ever
    std::uint64_t results = 0;      // messages of results that the coordinator has not taken yet
};

struct run_status {
    std::string flow;
    std::string run;
    std::string coordinator;  // who holds the lease; empty: nobody
    bool draining = false;
    std::vector<segment_status> segments;
    std::vector<worker_status> workers;
    std::uint64_t dead = 0;  // messages in the flow's dead-letter stream
};

// The runs that the engine has, of one flow or of all where `flow` is empty.
[[nodiscard]] task<broker_result<std::vector<run_status>>> read_status(std::shared_ptr<broker> engine,
                                                                       std::string flow);
[[nodiscard]] std::string to_text(const std::vector<run_status>& runs);

// Asks the flow's coordinator to drain: what its sources have given goes on to its end, and they give no more. It sees that
// within a second. `not_found`: the flow does not run.
[[nodiscard]] task<broker_result<done>> ask_to_drain(std::shared_ptr<broker> engine, std::string flow);

// --- Dead letters ---

// An item that nobody could do, or a message that was none.
struct dead_item {
    std::uint64_t number = 0;  // in the stream
    std::string run;
    std::string segment;
    std::string why;
    unsigned deliveries = 0;
    std::string worker;      // who gave it up
    bool has_value = false;  // else it is a message that was none
    record value;            // as it came to the segment
};
// Those of the flow, the oldest first, at most `most`. They stay.
[[nodiscard]] task<broker_result<std::vector<dead_item>>> read_dead_letters(std::shared_ptr<broker> engine,
                                                                            std::string flow, std::size_t most);
// For a flow that begins where the segment does: gives the records among the flow's dead letters once each, and removes each
// from the stream when it is committed or left out. Those that fail again stay.
[[nodiscard]] std::shared_ptr<source> dead_letter_source(std::shared_ptr<broker> engine, const std::string& flow,
                                                         std::string segment);

}  // namespace leat::cluster
