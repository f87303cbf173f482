// memory_broker: the broker's contract (broker.hpp) in one process, for tests and for trying a flow out. A memory_engine is
// the server: streams, consumers, windows of ids, buckets. Connections to it are brokers, and each can be cut off.
//
//   leat::cluster::memory_engine engine;
//   auto link = engine.connect();
//   co_await link->make_stream(…);
//
// It behaves as JetStream does, traps included: a message is delivered again when its ack_wait is over, whoever works on it;
// an acknowledgement counts whichever delivery it is of; the window of ids is one of time. It has no thread and no clock of
// its own: time is that of the executor that a call is made on, and waits are the library's, so that under leat::sim a seed
// gives the same run again. Any number of threads may call it.
//
// Faults come from a plan with a seed of its own, and each is one that the contract allows: a call that failed as
// `timed_out` may have happened, may happen later, or not; what is delivered may come again, and in another order.
#pragma once

#include <limits>
#include <memory>

#include <leat/base/env.hpp>
#include <leat/cluster/broker.hpp>

namespace leat::cluster {

class memory_state;
class memory_broker;

// What goes wrong by itself. Chances are of a thousand: 0 never, 1000 always.
struct memory_faults {
    std::uint64_t seed = 1;
    std::uint64_t most = std::numeric_limits<std::uint64_t>::max();  // so many faults, then none

    unsigned refused_calls = 0;  // `unavailable` at once; nothing has happened
    unsigned lost_calls = 0;     // `timed_out`, and it never comes to the server
    unsigned late_calls = 0;     // `timed_out`, and it takes effect after that
    unsigned lost_answers =
        0;  // `timed_out`, though it has happened. Of a fetch: what it took is held until ack_wait is over
    unsigned lost_deliveries = 0;     // of messages: delivered as the server sees it, and never there
    unsigned early_redeliveries = 0;  // of messages: one that is at work is delivered again before its ack_wait is over
    unsigned cuts = 0;                // of calls: this connection is cut, one way or both, for a time
    unsigned restarts = 0;            // of calls: the server goes away for a time (go_down)
    bool reorders = false;            // what is delivered again comes in an order that is drawn

    duration longest_delay{0};  // of each call on each way, drawn
    duration longest_cut = std::chrono::seconds(5);
    duration longest_restart = std::chrono::seconds(3);
    duration latest_call =
        std::chrono::seconds(10);  // how long a late call may take, counted from when its caller gave up
};

struct memory_options {
    memory_faults faults;
    duration answer_wait = std::chrono::seconds(5);  // without an answer a call has `timed_out` after this
    std::size_t largest_payload = std::size_t{1} << 20;
};

// What has happened, for tests that must not pass because nothing did.
struct memory_counts {
    std::uint64_t faults = 0;
    std::uint64_t published = 0;    // stored
    std::uint64_t duplicates = 0;   // that the window of ids kept out
    std::uint64_t deliveries = 0;   // of messages
    std::uint64_t redelivered = 0;  // of these: not the first of its message
    std::uint64_t acknowledged = 0;
};

class memory_engine {
public:
    explicit memory_engine(memory_options options);
    memory_engine();
    // Connections may outlive it.
    ~memory_engine();
    memory_engine(const memory_engine&) = delete;
    memory_engine& operator=(const memory_engine&) = delete;

    // A connection, as of another process.
    [[nodiscard]] std::unique_ptr<memory_broker> connect();

    // These take effect at once. Any thread.
    void set_faults(const memory_faults& faults);
    // From now on calls are `unavailable`, those under way too. What the server kept in memory alone is gone: streams of one
    // replica that are in_memory are empty, and the others of one replica have forgotten the ids of messages that are no
    // longer in them.
    void go_down();
    void come_back();
    [[nodiscard]] memory_counts counts() const;

private:
    std::shared_ptr<memory_state> state_;
};

// Which way of a connection is cut.
enum class cut_way : std::uint8_t {
    both,
    to_server,    // what is asked never arrives
    from_server,  // what is asked happens, and its answer never arrives
};

class memory_broker final : public broker {
public:
    ~memory_broker() override;  // as close()

    // At once, until heal(). Calls find out by `timed_out`, or `unavailable` where the client has noticed. Any thread.
    void cut(cut_way which = cut_way::both);
    void heal();
    // As close(), without a wait: what a killed process does. Any thread.
    void drop() noexcept;

    [[nodiscard]] broker_limits limits() const override;
    task<broker_result<done>> make_stream(stream_config config) override;
    task<broker_result<stream_state>> stream(std::string name) override;
    task<broker_result<std::vector<std::string>>> streams(std::string prefix) override;
    task<broker_result<done>> remove_stream(std::string name) override;
    task<broker_result<done>> purge(std::string stream, std::uint64_t below) override;
    task<broker_result<done>> make_consumer(consumer_config config) override;
    task<broker_result<consumer_state>> consumer(std::string stream, std::string name) override;
    task<broker_result<receipt>> publish(message what) override;
    task<broker_result<std::vector<delivery>>> fetch(std::string stream, std::string consumer, std::size_t most,
                                                     std::chrono::nanoseconds wait) override;
    task<broker_result<done>> ack(delivery what) override;
    task<broker_result<done>> nack(delivery what, std::chrono::nanoseconds delay) override;
    task<broker_result<done>> progress(const delivery& what) override;
    task<broker_result<done>> terminate(delivery what) override;
    task<broker_result<delivery>> read(std::string stream, std::uint64_t sequence) override;
    task<broker_result<done>> make_bucket(std::string bucket, std::chrono::nanoseconds age, unsigned replicas) override;
    task<broker_result<entry>> get(std::string bucket, std::string key) override;
    task<broker_result<std::uint64_t>> put(std::string bucket, std::string key, std::string value) override;
    task<broker_result<std::uint64_t>> update(std::string bucket, std::string key, std::string value,
                                              std::uint64_t revision) override;
    task<broker_result<done>> erase(std::string bucket, std::string key) override;
    task<broker_result<std::vector<std::string>>> keys(std::string bucket, std::string prefix) override;
    task<broker_result<done>> remove_bucket(std::string bucket) override;
    task<> close() override;

private:
    friend class memory_engine;
    class link;
    explicit memory_broker(std::shared_ptr<memory_state> server);
    std::shared_ptr<link> link_;  // shared with the calls under way
};

}  // namespace leat::cluster
