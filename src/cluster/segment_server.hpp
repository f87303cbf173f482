// segment_server: a worker's part in one segment of one run. Parcels are fetched, their items go through the segment's stages in
// one local engine that lives as long as the server, and when the last item of a parcel has ended, what became of them is
// published and the parcel acknowledged.
//
// Invariants (under lock_):
//  1. A parcel is in all_ from its fetch to its end: while it is there, the engine hears that it is at work, as long as its
//     items move.
//  2. The items of the local engine have numbers without gaps in the order in which they were given (source_output): by_id_ has
//     the first number of each parcel that is in it.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <cluster/manifest.hpp>
#include <cluster/parcel.hpp>
#include <cluster/segment_stages.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/flow/run_flow.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

// What all servers of a worker count together.
struct worker_tally {
    std::atomic<std::uint64_t> parcels{0}, items{0}, failed{0}, redelivered{0}, split{0}, poison{0}, malformed{0},
        given_up{0};
    std::atomic<unsigned> runs{0}, refused{0};
};

class segment_server final : private flow_observer, private source_output::listener {
public:
    segment_server(broker& engine, const manifest& run, std::size_t segment, segment_stages stages,
                   const worker_options& options, worker_tally& counted);
    ~segment_server() override;

    // Serves until the run is over, or drain() was called and all that was held is done. Throws std::runtime_error when the
    // stages cannot work here.
    task<> run();
    void drain() noexcept;
    [[nodiscard]] std::uint64_t held_items() const;

private:
    class parcels;  // the local flow's source
    class number_stage;
    class collect_stage;
    struct slot {
        std::vector<wire_value> outputs;
        std::vector<failure_note> failures;
        std::uint32_t retried = 0;
        std::string part;  // of the result, once it has ended
        bool failed = false;
    };
    struct parcel {
        delivery what;
        std::vector<parcel_item> items;
        std::vector<slot> slots;
        std::vector<std::uint32_t> given;  // which of them went into the engine
        std::size_t left = 0;
        std::uint64_t first_id = 0;
        time_point begun{};      // in the engine
        time_point moved{};      // when an item of it ended last
        bool is_broken = false;  // the engine has dropped an item of it
        bool is_counted = true;  // in held_parcels_ and held_items_
        bool in_engine = false;
    };
    using parcel_ptr = std::shared_ptr<parcel>;

    task<> serve(scope& work);
    task<> fetch();
    task<> handle(delivery what);
    task<> give_back(delivery what);
    task<> wait_for_room();
    task<> wait_for_quiet();
    [[nodiscard]] bool is_suspicious(const delivery& what) const noexcept;
    // False when the local engine takes no more.
    [[nodiscard]] bool accept(const parcel_ptr& fresh);
    task<> run_engine(flow_graph graph);
    task<> finish_all();
    task<> finish(parcel_ptr which);
    task<> keep_alive();
    task<> poison(delivery what, std::vector<parcel_item> items);
    task<> bury(delivery what, std::string why);
    task<bool> send(message what);
    task<> acknowledge(parcel_ptr which);
    task<bool> was_removed();  // the run
    [[nodiscard]] flow_graph make_graph();
    [[nodiscard]] message results_of(const delivery& of, std::size_t first, std::size_t last,
                                     std::string payload) const;

    [[nodiscard]] std::pair<parcel*, std::size_t> find(std::uint64_t id);
    void end_item(parcel& of, std::size_t index, item_end how);
    void let_go(parcel& of);
    void close_input();
    void collect(item& in, std::vector<std::uint64_t>& numbers);
    void settled(std::uint64_t id, fate how) noexcept override;
    void item_failed(std::string_view, on_error, std::string_view, unsigned, std::string_view) override {}
    void attempt_failed(std::string_view stage, const item& what, unsigned attempt, std::string_view error,
                        bool again) override;

    broker& engine_;
    const manifest& run_;
    const std::size_t segment_;
    segment_stages stages_;
    const worker_options& options_;
    worker_tally& counted_;
    const std::string name_;
    std::size_t items_to_hold_ = 1;
    std::size_t largest_message_ = 0;
    flow_control control_;
    executor* where_ = nullptr;

    mutable std::mutex lock_;
    std::string problem_;                        // why the local engine ended
    std::map<std::uint64_t, parcel_ptr> all_;    // by their number in the stream
    std::map<std::uint64_t, parcel_ptr> by_id_;  // by the first of their numbers in the local engine
    std::deque<parcel_ptr> queue_;               // for the local engine
    std::vector<delivery> aside_;                // suspicious ones that wait for quiet
    std::vector<parcel_ptr> ended_;              // to be answered
    std::uint64_t next_id_ = 0;
    std::size_t held_parcels_ = 0;
    std::size_t held_items_ = 0;
    std::size_t in_engine_ = 0;  // parcels
    double items_each_ = 1;      // in a parcel, lately
    time_point last_ended_{};
    bool is_closed_ = false;            // the queue
    std::atomic<bool> is_over_{false};  // the run has ended
    std::atomic<bool> draining_{false};
    std::atomic<bool> engine_gone_{false};
    auto_reset_event arrived_;  // in queue_
    auto_reset_event to_answer_;
    auto_reset_event room_;  // something was let go
};

}  // namespace leat::cluster
