#include <cluster/coordinator.hpp>

#include <set>

#include <fmt/format.h>

#include <cluster/coordinator_lease.hpp>
#include <cluster/insist.hpp>
#include <cluster/workers_of.hpp>
#include <leat/base/exception_text.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace {

constexpr std::size_t message_overhead = 4096;  // subject, id and headers, with room to spare
constexpr duration beginning = std::chrono::seconds(40);
constexpr duration ending = std::chrono::seconds(10);
constexpr duration settling = std::chrono::seconds(3);
constexpr duration between_reads = std::chrono::milliseconds(20);
constexpr duration drain_interval = std::chrono::milliseconds(500);
constexpr unsigned rounds_of_workers = 10;

task<> in_time(task<> what, duration limit) { co_await timeout(std::move(what), limit); }

}  // namespace

coordinator_body::coordinator_body(std::shared_ptr<broker> engine, manifest plan, placement_options options)
    : engine_(std::move(engine)), plan_(std::move(plan)), options_(std::move(options)) {}
coordinator_body::~coordinator_body() = default;

std::size_t coordinator_body::add(manifest_segment segment) {
    plan_.segments.push_back(std::move(segment));
    return plan_.segments.size() - 1;
}

std::vector<std::string> coordinator_body::segments() const {
    std::vector<std::string> all;
    all.reserve(plan_.segments.size());
    for (const manifest_segment& each : plan_.segments) all.push_back(each.name);
    return all;
}

std::string coordinator_body::failure() const {
    const std::scoped_lock held(lock_);
    return failure_;
}

void coordinator_body::fail(const std::string& why) noexcept {
    {
        const std::scoped_lock held(lock_);
        if (failure_.empty()) failure_ = why;
    }
    failed_.set();
}

cluster_report coordinator_body::report() const {
    cluster_report made;
    made.flow = plan_.flow;
    made.run = plan_.run;
    made.items = counted.items;
    made.answered = counted.answered;
    made.parcels = counted.parcels;
    made.bytes = counted.bytes;
    made.result_parcels = counted.result_parcels;
    made.result_bytes = counted.result_bytes;
    made.redelivered = counted.redelivered;
    made.late = counted.late;
    made.resent = counted.resent;
    made.poison = counted.poison;
    made.malformed = counted.malformed;
    const std::scoped_lock held(lock_);
    made.server = limits_.server;
    made.durability = limits_.durability;
    made.unsettled = unsettled_;
    made.read_at_end = read_at_end_;
    return made;
}

// --- Begin ---

template <class T, class Make>
task<T> coordinator_body::must(Make make, std::string what) {
    auto asking = insist(std::move(make));
    broker_result<T> got = co_await std::move(asking);
    if (!got) throw cluster_refused(fmt::format("flow '{}': {}: {}", plan_.flow, what, got.error().text));
    co_return std::move(*got);
}

// What an earlier run has left.
void coordinator_body::begin_anew() {
    const std::scoped_lock held(lock_);
    failure_.clear();
    unsettled_.clear();
    failed_.reset();
    settled_ = true;
    begun_ = read_at_end_ = false;
    counted.clear();
}

task<> coordinator_body::enter() {
    if (inside_++ > 0) co_return;
    context& line = co_await this_task::line();
    begin_anew();
    tasks_ = std::make_unique<scope>(line);
    plan_.run = fmt::format("r{:016x}", line.where().random());
    outcome<void> begun = co_await in_time(begin(), beginning).as_outcome();
    if (begun.is_cancelled()) throw cancelled{};
    if (!begun.is_error()) {
        log(fmt::format("flow '{}' is run {} on {}", plan_.flow, plan_.run, limits_.server));
        log(limits_.durability);
        co_return;
    }
    const std::exception_ptr begun_with = begun.error();
    std::string why;
    try {
        std::rethrow_exception(begun_with);
    } catch (const timed_out&) {
        why = fmt::format("flow '{}': the engine did not answer within {} s", plan_.flow,
                          std::chrono::duration_cast<std::chrono::seconds>(beginning).count());
    } catch (...) {
        why = text_of(begun_with);
    }
    fail(why);
    throw cluster_refused(why);
}

task<> coordinator_body::begin() {
    if (!engine_) engine_ = co_await open_();
    plan_.hash = hash_of(plan_);
    broker& engine = *engine_;
    const unsigned replicas = options_.replicas;
    const auto runs = [&engine, replicas] {
        return engine.make_bucket(runs_bucket, std::chrono::nanoseconds(0), replicas);
    };
    auto making_runs = must<done>(runs, "its bucket of runs");
    co_await std::move(making_runs);
    const auto workers = [&engine, replicas] { return engine.make_bucket(workers_bucket, workers_age, replicas); };
    auto making_workers = must<done>(workers, "its bucket of workers");
    co_await std::move(making_workers);
    {
        const std::scoped_lock held(lock_);
        limits_ = engine.limits();
    }
    const std::size_t largest = engine.limits().largest_payload;
    largest_message_ = largest > 2 * message_overhead ? largest - message_overhead : largest;
    co_await take_lease();
    begun_ = true;
    co_await remove_older();
    co_await make_streams();
    const auto tell = [&engine, this] { return engine.put(runs_bucket, plan_.key(), to_json(plan_)); };
    auto telling = must<std::uint64_t>(tell, "its manifest");
    co_await std::move(telling);
    tasks_->spawn(task_name("cluster lease"), [this] { return keep_lease(); });
    tasks_->spawn(task_name("cluster look-around"), [this] { return look_around(); });
}

task<> coordinator_body::take_lease() {
    if (options_.held != nullptr) {
        const time_point now = co_await this_task::now();
        if (!options_.held->is_held_at(now))
            throw cluster_refused(fmt::format("flow '{}': its lease was lost", plan_.flow));
        co_return;
    }
    const lease_options how = coordinator_lease(plan_.flow, plan_.owner, options_.replicas);
    auto fresh = std::make_unique<lease>(*engine_, how);
    co_await take_unless_alive(*fresh, *engine_, how, plan_.flow);
    lease_ = std::move(fresh);
}

task<> coordinator_body::keep_lease() {
    if (options_.held != nullptr) {
        co_await options_.held->lost().wait();
        fail(fmt::format("flow '{}' is run by another coordinator now, or the engine was away for too long",
                         plan_.flow));
        co_return;
    }
    auto keeping = lease_->keep();
    const broker_error why = co_await std::move(keeping);
    fail(fmt::format("flow '{}' is run by another coordinator now, or the engine was away for too long: {}", plan_.flow,
                     why.text));
}

task<> coordinator_body::make_streams() {
    broker& engine = *engine_;
    const auto make = [&engine](const stream_config& config) { return engine.make_stream(config); };
    for (std::size_t segment = 0; segment <= plan_.segments.size(); ++segment) {
        stream_config items;
        items.replicas = options_.replicas;
        items.in_memory = options_.in_memory;
        items.about["leat-flow"] = plan_.flow;
        items.about["leat-run"] = plan_.run;
        if (segment == plan_.segments.size()) {
            items.name = dead_stream(plan_.flow);
            items.subjects = {fmt::format("df.{}.dead.>", plan_.flow)};
            items.in_memory = false;
            items.about.erase("leat-run");
            const auto dead = [make, items] { return make(items); };
            auto making = must<done>(dead, "its stream of dead letters");
            co_await std::move(making);
            consumer_config reader;
            reader.stream = items.name;
            reader.name = dead_consumer;
            const auto add = [&engine, reader] { return engine.make_consumer(reader); };
            auto adding = must<done>(add, "the consumer of its dead letters");
            co_await std::move(adding);
            break;
        }
        stream_config results = items;
        items.name = plan_.items_stream(segment);
        items.subjects = {fmt::format("df.{}.{}.{}.*", plan_.flow, plan_.run, segment)};
        results.name = plan_.results_stream(segment);
        results.subjects = {fmt::format("df.{}.{}.{}.out.*", plan_.flow, plan_.run, segment)};
        const stream_config* const both[] = {&items, &results};
        for (const stream_config* const each : both) {
            const auto one = [make, config = *each] { return make(config); };
            auto making = must<done>(one, "its stream " + each->name);
            co_await std::move(making);
            consumer_config reader;
            reader.stream = each->name;
            reader.name = each == &items ? worker_consumer : results_consumer;
            reader.ack_wait = options_.ack_wait;
            reader.most_unacked = 100'000;
            const auto add = [&engine, reader] { return engine.make_consumer(reader); };
            auto adding = must<done>(add, "the consumer of its stream " + each->name);
            co_await std::move(adding);
        }
    }
}

// What a coordinator that died has left of its run.
task<> coordinator_body::remove_older() {
    broker& engine = *engine_;
    const auto look = [&engine, this] { return engine.keys(runs_bucket, "manifest." + plan_.flow + "."); };
    auto looking = must<std::vector<std::string>>(look, "its earlier runs");
    const std::vector<std::string> keys = co_await std::move(looking);
    for (const std::string& key : keys) {
        const auto read = [&engine, key] { return engine.get(runs_bucket, key); };
        auto reading = insist(read);
        const broker_result<entry> found = co_await std::move(reading);
        if (!found) continue;
        auto older = manifest_from_json(found->value);
        if (older && older->flow == plan_.flow) {
            log(fmt::format("run {} of flow '{}' was not ended by {}: what is left of it is removed", older->run,
                            plan_.flow, older->owner));
            co_await remove_run(std::move(*older));
        } else {
            const auto erase = [&engine, key] { return engine.erase(runs_bucket, key); };
            auto erasing = insist(erase);
            (void)co_await std::move(erasing);
        }
    }
}

// The manifest first: without it no worker looks for the streams.
task<> coordinator_body::remove_run(manifest what) {
    broker& engine = *engine_;
    const auto erase = [&engine, key = what.key()] { return engine.erase(runs_bucket, key); };
    auto erasing = insist(erase);
    (void)co_await std::move(erasing);
    for (std::size_t segment = 0; segment < what.segments.size(); ++segment) {
        const std::string names[] = {what.items_stream(segment), what.results_stream(segment)};
        for (const std::string& name : names) {
            const auto remove = [&engine, name] { return engine.remove_stream(name); };
            auto removing = insist(remove);
            (void)co_await std::move(removing);
        }
    }
}

// Whether the flow was asked to drain; and why workers do nothing, which they tell in their status.
task<> coordinator_body::look_around() {
    broker& engine = *engine_;
    std::set<std::string> told;
    bool drains = false;
    for (unsigned round = 0;; ++round) {
        co_await sleep_for(drain_interval);
        if (!drains) {
            auto asking = engine.get(runs_bucket, "drain." + plan_.flow);
            const broker_result<entry> asked = co_await std::move(asking);
            if (asked && asked->value == plan_.run) {
                drains = true;
                log(fmt::format("flow '{}' was asked to drain", plan_.flow));
                if (options_.on_drain) options_.on_drain();
            }
        }
        if (round % rounds_of_workers != 0) continue;
        auto reading = workers_of(engine_, &plan_);
        const std::vector<worker_status> workers = co_await std::move(reading);
        for (const worker_status& each : workers)
            if (!each.problem.empty() && told.insert(each.name + each.problem).second)
                log(fmt::format("worker {}: {}", each.name, each.problem));
    }
}

// --- End ---

task<> coordinator_body::leave(bool settled) {
    settled_ = settled_ && settled;
    if (--inside_ > 0) co_return;
    tasks_->stop();
    (void)co_await tasks_->join_quietly();
    tasks_.reset();
    if (begun_) {
        outcome<void> ended = co_await in_time(end(), ending).as_outcome();
        if (ended.is_error())
            log(fmt::format("flow '{}': what the run has in the engine could not be removed: {}", plan_.flow,
                            text_of(ended.error())));
    }
    if (open_ && engine_) {
        co_await engine_->close();
        engine_.reset();  // another run opens another
    }
}

task<> coordinator_body::end() {
    broker& engine = *engine_;
    if (settled_) {
        const auto close = [&engine, this] {
            return engine.put(runs_bucket, "closed." + plan_.flow + "." + plan_.run, std::to_string(counted.items));
        };
        auto closing = insist(close);
        (void)co_await std::move(closing);
        std::string rest = co_await look_for_rest();
        const std::scoped_lock held(lock_);
        unsettled_ = std::move(rest);
        read_at_end_ = true;
    }
    co_await remove_run(plan_);
    const std::string closed = "closed." + plan_.flow + "." + plan_.run;
    const auto erase_closed = [&engine, &closed] { return engine.erase(runs_bucket, closed); };
    auto erasing = insist(erase_closed);
    (void)co_await std::move(erasing);
    const std::string drain = "drain." + plan_.flow;
    auto reading = engine.get(runs_bucket, drain);
    const broker_result<entry> asked = co_await std::move(reading);
    if (asked && asked->value == plan_.run) {
        const auto erase_drain = [&engine, &drain] { return engine.erase(runs_bucket, drain); };
        auto erasing_too = insist(erase_drain);
        (void)co_await std::move(erasing_too);
    }
    if (lease_) {
        auto releasing = lease_->release();
        (void)co_await std::move(releasing);
    }
}

// Nothing to deliver, nothing at work, all that ever came is acknowledged: twice, so that what lay between two reads of the parts
// is seen. Empty when it is so.
task<std::string> coordinator_body::look_for_rest() {
    broker& engine = *engine_;
    const time_point until = co_await this_task::now() + settling;
    unsigned well = 0;
    std::string rest;
    for (;;) {
        rest.clear();
        for (std::size_t segment = 0; segment < plan_.segments.size() && rest.empty(); ++segment) {
            const std::pair<std::string, std::string> both[] = {{plan_.items_stream(segment), worker_consumer},
                                                                {plan_.results_stream(segment), results_consumer}};
            for (const auto& each : both) {
                const std::string& name = each.first;
                const std::string& reader = each.second;
                const auto ask_stream = [&engine, &name] { return engine.stream(name); };
                auto asking = insist(ask_stream);
                const broker_result<stream_state> state = co_await std::move(asking);
                const auto ask_consumer = [&engine, &name, &reader] { return engine.consumer(name, reader); };
                auto asking_too = insist(ask_consumer);
                const broker_result<consumer_state> read = co_await std::move(asking_too);
                if (!state) rest = state.error().text;
                else if (!read) rest = read.error().text;
                else if (read->pending != 0 || read->unacked != 0 || read->ack_floor != state->last_sequence)
                    rest = fmt::format("{}: {} not delivered, {} not acknowledged, acknowledged up to {} of {}", name,
                                       read->pending, read->unacked, read->ack_floor, state->last_sequence);
                if (!rest.empty()) break;
            }
        }
        well = rest.empty() ? well + 1 : 0;
        const time_point now = co_await this_task::now();
        if (well == 2 || now >= until) co_return rest;
        co_await sleep_for(between_reads);
    }
}

// --- The report ---

std::string cluster_report::to_text() const {
    std::string all = fmt::format("cluster: run {} of '{}' on {}; {}\n", run, flow, server, durability);
    all += fmt::format("cluster: {} items sent in {} messages of {} bytes, {} answered in {} messages of {} bytes\n",
                       items, parcels, bytes, answered, result_parcels, result_bytes);
    all +=
        fmt::format("cluster: {} messages delivered again, {} late results dropped, {} items sent again, {} given up\n",
                    redelivered, late, resent, poison);
    if (malformed != 0) all += fmt::format("cluster: {} messages could not be read\n", malformed);
    if (!read_at_end) all += "cluster: the engine's account was not read at the end\n";
    else if (!unsettled.empty()) all += fmt::format("cluster: left in the engine: {}\n", unsettled);
    else all += "cluster: the engine has nothing left of it\n";
    return all;
}

}  // namespace leat::cluster
