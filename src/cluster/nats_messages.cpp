// nats_broker: publishing, fetching, and what becomes of deliveries.
#include "nats_broker.hpp"

#include <algorithm>
#include <utility>

#include <leat/task/this_task.hpp>

namespace leat::cluster {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr nanoseconds heartbeat = milliseconds(500);  // of a pull: three missed, and the server has forgotten it
constexpr nanoseconds longest_pull = std::chrono::seconds(30);
constexpr nanoseconds pull_slack = std::chrono::seconds(1);  // beyond its time, for the end of a pull to arrive
constexpr nanoseconds gap_in_pull = milliseconds(50);        // between messages that come together

delivery delivery_of(natsMsg& from) {
    delivery made;
    made.what.subject = subject_of(from);
    made.what.payload = payload_of(from);
    made.what.id = header_of(from, "Nats-Msg-Id");
    made.what.headers = headers_of(from);
    made.token = reply_of(from);
    return made;
}

}  // namespace

task<broker_result<receipt>> nats_broker::store(const message& what, nats_purpose why, int* tries) {
    if (!is_subject(what.subject)) co_return failed(broker_problem::malformed, why, "no subject for a message");
    std::size_t size = what.payload.size() + what.id.size();
    bool is_clean = is_header_text(what.id);
    for (const auto& [key, value] : what.headers) {
        size += key.size() + value.size() + 4;
        is_clean = is_clean && !key.empty() && key.find(':') == std::string::npos && is_header_text(key) &&
                   is_header_text(value);
    }
    if (!is_clean)
        co_return failed(broker_problem::malformed, why, "a header, or the id, has a line end or a colon in it");
    constexpr std::size_t header_frame = 64;  // "NATS/1.0", the name of the id's header, line ends
    if (size + header_frame > link_->about().largest_payload)
        co_return failed(broker_problem::too_large, why, "{} bytes, and the server takes {}", size,
                         link_->about().largest_payload);
    const auto a_message = co_await messages_.acquire();
    const auto some_bytes = co_await bytes_.acquire(std::min(size + 1, options_.most_bytes_in_flight));
    const nats_text text{what.subject, what.payload, what.id, what.headers.empty() ? nullptr : &what.headers};
    auto answer =
        co_await ask(text, why, what.id.empty() ? nats_again::if_nothing_happened : nats_again::always, tries);
    if (!answer) co_return unexpected(std::move(answer).error());
    const std::string_view said = payload_of(**answer);
    if (said.find("\"error\"") == std::string_view::npos) co_return nats_api::parse_receipt(said, {});
    co_return nats_api::parse_receipt(said, text_of(why));
}

task<broker_result<receipt>> nats_broker::publish(message what) {
    const nats_purpose why{"publishing to", what.subject};
    co_return co_await store(what, why);
}

broker_result<done> nats_broker::read_pull(int status, const std::string& description, bool& again_soon,
                                           nats_purpose why) const {
    const auto has = [&](std::string_view word) { return description.find(word) != std::string::npos; };
    switch (status) {
        case 0:
        case 404:
            return done{};
        case 408:  // "Requests Pending": others wait, and are to be served first
            again_soon = has("Pending");
            return done{};
        case 409:
            if (has("Consumer Deleted") || has("not push"))
                return failed(broker_problem::not_found, why, "{}", description);
            if (has("MaxRequest") || has("Push")) return failed(broker_problem::refused, why, "{}", description);
            again_soon = true;  // a new leader, a server that ends, too many who wait
            return done{};
        case 503:
            again_soon = true;
            return done{};
        default:
            return failed(broker_problem::refused, why, "{} ({})", description, status);
    }
}

task<broker_result<std::vector<delivery>>> nats_broker::fetch(std::string stream, std::string consumer,
                                                              std::size_t most, nanoseconds wait) {
    const nats_purpose why{"fetching from the consumer", consumer};
    if (!nats_api::is_name(stream) || !nats_api::is_name(consumer))
        co_return failed(broker_problem::not_found, why, "no name of a consumer");
    std::vector<delivery> fetched;
    if (most == 0) co_return std::move(fetched);
    const std::string subject = fmt::format("$JS.API.CONSUMER.MSG.NEXT.{}.{}", stream, consumer);
    const time_point until = env::now() + std::max(wait, nanoseconds::zero());
    duration pause = first_pause;
    bool looked = false;
    std::optional<broker_error> trouble;  // of the last try
    for (;;) {
        time_point patience = std::max(until, env::now() + milliseconds(1));
        const bool is_up = co_await link_->up().wait_until(patience);
        if (!is_up) co_return failed(broker_problem::unavailable, why, "no connection");
        const nanoseconds left = std::clamp<nanoseconds>(until - env::now(), nanoseconds::zero(), longest_pull);
        const bool beats = left >= 4 * heartbeat;
        nats_link::pull_lease pull(*link_);
        std::string request = fmt::format("{{\"batch\":{},\"no_wait\":true", most);
        if (left > nanoseconds::zero()) request += fmt::format(",\"expires\":{}", left.count());
        if (beats) request += fmt::format(",\"idle_heartbeat\":{}", heartbeat.count());
        request += '}';
        const time_point latest =
            env::now() + (left > nanoseconds::zero() ? left + pull_slack : nanoseconds(options_.answer_timeout));
        pull->send(make_message({subject, request, {}, nullptr}, pull->inbox()), subject, most);

        nats_link::ending end = nats_link::ending::pending;
        std::size_t asked_at = 0;
        for (;;) {
            const auto progress = pull->so_far();
            // With "no_wait" the server ends the pull behind the last message that it has; but not where the consumer has
            // delivered as many as it may without an ack. So where no more seems to come the server is asked something, for
            // the sake of the answer, which comes behind the messages: it may be us who are slow.
            if (progress.count > asked_at && env::now() >= progress.last + gap_in_pull) {
                asked_at = progress.count;
                const std::string where = fmt::format("$JS.API.CONSUMER.INFO.{}.{}", stream, consumer);
                (void)co_await api_once(where, std::string(), why);
                co_await sleep_for(milliseconds(1));  // answers and messages are handed over by two threads
                continue;
            }
            time_point look = latest;
            if (progress.count > 0) look = progress.last + gap_in_pull;
            else if (beats) look = std::min(latest, progress.last + 3 * heartbeat);
            if (env::now() >= look) break;
            end = co_await pull->wait(look);
            if (end != nats_link::ending::pending) break;
        }
        const int status = pull->status();
        std::vector<nats_message> came = pull->take();
        if (!came.empty()) {
            fetched.reserve(came.size());
            for (const nats_message& each : came) {
                fetched.push_back(delivery_of(*each));
                if (const auto parts = parse_ack(fetched.back().token)) {
                    fetched.back().sequence = parts->sequence;
                    fetched.back().deliveries = parts->deliveries;
                }
            }
            co_return std::move(fetched);
        }
        trouble.reset();
        if (end == nats_link::ending::refused || end == nats_link::ending::closed)
            co_return unexpected(ended(end, *pull, why));
        if (end == nats_link::ending::lost) {
            trouble = failed(broker_problem::unavailable, why, "the connection was lost").error();
        } else if (end == nats_link::ending::complete) {
            bool again_soon = false;
            auto fine = read_pull(status, pull->description(), again_soon, why);
            if (!fine) co_return unexpected(std::move(fine).error());
            if (status == 503) trouble = failed(broker_problem::unavailable, why, "nobody answers there").error();
            if (!again_soon && env::now() >= until) break;
        } else {
            trouble = failed(broker_problem::timed_out, why, "no answer").error();
        }
        if (trouble && end != nats_link::ending::lost && !looked) {  // 2.9 says nothing where there is no consumer
            looked = true;
            const bool gone = co_await is_gone(subject);
            if (gone)
                co_return failed(broker_problem::not_found, why, "the stream \"{}\" has none of that name", stream);
        }
        if (env::now() + pause >= until) break;
        if (trouble || status != 0) co_await pause_before_next(pause);
    }
    if (trouble) co_return unexpected(std::move(*trouble));
    co_return std::move(fetched);
}

task<broker_result<done>> nats_broker::confirm(std::string_view token, std::string_view payload, nats_purpose why) {
    if (!is_subject(token) || !parse_ack(token)) co_return failed(broker_problem::malformed, why, "it was not fetched");
    const nats_text text{token, payload, {}, nullptr};
    auto answer = co_await ask(text, why, nats_again::always);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return done{};
}

broker_result<done> nats_broker::tell(const delivery& what, std::string_view payload, nats_purpose why) {
    if (!is_subject(what.token) || !parse_ack(what.token))
        return failed(broker_problem::malformed, why, "it was not fetched");
    nats_message text = make_message({what.token, payload, {}, nullptr}, {});
    if (text == nullptr || !link_->post(std::move(text)))
        return failed(broker_problem::unavailable, why, "there is no connection");
    return done{};
}

task<broker_result<done>> nats_broker::ack(delivery what) {
    const nats_purpose why{"acknowledging what came on", what.what.subject};
    co_return co_await confirm(what.token, "+ACK", why);
}

task<broker_result<done>> nats_broker::nack(delivery what, nanoseconds delay) {
    const std::string text = delay.count() > 0 ? fmt::format("-NAK {{\"delay\":{}}}", delay.count()) : "-NAK";
    co_return tell(what, text, {"giving back what came on", what.what.subject});
}

task<broker_result<done>> nats_broker::progress(const delivery& what) {
    co_return tell(what, "+WPI", {"telling of work on what came on", what.what.subject});
}

task<broker_result<done>> nats_broker::terminate(delivery what) {
    const nats_purpose why{"terminating what came on", what.what.subject};
    co_return co_await confirm(what.token, "+TERM", why);
}

task<broker_result<delivery>> nats_broker::read(std::string stream, std::uint64_t sequence) {
    const nats_purpose why{"reading from the stream", stream};
    if (!nats_api::is_name(stream)) co_return failed(broker_problem::not_found, why, "no name of a stream");
    if (sequence == 0) co_return failed(broker_problem::not_found, why, "no sequence is 0");
    auto answer = co_await api("$JS.API.STREAM.MSG.GET." + stream, fmt::format("{{\"seq\":{}}}", sequence), why);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return nats_api::read_message(*answer, text_of(why));
}

}  // namespace leat::cluster
