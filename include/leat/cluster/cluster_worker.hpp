// cluster_worker: does the work of flows that are on a cluster. Finds the runs in the engine, fetches parcels of their items,
// leads them through the segment's stages in a local engine, so that jobs, retries and timeouts mean what they mean elsewhere,
// and publishes what became of them. It may come and go at any time; any number of them serve a run, and one serves many runs.
//
// One parcel: fetched → its items run, and the engine is told now and then that it is still at work → what became of them is
// published, with an id that comes from the parcel's → that is confirmed → the parcel is acknowledged, and that is confirmed.
// So a worker may die at any point: the parcel is delivered again, and no result is lost; one that comes twice has one effect.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <leat/cluster/broker.hpp>
#include <leat/flow/component.hpp>
#include <leat/task/executor.hpp>

namespace leat::cluster {

struct worker_options {
    worker_options() = default;
    std::string name;                 // in status and dead letters; empty: host and process id
    std::string flow;                 // serves this one alone; empty: all
    std::string queue = "leat";       // of jobs (cluster_client.hpp): served too by serve_until_stopped()
    const registry* kinds = nullptr;  // for flow files; outlives the worker; null: the built-in ones
    unsigned most_parcels = 4;        // of a segment held at a time, or more where the stages have more jobs than items
    // Where none of a parcel's items has ended for so long, the stages are stopped and begun anew, and what was held goes back. For
    // stages that hang for ever and have no timeout.
    duration stall = std::chrono::minutes(10);
    duration look_around = std::chrono::milliseconds(500);  // how often it looks for runs that have begun
    duration heartbeat = std::chrono::seconds(5);
    // How long a drain may take; then what is held is left to other workers. 0: as long as it needs.
    duration drain_timeout{0};
    std::function<void(const std::string&)> log;  // a line, without its end; any thread
};

struct worker_counts {
    std::uint64_t parcels = 0;      // done
    std::uint64_t items = 0;        // likewise
    std::uint64_t failed = 0;       // of these: for good
    std::uint64_t redelivered = 0;  // parcels that had been delivered before
    std::uint64_t split = 0;        // parcels cut up to find the item that kills
    std::uint64_t poison = 0;       // items given up as dead
    std::uint64_t malformed = 0;
    std::uint64_t given_up = 0;  // parcels in which nothing moved
    unsigned runs = 0;           // served so far
    unsigned refused = 0;        // runs: another version of the flow, an unknown function
};

class cluster_worker {
public:
    explicit cluster_worker(std::shared_ptr<broker> engine, worker_options options = {});
    cluster_worker(const cluster_worker&) = delete;
    cluster_worker& operator=(const cluster_worker&) = delete;
    ~cluster_worker();

    // Serves until it was drained; then all that it held is done and acknowledged. Waits, and goes on, while the engine is away.
    // Throws cluster_refused when the engine does not let it in. A stop of the awaiting task drops what is held: others do it.
    task<> run();
    // Fetches no more, finishes what it holds, and lets run() return. Any thread.
    void drain() noexcept;
    // Any thread.
    [[nodiscard]] worker_counts counts() const;
    // What it holds no: whether it serves a run, for probes. Any thread.
    [[nodiscard]] bool is_connected() const noexcept;

private:
    class body;
    std::unique_ptr<body> body_;
};

// Serves flows, over a connection of its own, and the jobs of this program's clients where the program has such functions
// (job_worker.hpp), until the awaiting task is stopped: that drains both. Throws cluster_refused.
task<> serve_until_stopped(std::string engine_url, worker_options options);

// For the main of a program with flows that run on a cluster; its first line is
//   if (const auto code = leat::cluster::worker_main(argc, argv)) return *code;
// `program worker --engine URL [--flow NAME] [--name NAME] [--jobs QUEUE]` serves until SIGINT or SIGTERM, which drains it, and gives the exit
// code; otherwise nothing.
[[nodiscard]] std::optional<int> worker_main(int argc, char** argv);

}  // namespace leat::cluster
