// flow_order: who takes from whom. Puts the parts of a flow into the order in which items pass them, and refuses what is
// not one line from the source to the sink.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <leat/base/expected.hpp>

#include <flow/toml_tree.hpp>

namespace leat {

struct flow_node {
    std::string name;
    std::optional<std::vector<std::string>> from;  // none: of the source
    toml_place place;                              // of `from`, for messages
};

struct flow_order_error {
    toml_place place;
    std::string message;
};

// `nodes`: the source first, the sink last, in between the stages as they are written; their names differ. Gives the
// positions of the nodes in the order of the flow. "source" and "sink" stand for the first and the last unless another
// has that name.
[[nodiscard]] expected<std::vector<std::size_t>, std::vector<flow_order_error>> linear_order(
    const std::vector<flow_node>& nodes);

}  // namespace leat
