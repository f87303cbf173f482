#include <cli/engine_connection.hpp>

#include <cli/arguments.hpp>
#include <fmt/format.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/engine_url.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

cluster::nats_options engine_at(const std::string& url) {
    auto parsed = cluster::parse_engine_url(url);
    if (!parsed) throw usage_error(fmt::format("--engine: {}", parsed.error().text));
    if (auto checked = cluster::check_files(std::move(*parsed)); !checked)
        throw usage_error(fmt::format("--engine: {}", checked.error().text));
    return cluster::nats_options(url);
}

task<std::shared_ptr<cluster::broker>> connect_to(cluster::nats_options engine) {
    auto connecting = cluster::connect(std::move(engine));
    cluster::broker_result<std::unique_ptr<cluster::broker>> made = co_await std::move(connecting);
    if (!made) throw cluster::cluster_refused(made.error().text);
    co_return std::shared_ptr<cluster::broker>(std::move(*made));
}

task<std::string> ask_engine(
    cluster::nats_options engine,
    std::function<task<cluster::broker_result<std::string>>(std::shared_ptr<cluster::broker>)> ask) {
    auto connecting = connect_to(std::move(engine));
    const std::shared_ptr<cluster::broker> there = co_await std::move(connecting);
    auto asking = ask(there);
    outcome<cluster::broker_result<std::string>> got = co_await std::move(asking).as_outcome();
    co_await shield(there->close());
    cluster::broker_result<std::string> answer = std::move(got).get();
    if (!answer) throw cluster::cluster_refused(answer.error().text);
    co_return std::move(*answer);
}

std::string engine_text(const cluster::broker& engine) {
    const cluster::broker_limits told = engine.limits();
    return fmt::format("leat: engine: {}: {}\n", told.server, told.durability);
}

}  // namespace leat::cli
