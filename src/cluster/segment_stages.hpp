// segment_stages: the stages of a segment as a worker builds them, from the flow file's text or from the functions of this program.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <cluster/manifest.hpp>
#include <leat/base/expected.hpp>
#include <leat/flow/component.hpp>
#include <leat/flow/item_codec.hpp>
#include <leat/flow/run_flow.hpp>

namespace leat::cluster {

struct segment_stages {
    std::vector<stage_node> chain;  // each takes from the one before it
    const item_codec* in = nullptr;
    const item_codec* out = nullptr;
    order ordered = order::none;
    std::size_t window = 0;
    double retry_share = 0;
    bool keeps_sequence = false;  // its stages may ask for the number of an item's source item
};

// All segments of a run. The error says why this program cannot do them: it has another version of the flow, and what differs;
// a function is not in it.
[[nodiscard]] expected<std::vector<segment_stages>, std::string> build_segments(const manifest& of,
                                                                                const registry& kinds);

}  // namespace leat::cluster
