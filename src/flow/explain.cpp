#include <leat/flow/explain.hpp>

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "figures.hpp"

namespace leat {

namespace {

constexpr double busy_from = 0.8;  // of its workers' time: a stage that is busy
constexpr double cpus_taken_from = 0.9;
constexpr double starved_from = 0.5;
constexpr double blocked_from = 0.3;

// A report may come from anywhere.
double sane(double figure) { return std::isfinite(figure) && figure > 0 ? figure : 0; }

bool shares_workers(const report& of, std::size_t at) { return at > 0 && of.stages[at].fused; }

double workers_of(const stage_report& of) { return std::max(1U, of.workers); }

// Stages that share workers: [first, last), and the shares of these workers' time.
struct group {
    std::size_t first = 0;
    std::size_t last = 0;
    double busy = 0;
    double starved = 0;
    double blocked = 0;
    std::size_t most = 0;  // the stage that took most of it
};

std::vector<group> groups_of(const report& of) {
    std::vector<group> all;
    for (std::size_t at = 0; at < of.stages.size(); ++at) {
        if (!shares_workers(of, at)) all.push_back({at, at, 0, 0, 0, at});
        group& here = all.back();
        const stage_report& each = of.stages[at];
        here.last = at + 1;
        const double time = workers_of(each) * of.seconds;
        here.busy += sane(each.useful_s()) / time;
        here.starved += sane(each.starved_s) / time;
        here.blocked += sane(each.blocked_s) / time;
        if (each.useful_s() > of.stages[here.most].useful_s()) here.most = at;
    }
    return all;
}

double cpus_used(const report& of) { return of.seconds > 0 ? sane(of.cpu_s) / of.seconds : 0; }
double rate_of(const report& of) { return static_cast<double>(of.in - std::min(of.in, of.unfinished)) / of.seconds; }

std::string percent(double share) { return fmt::format("{:.0f}%", 100 * std::min(1.0, share)); }
std::string jobs_text(unsigned jobs) { return jobs == 1 ? "its one job was" : fmt::format("its {} jobs were", jobs); }
std::string role_of(const report& of, std::size_t at) {
    return at + 1 == of.stages.size() && at > 0 ? fmt::format("the sink, {},", of.stages[at].name) : of.stages[at].name;
}

}  // namespace

flow_model model_of(const report& of) {
    flow_model model;
    model.cpus = sane(of.cpus);
    model.stages.emplace_back("the source", 0, 1);
    model.stages.front().most_jobs = 1;
    double busy_s = 0;
    for (const stage_report& each : of.stages) busy_s += sane(each.useful_s());
    const double cpu_share = of.cpu_s > 0 && busy_s > 0 ? std::min(1.0, sane(of.cpu_s) / busy_s) : of.cpus > 0 ? 0 : 1;
    double before = static_cast<double>(of.in);
    for (std::size_t at = 0; at < of.stages.size(); ++at) {
        const stage_report& each = of.stages[at];
        const auto given = static_cast<double>(each.in);
        model.stages.back().fan_out = before > 0 ? given / before : 0;
        if (given > 0) before = given;
        model_stage& one = model.stages.emplace_back(each.name, given > 0 ? sane(each.useful_s()) / given : 0,
                                                     static_cast<unsigned>(workers_of(each)));
        const unsigned per_job = std::max(1U, each.workers / std::max(1U, each.jobs));
        one.most_jobs = each.most_jobs > 4096 ? 0 : each.most_jobs * per_job;
        one.fused = shares_workers(of, at);
        one.buffer_items = std::max(64.0, 2 * workers_of(each));
        one.cpu_share = cpu_share;
    }
    return model;
}

bottleneck bottleneck_of(const report& of) {
    bottleneck found;
    if (of.in == 0 || of.stages.empty() || !(of.seconds > 0)) {
        found.sentence = "no item came in: there is nothing to explain";
        return found;
    }
    const std::vector<group> groups = groups_of(of);
    const flow_model model = model_of(of);
    const flow_prediction told = predict(model, of.in);
    const group* busiest = &groups.front();
    const group* most_blocked = &groups.front();
    for (const group& each : groups) {
        if (each.busy > busiest->busy) busiest = &each;
        if (each.blocked > most_blocked->blocked) most_blocked = &each;
    }
    found.stage = busiest->most;
    found.utilization = std::min(1.0, busiest->busy);
    const stage_report& stage = of.stages[found.stage];
    // In jobs that hold a window of items not all of it is at work.
    const double could_do = told.stages.size() > found.stage + 1 ? told.stages[found.stage + 1].capacity : 0;

    if (of.cpus > 0 && cpus_used(of) >= cpus_taken_from * of.cpus) {
        found.what = bottleneck::kind::cpus;
        found.sentence = fmt::format("the CPUs are all taken: {:.2f} of {:.3g} were in use; {} was busy most ({})",
                                     cpus_used(of), of.cpus, stage.name, percent(busiest->busy));
        return found;
    }
    if (busiest->busy >= busy_from) {
        found.what = bottleneck::kind::stage;
        found.sentence =
            fmt::format("{} is the bottleneck: {} busy {} of the time, and can do {}", role_of(of, found.stage),
                        jobs_text(stage.jobs), percent(busiest->busy), rate_text(could_do));
        return found;
    }
    if (most_blocked->blocked >= blocked_from && most_blocked->blocked > groups.front().starved) {
        found.what = bottleneck::kind::order;
        found.stage = most_blocked->most;
        found.utilization = most_blocked->busy;
        found.sentence = fmt::format(
            "{} was held up: its workers waited {} of the time for their turn or for room, while nobody behind was "
            "busy "
            "(the busiest, {}, {}): one slow item holds up the others where order is kept",
            of.stages[found.stage].name, percent(most_blocked->blocked), stage.name, percent(busiest->busy));
        return found;
    }
    if (groups.front().starved >= starved_from) {
        found.what = bottleneck::kind::source;
        found.stage = 0;
        found.utilization = groups.front().busy;
        found.sentence = fmt::format("the source is the slowest: {} waited {} of the time for items; it gave {}",
                                     of.stages.front().name, percent(groups.front().starved), rate_text(rate_of(of)));
        return found;
    }
    found.what = bottleneck::kind::spread;
    found.sentence =
        fmt::format("no stage was busy all the time: {} was the most ({})", stage.name, percent(busiest->busy));
    return found;
}

std::string explain(const report& of) {
    const bottleneck found = bottleneck_of(of);
    std::string text = found.sentence + "\n";
    if (found.what == bottleneck::kind::none) return text;
    const flow_model model = model_of(of);
    const flow_prediction told = predict(model, of.in);
    const std::size_t at = found.stage + 1;  // in the model the source is the first
    switch (found.what) {
        case bottleneck::kind::stage:
            text += fmt::format("  {}\n", gain_of_jobs(model, at).to_text(model.stages[at], 1));
            break;
        case bottleneck::kind::cpus:
            text += "  one more worker would gain nothing, at any stage: only less work an item, or more CPUs\n";
            break;
        case bottleneck::kind::source:
            text += "  one more worker would wait, too: only a faster source would gain anything\n";
            break;
        case bottleneck::kind::order:
            text +=
                "  one more worker would wait, too: a larger window, or order = \"none\" where it may be, would gain "
                "more\n";
            break;
        default:
            text += "  one more worker would gain little\n";
            break;
    }
    constexpr std::uint64_t few = 20;
    if (of.in < few) text += fmt::format("  (of {} items only: the figures say little)\n", of.in);
    std::size_t widest = 5;
    for (const stage_report& each : of.stages) widest = std::max(widest, each.name.size());
    text += fmt::format("  {:<{}} {:>5} {:>10} {:>18} {:>6} {:>6} {:>6} {:>8} {:>8}\n", "stage", widest, "jobs",
                        "an item", "could do", "busy", "io", "core", "starved", "blocked");
    for (std::size_t each = 0; each < of.stages.size(); ++each) {
        const stage_report& stage = of.stages[each];
        const double time = workers_of(stage) * of.seconds;
        const double capacity = told.stages[each + 1].capacity;
        text += fmt::format("  {:<{}} {:>5} {:>10} {:>18} {:>6} {:>6} {:>6} {:>8} {:>8}\n", stage.name, widest,
                            model.stages[each + 1].fused ? "\"" : std::to_string(stage.jobs),
                            time_text(model.stages[each + 1].service_s),
                            std::isfinite(capacity) ? rate_text(capacity) : "-", percent(sane(stage.busy_s) / time),
                            percent(sane(stage.io_s) / time), percent(sane(stage.core_s) / time),
                            percent(sane(stage.starved_s) / time), percent(sane(stage.blocked_s) / time));
    }
    return text;
}

std::string compared_with_plan(const report& of) {
    if (!of.plan) return {};
    const plan_forecast& plan = *of.plan;
    std::string text = fmt::format("planned from a sample of {}: ", count_text(plan.sampled));
    if (plan.items != 0) text += fmt::format("{} items, ", count_text(plan.items));
    text += rate_text(plan.rate);
    if (plan.seconds > 0) text += fmt::format(", {}", time_text(plan.seconds));
    if (plan.peak_bytes > 0) text += fmt::format(", {} of memory", bytes_text(plan.peak_bytes));
    if (!(of.seconds > 0)) return text;
    const auto times = [](double came, double planned) {
        return planned > 0 ? fmt::format(" ({:.2f} times as planned)", came / planned) : std::string();
    };
    text += fmt::format("; came: {}{}", rate_text(rate_of(of)), times(rate_of(of), plan.rate));
    if (plan.seconds > 0) text += fmt::format(", {}{}", time_text(of.seconds), times(of.seconds, plan.seconds));
    if (plan.peak_bytes > 0 && of.peak_bytes > 0)
        text += fmt::format(", {}{}", bytes_text(of.peak_bytes), times(of.peak_bytes, plan.peak_bytes));
    return text;
}

}  // namespace leat
