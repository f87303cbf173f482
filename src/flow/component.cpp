#include <algorithm>

#include <fmt/format.h>
#include <leat/base/bug.hpp>
#include <leat/flow/component.hpp>

namespace leat {

namespace {

option name_option() {
    return option("name", option_type::text,
                  "what it is called in messages, reports and 'from'; its type, when not given")
        .at_least(1);
}
option type_option() { return option("type", option_type::text, "its kind: see 'leat list'").also_called({"kind"}); }

std::vector<option> source_options() { return {name_option(), type_option()}; }

std::vector<option> stage_options() {
    const std::string most = std::to_string(stage_policy::most_jobs);
    return {
        name_option(),
        type_option(),
        option("from", option_type::text_list,
               "what it takes its items from: names, or NAME.WAY where a stage has several ways out. Several that name "
               "one stage get all of its items; one that names several gets those of all. The stage written before it, "
               "when not given")
            .also_called({"input", "inputs", "after"}),
        option("jobs", option_type::jobs,
               "how many items are at work at a time, at most " + most +
                   "; \"auto\": as many as the machine has CPUs, at most what the stage can have")
            .defaults("auto")
            .also_called({"concurrency", "parallel", "threads", "workers", "parallelism"}),
        option("buffer", option_type::table, "the queue in front of it; a number stands for items")
            .with(
                {option("items", option_type::integer, "how many items may wait; 64 or twice the jobs, when not given")
                     .at_least(1)
                     .at_most(1e9),
                 option("bytes", option_type::size, "how many bytes may wait").defaults("64MiB").at_least(1),
                 option("disk", option_type::size, "how many bytes more may wait on disk with overflow = \"spill\"")
                     .defaults("1GiB")
                     .at_least(1)},
                "items")
            .also_called({"queue", "capacity"}),
        option("order", option_type::word, "the order of what leaves it; the flow's, when not given")
            .one_of({"input", "key", "none"})
            .also_called({"ordered", "ordering"}),
        option(
            "reorder_window", option_type::integer,
            "how many items its ordered output may lag behind the first that is not done; the flow's, when not given")
            .at_least(1)
            .at_most(1e6),
        option(
            "overflow", option_type::word,
            "what becomes of items for which there is no room in front of it: 'wait' holds up what gives them, 'spill' "
            "puts them on disk until there is, 'drop-newest' and 'drop-oldest' leave items out of this branch, counted "
            "as skipped; 'spill' for one of several branches, else 'wait', when not given")
            .one_of({"wait", "spill", "drop-newest", "drop-oldest"}),
        option("pool", option_type::text, "the concurrency pool of [flow] of which it takes a place for each attempt")
            .at_least(1),
        option("rate", option_type::number, "at most so many attempts a second, of all its jobs together")
            .at_least(1e-3)
            .at_most(1e9)
            .also_called({"rate_limit", "per_second"}),
        option("timeout", option_type::time_span,
               "how long one attempt at an item may take; without end, when not given")
            .at_least(1e-6)
            .also_called({"time_limit", "deadline"}),
        option("retry", option_type::table, "what is tried again after a failure; a number stands for max")
            .with(
                {option("max", option_type::integer, "attempts after the first").defaults("0").at_least(0).at_most(1e6),
                 option("backoff", option_type::time_range,
                        "the wait before the first of them, doubled for each further one up to the second time")
                     .defaults("200ms..10s")
                     .also_called({"delay"}),
                 option("jitter", option_type::number, "each wait is multiplied by a random factor of 1 ± jitter")
                     .defaults("0.2")
                     .at_least(0)
                     .at_most(1)},
                "max")
            .also_called({"retries"}),
        option(
            "on_error", option_type::word,
            "what becomes of an item whose attempts have all failed: 'fail' ends the flow, 'skip' leaves the item out, "
            "'dead-letter' keeps it in the state directory, 'keep-going' counts it as failed and goes on")
            .one_of({"fail", "skip", "dead-letter", "keep-going"})
            .defaults("fail")
            .also_called({"on-error", "onerror", "error"}),
        option("placement", option_type::word,
               "where it runs: \"processes\" is for stages that start some anyway, such as exec; \"cluster\" for those "
               "that handle each item on its own: workers do them, where the flow is run with --engine")
            .one_of({"threads", "processes", "cluster"})
            .defaults("threads"),
    };
}

}  // namespace

std::string_view to_string(component_role role) noexcept {
    switch (role) {
        case component_role::source:
            return "source";
        case component_role::stage:
            return "stage";
        case component_role::sink:
            return "sink";
    }
    return "";
}

const std::vector<option>& common_options(component_role role) {
    static const std::vector<option> of_source = source_options();
    static const std::vector<option> of_stage = stage_options();
    return role == component_role::source ? of_source : of_stage;
}

const std::vector<option>& flow_table_options() {
    static const std::vector<option> options = {
        option("name", option_type::text, "what the flow is called; the name of its file, when not given").at_least(1),
        option("state", option_type::text, "the directory of its journal and dead letters: docs/resume.md")
            .at_least(1)
            .also_called({"state_dir"}),
        option(
            "order", option_type::word,
            "whether what leaves a stage with several jobs keeps the order of what entered it ('input'), that of the "
            "items of each key ('key'), or leaves as it is done ('none')")
            .one_of({"input", "key", "none"})
            .defaults("input")
            .also_called({"ordered", "ordering"}),
        option("window", option_type::integer,
               "how many items ordered output may lag behind the first that is not done; 64 or four times the jobs, "
               "when not "
               "given")
            .at_least(1)
            .at_most(1e6),
        option("bytes", option_type::size,
               "how many bytes may wait in all queues, and for their turn in an order, together; each place has its "
               "own bound, "
               "too")
            .at_least(1)
            .also_called({"memory", "byte_budget"}),
        option("drain", option_type::time_span,
               "how long what is in flight may take to its end when the flow is asked to end; then it is stopped")
            .also_called({"drain_timeout", "grace"}),
        option("retry_budget", option_type::number,
               "the most retries of all stages together, as a share of the items that came in, beyond the first ten")
            .at_least(1e-6)
            .at_most(1e6),
        option("pools", option_type::text_list,
               "concurrency pools as \"NAME = PLACES\": a stage with pool = \"NAME\" takes a place for each attempt")
            .also_called({"pool"}),
    };
    return options;
}

void registry::add(component kind) {
    if (find(kind.role, kind.name) != nullptr)
        bug(fmt::format("two kinds of {} are called '{}'", to_string(kind.role), kind.name));
    for (const option& own : kind.options)
        for (const option& common : common_options(kind.role))
            if (own.key == common.key)
                bug(fmt::format("kind '{}' declares the common option '{}'", kind.name, own.key));
    if ((kind.role == component_role::source) != (kind.make_source != nullptr) ||
        (kind.role == component_role::source) == (kind.make_stage != nullptr))
        bug(fmt::format("kind '{}' does not say how it is made", kind.name));
    kinds_.push_back(std::make_unique<component>(std::move(kind)));
}

const component* registry::find(component_role role, std::string_view name) const noexcept {
    const auto found = std::find_if(kinds_.begin(), kinds_.end(),
                                    [&](const auto& each) { return each->role == role && each->name == name; });
    return found == kinds_.end() ? nullptr : found->get();
}

std::vector<const component*> registry::of(component_role role) const {
    std::vector<const component*> found;
    for (const auto& each : kinds_)
        if (each->role == role) found.push_back(each.get());
    return found;
}

}  // namespace leat
