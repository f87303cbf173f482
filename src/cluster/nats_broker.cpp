#include "nats_broker.hpp"

#include <algorithm>
#include <utility>

#include <leat/runtime/blocking.hpp>
#include <leat/task/this_task.hpp>

namespace leat::cluster {

namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr milliseconds longest_pause(1000);

bool is_passing_error(std::string_view answer) {
    if (answer.find("\"error\"") == std::string_view::npos) return false;
    const auto parsed = nats_api::parse_answer(answer, {});
    return !parsed && parsed.error().problem == broker_problem::unavailable;
}

}  // namespace

task<> pause_before_next(duration& pause) {
    const auto& line = co_await this_task::line();
    const auto share = static_cast<double>(line.where().random() % 1000) / 2000;
    const auto time = std::chrono::duration_cast<duration>(pause * (0.5 + share));
    pause = std::min<duration>(pause * 2, longest_pause);
    co_await sleep_for(time);
}

std::optional<nats_ack> parse_ack(std::string_view token) {
    std::string_view parts[13];
    std::size_t count = 0;
    while (count < 13) {
        const std::size_t dot = token.find('.');
        parts[count++] = token.substr(0, dot);
        if (dot == std::string_view::npos) break;
        token.remove_prefix(dot + 1);
    }
    if (count < 9 || parts[0] != "$JS" || parts[1] != "ACK") return {};
    const std::size_t at = count == 9 ? 2 : 4;
    if (count != 9 && count < 11) return {};
    const auto number = [](std::string_view text) {
        std::uint64_t value = 0;
        for (const char each : text) value = value * 10 + static_cast<std::uint64_t>(each - '0');
        return value;
    };
    return nats_ack{parts[at], parts[at + 1], number(parts[at + 2]), number(parts[at + 3])};
}

broker_error nats_broker::ended(nats_link::ending how, const nats_link::party& at, nats_purpose why) const {
    switch (how) {
        case nats_link::ending::lost:
            return failed(broker_problem::unavailable, why, "the connection was lost; it may have happened").error();
        case nats_link::ending::refused:
            return failed(broker_problem::refused, why, "{}", at.refusal()).error();
        case nats_link::ending::closed:
            return failed(broker_problem::closed, why, "the broker was closed").error();
        default:
            break;
    }
    return failed(broker_problem::timed_out, why, "no answer in {} ms; it may have happened",
                  std::chrono::ceil<milliseconds>(options_.answer_timeout).count())
        .error();
}

task<broker_result<nats_message>> nats_broker::ask(nats_text what, nats_purpose why, nats_again how, int* tries) {
    const time_point until = env::now() + options_.patience;
    duration pause = first_pause;
    nats_link::exchange mine(*link_, std::string(what.subject));
    bool looked = false;
    for (;;) {
        const bool is_up = co_await link_->up().wait_until(until);
        if (!is_up)
            co_return failed(broker_problem::unavailable, why, "no connection for {} ms",
                             std::chrono::ceil<milliseconds>(options_.patience).count());
        nats_message request = make_message(what, mine.reply_to());
        if (request == nullptr) co_return failed(broker_problem::unavailable, why, "no memory for the message");
        if (tries != nullptr) ++*tries;
        mine.send(std::move(request));
        const nats_link::ending end = co_await mine.wait(options_.answer_timeout);
        broker_error problem;
        bool nothing_happened = false;
        if (end == nats_link::ending::complete) {
            nats_message answer = mine.take();
            const bool nobody = natsMsg_IsNoResponders(answer.get());
            if (!nobody && !is_passing_error(payload_of(*answer))) co_return std::move(answer);
            nothing_happened = true;
            if (nobody) {
                problem = failed(broker_problem::unavailable, why, "nobody answers there").error();
                if (!looked) {
                    looked = true;
                    const bool gone = co_await is_gone(std::string(what.subject));
                    if (gone) {
                        // A key is in a bucket, which is known by name; of a subject nobody says that a stream is to take it.
                        const bool is_named = what.subject.front() == '$';
                        co_return failed(is_named ? broker_problem::not_found : broker_problem::unavailable, why,
                                         "no stream or consumer there takes {}", what.subject);
                    }
                }
            } else {
                problem = nats_api::parse_answer(payload_of(*answer), text_of(why)).error();
            }
        } else {
            problem = ended(end, mine, why);
            if (end == nats_link::ending::refused || end == nats_link::ending::closed)
                co_return unexpected(std::move(problem));
        }
        if (!nothing_happened && how == nats_again::if_nothing_happened) co_return unexpected(std::move(problem));
        if (env::now() + pause >= until) co_return unexpected(std::move(problem));
        co_await pause_before_next(pause);
    }
}

task<broker_result<json::object>> nats_broker::api_once(std::string subject, std::string request, nats_purpose why) {
    const bool is_up = co_await link_->up().wait_for(options_.answer_timeout);
    if (!is_up) co_return failed(broker_problem::unavailable, why, "no connection");
    nats_link::exchange mine(*link_, subject);
    mine.send(make_message({subject, request, {}, nullptr}, mine.reply_to()));
    const nats_link::ending end = co_await mine.wait(options_.answer_timeout);
    if (end != nats_link::ending::complete) co_return unexpected(ended(end, mine, why));
    const nats_message answer = mine.take();
    if (natsMsg_IsNoResponders(answer.get()))
        co_return failed(broker_problem::unavailable, why,
                         "nobody answers there: JetStream is not enabled, or has no leader");
    co_return nats_api::parse_answer(payload_of(*answer), text_of(why));
}

task<bool> nats_broker::is_gone(std::string subject) {
    if (subject.substr(0, 4) != "$JS.") {
        const json::object about{{"subject", subject}};
        const nats_purpose why{"looking for", subject};
        auto found = co_await api_once("$JS.API.STREAM.NAMES", json::serialize(about), why);
        if (!found) co_return false;
        const json::value* const total = found->if_contains("total");
        co_return total != nullptr && total->is_int64() && total->get_int64() == 0;
    }
    std::string where;
    if (const auto parts = parse_ack(subject)) where = fmt::format("{}.{}", parts->stream, parts->consumer);
    constexpr std::string_view next = "$JS.API.CONSUMER.MSG.NEXT.";
    if (subject.substr(0, next.size()) == next) where = subject.substr(next.size());
    if (where.empty()) co_return false;
    const nats_purpose why{"looking for", where};
    auto found = co_await api_once("$JS.API.CONSUMER.INFO." + where, std::string(), why);
    co_return !found && found.error().problem == broker_problem::not_found;
}

task<broker_result<json::object>> nats_broker::api(std::string subject, std::string request, nats_purpose why,
                                                   nats_again how) {
    const nats_text what{subject, request, {}, nullptr};
    auto answer = co_await ask(what, why, how);
    if (!answer) co_return unexpected(std::move(answer).error());
    co_return nats_api::parse_answer(payload_of(**answer), text_of(why));
}

task<broker_result<done>> nats_broker::look_around() {
    const nats_purpose why{"asking for", "JetStream"};
    auto found = co_await api_once("$JS.API.INFO", std::string(), why);
    if (found) co_return done{};
    // A worker may not ask this; but who cannot get answers can do nothing.
    if (found.error().problem == broker_problem::refused && link_->refused_for_good().empty()) co_return done{};
    if (found.error().problem == broker_problem::unavailable && !greeting_.has_jetstream && greeting_.cluster.empty())
        co_return failed(broker_problem::unsupported, why, "this {} runs without JetStream (its option -js)",
                         link_->about().name);
    if (found.error().is_passing()) co_return done{};  // the calls to come will wait
    co_return unexpected(std::move(found).error());
}

broker_limits nats_broker::limits() const {
    broker_limits told;
    told.largest_payload = link_->about().largest_payload;
    told.server = greeting_.cluster.empty() ? link_->about().name + ", one node"
                                            : fmt::format("{}, cluster \"{}\"", link_->about().name, greeting_.cluster);
    if (!greeting_.version.is_at_least(2, 12))
        told.durability = fmt::format(
            "{} is older than 2.12: one server with one replica only, and what is acknowledged survives a crash of "
            "its process, not a power failure",
            link_->about().name);
    else if (greeting_.cluster.empty())
        told.durability = "what is acknowledged survives a crash of the server's process, not the loss of its disk";
    else
        told.durability =
            "what is acknowledged survives a crash of any server, and with three replicas the loss of one";
    if (greeting_.version.is_at_least(2, 12))
        told.durability += synced_ ? "; it survives power failures (the operator's word for "
                                     "sync_interval: always)"
                                   : "; a power failure may take up to two minutes of it, unless the "
                                     "servers run with sync_interval: always";
    return told;
}

task<> nats_broker::close() {
    link_->close();
    nats_link* const link = link_.get();
    co_await blocking(&nats_link::shut_down, link);
}

task<broker_result<std::unique_ptr<broker>>> connect(nats_options options) {
    auto connection = co_await blocking(&connect_blocking, options);
    if (!connection) co_return unexpected(std::move(connection).error());
    auto made = std::make_unique<nats_broker>(std::move(*connection), options);
    auto fine = co_await made->look_around();
    if (!fine) {
        co_await made->close();
        co_return unexpected(std::move(fine).error());
    }
    co_return std::unique_ptr<broker>(std::move(made));
}

}  // namespace leat::cluster
