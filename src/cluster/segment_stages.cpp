#include <cluster/segment_stages.hpp>

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <leat/cluster/cluster_function.hpp>
#include <leat/flow/flow_file.hpp>

namespace leat::cluster {

namespace detail {

namespace {
std::map<std::string_view, function_entry>& functions() {
    static std::map<std::string_view, function_entry> all;
    return all;
}
}  // namespace

bool enter_function(const function_entry& entry) { return functions().emplace(entry.name, entry).second; }

const function_entry* find_function(std::string_view name) noexcept {
    const auto found = functions().find(name);
    return found == functions().end() ? nullptr : &found->second;
}

}  // namespace detail

namespace {

// A stage as it runs in a worker: what becomes of an item that fails is the coordinator's to say.
stage_node as_in_worker(stage_node from) {
    from.from.clear();
    from.is_sink = false;
    stage_policy& policy = from.policy;
    if (policy.error != on_error::skip) policy.error = on_error::keep_going;
    policy.own_buffer = false;
    policy.full = when_full::wait;
    policy.rate = 0;
    policy.pool.clear();
    return from;
}

std::string other_version(const manifest& of, const std::string& what) {
    std::string all = fmt::format("run {} of flow '{}' is of another version than this worker", of.run, of.flow);
    if (of.leat != version()) all += fmt::format(" (leat {} and {})", of.leat, version());
    return all + ": " + what;
}

expected<std::vector<segment_stages>, std::string> from_file(const manifest& of, const registry& kinds) {
    // What needs a journal is the coordinator's.
    auto file = parse_flow_file(of.text, of.file, kinds, journal_place::elsewhere);
    if (!file) return unexpected(other_version(of, "its flow file is refused here:\n" + file.error().to_text()));
    manifest mine = of;
    mine.flow_words = flow_text(file->description);
    if (const std::string hash = hash_of(mine); hash != of.hash) {
        std::string changes;
        for (const std::string& each : flow_changes(of.flow_words, mine.flow_words))
            changes += (changes.empty() ? "" : "; ") + each;
        return unexpected(other_version(of, changes));
    }
    std::vector<segment_stages> all;
    for (const manifest_segment& each : of.segments) {
        segment_stages made;
        made.in = made.out = &record_codec();
        made.window = file->description.window;
        made.retry_share = file->description.retry_share;
        made.keeps_sequence = true;
        for (const manifest_stage& stage : each.stages) {
            const auto found = std::find_if(file->graph.stages.begin(), file->graph.stages.end(),
                                            [&](const stage_node& one) { return one.name == stage.name; });
            if (found == file->graph.stages.end())
                return unexpected(other_version(of, fmt::format("there is no stage '{}' here", stage.name)));
            made.chain.push_back(as_in_worker(*found));
        }
        // One item's outputs come out of one stage in their order; several stages may exchange them.
        if (made.chain.size() > 1) made.ordered = file->description.ordered == order::none ? order::none : order::input;
        all.push_back(std::move(made));
    }
    return all;
}

expected<std::vector<segment_stages>, std::string> from_functions(const manifest& of) {
    std::vector<segment_stages> all;
    for (const manifest_segment& each : of.segments) {
        segment_stages made;
        for (const manifest_stage& stage : each.stages) {
            const detail::function_entry* const found = detail::find_function(stage.function);
            if (found == nullptr)
                return unexpected(other_version(
                    of, fmt::format("stage '{}' calls {}, which is not among the functions of this program "
                                    "that may run on a cluster",
                                    stage.name, stage.function)));
            if (found->type != stage.type)
                return unexpected(other_version(
                    of, fmt::format("stage '{}': {} takes or gives another type here", stage.name, stage.function)));
            stage_node node;
            node.name = stage.name;
            node.policy = stage.policy;
            node.what = found->make();
            made.chain.push_back(as_in_worker(std::move(node)));
            if (made.in == nullptr) made.in = found->in();
            made.out = found->out();
        }
        if (made.chain.empty())
            return unexpected(fmt::format("run {} of flow '{}' has an empty segment", of.run, of.flow));
        if (made.chain.size() > 1) made.ordered = order::input;
        all.push_back(std::move(made));
    }
    return all;
}

}  // namespace

expected<std::vector<segment_stages>, std::string> build_segments(const manifest& of, const registry& kinds) {
    return of.is_file() ? from_file(of, kinds) : from_functions(of);
}

}  // namespace leat::cluster
