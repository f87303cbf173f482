#include <leat/flow/flow_model.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <limits>

#include "figures.hpp"

namespace leat {

namespace {

constexpr double endless = std::numeric_limits<double>::infinity();

double sane(double figure) { return figure > 0 ? figure : 0; }  // of NaN: 0

// per / time, where no time means no limit.
double rate_of(double per, double time) { return time > 0 ? per / time : endless; }

// Stages that share workers: [first, last).
struct station {
    std::size_t first = 0;
    std::size_t last = 0;
    double jobs = 1;
    double demand_s = 0;  // of a worker's time for an item of the source
    [[nodiscard]] double capacity() const { return rate_of(jobs, demand_s); }
};

struct network {
    std::vector<double> visits;
    std::vector<station> stations;
    double path_s = 0;     // of an item that meets nobody
    double cpu_s = 0;      // of the CPUs for an item of the source
    double cpu_rate = 0;   // that the CPUs allow
    double open_rate = 0;  // that the bound on items in flight allows
    std::size_t slowest = 0;

    explicit network(const flow_model& model) {
        double arriving = 1;
        for (std::size_t at = 0; at < model.stages.size(); ++at) {
            const model_stage& each = model.stages[at];
            const double service = sane(each.service_s);
            if (at == 0 || !each.fused) stations.push_back({at, at, std::max(1.0, double(each.jobs)), 0});
            stations.back().last = at + 1;
            stations.back().demand_s += arriving * service;
            cpu_s += arriving * service * std::min(1.0, sane(each.cpu_share));
            path_s += service;
            visits.push_back(arriving);
            arriving *= sane(each.fan_out);
        }
        cpu_rate = model.cpus > 0 ? rate_of(model.cpus, cpu_s) : endless;
        open_rate = model.most_in_flight > 0 ? rate_of(model.most_in_flight, path_s) : endless;
        for (std::size_t at = 1; at < stations.size(); ++at)
            if (stations[at].capacity() < stations[slowest].capacity()) slowest = at;
    }
    [[nodiscard]] double rate() const { return std::min({stations[slowest].capacity(), cpu_rate, open_rate}); }
    [[nodiscard]] flow_prediction::limit limited_by() const {
        using limit = flow_prediction::limit;
        const double least = rate();
        if (least == endless) return limit::nothing;
        if (stations[slowest].capacity() <= least) return limit::stage;
        return cpu_rate <= least ? limit::cpus : limit::in_flight;
    }
    // Of those that share workers, the one that takes most of their time.
    [[nodiscard]] std::size_t bottleneck(const flow_model& model) const {
        const station& here = stations[slowest];
        std::size_t most = here.first;
        for (std::size_t at = here.first; at < here.last; ++at)
            if (visits[at] * sane(model.stages[at].service_s) > visits[most] * sane(model.stages[most].service_s))
                most = at;
        return most;
    }
};

double queue_room(const model_stage& of) {
    const double by_items = sane(of.buffer_items);
    return of.item_bytes > 0 ? std::min(by_items, sane(of.buffer_bytes) / of.item_bytes) : by_items;
}

std::string workers_text(double jobs) { return jobs == 1 ? "one worker" : fmt::format("{:.0f} workers", jobs); }

}  // namespace

flow_prediction predict(const flow_model& model, std::uint64_t items) {
    flow_prediction told;
    if (model.stages.empty()) return told;
    const network net(model);
    told.rate = net.rate();
    told.limited_by = net.limited_by();
    told.bottleneck = net.bottleneck(model);
    told.stages.resize(model.stages.size());

    // The first item: its way, and where one is made of several or few are let through, the wait for those.
    told.fill_s = net.path_s;
    double so_far = std::min(net.cpu_rate, net.open_rate);
    std::size_t of_station = 0;
    for (std::size_t at = 0; at < model.stages.size(); ++at) {
        if (at == net.stations[of_station].first) so_far = std::min(so_far, net.stations[of_station].capacity());
        if (at + 1 == net.stations[of_station].last) ++of_station;
        const double kept = sane(model.stages[at].fan_out);
        if (kept > 0 && kept < 1 && so_far != endless) told.fill_s += (1 / kept - 1) / (so_far * net.visits[at]);
    }

    // All items: the last leaves 1/rate behind the one before it. Where one becomes many, their last is later than its first.
    double tail_s = 0;
    for (std::size_t at = 0; at < model.stages.size(); ++at) {
        const model_stage& each = model.stages[at];
        tail_s = std::max(tail_s, (net.visits[at] / std::max(1U, each.jobs) - 1) * sane(each.service_s));
    }
    if (items > 0) told.total_s = net.path_s + tail_s + (static_cast<double>(items) - 1) * rate_of(1, told.rate);
    if (told.rate == endless) told.total_s = 0;

    // Items in flight. In front of what limits the flow, queues are full and workers hold what they cannot hand on; behind it
    // workers are busy by the utilization law, and what waits for them is little.
    const bool all_wait = told.limited_by == flow_prediction::limit::cpus;
    for (std::size_t which = 0; which < net.stations.size(); ++which) {
        const station& here = net.stations[which];
        const double busy = told.rate == endless ? 0 : std::min(here.jobs, told.rate * here.demand_s);
        const bool waits = told.limited_by == flow_prediction::limit::stage ? which <= net.slowest : all_wait;
        for (std::size_t at = here.first; at < here.last; ++at) {
            const model_stage& each = model.stages[at];
            stage_prediction& one = told.stages[at];
            one.visits = net.visits[at];
            one.demand_s = one.visits * sane(each.service_s);
            one.capacity = here.capacity();
            one.utilization = told.rate == endless ? 0 : told.rate * one.demand_s / here.jobs;
            const double share = here.demand_s > 0 ? one.demand_s / here.demand_s : 0;
            const double at_work = (waits ? here.jobs : busy) * share;
            const double gathered = sane(each.gathered);
            const double room = at == here.first && at > 0 ? queue_room(each) : 0;
            one.items = at_work + gathered / 2 + (waits && which > 0 ? room : 0);
            one.bytes = one.items * sane(each.item_bytes);
            told.most_bytes += (here.jobs * share + gathered + room) * sane(each.item_bytes);
            told.in_flight += one.items;
            told.bytes += one.bytes;
            // Little's law, stage by stage: what is there is what comes in times how long it stays.
            if (told.rate != endless && told.rate > 0 && one.visits > 0)
                told.latency_s += one.items / (told.rate * one.visits);
        }
    }
    if (told.rate != endless) told.cpus = told.rate * net.cpu_s;
    return told;
}

double model_gain::factor() const noexcept {
    return rate_before > 0 && rate_before != endless ? rate_after / rate_before : 1;
}

model_gain gain_of_jobs(const flow_model& model, std::size_t stage, unsigned more) {
    model_gain gain;
    if (stage >= model.stages.size()) return gain;
    const network before(model);
    gain.rate_before = gain.rate_after = before.rate();
    flow_model changed = model;
    for (const station& here : before.stations) {
        if (stage < here.first || stage >= here.last) continue;
        for (std::size_t at = here.first; at < here.last; ++at) {
            model_stage& each = changed.stages[at];
            if (each.most_jobs != 0 && each.jobs + more > each.most_jobs) {
                gain.possible = false;
                return gain;
            }
            each.jobs += more;
        }
        const network after(changed);
        gain.rate_after = after.rate();
        switch (after.limited_by()) {
            case flow_prediction::limit::stage:
                if (const std::size_t then = after.bottleneck(changed); then < here.first || then >= here.last)
                    gain.capped_by = changed.stages[then].name;
                break;
            case flow_prediction::limit::cpus:
                gain.capped_by = "the CPUs";
                break;
            case flow_prediction::limit::in_flight:
                gain.capped_by = "the bound on items in flight";
                break;
            case flow_prediction::limit::nothing:
                break;
        }
    }
    return gain;
}

// --- Words ---

std::string model_gain::to_text(const model_stage& of, unsigned more) const {
    if (!possible) return "it can have no more workers";
    const std::string how_many = more == 1 ? "one more worker" : fmt::format("{} more workers", more);
    const std::string then = fmt::format("{} ({} → {})", how_many, of.jobs, of.jobs + more);
    constexpr double worth_telling = 1.01;
    if (factor() < worth_telling)
        return capped_by.empty() ? then + " would change nothing"
                                 : fmt::format("{} would gain nothing: {} {} the limit", then, capped_by,
                                               capped_by == "the CPUs" ? "are" : "is");
    return fmt::format("{} would give {}, {:.2f} times as much{}", then, rate_text(rate_after), factor(),
                       capped_by.empty()
                           ? ""
                           : fmt::format("; then {} {} the limit", capped_by, capped_by == "the CPUs" ? "are" : "is"));
}

std::string flow_prediction::sentence(const flow_model& of) const {
    if (of.stages.empty() || limited_by == limit::nothing)
        return "nothing in the flow takes time that could be measured";
    const model_stage& slowest = of.stages[bottleneck];
    const double capacity = stages[bottleneck].capacity;
    switch (limited_by) {
        case limit::cpus:
            return fmt::format(
                "the CPUs limit the flow: {:.3g} of them are all taken at {}; of the stages, {} is the slowest ({})",
                of.cpus, rate_text(rate), slowest.name, rate_text(capacity));
        case limit::in_flight:
            return fmt::format(
                "the bound of {:.0f} items in flight limits the flow to {}; the slowest stage, {}, can do {}",
                of.most_in_flight, rate_text(rate), slowest.name, rate_text(capacity));
        default:
            break;
    }
    std::string text;
    if (bottleneck == 0)
        text = fmt::format("the source, {}, limits the flow: it gives {}", slowest.name, rate_text(rate));
    else
        text = fmt::format("{} limits the flow: its {} can do {}", slowest.name,
                           workers_text(std::max(1U, slowest.jobs)), rate_text(rate));
    // The next one, when there is one.
    double next = endless;
    std::size_t which = bottleneck;
    for (std::size_t at = 0; at < stages.size(); ++at)
        if (stages[at].capacity > capacity && stages[at].capacity < next) next = stages[at].capacity, which = at;
    if (next != endless) text += fmt::format("; the next, {}, could do {}", of.stages[which].name, rate_text(next));
    return text;
}

std::string flow_prediction::to_text(const flow_model& of, std::uint64_t items) const {
    std::string text = sentence(of) + "\n";
    if (limited_by == limit::nothing) return text;
    text += fmt::format("  first item after {}, then {}", time_text(fill_s), rate_text(rate));
    if (items > 0) text += fmt::format("; {} items in {}", count_text(items), time_text(total_s));
    text += fmt::format("\n  in flight: {:.0f} items, {} (with every queue full {}); {} each; {:.2f} CPUs in use\n",
                        in_flight, bytes_text(bytes), bytes_text(most_bytes), time_text(latency_s), cpus);
    std::size_t widest = 5;
    for (const model_stage& each : of.stages) widest = std::max(widest, each.name.size());
    text += fmt::format("  {:<{}} {:>5} {:>10} {:>9} {:>16} {:>5} {:>8}\n", "stage", widest, "jobs", "time", "visits",
                        "could do", "busy", "items");
    for (std::size_t at = 0; at < stages.size(); ++at)
        text += fmt::format("  {:<{}} {:>5} {:>10} {:>9.3g} {:>16} {:>4.0f}% {:>8.1f}\n", of.stages[at].name, widest,
                            of.stages[at].fused ? "\"" : std::to_string(of.stages[at].jobs),
                            time_text(sane(of.stages[at].service_s)), stages[at].visits,
                            stages[at].capacity == endless ? "-" : rate_text(stages[at].capacity),
                            100 * stages[at].utilization, stages[at].items);
    return text;
}

}  // namespace leat
