// connected_to: a connection to the engine for those who cannot go on without one.
#pragma once

#include <memory>
#include <string>

#include <leat/cluster/broker.hpp>

namespace leat::cluster {

// Throws cluster_refused. Who has it closes it (broker::close).
task<std::shared_ptr<broker>> connected_to(std::string url);

}  // namespace leat::cluster
