// nats_broker: broker.hpp's contract over a nats_link: each call is a request, or several, whose answers nats_api reads. How a
// request is asked, and asked again, is in nats_broker.cpp; streams and consumers, messages and keys have a file each.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>
#include <cluster/nats_api.hpp>
#include <cluster/nats_connect.hpp>
#include <cluster/nats_link.hpp>
#include <fmt/format.h>
#include <leat/cluster/nats_broker.hpp>
#include <leat/sync/semaphore.hpp>

namespace leat::cluster {

// Where an acknowledgement goes, and what that says of the delivery:
// $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.…, or with a domain and an account before the stream.
struct nats_ack {
    std::string_view stream, consumer;
    std::uint64_t deliveries = 0, sequence = 0;
};

[[nodiscard]] std::optional<nats_ack> parse_ack(std::string_view token);

// Waits a while, longer each time, and not as long as others do.
task<> pause_before_next(duration& pause);
inline constexpr std::chrono::milliseconds first_pause(20);

// What a request is for, as a sentence begins; made a text only where something went wrong.
struct nats_purpose {
    const char* verb;
    std::string_view what;
};

// Whether a request may be made again when it may have been carried out.
enum class nats_again : std::uint8_t { always, if_nothing_happened };

class nats_broker final : public broker {
public:
    nats_broker(nats_connection connection, const nats_options& options)
        : link_(std::move(connection.link)),
          greeting_(std::move(connection.greeting)),
          options_(options),
          synced_(connection.synced),
          messages_(options.most_in_flight),
          bytes_(options.most_bytes_in_flight) {}

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

    // Whether JetStream is there, and answers reach us.
    task<broker_result<done>> look_around();

private:
    [[nodiscard]] std::string text_of(nats_purpose why) const {
        return fmt::format("{} \"{}\" at {}", why.verb, why.what, link_->about().address);
    }
    template <class... Argument>
    [[nodiscard]] unexpected<broker_error> failed(broker_problem problem, nats_purpose why,
                                                  fmt::format_string<Argument...> text, Argument&&... arguments) const {
        return unexpected(
            broker_error{problem, text_of(why) + ": " + fmt::format(text, std::forward<Argument>(arguments)...)});
    }
    // What went wrong with a try that came to no answer.
    [[nodiscard]] broker_error ended(nats_link::ending how, const nats_link::party& at, nats_purpose why) const;

    // The answer to a request, which is sent again, with pauses, until patience is over. `tries`: how often it was sent.
    task<broker_result<nats_message>> ask(nats_text what, nats_purpose why, nats_again how, int* tries = nullptr);
    task<broker_result<boost::json::object>> api(std::string subject, std::string request, nats_purpose why,
                                                 nats_again how = nats_again::always);
    // One try, no more: what is asked when something else found nobody.
    task<broker_result<boost::json::object>> api_once(std::string subject, std::string request, nats_purpose why);
    // Whether there is nobody to answer at all, rather than for the moment.
    task<bool> is_gone(std::string subject);

    task<broker_result<done>> make(boost::json::object wanted, nats_purpose why);
    task<broker_result<done>> confirm(std::string_view token, std::string_view payload, nats_purpose why);
    broker_result<done> tell(const delivery& what, std::string_view payload, nats_purpose why);
    task<broker_result<receipt>> store(const message& what, nats_purpose why, int* tries = nullptr);
    task<broker_result<delivery>> last_of_key(const std::string& bucket, const std::string& key, nats_purpose why);
    broker_result<done> read_pull(int status, const std::string& description, bool& again_soon, nats_purpose why) const;

    std::unique_ptr<nats_link> link_;
    nats_greeting greeting_;
    nats_options options_;
    bool synced_;
    semaphore messages_;
    semaphore bytes_;
};

}  // namespace leat::cluster
