// flow_engine: one run of one flow. run_flow makes one, lets it run, and takes the report.
//
// The stages are cut into segments: neighbours that run with the same parallelism and no queue of their own between them
// are fused, and an item goes through them on one worker. Each segment has a queue in front of it and a task for each item
// that it may have at work.
//
// Invariants:
//  1. Every item that exists has an ack that leads to its origin; every origin is counted once, when it is settled. All
//     items are gone before the report is made, so the report adds up.
//  2. An edge's sender ends with the last worker of the segment in front of it; a worker that has failed or was stopped
//     stops the flow before it lets go of the edge, so that "closed" means "there was no more input".
//  3. What an edge delivers is numbered without gaps, and whoever holds a number works on its item: nobody waits for a
//     place that is still in front of the queue. Behind a serial or an ordered segment one worker at a time sends, and the
//     senders number; behind an unordered one, whose workers would overtake each other between the number and the queue,
//     who receives does.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/flow/run_flow.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/scope.hpp>

#include "order_gate.hpp"
#include "stage_account.hpp"

namespace leat {

class flow_engine;

struct flow_control::state {
    stop_source drain;
    stop_source stop;
    std::mutex lock;
    const flow_engine* engine = nullptr;  // under lock; null while nothing runs
    progress last;                        // under lock; what a run left
};

class flow_engine {
public:
    // Throws std::invalid_argument when the graph cannot run.
    flow_engine(flow_graph graph, const flow_options& options, executor& where);
    ~flow_engine();

    task<> run();
    [[nodiscard]] report take_report();
    [[nodiscard]] flow_control::progress snapshot() const;

private:
    struct node;     // a stage while it runs
    struct segment;  // stages fused into one, their queue and order
    struct worker;   // one line through a segment
    class origin;    // the ack of a source item
    class chain_emitter;
    class origin_emitter;

    void resolve();
    void cut();

    task<> live();
    task<bool> start_stages();
    task<> supervise(scope& work);
    task<> run_source();
    task<> run_worker(segment& mine);
    task<> work_through(worker& self);
    // The next item for the worker; until it comes, those of its stages whose deadline passes are called.
    task<expected<item, recv_error>> next_item(worker& self);
    task<> call_due(worker& self);
    task<> finish(worker& self);
    task<> close(worker& self);
    task<> close_stages();

    // One item through stage `at` of the worker's segment and, by what it emits, through those behind it.
    task<> run_stage(worker& self, std::size_t at, item in);
    task<> forward(worker& self, std::size_t at, item in);
    task<> leave(worker& self, item out);
    task<> send(worker& self, item out);
    task<> give_up(node& what, item& in, unsigned attempts, const std::string& why);

    void fail(const std::string& why) noexcept;
    void fail_with_current_exception(const std::string& where) noexcept;
    [[nodiscard]] std::uint64_t elapsed_ns(time_point since) const noexcept;

    flow_graph graph_;
    flow_options options_;
    executor& where_;
    std::shared_ptr<flow_control::state> control_;
    std::deque<node> nodes_;
    std::deque<segment> segments_;
    std::optional<sender<item>> source_out_;

    tally given_;
    tally settled_[5];                      // by enum fate
    std::atomic<bool> interrupted_{false};  // true: the source was ended by a drain or a stop
    std::mutex names_lock_;
    std::vector<std::string> unfinished_names_;  // under names_lock_
    std::mutex error_lock_;
    std::string error_;  // under error_lock_; the first
    leat::mutex dead_letters_;
    stop_source stop_all_;  // asked when the flow has failed
    time_point started_;
};

}  // namespace leat
