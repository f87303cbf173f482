// flow_order: who takes from whom. Puts the parts of a flow into the order in which items pass them, and refuses cycles, ways
// that lead nowhere, and names that nobody has.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/flow/component.hpp>

#include <flow/toml_tree.hpp>

namespace leat {

struct flow_node {
    std::string name;
    component_role role = component_role::stage;
    std::optional<std::vector<std::string>> from;  // none: of a source
    toml_place place;                              // of `from`, for messages
};

struct flow_order_error {
    toml_place place;
    std::string message;
};

// One that a node takes from: its position, and what stands behind the dot of "name.port"; empty: none.
struct flow_way {
    std::size_t node;
    std::string port;
};
struct flow_order {
    std::vector<std::size_t> nodes;           // each behind all that it takes from, else as they are written
    std::vector<std::vector<flow_way>> from;  // by position in the file
};

// `nodes` as they are written; their names differ. "source" and "sink" stand for the first of these unless another has that
// name.
[[nodiscard]] expected<flow_order, std::vector<flow_order_error>> order_of_flow(const std::vector<flow_node>& nodes);

}  // namespace leat
