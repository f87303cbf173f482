// broker: what leat asks of the engine that carries a flow over machines: streams of messages that are stored until somebody
// has done with them, consumers that share a stream, and a small store of keys and values. The words are those of NATS
// JetStream, which is the engine (nats_broker); memory_broker is the same contract in one process, for tests and for trying a
// flow out, with faults on demand. One conformance suite holds both to it.
//
// Every call may be made from any task, many at a time, and resumes its caller on the caller's executor. A stop throws
// `cancelled`; the call may then have taken effect or not, as after `unavailable` and `timed_out`: what must not happen twice
// carries an id, and is sent again with the same one.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/task/task.hpp>

namespace leat::cluster {

enum class broker_problem : std::uint8_t {
    unavailable,  // no connection, no leader, no responders: try again later
    timed_out,    // no answer in time: it may have happened
    refused,      // wrong user or password, a certificate that does not verify, no permission
    not_found,    // no such stream, consumer or key
    mismatch,     // it exists, and is not what was asked for: the text says in what
    conflict,     // another was quicker: a key's revision is not the one given
    full,         // the stream is at its limit
    too_large,    // the message is larger than the server takes
    unsupported,  // the server is too old: the text says which version has it
    malformed,    // what came is not what was expected
    closed,       // the broker was closed
};

struct broker_error {
    broker_problem problem = broker_problem::unavailable;
    std::string text;  // what was asked of what, and what came: a sentence for the user
    // Worth trying again with the same id.
    [[nodiscard]] bool is_passing() const noexcept {
        return problem == broker_problem::unavailable || problem == broker_problem::timed_out ||
               problem == broker_problem::full;
    }
};

template <class T>
using broker_result = expected<T, broker_error>;
struct done {};  // the value of a call that has none to give

struct stream_config {
    std::string name;                   // letters, digits, '-' and '_'
    std::vector<std::string> subjects;  // with '*' for one token, and '>' for all that follow
    // Messages that every consumer has done with are gone (true), or stay until purged or deleted (false).
    bool is_work_queue = true;
    bool in_memory = false;
    unsigned replicas = 1;
    std::uint64_t most_messages = 0;  // 0: no limit. A publish beyond it fails as `full`
    std::uint64_t most_bytes = 0;
    std::chrono::nanoseconds duplicate_window = std::chrono::minutes(2);
    std::map<std::string, std::string> about;  // told back by stream(): who made it, for what
};

struct stream_state {
    stream_config config;
    std::uint64_t messages = 0;  // in it now
    std::uint64_t bytes = 0;
    std::uint64_t first_sequence = 0;
    std::uint64_t last_sequence = 0;  // how many were ever stored
};

struct consumer_config {
    std::string stream;
    std::string name;
    std::string subject;                                           // of those of the stream; empty: all
    std::chrono::nanoseconds ack_wait = std::chrono::seconds(30);  // then it is delivered again
    std::uint64_t most_unacked = 1000;                             // over all who fetch
};

struct consumer_state {
    std::uint64_t pending = 0;      // not yet delivered
    std::uint64_t unacked = 0;      // delivered, and not acknowledged
    std::uint64_t ack_floor = 0;    // all of the stream up to this sequence are acknowledged
    std::uint64_t delivered = 0;    // the highest sequence delivered
    std::uint64_t redelivered = 0;  // of those unacked
};

struct message {
    std::string subject;
    std::string
        id;  // a second with the same id within the stream's duplicate window is not stored; empty: no such check
    std::map<std::string, std::string> headers;
    std::string payload;
};

struct receipt {
    std::uint64_t sequence = 0;
    bool duplicate = false;  // it was there already
};

struct delivery {
    message what;
    std::uint64_t sequence = 0;    // in its stream
    std::uint64_t deliveries = 1;  // of this message, with this one
    std::string token;             // the broker's: to acknowledge by
};

struct entry {
    std::string key;
    std::string value;
    std::uint64_t revision = 0;  // grows with each change in the bucket
};

struct broker_limits {
    std::size_t largest_payload = 0;
    std::string server;      // "nats-server 2.12.1, 1 node"
    std::string durability;  // what survives, in a sentence
};

class broker {
public:
    virtual ~broker() = default;

    [[nodiscard]] virtual broker_limits limits() const = 0;

    // Makes the stream, or finds it there with the same configuration; `mismatch` says in what it differs.
    virtual task<broker_result<done>> make_stream(stream_config config) = 0;
    virtual task<broker_result<stream_state>> stream(std::string name) = 0;
    virtual task<broker_result<std::vector<std::string>>> streams(std::string prefix) = 0;
    virtual task<broker_result<done>> remove_stream(std::string name) = 0;
    // Drops what is in the stream below that sequence; 0: all.
    virtual task<broker_result<done>> purge(std::string stream, std::uint64_t below) = 0;

    virtual task<broker_result<done>> make_consumer(consumer_config config) = 0;
    virtual task<broker_result<consumer_state>> consumer(std::string stream, std::string name) = 0;

    // Returns when the server has stored it (or had it already). Messages of calls made one behind the other by one task
    // are stored in that order.
    virtual task<broker_result<receipt>> publish(message what) = 0;
    // Up to `most` messages; waits up to `wait` for the first, and not for more. None in that time: an empty list.
    virtual task<broker_result<std::vector<delivery>>> fetch(std::string stream, std::string consumer, std::size_t most,
                                                             std::chrono::nanoseconds wait) = 0;
    // Done with it, for good: returns when the server has confirmed it. One that was killed may have forgotten the delivery: it
    // confirms nothing then, and delivers the message again. So who can do it twice waits for this with a short limit.
    virtual task<broker_result<done>> ack(delivery what) = 0;
    // Not done: it is delivered again, after the delay. Not confirmed.
    virtual task<broker_result<done>> nack(delivery what, std::chrono::nanoseconds delay) = 0;
    // Still at work: ack_wait begins anew. Not confirmed.
    virtual task<broker_result<done>> progress(const delivery& what) = 0;
    // Given up: it is not delivered again. Confirmed, as ack() is.
    virtual task<broker_result<done>> terminate(delivery what) = 0;
    // What is stored at that sequence, whoever has consumed it; of a work queue only what is still in it.
    virtual task<broker_result<delivery>> read(std::string stream, std::uint64_t sequence) = 0;

    // Keys and values; a bucket's name is like a stream's. Keys: letters, digits, '-', '_', '=', '/' and '.'.
    virtual task<broker_result<done>> make_bucket(std::string bucket, std::chrono::nanoseconds age,
                                                  unsigned replicas) = 0;
    virtual task<broker_result<entry>> get(std::string bucket, std::string key) = 0;
    virtual task<broker_result<std::uint64_t>> put(std::string bucket, std::string key, std::string value) = 0;
    // Only while the key is at that revision; 0: while there is none. Else `conflict`.
    virtual task<broker_result<std::uint64_t>> update(std::string bucket, std::string key, std::string value,
                                                      std::uint64_t revision) = 0;
    virtual task<broker_result<done>> erase(std::string bucket, std::string key) = 0;
    virtual task<broker_result<std::vector<std::string>>> keys(std::string bucket, std::string prefix) = 0;
    virtual task<broker_result<done>> remove_bucket(std::string bucket) = 0;

    // Ends what is under way with `closed`, and the connection.
    virtual task<> close() = 0;
};

}  // namespace leat::cluster
