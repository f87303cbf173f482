#include <leat/cluster/cluster_worker.hpp>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

#include <cluster/insist.hpp>
#include <cluster/manifest.hpp>
#include <cluster/segment_server.hpp>
#include <leat/base/exception_text.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace {

constexpr duration before_again = std::chrono::seconds(5);  // a run whose stages could not work here

}  // namespace

class cluster_worker::body {
public:
    body(std::shared_ptr<broker> engine, worker_options options)
        : engine_(std::move(engine)), options_(std::move(options)) {
        if (options_.name.empty()) options_.name = this_process();
        if (!options_.flow.empty()) options_.flow = name_in_engine(options_.flow);
        if (options_.kinds == nullptr) {
            add_builtin_kinds(built_in_);
            options_.kinds = &built_in_;
        }
    }

    task<> run() {
        const auto serve = [this](scope& work) { return look_around(work); };
        co_await with_scope(serve);
    }
    void drain() noexcept {
        draining_ = true;
        {
            const std::scoped_lock held(lock_);
            for (const auto& [key, each] : served_)
                for (const auto& server : each->servers) server->drain();
        }
        drained_.set();
        wake_.set();
    }
    [[nodiscard]] worker_counts counts() const {
        worker_counts now;
        now.parcels = tally_.parcels;
        now.items = tally_.items;
        now.failed = tally_.failed;
        now.redelivered = tally_.redelivered;
        now.split = tally_.split;
        now.poison = tally_.poison;
        now.malformed = tally_.malformed;
        now.given_up = tally_.given_up;
        now.runs = tally_.runs;
        now.refused = tally_.refused;
        return now;
    }
    [[nodiscard]] bool is_connected() const noexcept { return connected_; }

private:
    struct served_run {
        manifest what;
        std::vector<std::unique_ptr<segment_server>> servers;
        std::string problem;
    };

    void log(const std::string& line) const {
        if (options_.log) options_.log(line);
    }

    // Looks for runs that have begun, and has a task serve each.
    task<> look_around(scope& work) {
        work.spawn(task_name("worker status"), [this] { return tell_status(); });
        back_off pause;
        while (!draining_) {
            auto asking =
                engine_->keys(runs_bucket, "manifest." + (options_.flow.empty() ? std::string() : options_.flow + "."));
            const broker_result<std::vector<std::string>> found = co_await std::move(asking);
            connected_ = found.has_value() || found.error().problem == broker_problem::not_found;
            if (!connected_) {
                if (!found.error().is_passing()) throw cluster_refused(found.error().text);
                co_await pause.wait();
                continue;
            }
            pause.reset();
            if (found) {
                forget_others(*found);
                for (const std::string& key : *found) {
                    if (!is_new(key)) continue;
                    auto beginning = begin(work, key);
                    co_await std::move(beginning);
                }
            }
            if (draining_) break;
            auto waiting = wake_.wait_for(options_.look_around);
            (void)co_await waiting;
        }
        for (;;) {
            {
                const std::scoped_lock held(lock_);
                if (at_work_ == 0) break;
            }
            if (options_.drain_timeout > duration::zero()) {
                auto waiting = ended_.wait_for(options_.drain_timeout);
                const bool ended = co_await waiting;
                if (!ended) {
                    log("the drain took too long: what is held is left to other workers");
                    break;
                }
            } else {
                co_await ended_.wait();
            }
        }
        work.stop();
    }

    bool is_new(const std::string& key) {
        const std::scoped_lock held(lock_);
        return !served_.contains(key) && !refused_.contains(key);
    }
    // What was refused is told once a run.
    void forget_others(const std::vector<std::string>& there) {
        const std::scoped_lock held(lock_);
        std::erase_if(refused_, [&](const auto& each) {
            return std::find(there.begin(), there.end(), each.first) == there.end();
        });
    }

    task<> begin(scope& work, const std::string& key) {
        auto reading = engine_->get(runs_bucket, key);
        const broker_result<entry> found = co_await std::move(reading);
        if (!found) co_return;
        auto what = manifest_from_json(found->value);
        expected<std::vector<segment_stages>, std::string> stages =
            what ? build_segments(*what, *options_.kinds)
                 : expected<std::vector<segment_stages>, std::string>(unexpected(what.error()));
        if (!stages) {
            log(stages.error());
            tally_.refused.fetch_add(1);
            const std::scoped_lock held(lock_);
            refused_[key] = stages.error();
            co_return;
        }
        auto fresh = std::make_shared<served_run>();
        fresh->what = std::move(*what);
        for (std::size_t i = 0; i < stages->size(); ++i)
            fresh->servers.push_back(
                std::make_unique<segment_server>(*engine_, fresh->what, i, std::move((*stages)[i]), options_, tally_));
        tally_.runs.fetch_add(1);
        log(fmt::format("serves run {} of flow '{}'", fresh->what.run, fresh->what.flow));
        {
            const std::scoped_lock held(lock_);
            served_[key] = fresh;
            ++at_work_;
        }
        work.spawn(
            task_name("cluster run"),
            [this](std::string of, std::shared_ptr<served_run> run) { return serve(std::move(of), std::move(run)); },
            key, fresh);
    }

    task<> serve(std::string key, std::shared_ptr<served_run> run) {
        const auto all = [&run](scope& work) -> task<> {
            for (const auto& server : run->servers)
                work.spawn(task_name("cluster segment"), [](segment_server* one) { return one->run(); }, server.get());
            co_return;
        };
        if (draining_)
            for (const auto& server : run->servers) server->drain();
        auto serving = with_scope(all);
        outcome<void> end = co_await serving.as_outcome();
        if (end.is_error()) {
            const std::string why = text_of(end.error());
            log(fmt::format("run {} of flow '{}' cannot be served here: {}", run->what.run, run->what.flow, why));
            {
                const std::scoped_lock held(lock_);
                run->problem = why;
            }
            if (!draining_) {
                auto waiting = drained_.wait_for(before_again);
                (void)co_await waiting;
            }
        }
        {
            const std::scoped_lock held(lock_);
            served_.erase(key);
            --at_work_;
        }
        ended_.set();
    }

    // What `leat status` shows.
    task<> tell_status() {
        for (;;) {
            co_await sleep_for(options_.heartbeat / 5);
            std::vector<std::pair<std::string, std::string>> all;
            {
                const std::scoped_lock held(lock_);
                for (const auto& [key, each] : served_) {
                    std::uint64_t items = 0;
                    for (const auto& server : each->servers) items += server->held_items();
                    all.emplace_back(key, status_of(items, each->problem));
                }
                for (const auto& [key, why] : refused_) all.emplace_back(key, status_of(0, why));
            }
            for (auto& [key, text] : all) {
                const std::string_view run = std::string_view(key).substr(std::string_view("manifest.").size());
                auto putting = engine_->put(workers_bucket, fmt::format("{}.{}", run, key_name()), std::move(text));
                (void)co_await std::move(putting);
            }
            co_await sleep_for(options_.heartbeat - options_.heartbeat / 5);
        }
    }
    [[nodiscard]] std::string status_of(std::uint64_t held, const std::string& problem) const {
        boost::json::object made;
        made["name"] = options_.name;
        made["held"] = held;
        made["done"] = tally_.items.load();
        made["problem"] = problem;
        return boost::json::serialize(made);
    }
    [[nodiscard]] std::string key_name() const { return name_in_engine(options_.name); }

    std::shared_ptr<broker> engine_;
    worker_options options_;
    registry built_in_;
    worker_tally tally_;
    std::atomic<bool> draining_{false};
    std::atomic<bool> connected_{false};
    mutable std::mutex lock_;
    std::map<std::string, std::shared_ptr<served_run>> served_;  // by the key of their manifest
    std::map<std::string, std::string> refused_;                 // likewise, and why
    std::size_t at_work_ = 0;
    auto_reset_event wake_;
    auto_reset_event ended_;
    event drained_;
};

cluster_worker::cluster_worker(std::shared_ptr<broker> engine, worker_options options)
    : body_(std::make_unique<body>(std::move(engine), std::move(options))) {}
cluster_worker::~cluster_worker() = default;
task<> cluster_worker::run() { return body_->run(); }
void cluster_worker::drain() noexcept { body_->drain(); }
worker_counts cluster_worker::counts() const { return body_->counts(); }
bool cluster_worker::is_connected() const noexcept { return body_->is_connected(); }

}  // namespace leat::cluster
