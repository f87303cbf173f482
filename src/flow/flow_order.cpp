#include <flow/flow_order.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <flow/suggest.hpp>

namespace leat {

namespace {

constexpr std::size_t nobody = ~std::size_t{0};

std::size_t find(const std::vector<flow_node>& nodes, const std::string& name) {
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (nodes[i].name == name) return i;
    if (name == "source") return 0;
    if (name == "sink") return nodes.size() - 1;
    return nobody;
}

// The path of the cycle that following `from` from `start` runs into; empty when it ends at the source.
std::string cycle_from(const std::vector<flow_node>& nodes, const std::vector<std::size_t>& from, std::size_t start) {
    std::vector<std::size_t> path;
    for (std::size_t at = start; at != nobody; at = from[at]) {
        const auto again = std::find(path.begin(), path.end(), at);
        if (again == path.end()) {
            path.push_back(at);
            continue;
        }
        std::string text = nodes[at].name;  // backwards, so that it reads in the direction of the items
        for (auto each = path.rbegin(); each.base() != again; ++each) text += " → " + nodes[*each].name;
        return text;
    }
    return {};
}

}  // namespace

expected<std::vector<std::size_t>, std::vector<flow_order_error>> linear_order(const std::vector<flow_node>& nodes) {
    std::vector<flow_order_error> errors;
    std::vector<std::size_t> from(nodes.size(), nobody);
    for (std::size_t i = 1; i < nodes.size(); ++i) {
        const flow_node& each = nodes[i];
        if (each.from->empty()) {
            errors.push_back(
                {each.place, fmt::format("'from' of '{}' is empty; expected the name of a stage", each.name)});
            continue;
        }
        for (const std::string& name : *each.from) {
            const std::size_t found = find(nodes, name);
            if (found == nobody) {
                std::vector<candidate> known;
                std::string all;
                for (const flow_node& one : nodes) {
                    if (&one == &each || &one == &nodes.back()) continue;
                    known.push_back({one.name, one.name});
                    all += (all.empty() ? "" : ", ") + one.name;
                }
                const std::string meant = nearest(name, known);
                errors.push_back(
                    {each.place,
                     fmt::format("'from' of '{}' names '{}', which is not in this flow; {}", each.name, name,
                                 meant.empty() ? "expected one of " + all : "did you mean '" + meant + "'?")});
            } else if (found == nodes.size() - 1) {
                errors.push_back(
                    {each.place, fmt::format("'from' of '{}' names the sink, which gives nothing", each.name)});
            } else {
                from[i] = found;
            }
        }
        if (each.from->size() > 1)
            errors.push_back(
                {each.place, fmt::format("'from' of '{}' names {} inputs; joining several is not supported yet",
                                         each.name, each.from->size())});
    }
    if (!errors.empty()) return unexpected(std::move(errors));

    for (std::size_t i = 1; i < nodes.size(); ++i) {
        const std::string cycle = cycle_from(nodes, from, i);
        if (cycle.empty()) continue;
        errors.push_back({nodes[i].place, "the stages form a cycle: " + cycle});
        return unexpected(std::move(errors));
    }
    std::vector<std::size_t> reader_of(nodes.size(), nobody);
    for (std::size_t i = 1; i < nodes.size(); ++i) {
        const std::size_t first = std::exchange(reader_of[from[i]], i);
        if (first != nobody)
            errors.push_back(
                {nodes[i].place, fmt::format("'{}' and '{}' both take from '{}'; branches are not supported yet",
                                             nodes[first].name, nodes[i].name, nodes[from[i]].name)});
    }
    for (std::size_t i = 0; i + 1 < nodes.size() && errors.empty(); ++i)
        if (reader_of[i] == nobody)
            errors.push_back({nodes[i].place, fmt::format("nobody takes what '{}' gives", nodes[i].name)});
    if (!errors.empty()) return unexpected(std::move(errors));

    std::vector<std::size_t> order;
    for (std::size_t at = 0; at != nobody; at = reader_of[at]) order.push_back(at);
    return order;
}

}  // namespace leat
