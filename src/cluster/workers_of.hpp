// workers_of: what the workers of a run have told of themselves lately.
#pragma once

#include <memory>
#include <vector>

#include <cluster/manifest.hpp>
#include <leat/cluster/cluster_flow.hpp>

namespace leat::cluster {

// Nothing where the engine does not answer. `of` lives until the end.
task<std::vector<worker_status>> workers_of(std::shared_ptr<broker> engine, const manifest* of);

}  // namespace leat::cluster
