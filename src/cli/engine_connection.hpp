// engine_connection: how the command connects to the engine of a cluster.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <leat/cluster/broker.hpp>
#include <leat/cluster/nats_broker.hpp>

namespace leat::cli {

// Throws usage_error for what is no address, or names files that cannot be read.
cluster::nats_options engine_at(const std::string& url);

// Connects, or throws cluster_refused.
task<std::shared_ptr<cluster::broker>> connect_to(cluster::nats_options engine);

// Connects, uses it and closes it. The error is thrown as cluster_refused.
task<std::string> ask_engine(
    cluster::nats_options engine,
    std::function<task<cluster::broker_result<std::string>>(std::shared_ptr<cluster::broker>)> ask);

// A line for the user: which server, and what survives what.
std::string engine_text(const cluster::broker& engine);

}  // namespace leat::cli
