#include <leat/flow/flow.hpp>

namespace leat::detail {

void throw_consumes() {
    throw permanent_error("the stage's function consumes its item, which a retry or a dead letter would need again");
}

void throw_no_such_way(std::uint64_t way, unsigned ways) {
    throw permanent_error("the route gave the way " + std::to_string(way) + ", of " + std::to_string(ways) +
                          " from 0 on");
}

// The finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
std::uint64_t mixed(std::uint64_t hash) noexcept {
    hash ^= hash >> 30U;
    hash *= 0xbf58476d1ce4e5b9U;
    hash ^= hash >> 27U;
    hash *= 0x94d049bb133111ebU;
    hash ^= hash >> 31U;
    return hash;
}

flow_place begin_flow(std::string name, std::shared_ptr<source> from) {
    flow_place start{std::make_shared<flow_draft>(), {{true, 0, 0}}};
    start.draft->graph.sources.push_back({std::move(name), std::move(from)});
    return start;
}

flow_graph& flow_place::graph() {
    while (draft->into) {
        for (flow_input& each : at) each.index += each.is_source ? draft->first_source : draft->first_stage;
        // Not in one statement: the draft may be the last to know where it went.
        std::shared_ptr<flow_draft> next = draft->into;
        draft = std::move(next);
    }
    return draft->graph;
}

void flow_place::add_stage(stage_node described) {
    flow_graph& all = graph();
    described.from = std::move(at);
    at = {{false, all.stages.size(), 0}};
    all.stages.push_back(std::move(described));
}

void flow_place::join(flow_place other) {
    flow_graph& mine = graph();
    flow_graph& theirs = other.graph();
    if (&mine != &theirs) {
        other.draft->into = draft;
        other.draft->first_source = mine.sources.size();
        other.draft->first_stage = mine.stages.size();
        for (source_node& each : theirs.sources) mine.sources.push_back(std::move(each));
        for (stage_node& each : theirs.stages) {
            for (flow_input& input : each.from)
                input.index += input.is_source ? other.draft->first_source : other.draft->first_stage;
            mine.stages.push_back(std::move(each));
        }
        theirs = {};
        (void)other.graph();
    }
    at.insert(at.end(), other.at.begin(), other.at.end());
}

}  // namespace leat::detail
