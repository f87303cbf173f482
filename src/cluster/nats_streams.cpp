// nats_broker: streams and consumers.
#include "nats_broker.hpp"

#include <algorithm>

namespace leat::cluster {

namespace {

namespace json = boost::json;

}  // namespace

task<broker_result<done>> nats_broker::make(json::object wanted, nats_purpose why) {
    const std::string name(wanted["name"].get_string());
    const std::string text = json::serialize(wanted);
    auto made = co_await api("$JS.API.STREAM.CREATE." + name, text, why);
    const bool is_other = !made && made.error().problem == broker_problem::mismatch;
    const broker_error said = is_other ? made.error() : broker_error{};
    if (is_other) made = co_await api("$JS.API.STREAM.INFO." + name, std::string(), why);
    if (is_other && !made && made.error().problem == broker_problem::not_found) co_return unexpected(said);
    if (!made) co_return unexpected(std::move(made).error());
    const json::value* const config = made->if_contains("config");
    if (config == nullptr || !config->is_object())
        co_return failed(broker_problem::malformed, why, "the answer tells no configuration");
    auto same = nats_api::compare(wanted, config->get_object(), text_of(why) + ": the stream", greeting_.version);
    if (same && is_other) co_return unexpected(said);
    co_return same;
}

task<broker_result<done>> nats_broker::make_stream(stream_config config) {
    const nats_purpose why{"making the stream", config.name};
    if (!nats_api::is_name(config.name)) co_return failed(broker_problem::malformed, why, "no name for a stream");
    if (config.replicas > 1 && !greeting_.version.is_at_least(2, 12))
        co_return failed(
            broker_problem::unsupported, why,
            "{} replicas want nats-server 2.12 (this is {}, which may lose acknowledged messages with them)",
            config.replicas, greeting_.version_text);
    json::object wanted = nats_api::stream_request(config, greeting_.version);
    co_return co_await make(std::move(wanted), why);
}

task<broker_result<stream_state>> nats_broker::stream(std::string name) {
    const nats_purpose why{"asking for the stream", name};
    if (!nats_api::is_name(name)) co_return failed(broker_problem::not_found, why, "no name of a stream");
    auto info = co_await api("$JS.API.STREAM.INFO." + name, std::string(), why);
    if (!info) co_return unexpected(std::move(info).error());
    co_return nats_api::read_stream(*info);
}

task<broker_result<std::vector<std::string>>> nats_broker::streams(std::string prefix) {
    const nats_purpose why{"listing the streams", prefix};
    std::vector<std::string> names;
    for (std::int64_t from = 0;;) {
        auto page = co_await api("$JS.API.STREAM.NAMES", fmt::format("{{\"offset\":{}}}", from), why);
        if (!page) co_return unexpected(std::move(page).error());
        const json::value* const list = page->if_contains("streams");
        const json::value* const total = page->if_contains("total");
        if (list == nullptr || !list->is_array() || list->get_array().empty()) break;
        for (const json::value& each : list->get_array())
            if (each.is_string() && std::string_view(each.get_string()).substr(0, prefix.size()) == prefix)
                names.emplace_back(each.get_string());
        from += static_cast<std::int64_t>(list->get_array().size());
        if (total == nullptr || !total->is_int64() || from >= total->get_int64()) break;
    }
    std::sort(names.begin(), names.end());
    co_return std::move(names);
}

task<broker_result<done>> nats_broker::remove_stream(std::string name) {
    const nats_purpose why{"removing the stream", name};
    if (!nats_api::is_name(name)) co_return failed(broker_problem::not_found, why, "no name of a stream");
    auto answer = co_await api("$JS.API.STREAM.DELETE." + name, std::string(), why);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return done{};
}

task<broker_result<done>> nats_broker::purge(std::string stream, std::uint64_t below) {
    const nats_purpose why{"purging the stream", stream};
    if (!nats_api::is_name(stream)) co_return failed(broker_problem::not_found, why, "no name of a stream");
    std::string request = below == 0 ? std::string() : fmt::format("{{\"seq\":{}}}", below);
    auto answer = co_await api("$JS.API.STREAM.PURGE." + stream, std::move(request), why);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return done{};
}

task<broker_result<done>> nats_broker::make_consumer(consumer_config config) {
    const nats_purpose why{"making the consumer", config.name};
    if (!nats_api::is_name(config.name) || !nats_api::is_name(config.stream))
        co_return failed(broker_problem::malformed, why, "no name for a consumer, or of a stream (\"{}\")",
                         config.stream);
    const json::object wanted = nats_api::consumer_request(config);
    const std::string where = config.stream + '.' + config.name;
    auto made = co_await api("$JS.API.CONSUMER.INFO." + where, std::string(), why);
    if (!made && made.error().problem == broker_problem::not_found) {
        // An old server takes a consumer of that name for one to be changed, hence the look before.
        const json::object request{{"stream_name", config.stream}, {"config", wanted}, {"action", "create"}};
        made = co_await api("$JS.API.CONSUMER.DURABLE.CREATE." + where, json::serialize(request), why);
    }
    if (!made) co_return unexpected(std::move(made).error());
    const json::value* const found = made->if_contains("config");
    if (found == nullptr || !found->is_object())
        co_return failed(broker_problem::malformed, why, "the answer tells no configuration");
    co_return nats_api::compare(wanted, found->get_object(), text_of(why) + ": the consumer", greeting_.version);
}

task<broker_result<consumer_state>> nats_broker::consumer(std::string stream, std::string name) {
    const nats_purpose why{"asking for the consumer", name};
    if (!nats_api::is_name(stream) || !nats_api::is_name(name))
        co_return failed(broker_problem::not_found, why, "no name of a consumer");
    auto info = co_await api(fmt::format("$JS.API.CONSUMER.INFO.{}.{}", stream, name), std::string(), why);
    if (!info) co_return unexpected(std::move(info).error());
    co_return nats_api::read_consumer(*info);
}

}  // namespace leat::cluster
