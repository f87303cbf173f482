#include <leat/cluster/coordination.hpp>

#include <fmt/format.h>

#include <cluster/coordinator_lease.hpp>
#include <cluster/insist.hpp>
#include <cluster/manifest.hpp>
#include <leat/cluster/broker_journal.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/task/this_task.hpp>

namespace leat::cluster {

namespace {

constexpr unsigned most_renewals = 2;
constexpr duration lasts_through_elections = std::chrono::seconds(30);  // without a leader for 5 to 16 s was measured
constexpr duration renewal_margin = std::chrono::milliseconds(1500);

}  // namespace

lease_options coordinator_lease(const std::string& flow, std::string owner, unsigned replicas) {
    lease_options how;
    if (replicas > 1) how.lasts = lasts_through_elections;
    how.bucket = runs_bucket;
    how.key = "lease." + flow;
    how.owner = owner.empty() ? this_process() : std::move(owner);
    return how;
}

// A coordinator that lives is seen by its renewals, and this one refused; one that died is waited out. One renewal is not enough:
// it may be a call that a dead one has left on its way.
task<> take_unless_alive(lease& mine, broker& engine, const lease_options& options, const std::string& flow) {
    std::uint64_t revision = 0;
    for (unsigned renewals = 0; renewals <= most_renewals; ++renewals) {
        const auto look = [&engine, &options] { return lease::look(engine, options.bucket, options.key); };
        auto looking = insist(look);
        const broker_result<lease_record> now = co_await std::move(looking);
        if (!now || now->owner.empty() || now->revision == revision) break;
        if (renewals == most_renewals)
            throw cluster_refused(
                fmt::format("flow '{}' is being run by {}: a flow has one coordinator at a time", flow, now->owner));
        revision = now->revision;
        co_await sleep_for(options.renewed_every + renewal_margin);
    }
    auto taking = mine.take();
    const broker_result<std::uint64_t> taken = co_await std::move(taking);
    if (!taken) throw cluster_refused(fmt::format("flow '{}': its lease: {}", flow, taken.error().text));
}

coordination::coordination(std::shared_ptr<broker> engine, lease_options options, unsigned replicas)
    : engine_(std::move(engine)), lease_(*engine_, std::move(options)), replicas_(replicas) {}

task<std::unique_ptr<coordination>> coordination::begin(std::shared_ptr<broker> engine, std::string flow,
                                                        coordination_options options) {
    flow = name_in_engine(flow);
    const std::string stream = fmt::format("df-{}-journal", flow);
    unsigned replicas = options.replicas;
    if (replicas == 0) {
        const auto look = [&engine, &stream] { return engine->stream(stream); };
        auto looking = insist(look);
        const broker_result<stream_state> there = co_await std::move(looking);
        if (!there && there.error().problem == broker_problem::not_found)
            throw cluster_refused(fmt::format("flow '{}' has no journal in this engine", flow));
        if (!there) throw cluster_refused(fmt::format("flow '{}': its journal: {}", flow, there.error().text));
        replicas = there->config.replicas;
    }
    const auto bucket = [&engine, replicas] {
        return engine->make_bucket(runs_bucket, std::chrono::nanoseconds(0), replicas);
    };
    auto making = insist(bucket);
    const broker_result<done> made = co_await std::move(making);
    if (!made) throw cluster_refused(fmt::format("flow '{}': its bucket of runs: {}", flow, made.error().text));
    const lease_options how = coordinator_lease(flow, std::move(options.owner), replicas);
    auto mine = std::make_unique<coordination>(engine, how, replicas);
    co_await take_unless_alive(mine->lease_, *engine, how, flow);
    broker_journal_options journal;
    journal.stream = stream;
    journal.subject = fmt::format("df.{}.journal", flow);
    journal.replicas = replicas;
    journal.held = &mine->lease_;
    auto opening = open_broker_journal(engine, std::move(journal));
    // It may have to read much, for longer than the lease lasts.
    mine->journal_ = co_await mine->lease_.hold(std::move(opening));
    co_return mine;
}

task<> coordination::end() { (void)co_await lease_.release(); }

}  // namespace leat::cluster
