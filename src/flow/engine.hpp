// flow_engine: one run of one flow. run_flow makes one, lets it run, and takes the report.
//
// The stages are cut into segments (engine_plan.cpp): neighbours that run with the same parallelism and no queue of their own
// between them are fused, and an item goes through them on one worker. Each segment has a queue in front of it, and a worker
// for each item that it may have at work: a task that takes items, as many at once as take it some microseconds, and leads
// them through its stages (engine_items.cpp). What is quick is so handled in batches that cost each item a few nanoseconds;
// what is slow goes one by one.
//
// Invariants:
//  1. Every item that exists has an ack that leads to its origin, or stands for it (ack.hpp); every origin is counted once,
//     when it is settled. All items are gone before the report is made, so the report adds up.
//  2. A queue is closed by the last of those who feed it: by the last worker of a segment in front of it, when that is over. A
//     worker that has failed or was stopped stops the flow before it is over, so that "closed" means "there was no more
//     input".
//  3. What a queue delivers is numbered without gaps, and whoever holds a number works on its item: nobody waits for a
//     place that is still in front of the queue. Where one at a time sends, the senders number (behind a serial or an ordered
//     segment); where several do, and would overtake each other between the number and the queue, who receives does, one at a
//     time: two would overtake each other between the queue and the number.
//  4. Where a hop has no reason there is none, also between segments: a parallel one takes the items of a direct source itself,
//     and who lets items leave an ordered one leads them through the serial direct stages behind it, one worker at a time.
//  5. Items of one key are handled by one worker: a segment ordered by keys has a queue for each of its workers.
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
#include <leat/sync/event.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/scope.hpp>

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

class flow_engine final : private ack_ledger {
public:
    // Throws std::invalid_argument when the graph cannot run.
    flow_engine(flow_graph graph, const flow_options& options, executor& where);
    ~flow_engine();

    task<> run();
    [[nodiscard]] report take_report();
    [[nodiscard]] flow_control::progress snapshot() const;

private:
    struct node;       // a stage while it runs
    struct target;     // a way out of a stage: the segment that takes its items
    struct outlet;     // all ways out of a source or a segment
    struct lane_ends;  // a queue in front of a segment
    struct segment;    // stages fused into one, their queue and order
    struct side_way;   // past a full queue
    struct feed;       // a source while it runs
    struct worker;     // one line through a segment
    struct transform;  // how far a direct stage has come with some items
    class origin;      // the ack of a source item
    class chain_emitter;
    class origin_emitter;

    // engine_plan.cpp
    void resolve();
    void join_neighbours();
    void cut();
    void check_input(const stage_node& of, const flow_input& input) const;
    [[nodiscard]] std::shared_ptr<semaphore> find_pool(const std::string& name) const;
    [[nodiscard]] bool fuses(std::size_t at, const std::vector<segment*>& of_stage) const;
    [[nodiscard]] order order_of(const node& of) const;
    void connect(const std::vector<segment*>& of_stage);
    void put_in_order();
    void spare_queues();
    void share_bytes() noexcept;

    // engine.cpp
    task<> live();
    task<bool> start_stages();
    task<> supervise(scope& work);
    task<> watch_drain();
    task<> pause_until_drain();
    task<> run_source(feed& mine);
    task<> feed_from(feed& mine, origin_emitter& out);
    task<> run_worker(segment& mine, unsigned which);
    task<> finish(worker& self);
    task<> close(worker& self);
    task<> close_stages();
    void end_feed(outlet& of) noexcept;
    static void end_input(segment& of) noexcept;  // nobody sends into it any more
    void end_line() noexcept;

    // engine_sizing.cpp
    task<> size_stages();
    void resize(segment& which, unsigned to) noexcept;
    void end_rests(segment& of) noexcept;

    // engine_items.cpp
    task<> work_through(worker& self);
    task<expected<std::size_t, recv_error>> take(worker& self);
    task<expected<std::size_t, recv_error>> take_many(worker& self);
    task<expected<std::size_t, recv_error>> pull(worker& self);
    task<> make_room(worker& self);
    void give_room(worker& self, std::size_t kept) noexcept;
    task<> call_due(worker& self);
    void note_open(worker& self) noexcept;
    [[nodiscard]] std::vector<item>& next_run(worker& self);
    // Takes `items` through the stages from `at` on, and out of the segment; `items` is empty then.
    task<> pass(worker& self, std::size_t at, std::vector<item>& items);
    task<> pass_direct(worker& self, std::size_t at, std::vector<item>& items);
    void transform_some(worker& self, std::size_t at, std::vector<item>& items, transform& run);
    // One item through a stage, with all its attempts; `before` have been made. What it emits goes to `made`, or on.
    task<> run_item(worker& self, std::size_t at, item in, std::vector<item>& made, std::exception_ptr before);
    task<> attempt(worker& self, std::size_t at, item& in, chain_emitter& out);
    void charge_untimed(worker& self) noexcept;
    task<> leave(worker& self, std::vector<item>& items);
    task<> lead(worker& self);
    // Whether outputs may wait for their turn, by their weight; if so, they are counted until they leave.
    [[nodiscard]] static bool may_hold(segment& in, const std::vector<item>& items) noexcept;
    static void count_leaving(segment& from, const std::vector<item>& items) noexcept;
    // Sends `items` where they go; those that were not sent are left when it throws cancelled. `by`: the worker that they
    // leave, null for a source.
    task<> deliver(worker* by, outlet& to, std::vector<item>& items);
    task<> deliver_by_port(worker* by, outlet& to, std::vector<item>& items);
    task<> deliver(worker* by, target& to, std::vector<item>& items);
    task<> lead_through(worker& by, segment& to, std::vector<item>& items);
    void note_end_of_led(worker& self) noexcept;
    task<> send(segment& to, unsigned lane, std::vector<item>& items);
    task<> send_in_turn(segment& to, std::vector<item>& items);
    task<> send_by_key(segment& to, std::vector<item>& items);
    void send_or_drop(segment& to, unsigned lane, std::vector<item>& items);
    // engine_spill.cpp
    task<> send_or_spill(segment& to, std::vector<item>& items);
    task<> put_aside(segment& to, std::vector<item>& items);
    task<> run_side_way(segment& of);
    task<> bring_back(segment& to);
    static void send_what_fits(segment& to, std::vector<item>& items);
    [[nodiscard]] bool may_retry() noexcept;
    task<> give_up(worker& self, std::size_t at, item& in, unsigned attempts, const std::string& why);
    // What becomes of it is told and, for a dead letter, done; gives how that went.
    task<on_error> settle_failure(const std::string& where, on_error how, item& in, unsigned attempts,
                                  const std::string& why);
    // Of a bad item of the source.
    task<> refuse(item in, const std::string& where, const std::string& why, on_error how);

    void settle(fate how, std::uint64_t items) noexcept override;
    void abandon(const std::string& name) noexcept override;
    ack_node* open() override;
    // The account of a source item: its node, which the item holds, or null for a plain one.
    origin* open_account(item& each, std::uint64_t sequence, source_output::listener* told);

    void fail(const std::string& why) noexcept;
    void fail_with_current_exception(const std::string& where) noexcept;
    [[nodiscard]] std::uint64_t elapsed_ns(time_point since) const noexcept;

    flow_graph graph_;
    flow_options options_;
    executor& where_;
    std::shared_ptr<flow_control::state> control_;
    std::deque<node> nodes_;
    std::deque<segment> segments_;
    std::deque<feed> feeds_;

    tally given_;
    tally settled_[5];                      // by enum fate
    tally resumed_;                         // of the skipped
    std::atomic<bool> interrupted_{false};  // true: a source was ended by a drain or a stop
    std::atomic<unsigned> to_open_{0};      // workers that have neither opened their stages nor begun to rest
    event all_open_;
    std::atomic<unsigned> lines_{0};  // sources and workers that have not ended
    std::mutex names_lock_;
    std::vector<std::string> unfinished_names_;  // under names_lock_
    mutable std::mutex sizing_lock_;
    std::vector<std::string> sizing_;      // under sizing_lock_: what was decided
    std::vector<std::string> full_disks_;  // under sizing_lock_: which stages spill no more, and why
    std::mutex error_lock_;
    std::string error_;  // under error_lock_; the first
    leat::mutex dead_letters_;
    std::atomic<std::uint64_t> retries_{0};
    stop_source stop_all_;  // asked when the flow has failed
    stop_source over_;      // asked when no line is left
    time_point started_;
};

}  // namespace leat
