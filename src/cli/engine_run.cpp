#include <cli/engine_run.hpp>

#include <algorithm>
#include <cli/arguments.hpp>
#include <cli/engine_connection.hpp>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

namespace {

using cluster::broker;
using cluster::coordination;
using cluster::coordinator;

bool says_cluster(const described_component& stage) {
    return stage.options.has("placement") && stage.options.text("placement") == "cluster";
}

task<std::shared_ptr<broker>> open_engine(cluster::nats_options engine, screen& messages) {
    auto connecting = connect_to(std::move(engine));
    std::shared_ptr<broker> made = co_await std::move(connecting);
    messages.print(engine_text(*made));
    co_return made;
}

std::string text_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

cluster::placement_options placement_of(const flow_file& file, const engine_choice& on,
                                        const std::shared_ptr<flow_control>& control, screen& messages) {
    const auto& stages = file.description.stages;
    cluster::placement_options options;
    options.whole = std::none_of(stages.begin(), stages.end(), says_cluster);
    options.replicas = on.replicas;
    options.log = [&messages](const std::string& line) { messages.print(fmt::format("leat: {}\n", line)); };
    options.on_drain = [control] { control->drain(); };
    return options;
}

std::shared_ptr<coordinator> taken(expected<std::shared_ptr<coordinator>, std::string> placed,
                                   const std::string& path) {
    if (!placed) throw usage_error(fmt::format("{}: {}", path, placed.error()));
    return std::move(*placed);
}

// Uses the connection, and closes it on every path.
template <class T, class Use>
task<T> with_engine(std::shared_ptr<broker> engine, Use use) {
    auto using_it = use(engine);
    outcome<T> end = co_await std::move(using_it).as_outcome();
    co_await shield(engine->close());
    co_return std::move(end).get();
}

// The same with the flow's lease, and the journal under it.
template <class T, class Use>
task<T> coordinate(std::shared_ptr<broker> engine, std::string flow, unsigned replicas, Use use) {
    cluster::coordination_options how;
    how.replicas = replicas;
    auto beginning = coordination::begin(engine, std::move(flow), how);
    const std::unique_ptr<coordination> mine = co_await std::move(beginning);
    auto using_it = use(*mine);
    outcome<T> end = co_await std::move(using_it).as_outcome();
    co_await shield(mine->end());
    co_return std::move(end).get();
}

}  // namespace

std::shared_ptr<coordinator> place_flow(flow_file& file, const std::string& path, const engine_choice& on,
                                        const std::shared_ptr<flow_control>& control, screen& messages) {
    if (on.url.empty()) {
        const auto& stages = file.description.stages;
        if (const auto first = std::find_if(stages.begin(), stages.end(), says_cluster); first != stages.end())
            throw usage_error(fmt::format("{}:{}: stage '{}' runs on a cluster: --engine URL says on which", path,
                                          first->line, first->name));
        return nullptr;
    }
    const auto open = [engine = engine_at(on.url), &messages] { return open_engine(engine, messages); };
    auto options = placement_of(file, on, control, messages);
    return taken(cluster::place_on_cluster(file, text_of(path), open, std::move(options)), path);
}

task<report> engine_run::run(const flow_options& session, choose_mode choose) {
    report done;
    try {
        done = co_await connect_and_run(session, choose);
    } catch (const usage_error&) {
        throw;
    } catch (const std::runtime_error& error) {
        done.end = flow_end::failed;
        done.error = error.what();
    }
    co_return done;
}

task<report> engine_run::connect_and_run(const flow_options& session, const choose_mode& choose) {
    auto opening = open_engine(engine_at(on_.url), screen_);
    const std::shared_ptr<broker> engine = co_await std::move(opening);
    const auto held = [&](coordination& mine) { return run_held(engine, mine, session, choose); };
    const auto use = [&](std::shared_ptr<broker> there) {
        return coordinate<report>(std::move(there), file_.description.name, on_.replicas, held);
    };
    auto running = with_engine<report>(engine, use);
    co_return co_await std::move(running);
}

task<report> engine_run::run_held(std::shared_ptr<broker> engine, coordination& mine, const flow_options& session,
                                  const choose_mode& choose) {
    const journal_mode mode = choose(mine.kept());
    auto placement = placement_of(file_, on_, control_, screen_);
    placement.held = &mine.held();
    placement.replicas = mine.replicas();
    placed_ = taken(cluster::place_on_cluster(file_, text_of(path_), engine, std::move(placement)), path_);
    flow_options options = prepare_flow(file_, &mine.kept(), mode);
    options.control = session.control;
    options.observer = session.observer;
    if (session.item_key) options.item_key = session.item_key;
    // The coordinator sees that the lease is lost, and ends the flow with an account.
    const auto keep = [&mine]() -> task<> {
        auto keeping = mine.held().keep();
        (void)co_await std::move(keeping);
    };
    const auto body = [&](scope& beside) -> task<report> {
        beside.spawn(task_name("cluster lease"), keep);
        auto running = run_flow(std::move(file_.graph), std::move(options));
        outcome<report> end = co_await std::move(running).as_outcome();
        beside.stop();
        co_return std::move(end).get();
    };
    co_return co_await with_scope(body);
}

task<> with_engine_journal(std::string url, std::string flow, std::function<void(journal&)> look) {
    auto connecting = connect_to(engine_at(url));
    const std::shared_ptr<broker> engine = co_await std::move(connecting);
    const auto held = [&look](coordination& mine) -> task<> {
        look(mine.kept());
        co_return;
    };
    const auto use = [&](std::shared_ptr<broker> there) { return coordinate<void>(std::move(there), flow, 0, held); };
    auto looking = with_engine<void>(engine, use);
    co_await std::move(looking);
}

}  // namespace leat::cli
