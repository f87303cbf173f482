#include <leat/flow/report.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <fmt/format.h>

#include <flow/record_json.hpp>
#include <leat/flow/explain.hpp>

#include "figures.hpp"

namespace leat {

namespace {

std::string_view word(flow_end end) {
    switch (end) {
        case flow_end::complete:
            return "complete";
        case flow_end::failed:
            return "failed";
        case flow_end::interrupted:
            return "interrupted";
    }
    return "";
}

std::string milliseconds(double ms) {
    if (ms >= 10'000) return fmt::format("{:.1f} s", ms / 1000);
    if (ms >= 100) return fmt::format("{:.0f} ms", ms);
    if (ms >= 0.1) return fmt::format("{:.1f} ms", ms);
    return fmt::format("{:.1f} us", ms * 1000);
}

}  // namespace

std::string report::to_json() const {
    boost::json::object all;
    all["flow"] = flow;
    all["end"] = word(end);
    if (!error.empty()) all["error"] = to_utf8(error);
    all["in"] = in;
    all["out"] = out;
    all["skipped"] = skipped;
    if (resumed != 0) all["resumed"] = resumed;
    all["dead"] = dead;
    all["failed"] = failed;
    all["unfinished"] = unfinished;
    all["seconds"] = seconds;
    if (cpus > 0) all["cpus"] = cpus;
    if (cpu_s > 0) all["cpu_s"] = cpu_s;
    if (peak_bytes > 0) all["peak_bytes"] = peak_bytes;
    boost::json::array each_stage;
    for (const stage_report& each : stages) {
        boost::json::object one;
        one["name"] = each.name;
        one["in"] = each.in;
        one["out"] = each.out;
        one["skipped"] = each.skipped;
        one["retried"] = each.retried;
        one["dead"] = each.dead;
        one["failed"] = each.failed;
        one["jobs"] = each.jobs;
        one["workers"] = each.workers;
        if (each.most_jobs != 0) one["most_jobs"] = each.most_jobs;
        if (each.fused) one["fused"] = true;
        one["busy_s"] = each.busy_s;
        one["io_s"] = each.io_s;
        one["core_s"] = each.core_s;
        one["starved_s"] = each.starved_s;
        one["blocked_s"] = each.blocked_s;
        one["p50_ms"] = each.p50_ms;
        one["p99_ms"] = each.p99_ms;
        if (each.spilled != 0) one["spilled"] = each.spilled;
        if (each.saved_bytes != 0) one["saved_bytes"] = each.saved_bytes;
        if (each.moved_bytes != 0) one["moved_bytes"] = each.moved_bytes;
        each_stage.push_back(std::move(one));
    }
    all["stages"] = std::move(each_stage);
    boost::json::array names;
    for (const std::string& each : unfinished_names) names.emplace_back(to_utf8(each));
    if (!names.empty()) all["unfinished_names"] = std::move(names);
    boost::json::array decisions;
    for (const std::string& each : sizing) decisions.emplace_back(to_utf8(each));
    if (!decisions.empty()) all["sizing"] = std::move(decisions);
    if (plan) {
        boost::json::object planned;
        planned["sampled"] = plan->sampled;
        if (plan->items != 0) planned["items"] = plan->items;
        planned["rate"] = plan->rate;
        if (plan->seconds > 0) planned["seconds"] = plan->seconds;
        if (plan->peak_bytes > 0) planned["peak_bytes"] = plan->peak_bytes;
        planned["sentence"] = to_utf8(plan->sentence);
        all["plan"] = std::move(planned);
    }
    return boost::json::serialize(all);
}

std::string report::to_text() const {
    std::string text = fmt::format("{}: {} in {:.2f} s", flow, word(end), seconds);
    if (seconds > 0) text += fmt::format(", {:.0f} items/s", static_cast<double>(in - unfinished) / seconds);
    text += '\n';
    if (!error.empty()) text += fmt::format("  error: {}\n", error);
    text += fmt::format("  {} in = {} out + {} skipped + {} dead + {} failed + {} unfinished{}\n", count_text(in),
                        count_text(out), count_text(skipped), count_text(dead), count_text(failed),
                        count_text(unfinished), adds_up() ? "" : "  (DOES NOT ADD UP: please report this)");
    if (resumed != 0) text += fmt::format("  of the skipped {} were done in earlier runs\n", count_text(resumed));
    std::size_t widest = 5;
    for (const stage_report& each : stages) widest = std::max(widest, each.name.size());
    text +=
        fmt::format("  {:<{}} {:>4} {:>10} {:>10} {:>8} {:>7} {:>6} {:>6}  {:>5} {:>5} {:>5} {:>7} {:>7} {:>9} {:>9}\n",
                    "stage", widest, "jobs", "in", "out", "skipped", "retried", "dead", "failed", "busy", "io", "core",
                    "starved", "blocked", "p50", "p99");
    for (const stage_report& each : stages) {
        const auto share = [&](double part) {
            const double all = each.useful_s() + each.core_s + each.starved_s + each.blocked_s;
            return all > 0 ? fmt::format("{:.0f}%", 100 * part / all) : std::string("-");
        };
        text += fmt::format(
            "  {:<{}} {:>4} {:>10} {:>10} {:>8} {:>7} {:>6} {:>6}  {:>5} {:>5} {:>5} {:>7} {:>7} {:>9} {:>9}\n",
            each.name, widest, each.jobs, count_text(each.in), count_text(each.out), count_text(each.skipped),
            each.retried, each.dead, each.failed, share(each.busy_s), share(each.io_s), share(each.core_s),
            share(each.starved_s), share(each.blocked_s), milliseconds(each.p50_ms), milliseconds(each.p99_ms));
    }
    for (const stage_report& each : stages)
        if (each.spilled != 0)
            text += fmt::format("  {} items for '{}' were put aside until it had room\n", count_text(each.spilled),
                                each.name);
    for (const stage_report& each : stages)
        if (each.saved_bytes != 0 || each.moved_bytes != 0)
            text += fmt::format("  '{}' saved the transfer of {} and moved {} for that\n", each.name,
                                bytes_text(static_cast<double>(each.saved_bytes)),
                                bytes_text(static_cast<double>(each.moved_bytes)));
    if (cpu_s > 0 && seconds > 0) {
        text += fmt::format("  used {:.2f} ", cpu_s / seconds);
        if (cpus > 0) text += fmt::format("of {:.3g} ", cpus);
        text += "CPUs";
        if (peak_bytes > 0) text += fmt::format(", {} of memory", bytes_text(peak_bytes));
        text += '\n';
    }
    for (const std::string& each : sizing) text += "  " + each + "\n";
    if (in > 0 && seconds > 0) text += "  " + bottleneck_of(*this).sentence + "\n";
    if (plan) text += "  " + compared_with_plan(*this) + "\n";
    constexpr std::size_t most_shown = 10;
    for (std::size_t i = 0; i < std::min(most_shown, unfinished_names.size()); ++i)
        text += fmt::format("  unfinished: {}\n", unfinished_names[i]);
    if (unfinished > most_shown && !unfinished_names.empty())
        text += fmt::format("  … and {} more unfinished\n", unfinished - most_shown);
    return text;
}

}  // namespace leat
