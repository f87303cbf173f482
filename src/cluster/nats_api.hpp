// nats_api: JetStream's API as text: the requests in JSON, what the answers mean, and in what a stream or consumer differs from
// what was asked for. No connection here; nats_broker sends and receives.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/fwd.hpp>
#include <leat/cluster/broker.hpp>

namespace leat::cluster::nats_api {

// As far as it matters: 2.9 and 2.10 lack some of what is asked for, and say nothing.
struct server_version {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned patch = 0;
    static server_version of(std::string_view text) noexcept;
    [[nodiscard]] bool is_at_least(unsigned that_major, unsigned that_minor) const noexcept {
        return major != that_major ? major > that_major : minor >= that_minor;
    }
};

// `asked` is what the request was for, as a sentence begins: "making the stream \"A\" at 127.0.0.1:4222".
using api_result = broker_result<boost::json::object>;

// The answer as an object, or the error that it tells of.
[[nodiscard]] api_result parse_answer(std::string_view text, const std::string& asked);
[[nodiscard]] broker_result<receipt> parse_receipt(std::string_view text, const std::string& asked);

// Letters, digits, '-' and '_'.
[[nodiscard]] bool is_name(std::string_view text) noexcept;
[[nodiscard]] bool is_key(std::string_view text) noexcept;

[[nodiscard]] boost::json::object stream_request(const stream_config& config, server_version at);
[[nodiscard]] boost::json::object bucket_request(std::string_view bucket, std::chrono::nanoseconds age,
                                                 unsigned replicas);
[[nodiscard]] boost::json::object consumer_request(const consumer_config& config);

[[nodiscard]] stream_state read_stream(const boost::json::object& info);
[[nodiscard]] consumer_state read_consumer(const boost::json::object& info);
// Of STREAM.MSG.GET. Its "hdrs" in parts: of a key, the operation.
[[nodiscard]] broker_result<delivery> read_message(const boost::json::object& answer, const std::string& asked);

// Whether what the server has is what was asked for. Fields that the server leaves out are what they would be by default;
// one that an old server does not know is `unsupported`, and says which version does.
[[nodiscard]] broker_result<done> compare(const boost::json::object& wanted, const boost::json::object& found,
                                          const std::string& what, server_version at);

}  // namespace leat::cluster::nats_api
