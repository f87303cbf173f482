// The lease of a flow's coordinator: the same for those that take it themselves and for those that are given it (coordination.hpp).
#pragma once

#include <string>

#include <leat/cluster/lease.hpp>

namespace leat::cluster {

// `owner` empty: host and process id. `replicas`: of the bucket that it is in; where several servers have that, it outlasts a
// change of their leader.
[[nodiscard]] lease_options coordinator_lease(const std::string& flow, std::string owner, unsigned replicas);
// Takes it, unless a coordinator lives: then throws cluster_refused, and says which. Waits for that of one that died.
task<> take_unless_alive(lease& mine, broker& engine, const lease_options& options, const std::string& flow);

}  // namespace leat::cluster
