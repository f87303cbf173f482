// leat status and leat drain: what runs on a cluster, and asking it to end.
#include <cli/commands/commands.hpp>
#include <cli/engine_connection.hpp>
#include <fmt/format.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/runtime/run.hpp>

namespace leat::cli {

namespace {

using cluster::broker;
using cluster::broker_result;

task<broker_result<std::string>> status_of(std::shared_ptr<broker> engine, std::string flow) {
    auto reading = cluster::read_status(engine, std::move(flow));
    broker_result<std::vector<cluster::run_status>> runs = co_await std::move(reading);
    if (!runs) co_return unexpected(std::move(runs).error());
    co_return cluster::to_text(*runs);
}

task<broker_result<std::string>> drained(std::shared_ptr<broker> engine, std::string flow) {
    auto asking = cluster::ask_to_drain(engine, flow);
    broker_result<cluster::done> asked = co_await std::move(asking);
    if (!asked) co_return unexpected(std::move(asked).error());
    co_return fmt::format("flow '{}' drains: its sources give no more\n", flow);
}

// Not on all threads of the machine: there is little to do.
template <class Ask>
std::string ask(const std::string& url, std::string flow, Ask function) {
    cluster::nats_options engine = engine_at(url);
    const auto asking = [&] {
        return ask_engine(engine, [&](std::shared_ptr<broker> there) { return function(std::move(there), flow); });
    };
    return leat::run(run_options(1), asking);
}

}  // namespace

exit_code execute(const status_arguments& command, closed_streams closed) {
    return print_text(ask(command.engine, command.flow, status_of), closed);
}

exit_code execute(const drain_arguments& command, closed_streams closed) {
    return print_text(ask(command.engine, command.flow, drained), closed);
}

}  // namespace leat::cli
