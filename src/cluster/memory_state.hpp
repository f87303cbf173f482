// memory_state: what the server of memory_broker.hpp knows, and what becomes of it by each request. No waits and no clock: each
// function is told the time. All under `lock`.
//
// Invariants:
//  1. A message in `unacked` of a consumer is in the stream. It is in `due` unless it is to be delivered again (is_again);
//     then it is in `again`, which may also have numbers that are no longer so.
//  2. Every message of the stream from `next` on is new to the consumer; of those before, which are its own, it knows the
//     unacked ones, and the others are done.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <leat/cluster/memory_broker.hpp>
#include <leat/sync/event.hpp>

namespace leat::cluster {

class memory_state {
public:
    struct consumer_data {
        struct held {
            std::uint64_t deliveries = 1;
            time_point due;
            bool is_again = false;
        };
        consumer_config config;
        std::uint64_t next = 1;
        std::uint64_t delivered = 0;
        std::uint64_t purged = 0;  // all up to here is gone
        std::map<std::uint64_t, held> unacked;
        std::set<std::pair<time_point, std::uint64_t>> due;
        std::deque<std::uint64_t> again;
        std::vector<auto_reset_event*> waiting;
        bool is_gone = false;  // its stream was removed
    };

    explicit memory_state(const memory_options& options);

    std::mutex lock;
    memory_options options;
    memory_counts counts;
    bool is_down = false;

    void use(const memory_faults& faults);
    // Time has come to `now`: what was late arrives, and a server that restarted by itself is there again.
    void advance(time_point now);
    // When there may be something to do without a call; max(): never.
    [[nodiscard]] time_point next_event() const;
    // Does `work` at that time, whether the server is there or not.
    void at(time_point when, std::function<void(memory_state&, time_point)> work);
    void go_down(time_point until);
    void come_back();

    // Whether a fault of that chance happens now.
    [[nodiscard]] bool strikes(unsigned of_a_thousand);
    [[nodiscard]] std::uint64_t draw(std::uint64_t below);
    [[nodiscard]] duration draw(duration most);

    broker_result<done> make_stream(const stream_config& config);
    broker_result<stream_state> stream(const std::string& name) const;
    [[nodiscard]] std::vector<std::string> streams(const std::string& prefix) const;
    broker_result<done> remove_stream(const std::string& name);
    broker_result<done> purge(const std::string& name, std::uint64_t below);
    broker_result<done> make_consumer(const consumer_config& config);
    broker_result<consumer_state> consumer(const std::string& stream, const std::string& name) const;
    broker_result<receipt> publish(const message& what, time_point now);
    broker_result<std::shared_ptr<consumer_data>> find_consumer(const std::string& stream,
                                                                const std::string& name) const;
    // What is there to fetch.
    std::vector<delivery> take(consumer_data& of, std::size_t most, time_point now);
    broker_result<done> ack(const std::string& token);
    broker_result<done> nack(const std::string& token, duration delay, time_point now);
    broker_result<done> progress(const std::string& token, time_point now);
    broker_result<delivery> read(const std::string& stream, std::uint64_t sequence) const;

    broker_result<done> make_bucket(const std::string& name, duration age, unsigned replicas);
    broker_result<entry> get(const std::string& bucket, const std::string& key, time_point now) const;
    broker_result<std::uint64_t> put(const std::string& bucket, const std::string& key, std::string value,
                                     time_point now);
    broker_result<std::uint64_t> update(const std::string& bucket, const std::string& key, std::string value,
                                        std::uint64_t revision, time_point now);
    broker_result<done> erase(const std::string& bucket, const std::string& key);
    broker_result<std::vector<std::string>> keys(const std::string& bucket, const std::string& prefix,
                                                 time_point now) const;
    broker_result<done> remove_bucket(const std::string& name);

    // Lets all who wait to fetch look again.
    void wake_all();
    static void wake(consumer_data& of);

private:
    struct stream_data {
        stream_config config;
        std::map<std::uint64_t, message> messages;
        std::uint64_t bytes = 0;
        std::uint64_t last = 0;
        struct known_id {
            time_point stored;
            std::string id;
            std::uint64_t sequence;
        };
        std::unordered_map<std::string, std::uint64_t> ids;  // of the window: which message has it
        std::deque<known_id> window;                         // by age; may have some that are forgotten
        std::map<std::string, std::shared_ptr<consumer_data>> consumers;
    };
    struct value_data {
        std::string value;
        std::uint64_t revision = 0;
        time_point written;
    };
    struct bucket_data {
        duration age{0};
        unsigned replicas = 1;
        std::uint64_t revision = 0;
        std::map<std::string, value_data> values;
    };
    // What a delivery's token says.
    struct place {
        stream_data* stream = nullptr;
        consumer_data* consumer = nullptr;
        std::uint64_t sequence = 0;
    };

    [[nodiscard]] place place_of(const std::string& token);
    void forget(const stream_data& of, std::uint64_t sequence);
    void drop(stream_data& of, std::map<std::uint64_t, message>::iterator which);
    static void deliver_again(consumer_data& of, std::uint64_t sequence);
    static bool wants(const consumer_data& of, const message& what);
    std::optional<std::uint64_t> next_again(consumer_data& of);
    static const value_data* value_of(const bucket_data& in, const std::string& key, time_point now);

    std::map<std::string, stream_data> streams_;
    std::map<std::string, bucket_data> buckets_;
    std::multimap<time_point, std::function<void(memory_state&, time_point)>> later_;
    std::uint64_t generator_ = 0;
    std::uint64_t faults_left_ = 0;
};

}  // namespace leat::cluster
