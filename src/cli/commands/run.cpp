// leat run: a flow file, from its source to its sink.
#include <cli/commands/commands.hpp>

#include <algorithm>
#include <cli/engine_connection.hpp>
#include <cli/load_flow.hpp>
#include <cli/open_state.hpp>
#include <cli/report_file.hpp>
#include <cli/session.hpp>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/coordination.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

namespace {

// Whether one reads from standard input, or writes to standard output.
bool uses_standard_stream(const std::vector<described_component>& all) {
    for (const described_component& which : all)
        for (const option& each : which.kind->options)
            if (each.key == "path" && each.type == option_type::text && which.options.has("path") &&
                which.options.text("path") == "-")
                return true;
    return false;
}

// Null where the flow has no state.
std::unique_ptr<journal> open_journal_of(const flow_file& file, const run_arguments& command) {
    const std::string& state = file.description.state;
    if (command.state_in_engine) {
        if (command.engine.empty()) throw usage_error("--state-in-engine: is for --engine");
        if (!state.empty())
            throw usage_error(
                fmt::format("--state-in-engine: the flow keeps its journal in '{}'; expected no state in "
                            "[flow]",
                            state));
        return nullptr;
    }
    if (!state.empty()) return open_state(state);
    if (command.resume || command.fresh)
        throw usage_error(fmt::format("{}: the flow keeps no journal; expected state = \"…\" in [flow]",
                                      command.resume ? "--resume" : "--fresh"));
    return nullptr;
}

std::string how_it_ended(const past_run& run) { return run.end.empty() ? "was killed" : "ended as " + run.end; }

journal_mode mode_of(journal& kept, const std::string& now, const run_arguments& command) {
    const std::optional<past_run> last = kept.last_run();
    if (!last || command.fresh || (!command.resume && last->is_complete())) return journal_mode::fresh;
    if (!command.resume)
        throw usage_error(
            fmt::format("run {} of this flow {} with {} items done: `leat resume {}` goes on with it, "
                        "--fresh does all again",
                        last->number, how_it_ended(*last), last->done, command.flow_file));
    const std::vector<std::string> changes = flow_changes(last->flow, now);
    if (changes.empty() || command.accept_changes) return journal_mode::resume;
    std::string all = fmt::format("the flow has changed since run {}:\n", last->number);
    for (const std::string& each : changes) all += "  " + each + "\n";
    throw usage_error(
        fmt::format("{}{} items are done as it was then: --accept-changes leaves them so and does the others "
                    "as it is now, `leat run --fresh {}` does all again",
                    all, last->done, command.flow_file));
}

bool says_cluster(const described_component& stage) {
    return stage.options.has("placement") && stage.options.text("placement") == "cluster";
}

task<std::shared_ptr<cluster::broker>> open_engine(cluster::nats_options engine, screen& messages) {
    auto connecting = connect_to(std::move(engine));
    std::shared_ptr<cluster::broker> made = co_await std::move(connecting);
    messages.print(engine_text(*made));
    co_return made;
}

// Null: the flow runs here alone. With a coordination the flow runs by its lease, at its engine.
std::shared_ptr<cluster::coordinator> place(flow_file& file, const run_arguments& command,
                                            const std::shared_ptr<flow_control>& control, screen& messages,
                                            const std::shared_ptr<cluster::broker>& engine = nullptr,
                                            cluster::coordination* mine = nullptr) {
    const auto& stages = file.description.stages;
    const auto first = std::find_if(stages.begin(), stages.end(), says_cluster);
    if (command.engine.empty()) {
        if (first != stages.end())
            throw usage_error(fmt::format("{}:{}: stage '{}' runs on a cluster: --engine URL says on which",
                                          command.flow_file, first->line, first->name));
        if (command.replicas != 1) throw usage_error("--replicas: is for --engine");
        return nullptr;
    }
    std::ifstream in(command.flow_file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    cluster::placement_options options;
    options.whole = first == stages.end();
    options.replicas = command.replicas;
    options.log = [&messages](const std::string& line) { messages.print(fmt::format("leat: {}\n", line)); };
    options.on_drain = [control] { control->drain(); };
    const auto open = [engine = engine_at(command.engine), &messages] { return open_engine(engine, messages); };
    if (mine != nullptr) options.held = &mine->held();
    auto placed = mine != nullptr ? cluster::place_on_cluster(file, text.str(), engine, std::move(options))
                                  : cluster::place_on_cluster(file, text.str(), open, std::move(options));
    if (!placed) throw usage_error(fmt::format("{}: {}", command.flow_file, placed.error()));
    return std::move(*placed);
}

// A run whose journal is in the engine. It is the flow's coordinator before it knows what there is to do.
class engine_run {
public:
    engine_run(flow_file& file, const run_arguments& command, std::shared_ptr<flow_control> control, screen& messages)
        : file_(file), command_(command), control_(std::move(control)), screen_(messages) {}

    task<report> run(const flow_options& session) {
        report done;
        try {
            done = co_await connect_and_run(session);
        } catch (const usage_error&) {
            throw;
        } catch (const std::runtime_error& error) {
            done.end = flow_end::failed;
            done.error = error.what();
        }
        co_return done;
    }
    // Null where it has not come to that.
    [[nodiscard]] const std::shared_ptr<cluster::coordinator>& placed() const noexcept { return placed_; }

private:
    task<report> connect_and_run(const flow_options& session) {
        auto opening = open_engine(engine_at(command_.engine), screen_);
        const std::shared_ptr<cluster::broker> engine = co_await std::move(opening);
        auto coordinating = coordinate(engine, session);
        outcome<report> end = co_await std::move(coordinating).as_outcome();
        co_await shield(engine->close());
        co_return std::move(end).get();
    }
    task<report> coordinate(std::shared_ptr<cluster::broker> engine, const flow_options& session) {
        cluster::coordination_options how;
        how.replicas = command_.replicas;
        auto beginning = cluster::coordination::begin(engine, file_.description.name, how);
        const std::unique_ptr<cluster::coordination> mine = co_await std::move(beginning);
        auto running = run_held(engine, *mine, session);
        outcome<report> end = co_await std::move(running).as_outcome();
        co_await shield(mine->end());
        co_return std::move(end).get();
    }
    task<report> run_held(std::shared_ptr<cluster::broker> engine, cluster::coordination& mine,
                          const flow_options& session) {
        const journal_mode mode = mode_of(mine.kept(), flow_text(file_.description), command_);
        placed_ = place(file_, command_, control_, screen_, engine, &mine);
        flow_options options = prepare_flow(file_, &mine.kept(), mode);
        options.control = session.control;
        options.observer = session.observer;
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

    flow_file& file_;
    const run_arguments& command_;
    std::shared_ptr<flow_control> control_;
    screen& screen_;
    std::shared_ptr<cluster::coordinator> placed_;
};

}  // namespace

exit_code execute(const run_arguments& command, closed_streams closed) {
    registry kinds;
    add_builtin_kinds(kinds);
    screen messages(STDERR_FILENO);
    auto file = load_flow(command.flow_file, kinds);
    if (!file) {
        messages.print(file.error());
        return exit_code::usage;
    }
    const std::unique_ptr<journal> kept = open_journal_of(*file, command);
    const journal_mode mode = kept ? mode_of(*kept, flow_text(file->description), command) : journal_mode::fresh;
    session_plan plan;
    std::shared_ptr<cluster::coordinator> placed;
    engine_run in_engine(*file, command, plan.control, messages);
    if (command.state_in_engine) {
        (void)engine_at(command.engine);  // what is wrong with it is told before all else
        plan.run = [&in_engine](const flow_options& session) { return in_engine.run(session); };
    } else {
        placed = place(*file, command, plan.control, messages);
        plan.options = prepare_flow(*file, kept.get(), mode);
        plan.graph = std::move(file->graph);
    }
    plan.output = command.output;
    const bool reads_input = uses_standard_stream(file->description.sources);
    const bool writes_output = uses_standard_stream(file->description.sinks);
    if (reads_input && closed.input) throw usage_error("run: the flow reads standard input, which is closed");
    if (writes_output && closed.output) throw usage_error("run: the flow writes to standard output, which is closed");
    // The data would be written over by the block, and the block by the data.
    if (writes_output && ::isatty(STDOUT_FILENO) == 1 && plan.output.progress == progress_mode::automatic)
        plan.output.progress = progress_mode::none;
    plan.print_report = !command.quiet;
    if (!command.plan_file.empty())
        plan.at_end = [planned = read_plan(command.plan_file)](report& done) { done.plan = planned; };
    exit_code code = run_session(std::move(plan), messages);
    if (command.state_in_engine) placed = in_engine.placed();
    if (placed && !command.quiet)
        if (const cluster::cluster_report counted = placed->report(); !counted.server.empty())  // else it never began
            messages.print(counted.to_text());
    if (placed && !placed->failure().empty()) code = exit_code::engine_failed;
    const bool goes_on = code != exit_code::done && code != exit_code::items_failed;
    if (kept && goes_on) messages.print(fmt::format("leat: `leat resume {}` goes on from here\n", command.flow_file));
    if (command.state_in_engine && placed && goes_on)
        messages.print(
            fmt::format("leat: `leat resume {} --engine … --state-in-engine` goes on from here, on any machine\n",
                        command.flow_file));
    return code;
}

}  // namespace leat::cli
