// What anybody who can reach the engine can see of its runs, and ask of them.
#include <boost/json.hpp>
#include <fmt/format.h>

#include <cluster/workers_of.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/lease.hpp>

namespace leat::cluster {

namespace {

// Of the flow, or all.
task<broker_result<std::vector<manifest>>> manifests(std::shared_ptr<broker> engine, std::string flow) {
    auto asking = engine->keys(runs_bucket, "manifest." + (flow.empty() ? std::string() : name_in_engine(flow) + "."));
    const broker_result<std::vector<std::string>> keys = co_await std::move(asking);
    std::vector<manifest> all;
    if (!keys && keys.error().problem == broker_problem::not_found) co_return all;  // no flow has ever run here
    if (!keys) co_return unexpected(keys.error());
    for (const std::string& key : *keys) {
        auto reading = engine->get(runs_bucket, key);
        const broker_result<entry> found = co_await std::move(reading);
        if (!found && found.error().problem == broker_problem::not_found) continue;
        if (!found) co_return unexpected(found.error());
        auto read = manifest_from_json(found->value);
        if (read) all.push_back(std::move(*read));
    }
    co_return all;
}

task<segment_status> status_of(std::shared_ptr<broker> engine, const manifest* of, std::size_t segment) {
    segment_status made;
    made.name = of->segments[segment].name;
    auto looking = engine->stream(of->items_stream(segment));
    if (const broker_result<stream_state> state = co_await std::move(looking)) made.sent = state->last_sequence;
    auto asking = engine->consumer(of->items_stream(segment), worker_consumer);
    if (const broker_result<consumer_state> state = co_await std::move(asking)) {
        made.waiting = state->pending;
        made.at_work = state->unacked;
        made.redelivered = state->redelivered;
    }
    auto asking_too = engine->consumer(of->results_stream(segment), results_consumer);
    if (const broker_result<consumer_state> state = co_await std::move(asking_too))
        made.results = state->pending + state->unacked;
    co_return made;
}

}  // namespace

task<std::vector<worker_status>> workers_of(std::shared_ptr<broker> engine, const manifest* of) {
    std::vector<worker_status> all;
    auto asking = engine->keys(workers_bucket, of->flow + "." + of->run + ".");
    const broker_result<std::vector<std::string>> keys = co_await std::move(asking);
    if (!keys) co_return all;
    for (const std::string& key : *keys) {
        auto reading = engine->get(workers_bucket, key);
        const broker_result<entry> found = co_await std::move(reading);
        if (!found) continue;
        worker_status one;
        try {
            const boost::json::value root = boost::json::parse(found->value);
            one.name = std::string(root.at("name").as_string());
            one.held = root.at("held").to_number<std::uint64_t>();
            one.done = root.at("done").to_number<std::uint64_t>();
            one.problem = std::string(root.at("problem").as_string());
        } catch (const std::exception&) {
            one.name = key;
            one.problem = "what it says of itself cannot be read";
        }
        all.push_back(std::move(one));
    }
    co_return all;
}

task<broker_result<std::vector<run_status>>> read_status(std::shared_ptr<broker> engine, std::string flow) {
    auto looking = manifests(engine, std::move(flow));
    const broker_result<std::vector<manifest>> found = co_await std::move(looking);
    if (!found) co_return unexpected(found.error());
    std::vector<run_status> all;
    for (const manifest& each : *found) {
        run_status one;
        one.flow = each.flow;
        one.run = each.run;
        auto holding = lease::look(*engine, runs_bucket, "lease." + each.flow);
        if (const broker_result<lease_record> holder = co_await std::move(holding)) one.coordinator = holder->owner;
        auto asking = engine->get(runs_bucket, "drain." + each.flow);
        if (const broker_result<entry> asked = co_await std::move(asking)) one.draining = asked->value == each.run;
        for (std::size_t segment = 0; segment < each.segments.size(); ++segment) {
            auto reading = status_of(engine, &each, segment);
            one.segments.push_back(co_await std::move(reading));
        }
        auto workers = workers_of(engine, &each);
        one.workers = co_await std::move(workers);
        auto letters = engine->stream(dead_stream(each.flow));
        if (const broker_result<stream_state> dead = co_await std::move(letters)) one.dead = dead->messages;
        all.push_back(std::move(one));
    }
    co_return all;
}

std::string to_text(const std::vector<run_status>& runs) {
    if (runs.empty()) return "no flow runs on this engine\n";
    std::string all;
    for (const run_status& each : runs) {
        all += fmt::format("{} (run {}), coordinator {}{}\n", each.flow, each.run,
                           each.coordinator.empty() ? "none" : each.coordinator, each.draining ? ", draining" : "");
        for (const segment_status& one : each.segments)
            all += fmt::format("  {}: {} messages sent, {} wait, {} at work, {} delivered again, {} results wait\n",
                               one.name, one.sent, one.waiting, one.at_work, one.redelivered, one.results);
        for (const worker_status& one : each.workers)
            all += fmt::format("  worker {}: holds {}, has done {}{}{}\n", one.name, one.held, one.done,
                               one.problem.empty() ? "" : ": ", one.problem);
        if (each.workers.empty()) all += "  no worker has been heard of\n";
        if (each.dead != 0) all += fmt::format("  {} dead letters\n", each.dead);
    }
    return all;
}

task<broker_result<done>> ask_to_drain(std::shared_ptr<broker> engine, std::string flow) {
    auto looking = manifests(engine, flow);
    const broker_result<std::vector<manifest>> found = co_await std::move(looking);
    if (!found) co_return unexpected(found.error());
    if (found->empty())
        co_return unexpected(
            broker_error{broker_problem::not_found, fmt::format("flow '{}' does not run on this engine", flow)});
    auto asking = engine->put(runs_bucket, "drain." + found->back().flow, found->back().run);
    const broker_result<std::uint64_t> asked = co_await std::move(asking);
    if (!asked) co_return unexpected(asked.error());
    co_return done{};
}

}  // namespace leat::cluster
