// nats_broker: keys and values, as JetStream's other clients keep them, so that their tools read ours.
#include "nats_broker.hpp"

#include <algorithm>
#include <utility>

#include <leat/task/when_all.hpp>

namespace leat::cluster {

namespace {

namespace json = boost::json;
using std::chrono::nanoseconds;

constexpr std::size_t keys_at_once = 64;  // looked at by keys()
constexpr const char* expected_revision = "Nats-Expected-Last-Subject-Sequence";

std::string random_id() { return fmt::format("{:016x}{:016x}", env::entropy(), env::entropy()); }

// Of a key: whether what is stored last says that it is gone.
bool is_erased(const delivery& last) {
    const auto operation = last.what.headers.find("KV-Operation");
    return (operation != last.what.headers.end() && operation->second != "PUT") ||
           last.what.headers.contains("Nats-Marker-Reason");
}

}  // namespace

task<broker_result<done>> nats_broker::make_bucket(std::string bucket, nanoseconds age, unsigned replicas) {
    const nats_purpose why{"making the bucket", bucket};
    if (!nats_api::is_name(bucket)) co_return failed(broker_problem::malformed, why, "no name for a bucket");
    if (replicas > 1 && !greeting_.version.is_at_least(2, 12))
        co_return failed(broker_problem::unsupported, why, "{} replicas want nats-server 2.12 (this is {})", replicas,
                         greeting_.version_text);
    json::object wanted = nats_api::bucket_request(bucket, age, replicas);
    co_return co_await make(std::move(wanted), why);
}

task<broker_result<delivery>> nats_broker::last_of_key(const std::string& bucket, const std::string& key,
                                                       nats_purpose why) {
    if (!nats_api::is_name(bucket)) co_return failed(broker_problem::not_found, why, "no name of a bucket");
    if (!nats_api::is_key(key)) co_return failed(broker_problem::malformed, why, "no key");
    const json::object request{{"last_by_subj", fmt::format("$KV.{}.{}", bucket, key)}};
    auto answer = co_await api("$JS.API.STREAM.MSG.GET.KV_" + bucket, json::serialize(request), why);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return nats_api::read_message(*answer, text_of(why));
}

task<broker_result<entry>> nats_broker::get(std::string bucket, std::string key) {
    const nats_purpose why{"getting the key", key};
    auto last = co_await last_of_key(bucket, key, why);
    if (!last) co_return unexpected(std::move(last).error());
    if (is_erased(*last)) co_return failed(broker_problem::not_found, why, "it was erased");
    entry found;
    found.value = std::move(last->what.payload);
    found.revision = last->sequence;
    found.key = std::move(key);
    co_return std::move(found);
}

task<broker_result<std::uint64_t>> nats_broker::put(std::string bucket, std::string key, std::string value) {
    const nats_purpose why{"putting the key", key};
    if (!nats_api::is_name(bucket) || !nats_api::is_key(key))
        co_return failed(broker_problem::malformed, why, "no key");
    message what;
    what.subject = fmt::format("$KV.{}.{}", bucket, key);
    what.id = random_id();  // so that it may be sent again
    what.payload = std::move(value);
    auto stored = co_await store(what, why);
    if (!stored) co_return unexpected(std::move(stored).error());
    co_return stored->sequence;
}

task<broker_result<std::uint64_t>> nats_broker::update(std::string bucket, std::string key, std::string value,
                                                       std::uint64_t revision) {
    const nats_purpose why{"updating the key", key};
    if (!nats_api::is_name(bucket) || !nats_api::is_key(key))
        co_return failed(broker_problem::malformed, why, "no key");
    message what;
    what.subject = fmt::format("$KV.{}.{}", bucket, key);
    what.id = random_id();
    what.payload = std::move(value);
    what.headers[expected_revision] = std::to_string(revision);
    int tries = 0;
    auto stored = co_await store(what, why, &tries);
    if (!stored && stored.error().problem == broker_problem::conflict) {
        auto last = co_await last_of_key(bucket, key, why);
        if (last && last->what.id == what.id) co_return last->sequence;  // an earlier try of ours was it
        if (last && revision == 0 && is_erased(*last)) {                 // there is none: what is there says so
            what.headers[expected_revision] = std::to_string(last->sequence);
            what.id = random_id();
            stored = co_await store(what, why, &tries);
        }
    }
    if (!stored) co_return unexpected(std::move(stored).error());
    co_return stored->sequence;
}

task<broker_result<done>> nats_broker::erase(std::string bucket, std::string key) {
    const nats_purpose why{"erasing the key", key};
    if (!nats_api::is_name(bucket) || !nats_api::is_key(key))
        co_return failed(broker_problem::malformed, why, "no key");
    message what;
    what.subject = fmt::format("$KV.{}.{}", bucket, key);
    what.id = random_id();
    what.headers["KV-Operation"] = "DEL";
    auto stored = co_await store(what, why);
    if (!stored) co_return unexpected(std::move(stored).error());
    co_return done{};
}

task<broker_result<std::vector<std::string>>> nats_broker::keys(std::string bucket, std::string prefix) {
    const nats_purpose why{"listing the keys of", bucket};
    if (!nats_api::is_name(bucket)) co_return failed(broker_problem::not_found, why, "no name of a bucket");
    const std::string head = fmt::format("$KV.{}.", bucket);
    const std::size_t tokens = prefix.rfind('.') == std::string::npos ? 0 : prefix.rfind('.') + 1;
    const std::string filter = head + prefix.substr(0, tokens) + '>';
    std::vector<std::string> found;
    for (std::size_t from = 0;;) {
        const json::object request{{"subjects_filter", filter}, {"offset", from}};
        auto page = co_await api("$JS.API.STREAM.INFO.KV_" + bucket, json::serialize(request), why);
        if (!page) co_return unexpected(std::move(page).error());
        const json::value* const state = page->if_contains("state");
        const json::value* const subjects =
            state != nullptr && state->is_object() ? state->get_object().if_contains("subjects") : nullptr;
        if (subjects == nullptr || !subjects->is_object() || subjects->get_object().empty()) break;
        for (const auto& [subject, count] : subjects->get_object()) {
            const std::string_view key = std::string_view(subject).substr(std::min(subject.size(), head.size()));
            if (key.substr(0, prefix.size()) == prefix) found.emplace_back(key);
        }
        from += subjects->get_object().size();
        const json::value* const total = page->if_contains("total");
        if (total == nullptr || !total->is_int64() || from >= static_cast<std::size_t>(total->get_int64())) break;
    }
    std::vector<std::string> there;
    for (std::size_t from = 0; from < found.size(); from += keys_at_once) {  // erased ones are there, with a mark
        std::vector<task<broker_result<delivery>>> calls;
        for (std::size_t i = from; i < std::min(found.size(), from + keys_at_once); ++i)
            calls.push_back(last_of_key(bucket, found[i], why));
        const auto all = co_await when_all(std::move(calls));
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (!all[i] && all[i].error().problem != broker_problem::not_found) co_return unexpected(all[i].error());
            if (all[i] && !is_erased(*all[i])) there.push_back(std::move(found[from + i]));
        }
    }
    std::sort(there.begin(), there.end());
    co_return std::move(there);
}

task<broker_result<done>> nats_broker::remove_bucket(std::string bucket) {
    const nats_purpose why{"removing the bucket", bucket};
    if (!nats_api::is_name(bucket)) co_return failed(broker_problem::not_found, why, "no name of a bucket");
    auto answer = co_await api("$JS.API.STREAM.DELETE.KV_" + bucket, std::string(), why);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return done{};
}

}  // namespace leat::cluster
