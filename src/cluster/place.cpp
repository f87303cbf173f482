// What runs on the cluster: the stages of a flow file, or functions of a C++ flow.
#include <algorithm>

#include <fmt/format.h>

#include <cluster/cluster_stage.hpp>
#include <cluster/connected_to.hpp>
#include <leat/cluster/cluster_stage.hpp>

namespace leat::cluster {

namespace {

bool is_alone_with_its_item(const stage& what) { return what.most_jobs() > 1 && what.ports() == 1; }

class placing {
public:
    placing(flow_file& file, const placement_options& options) : file_(file), options_(options) {}

    // The chains of stages that go there, by their places in the graph. Throws cluster_refused.
    std::vector<std::vector<std::size_t>> chains() {
        const std::vector<stage_node>& stages = file_.graph.stages;
        std::vector<bool> goes(stages.size());
        for (const described_component& each : file_.description.stages) {
            const auto at = std::find_if(stages.begin(), stages.end(),
                                         [&](const stage_node& one) { return one.name == each.name; });
            if (at == stages.end() || at->what == nullptr) continue;
            const bool asked = each.options.has("placement") && each.options.text("placement") == "cluster";
            const bool can = is_alone_with_its_item(*at->what);
            if (asked && !can)
                throw cluster_refused(
                    fmt::format("stage '{}' cannot be on the cluster: a '{}' has to see all items, or "
                                "sends them different ways; it runs where the flow does",
                                each.name, each.kind == nullptr ? "stage" : each.kind->name));
            const bool reads_files = each.kind != nullptr && each.kind->name == "read";
            goes[static_cast<std::size_t>(at - stages.begin())] = asked || (options_.whole && can && !reads_files);
        }
        std::vector<std::vector<std::size_t>> all;
        std::vector<std::size_t> chain_of(stages.size());
        for (std::size_t i = 0; i < stages.size(); ++i) {
            if (!goes[i]) continue;
            const std::size_t before = before_of(i);
            if (before != nobody && goes[before] && joins(before, i)) {
                chain_of[i] = chain_of[before];
                all[chain_of[i]].push_back(i);
            } else {
                chain_of[i] = all.size();
                all.push_back({i});
            }
        }
        if (all.empty())
            throw cluster_refused(
                "no stage of the flow is to run on the cluster; expected placement = \"cluster\" in a [[stage]] that "
                "handles "
                "each item on its own");
        return all;
    }

    // Each chain becomes the stage that `make` gives for it.
    template <class Make>
    void replace(const std::vector<std::vector<std::size_t>>& chains, Make make) {
        std::vector<stage_node>& stages = file_.graph.stages;
        for (std::size_t i = 0; i < stages.size(); ++i) say_from(i);
        std::vector<std::size_t> now(stages.size(), nobody);
        std::vector<stage_node> placed;
        for (std::size_t i = 0; i < stages.size(); ++i) {
            const auto chain = std::find_if(chains.begin(), chains.end(), [&](const auto& one) {
                return std::find(one.begin(), one.end(), i) != one.end();
            });
            if (chain != chains.end() && chain->front() != i) {
                now[i] = now[chain->front()];
                continue;
            }
            now[i] = placed.size();
            stage_node node = stages[i];
            if (chain != chains.end()) {
                node.what = make(static_cast<std::size_t>(chain - chains.begin()));
                // Dead letters are replayed into the stage of their name.
                if (node.policy.error != on_error::dead_letter) node.name = name_of(*chain);
            }
            placed.push_back(std::move(node));
        }
        for (stage_node& each : placed)
            for (flow_input& in : each.from)
                if (!in.is_source) in.index = now[in.index];
        stages = std::move(placed);
    }

    std::string name_of(const std::vector<std::size_t>& chain) const {
        std::string all;
        for (const std::size_t each : chain) all += (all.empty() ? "" : "+") + file_.graph.stages[each].name;
        return all;
    }

private:
    static constexpr std::size_t nobody = ~std::size_t{0};

    void say_from(std::size_t at) {
        std::vector<flow_input>& from = file_.graph.stages[at].from;
        if (!from.empty()) return;
        if (at == 0) from.push_back({true, 0, 0});
        else from.push_back({false, at - 1, 0});
    }
    // The only stage that it takes from.
    std::size_t before_of(std::size_t at) const {
        const std::vector<flow_input>& from = file_.graph.stages[at].from;
        if (from.empty()) return at == 0 ? nobody : at - 1;
        return from.size() == 1 && !from.front().is_source ? from.front().index : nobody;
    }
    bool joins(std::size_t before, std::size_t at) const {
        const std::vector<stage_node>& stages = file_.graph.stages;
        for (std::size_t i = 0; i < stages.size(); ++i)
            if (i != at)
                for (const flow_input& in : stages[i].from)
                    if (!in.is_source && in.index == before) return false;
        return needs_no_hop(stages[before].policy, stages[at].policy);
    }
    flow_file& file_;
    const placement_options& options_;
};

manifest_segment segment_of(const placement_options& options) {
    manifest_segment made;
    made.ack_wait = options.ack_wait;
    made.most_deliveries = options.most_deliveries;
    return made;
}

}  // namespace

namespace {

// One of `engine` and `open` is null.
expected<std::shared_ptr<coordinator>, std::string> place(flow_file& file, std::string_view text,
                                                          std::shared_ptr<broker> engine,
                                                          std::function<task<std::shared_ptr<broker>>()> open,
                                                          placement_options options) {
    try {
        placing how(file, options);
        const auto chains = how.chains();
        manifest plan;
        plan.leat = version();
        plan.flow = name_in_engine(options.flow.empty() ? file.description.name : options.flow);
        plan.owner = this_process();
        plan.flow_words = flow_text(file.description);
        plan.file = file.description.name;
        plan.text = text;
        for (const auto& chain : chains) {
            manifest_segment one = segment_of(options);
            one.name = how.name_of(chain);
            for (const std::size_t each : chain) {
                manifest_stage stage;
                stage.name = file.graph.stages[each].name;
                one.stages.push_back(std::move(stage));
            }
            plan.segments.push_back(std::move(one));
        }
        const auto run = std::make_shared<coordinator_body>(std::move(engine), std::move(plan), std::move(options));
        run->opens_by(std::move(open));
        how.replace(chains, [&run](std::size_t segment) { return std::make_shared<cluster_stage>(run, segment); });
        return std::shared_ptr<coordinator>(run);
    } catch (const cluster_refused& why) {
        return unexpected(std::string(why.what()));
    }
}

}  // namespace

expected<std::shared_ptr<coordinator>, std::string> place_on_cluster(flow_file& file, std::string_view text,
                                                                     std::shared_ptr<broker> engine,
                                                                     placement_options options) {
    return place(file, text, std::move(engine), nullptr, std::move(options));
}
expected<std::shared_ptr<coordinator>, std::string> place_on_cluster(
    flow_file& file, std::string_view text, std::function<task<std::shared_ptr<broker>>()> open,
    placement_options options) {
    return place(file, text, nullptr, std::move(open), std::move(options));
}

// --- C++ flows ---

struct at::state {
    std::shared_ptr<coordinator_body> run;  // null: no stage yet
    std::shared_ptr<broker> engine;
    std::function<task<std::shared_ptr<broker>>()> open;
    placement_options options;
};

at::at(std::shared_ptr<broker> engine, placement_options options) : state_(std::make_shared<state>()) {
    state_->engine = std::move(engine);
    state_->options = std::move(options);
}
at::at(std::function<task<std::shared_ptr<broker>>()> open, placement_options options)
    : state_(std::make_shared<state>()) {
    state_->open = std::move(open);
    state_->options = std::move(options);
}

at::at(std::string url, placement_options options)
    : at([url = std::move(url)] { return connected_to(url); }, std::move(options)) {}

std::shared_ptr<coordinator> at::run() const { return state_->run; }

std::shared_ptr<stage> at::add(const function& what) const {
    if (!state_->run) {
        manifest plan;
        plan.leat = version();
        plan.flow = name_in_engine(state_->options.flow.empty() ? what.stage : state_->options.flow);
        plan.owner = this_process();
        state_->run = std::make_shared<coordinator_body>(state_->engine, std::move(plan), state_->options);
        state_->run->opens_by(state_->open);
    }
    cluster_stage::functions made{segment_of(state_->options), *what.in, *what.out, what.takes_as_given};
    made.segment.name = what.stage;
    manifest_stage stage;
    stage.name = what.stage;
    stage.function = what.name;
    stage.type = what.type;
    made.segment.stages.push_back(std::move(stage));
    return std::make_shared<cluster_stage>(state_->run, std::move(made));
}

}  // namespace leat::cluster
