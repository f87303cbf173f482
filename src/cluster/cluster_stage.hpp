// cluster_stage: a segment as a stage of the coordinator's engine. What it holds came in batches, each with a waiting prepare(): it
// has put the items into the outbox, from where parcels are made, and waits for their results, with which process() goes on.
//
// A parcel goes at once while no other is on its way to the engine; else when it is full, or when its first item has waited for
// `gather`: so an idle hop costs no time, and under load many items travel together. How many those are at most follows the time
// that workers take for an item, so that slow items are spread over the workers.
//
// Invariants (under lock_):
//  1. held_ has each item of a batch until all of the batch are answered, by its number, which is given once. It is answered once:
//     by the first result, or by an error of the segment. What comes for a number that is not there, or was answered, is late.
//  2. A message of results is acknowledged when the last process() that it answered has ended, by its receipt.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <cluster/coordinator.hpp>
#include <cluster/parcel.hpp>
#include <leat/flow/stage.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

class cluster_stage final : public stage {
public:
    // A segment of the run's plan, of a flow file.
    cluster_stage(std::shared_ptr<coordinator_body> run, std::size_t segment);
    // One of a C++ flow, which is entered in the plan as the flow begins.
    struct functions {
        manifest_segment segment;
        const item_codec& in;
        const item_codec& out;
        bool takes_as_given = false;  // the first takes just what the stage in front gives
    };
    cluster_stage(std::shared_ptr<coordinator_body> run, functions what);
    ~cluster_stage() override;

    void adopt(stage_policy& policy) override;
    [[nodiscard]] std::shared_ptr<stage> joined_with(const stage_policy& policy, const stage_node& next) override;
    task<> start(unsigned jobs) override;
    task<std::unique_ptr<stage_worker>> open() override;
    task<> close() override;
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] unsigned items_per_job() const noexcept override { return window_; }
    [[nodiscard]] std::size_t items_at_once() const noexcept override;

private:
    class worker;
    struct message_receipt;
    struct held_batch;
    struct held_item {
        void end();  // it is answered; under lock_
        void refuse(std::exception_ptr why) noexcept {
            is_answered = true;
            refused = std::move(why);
        }
        held_batch* batch = nullptr;
        std::uint64_t id = 0;
        std::string part;
        bool is_answered = false;
        bool is_sent = false;
        result_item result;
        std::exception_ptr refused;  // why it cannot be sent; null: it can
        std::string error;           // of the segment; empty: none
        std::shared_ptr<message_receipt> from;
    };
    struct held_batch {
        void begin(std::size_t of, std::uint64_t first_id);
        [[nodiscard]] std::span<held_item> all() noexcept { return {items.data(), count}; }
        std::vector<held_item> items;  // the first `count` of them
        std::size_t count = 0;
        std::size_t unanswered = 0;  // under lock_
        event answered;              // all of them
    };
    class places;  // in held_

    task<> answer(held_batch& batch);
    [[nodiscard]] std::size_t most_in_parcel() const noexcept;
    task<> gather();
    [[nodiscard]] std::optional<std::string> next_parcel(duration& wait);
    task<> publish(std::string payload, std::uint64_t number);
    task<> receive();
    void take(delivery what, std::vector<result_item> results);
    task<> bury(delivery what, std::string why);
    task<> acknowledge();
    task<> confirm(delivery what);
    task<> look_for_lost();
    task<bool> is_at_rest();
    task<> watch_failure();
    void fail(const std::string& why);

    const std::shared_ptr<coordinator_body> run_;
    std::optional<functions> functions_;  // none: of a flow file
    std::size_t segment_ = 0;             // of functions: once it is in the plan
    bool is_in_plan_ = false;
    std::shared_ptr<cluster_stage> joined_;  // with joined_next_
    std::shared_ptr<stage> joined_next_;
    const item_codec& in_;
    const item_codec& out_;
    const unsigned window_;
    bool entered_ = false;
    executor* where_ = nullptr;
    std::unique_ptr<scope> tasks_;     // those that end when they are stopped
    std::unique_ptr<scope> confirms_;  // those that end by themselves
    semaphore room_;                   // of bytes, in units

    std::atomic<std::uint64_t> next_id_{1};

    std::mutex lock_;
    std::unordered_map<std::uint64_t, held_item*> held_;
    std::uint64_t next_parcel_ = 1;
    struct waiting {
        std::uint64_t id;
        time_point since;
        std::size_t bytes;
    };
    std::deque<waiting> outbox_;
    std::size_t outbox_bytes_ = 0;
    unsigned in_flight_ = 0;        // messages on their way to the engine
    bool gatherer_sleeps_ = false;  // and wants to be woken when the outbox has so much:
    std::size_t wake_items_ = 1;
    std::size_t wake_bytes_ = 1;
    std::atomic<double> item_ns_{0};  // what an item takes a worker; 0: not known
    time_point last_result_{};
    std::string failure_;
    std::vector<delivery> confirmed_here_;  // to be acknowledged
    auto_reset_event wake_;                 // the gatherer
    auto_reset_event to_confirm_;
};

}  // namespace leat::cluster
