#include <cli/progress.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <cli/screen.hpp>
#include <cmath>
#include <fmt/format.h>

namespace leat::cli {

namespace {

constexpr std::size_t most_stages = 20;

std::uint64_t done_of(const report& counts) { return counts.out + counts.skipped + counts.dead + counts.failed; }

double rate_of(const flow_control::progress& now) {
    return now.elapsed_s > 0 ? static_cast<double>(done_of(now.counts)) / now.elapsed_s : 0;
}

std::string number(double value) {
    if (value >= 1e6) return fmt::format("{:.1f}M", value / 1e6);
    if (value >= 1e4) return fmt::format("{:.1f}k", value / 1e3);
    return value >= 10 || value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}", value);
}

std::string time_text(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::lround(seconds));
    if (whole >= 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
    if (whole >= 60) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
    return fmt::format("{}s", whole);
}

std::string bar(double share, unsigned width) {
    const auto full = static_cast<unsigned>(std::lround(std::clamp(share, 0.0, 1.0) * width));
    return '[' + std::string(full, '#') + std::string(width - full, '-') + ']';
}

// Cut to `width` columns, counting a character as one.
std::string cut(std::string text, unsigned width) {
    unsigned columns = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) continue;
        if (columns++ == width) {
            text.resize(at);
            break;
        }
    }
    return text;
}

std::string colored(const std::string& text, const char* code, bool wanted) {
    return wanted ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
}

// The share of the time of its jobs that a stage has worked so far.
double use_of(const stage_report& stage, double elapsed_s) {
    return elapsed_s > 0 && stage.jobs > 0 ? std::min(stage.useful_s() / (elapsed_s * stage.jobs), 1.0) : 0;
}

}  // namespace

std::vector<std::string> progress_lines(const flow_control::progress& now, const progress_style& style) {
    const unsigned width = std::max(style.width, 20U) - 1;  // the last column is the terminal's
    const report& counts = now.counts;
    const std::uint64_t done = done_of(counts);
    const double rate = rate_of(now);
    std::string head = printable(counts.flow) + ": ";
    if (now.total > 0) {
        const double share = static_cast<double>(done) / static_cast<double>(now.total);
        head += fmt::format("{} of {} items {} {:.0f}%", done, now.total, bar(share, 20), 100 * share);
    } else {
        head += fmt::format("{} items", done);
    }
    head += fmt::format(", {}/s, {}", number(rate), time_text(now.elapsed_s));
    if (now.total > done && rate > 0)
        head += fmt::format(", {} left", time_text(static_cast<double>(now.total - done) / rate));
    if (const auto failed = counts.failed + counts.dead; failed > 0) head += fmt::format(", {} failed", failed);

    std::vector<std::string> lines{colored(cut(std::move(head), width), "1", style.color)};
    std::size_t widest = 0;
    const stage_report* busiest = nullptr;
    for (const stage_report& each : counts.stages) {
        widest = std::max(widest, printable(each.name).size());
        if (busiest == nullptr || use_of(each, now.elapsed_s) > use_of(*busiest, now.elapsed_s)) busiest = &each;
    }
    widest = std::min<std::size_t>(widest, 24);
    for (std::size_t at = 0; at < std::min(counts.stages.size(), most_stages); ++at) {
        const stage_report& each = counts.stages[at];
        const double use = use_of(each, now.elapsed_s);
        std::string line = fmt::format("  {:<{}} {} {:>3.0f}% busy  {} in  {} out", cut(printable(each.name), 24),
                                       widest, bar(use, 10), 100 * use, each.in, each.out);
        if (at < now.queued.size() && now.queued[at] > 0) line += fmt::format("  {} waiting", now.queued[at]);
        if (each.retried > 0) line += fmt::format("  {} retried", each.retried);
        if (each.failed + each.dead > 0) line += fmt::format("  {} failed", each.failed + each.dead);
        lines.push_back(colored(cut(std::move(line), width), "36", style.color && &each == busiest));
    }
    return lines;
}

std::string progress_bar(const flow_control::progress& now, const progress_style& style) {
    const std::uint64_t done = done_of(now.counts);
    std::string text;
    double share = 0;
    if (now.total > 0) {
        share = std::min(static_cast<double>(done) / static_cast<double>(now.total), 1.0);
        text = fmt::format(" {:.0f}% {}:{}", 100 * share, done, now.total - std::min(done, now.total));
        if (done > 0)
            text += fmt::format("={}",
                                time_text(static_cast<double>(now.total - std::min(done, now.total)) / rate_of(now)));
    } else {
        text = fmt::format(" {} done in {}", done, time_text(now.elapsed_s));
    }
    if (const auto failed = now.counts.failed + now.counts.dead; failed > 0) text += fmt::format(" {} failed", failed);
    const auto width = static_cast<unsigned>(std::max<std::size_t>(style.width, text.size() + 13)) - 1;
    return cut(bar(share, width - 2 - static_cast<unsigned>(text.size())) + text, std::max(style.width, 20U) - 1);
}

std::string progress_eta(const flow_control::progress& now) {
    const std::uint64_t done = done_of(now.counts);
    const std::uint64_t left = now.total - std::min(done, now.total);
    const double mean_s = done > 0 ? now.elapsed_s / static_cast<double>(done) : 0;
    std::string text = now.total == 0 ? fmt::format("ETA: unknown Done: {} AVG: {:.2f}s", done, mean_s)
                       : done == 0    ? fmt::format("ETA: unknown Left: {}", left)
                                      : fmt::format("ETA: {:.0f}s Left: {} AVG: {:.2f}s",
                                                    std::ceil(mean_s * static_cast<double>(left)), left, mean_s);
    if (const auto failed = now.counts.failed + now.counts.dead; failed > 0) text += fmt::format(" Failed: {}", failed);
    return text;
}

std::string progress_json(const flow_control::progress& now) {
    const report& counts = now.counts;
    boost::json::object all;
    all["flow"] = printable(counts.flow);
    all["seconds"] = now.elapsed_s;
    if (now.total > 0) all["total"] = now.total;
    all["in"] = counts.in;
    all["out"] = counts.out;
    all["skipped"] = counts.skipped;
    all["dead"] = counts.dead;
    all["failed"] = counts.failed;
    all["unfinished"] = counts.unfinished;
    all["rate"] = rate_of(now);
    if (const auto done = done_of(counts); now.total > done && rate_of(now) > 0)
        all["left_s"] = static_cast<double>(now.total - done) / rate_of(now);
    boost::json::array stages;
    for (std::size_t at = 0; at < counts.stages.size(); ++at) {
        const stage_report& each = counts.stages[at];
        boost::json::object one;
        one["name"] = printable(each.name);
        one["in"] = each.in;
        one["out"] = each.out;
        one["queued"] = at < now.queued.size() ? now.queued[at] : 0;
        one["retried"] = each.retried;
        one["failed"] = each.failed + each.dead;
        one["busy"] = use_of(each, now.elapsed_s);
        stages.push_back(std::move(one));
    }
    all["stages"] = std::move(stages);
    return boost::json::serialize(all);
}

}  // namespace leat::cli
