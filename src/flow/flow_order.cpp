#include <flow/flow_order.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <flow/suggest.hpp>

namespace leat {

namespace {

constexpr std::size_t nobody = ~std::size_t{0};

class finder {
public:
    explicit finder(const std::vector<flow_node>& nodes) : nodes_(nodes) { result_.from.resize(nodes.size()); }

    expected<flow_order, std::vector<flow_order_error>> find() {
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            if (nodes_[i].from) resolve(i);
        if (errors_.empty()) put_in_order();
        if (errors_.empty()) look_for_readers();
        if (!errors_.empty()) return unexpected(std::move(errors_));
        return std::move(result_);
    }

private:
    std::size_t named(const std::string& name) const {
        const auto is = [&](auto matches) -> std::size_t {
            const auto found = std::find_if(nodes_.begin(), nodes_.end(), matches);
            return found == nodes_.end() ? nobody : static_cast<std::size_t>(found - nodes_.begin());
        };
        std::size_t found = is([&](const flow_node& each) { return each.name == name; });
        if (found == nobody && name == "source")
            found = is([](const flow_node& each) { return each.role == component_role::source; });
        if (found == nobody && name == "sink")
            found = is([](const flow_node& each) { return each.role == component_role::sink; });
        return found;
    }

    void resolve(std::size_t at) {
        const flow_node& each = nodes_[at];
        if (each.from->empty())
            errors_.push_back(
                {each.place, fmt::format("'from' of '{}' is empty; expected the name of a stage", each.name)});
        for (const std::string& text : *each.from) {
            flow_way way{named(text), {}};
            // A name may have a dot in it; what is behind the last one may be a port.
            const std::size_t dot = text.rfind('.');
            if (way.node == nobody && dot != std::string::npos)
                way = {named(text.substr(0, dot)), text.substr(dot + 1)};
            if (way.node == nobody) {
                errors_.push_back({each.place, unknown(each, text)});
            } else if (nodes_[way.node].role == component_role::sink) {
                errors_.push_back(
                    {each.place, fmt::format("'from' of '{}' names {}, which gives nothing", each.name,
                                             text == "sink" || sinks() == 1 ? "the sink" : "the sink '" + text + "'")});
            } else {
                result_.from[at].push_back(std::move(way));
            }
        }
    }
    std::ptrdiff_t sinks() const {
        return std::count_if(nodes_.begin(), nodes_.end(),
                             [](const flow_node& each) { return each.role == component_role::sink; });
    }
    std::string unknown(const flow_node& of, const std::string& name) const {
        std::vector<candidate> known;
        std::string all;
        for (const flow_node& one : nodes_) {
            if (&one == &of || one.role == component_role::sink) continue;
            known.push_back({one.name, one.name});
            all += (all.empty() ? "" : ", ") + one.name;
        }
        const std::string meant = nearest(name, known);
        return fmt::format("'from' of '{}' names '{}', which is not in this flow; {}", of.name, name,
                           meant.empty() ? "expected one of " + all : "did you mean '" + meant + "'?");
    }

    // The first in the file whose inputs are all there comes next.
    void put_in_order() {
        std::vector<bool> there(nodes_.size());
        const auto ready = [&](std::size_t i) {
            return !there[i] && std::all_of(result_.from[i].begin(), result_.from[i].end(),
                                            [&](const flow_way& way) { return there[way.node]; });
        };
        while (result_.nodes.size() < nodes_.size()) {
            std::size_t next = 0;
            while (next < nodes_.size() && !ready(next)) ++next;
            if (next == nodes_.size()) return tell_cycle(there);
            there[next] = true;
            result_.nodes.push_back(next);
        }
    }

    // Who is not there takes from somebody who is not: so following these leads into a cycle.
    void tell_cycle(const std::vector<bool>& there) {
        std::vector<std::size_t> path;
        auto at = static_cast<std::size_t>(std::find(there.begin(), there.end(), false) - there.begin());
        for (;;) {
            const auto again = std::find(path.begin(), path.end(), at);
            if (again != path.end()) {
                path.erase(path.begin(), again);
                break;
            }
            path.push_back(at);
            for (const flow_way& way : result_.from[at])
                if (!there[way.node]) at = way.node;
        }
        // Backwards, so that it reads in the direction of the items; from the one that is written first on.
        std::reverse(path.begin(), path.end());
        std::rotate(path.begin(), std::min_element(path.begin(), path.end()), path.end());
        std::string text;
        for (const std::size_t each : path) text += nodes_[each].name + " → ";
        const flow_node& first = nodes_[path.front()];
        errors_.push_back({first.place, "the stages form a cycle: " + text + first.name});
    }

    void look_for_readers() {
        std::vector<bool> read(nodes_.size());
        for (const auto& from : result_.from)
            for (const flow_way& way : from) read[way.node] = true;
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            if (!read[i] && nodes_[i].role != component_role::sink)
                errors_.push_back({nodes_[i].place, fmt::format("nobody takes what '{}' gives", nodes_[i].name)});
    }

    const std::vector<flow_node>& nodes_;
    flow_order result_;
    std::vector<flow_order_error> errors_;
};

}  // namespace

expected<flow_order, std::vector<flow_order_error>> order_of_flow(const std::vector<flow_node>& nodes) {
    return finder(nodes).find();
}

}  // namespace leat
