#include <leat/flow/autosizer.hpp>

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include "figures.hpp"

namespace leat {

namespace {

using purpose = sizer_decision::purpose;
using verdict = sizer_decision::verdict;

constexpr double endless = std::numeric_limits<double>::infinity();
constexpr unsigned most_waited = 10;  // intervals, for a change to be done, or for items
constexpr double as_predicted = 0.8;  // of the predicted gain
constexpr double other_items = 0.3;   // a worker that is so much faster or slower has other items
constexpr double other_flow = 0.15;   // a flow that is so much faster has other limits

// What a part of a job comes to, where `noise` of them is none.
unsigned rounded_up(double jobs, double noise) {
    return static_cast<unsigned>(std::ceil(std::max(1.0, jobs * (1 - noise))));
}

}  // namespace

std::string sizer_decision::to_text(const std::string& stage_name) const {
    std::string text = fmt::format("{} {} → {}: {}", stage_name, from, to, reason);
    if (result == verdict::overruled) return text + ": overruled";
    if (what == purpose::take_back || what == purpose::relieve)
        return rate_after > 0 ? text + "; now " + rate_text(rate_after) : text;
    text += fmt::format("; predicted {}", rate_text(predicted_rate));
    switch (result) {
        case verdict::pending:
            return text;
        case verdict::as_predicted:
            return text + fmt::format(", came {}: as predicted", rate_text(rate_after));
        case verdict::less:
            return text + fmt::format(", came {}: less", rate_text(rate_after));
        case verdict::nothing:
            return text + fmt::format(", came {}: it did not pay", rate_text(rate_after));
        case verdict::overruled:
            break;
    }
    return text;
}

autosizer::autosizer(std::vector<sizer_stage> stages, sizer_options options)
    : stages_(std::move(stages)),
      options_(options),
      known_(stages_.size()),
      window_(stages_.size()),
      all_items_(stages_.size(), 0) {
    for (sizer_stage& each : stages_) {
        each.least = std::max(1U, each.least);
        each.most = std::max(each.least, each.most);
        each.jobs = std::max(1U, each.jobs);
    }
}

std::optional<sizer_decision> autosizer::observe(const sizer_sample& sample) {
    if (!(sample.seconds > 0) || sample.stages.size() != stages_.size() || stages_.empty()) return std::nullopt;
    if (!is_expected(sample)) return std::nullopt;
    if (sample.memory_share >= options_.memory_gate)
        if (auto decided = relieve(sample)) return decided;
    if (to_skip_ > 0) {
        --to_skip_;
        return std::nullopt;
    }
    for (std::size_t at = 0; at < stages_.size(); ++at) {
        const stage_sample& each = sample.stages[at];
        window_[at].items += static_cast<double>(each.items);
        window_[at].busy_s += std::max(0.0, each.busy_s);
        all_items_[at] += static_cast<double>(each.items);
    }
    window_s_ += sample.seconds;
    ++intervals_;
    if (!is_enough()) return std::nullopt;
    const view now = look();
    std::optional<sizer_decision> decided;
    if (pending_) decided = judge(sample, now);
    if (!decided && !pending_) decided = grow(sample, now);
    clear_window();
    return decided;
}

// Whether every stage has the jobs that it should have.
bool autosizer::is_expected(const sizer_sample& sample) {
    bool as_decided = true;
    for (std::size_t at = 0; at < stages_.size(); ++at)
        as_decided = as_decided && sample.stages[at].jobs == stages_[at].jobs;
    if (as_decided) {
        changing_ = false;
        return true;
    }
    if (changing_ && waited_++ < most_waited) return false;
    for (std::size_t at = 0; at < stages_.size(); ++at) {
        if (sample.stages[at].jobs == stages_[at].jobs) continue;
        stages_[at].jobs = std::max(1U, sample.stages[at].jobs);
        if (pending_ && decisions_.back().stage == at) {
            decisions_.back().result = verdict::overruled;
            pending_ = false;
        }
    }
    changing_ = false;
    to_skip_ = options_.settling;
    clear_window();
    return false;
}

bool autosizer::is_enough() const {
    if (intervals_ < options_.measured) return false;
    if (intervals_ >= most_waited * std::max(1U, options_.measured)) return true;
    // Of those that are busy, each has done some items.
    for (std::size_t at = 0; at < stages_.size(); ++at)
        if (window_[at].busy_s > options_.busy_share * stages_[at].jobs * window_s_ &&
            window_[at].items < options_.least_items)
            return false;
    return true;
}

autosizer::view autosizer::look() const {
    view now;
    for (std::size_t at = 0; at < stages_.size(); ++at) {
        const sum& each = window_[at];
        const double busy = each.busy_s / (stages_[at].jobs * window_s_);
        // One that has done nothing yet says nothing, unless it was busy with it all the time.
        const bool says = each.busy_s > 0 && (each.items > 0 || busy >= options_.busy_share);
        const double speed = says ? std::max(1.0, each.items) / each.busy_s : endless;
        const double visits = all_items_[0] > 0 && all_items_[at] > 0 ? all_items_[at] / all_items_[0] : 1;
        now.speed.push_back(speed);
        now.visits.push_back(visits);
        now.capacity.push_back(speed == endless ? endless : stages_[at].jobs * speed / visits);
        now.busy.push_back(busy);
    }
    return now;
}

double autosizer::rate_at(std::size_t stage, const view& now) const {
    return window_[stage].items / window_s_ / now.visits[stage];
}

// What came of the last decision.
std::optional<sizer_decision> autosizer::judge(const sizer_sample& sample, const view& now) {
    sizer_decision& last = decisions_.back();
    const std::size_t at = last.stage;
    memory_of& known = known_[at];
    last.rate_after = rate_at(at, now);
    pending_ = false;
    const double noise = options_.noise * last.rate_before;
    const double promised = last.predicted_rate - last.rate_before;
    const double came = last.rate_after - last.rate_before;
    if (last.to > last.from)
        known.share_per_job = std::max(0.0, sample.memory_share - memory_before_) / (last.to - last.from);

    if (last.what != purpose::grow) {
        const bool cost = came < -2 * noise;
        last.result = cost ? verdict::less : verdict::as_predicted;
        if (!cost || last.what != purpose::refine) return std::nullopt;
        sizer_decision back;
        back.what = purpose::take_back;
        back.stage = at;
        back.from = last.to;
        back.to = last.from;
        back.reason = fmt::format("with {} the rate fell", last.to);
        back.rate_before = last.rate_after;
        back.predicted_rate = last.rate_before;
        settle(at, true);
        return decide(std::move(back), sample.memory_share);
    }
    if (came >= as_predicted * promised - noise || (promised <= noise && came >= -2 * noise)) {
        last.result = verdict::as_predicted;
        return std::nullopt;
    }
    // The jobs that the rate needs: of a stage that is not busy now, those at work; else by the share of the gain that came.
    const bool busy = now.busy[at] >= options_.busy_share;
    const double part = promised > noise ? std::max(0.0, came) / promised : 0;
    const double needed = busy ? last.from + (last.to - last.from) * part : now.busy[at] * last.to;
    const bool in_vain = came <= noise && busy;
    last.result = came <= noise ? verdict::nothing : verdict::less;
    known.doubles = false;
    sizer_decision back;
    back.stage = at;
    back.from = last.to;
    back.to = in_vain ? last.from : std::clamp(rounded_up(needed, options_.noise), last.from, last.to);
    back.rate_before = last.rate_after;
    settle(at, true);
    if (back.to == last.to) {
        known.settled = false;  // what came is worth its jobs: more may come, by one
        return std::nullopt;
    }
    if (back.to == last.from) {
        back.what = purpose::take_back;
        back.reason = fmt::format("more did not pay: {} was predicted, {} came", rate_text(last.predicted_rate),
                                  rate_text(last.rate_after));
        back.predicted_rate = last.rate_before;
    } else {
        back.what = purpose::refine;
        back.reason = fmt::format("{} came of the predicted {}: as much as {} jobs give", rate_text(last.rate_after),
                                  rate_text(last.predicted_rate), back.to);
        back.predicted_rate = last.rate_after;
    }
    return decide(std::move(back), sample.memory_share);
}

bool autosizer::may_grow(std::size_t stage, const view& now) {
    if (stages_[stage].jobs >= stages_[stage].most) return false;
    memory_of& known = known_[stage];
    if (!known.settled) return true;
    if (known.settled_rate < 0) {
        known.settled_rate = rate_at(stage, now);
        known.settled_speed = now.speed[stage];
        return false;
    }
    const double patience = std::exp2(std::min(known.missed, 6U) - (known.missed > 0 ? 1 : 0));
    const bool other_speed = std::abs(now.speed[stage] / known.settled_speed - 1) > other_items * patience;
    const bool other_rate = rate_at(stage, now) > known.settled_rate * (1 + other_flow * patience);
    if (!other_speed && !other_rate) return false;
    known.settled = false;
    known.doubles = true;
    return true;
}

std::optional<sizer_decision> autosizer::grow(const sizer_sample& sample, const view& now) {
    resting_.clear();
    const auto is_busy = [&](std::size_t at) { return now.busy[at] >= options_.busy_share; };
    std::size_t slowest = 0;  // of those that are busy; if none is, of all
    for (std::size_t at = 1; at < stages_.size(); ++at)
        if (is_busy(at) != is_busy(slowest) ? is_busy(at) : now.capacity[at] < now.capacity[slowest]) slowest = at;
    const sizer_stage& stage = stages_[slowest];
    const auto rest = [this](std::string why) {
        resting_ = std::move(why);
        return std::nullopt;
    };
    if (!is_busy(slowest))
        return rest(fmt::format("no stage is busy all the time: the slowest, {}, is {:.0f}% of it", stage.name,
                                100 * now.busy[slowest]));
    if (stage.jobs >= stage.most)
        return rest(fmt::format("{} is the bottleneck, and has all the jobs it may have ({})", stage.name, stage.most));
    if (!may_grow(slowest, now))
        return rest(fmt::format("{} is the bottleneck, and more jobs did not pay", stage.name));
    if (sample.cpu_share >= options_.cpu_gate)
        return rest(
            fmt::format("{} is the bottleneck, but {:.0f}% of the CPUs are taken", stage.name, 100 * sample.cpu_share));
    if (sample.memory_share >= options_.memory_gate)
        return rest(fmt::format("{} is the bottleneck, but {:.0f}% of the memory is taken", stage.name,
                                100 * sample.memory_share));

    // No more than what must limit the flow in any case lets through: the CPUs, and stages that cannot grow.
    const double rate = rate_at(slowest, now);
    const double by_cpus = sample.cpu_share > 0.01 ? rate / sample.cpu_share : endless;
    double level = by_cpus;
    double next = by_cpus;
    std::size_t which = slowest;
    std::size_t leveled_by = slowest;
    for (std::size_t at = 0; at < stages_.size(); ++at) {
        if (at == slowest) continue;
        if (now.capacity[at] < next) next = now.capacity[at], which = at;
        if (!may_grow(at, now) && now.capacity[at] < level) level = now.capacity[at], leveled_by = at;
    }
    if (level < now.capacity[slowest] * (1 + options_.noise))
        return rest(fmt::format("{} is the bottleneck, but more would gain nothing: {} no more through", stage.name,
                                leveled_by == slowest ? "the CPUs let" : stages_[leveled_by].name + " lets"));
    const memory_of& known = known_[slowest];
    const double wanted = known.doubles ? 2.0 * stage.jobs : stage.jobs + 1.0;
    const double useful = stage.jobs * level / now.capacity[slowest];
    unsigned to =
        std::min({rounded_up(std::min(wanted, useful), options_.noise), stage.most, static_cast<unsigned>(wanted)});

    unsigned all_jobs = 0;
    for (const sizer_stage& each : stages_) all_jobs += each.jobs;
    const double per_job = known.share_per_job >= 0 ? known.share_per_job : sample.own_memory_share / all_jobs;
    if (per_job > 0) {
        const double room = (options_.memory_gate - sample.memory_share) / per_job;
        if (room < to - stage.jobs) to = stage.jobs + static_cast<unsigned>(room);
    }
    if (most_jobs_ != 0) to = std::min(to, stage.jobs + (most_jobs_ > all_jobs ? most_jobs_ - all_jobs : 0));
    if (to <= stage.jobs) return rest(fmt::format("{} is the bottleneck, but there is no room for more", stage.name));

    const double alone = now.capacity[slowest] * to / stage.jobs;
    sizer_decision made;
    made.what = purpose::grow;
    made.stage = slowest;
    made.from = stage.jobs;
    made.to = to;
    made.rate_before = rate;
    // By itself: where the next stage is as slow, its turn comes next.
    made.predicted_rate = std::max(rate, rate * std::min(alone, next) / now.capacity[slowest]);
    made.reason = fmt::format("busy {:.0f}% of the time, it can do {}", 100 * now.busy[slowest],
                              rate_text(now.capacity[slowest]));
    if (next != endless && next < alone)
        made.reason += which == slowest ? fmt::format(", the CPUs {}", rate_text(next))
                                        : fmt::format(", {} {}", stages_[which].name, rate_text(next));
    return decide(std::move(made), sample.memory_share);
}

// Memory is at its gate.
std::optional<sizer_decision> autosizer::relieve(const sizer_sample& sample) {
    unsigned all_jobs = 0;
    for (const sizer_stage& each : stages_) all_jobs += each.jobs;
    sizer_decision made;
    made.what = purpose::relieve;
    if (pending_ && decisions_.back().to > decisions_.back().from) {
        sizer_decision& last = decisions_.back();
        last.result = verdict::overruled;
        made.stage = last.stage;
        made.from = last.to;
        made.to = last.from;
    } else {
        if (pending_ || to_skip_ > 0) return std::nullopt;
        // The one whose workers do least.
        double least_busy = endless;
        for (std::size_t at = 0; at < stages_.size(); ++at) {
            if (stages_[at].jobs <= stages_[at].least) continue;
            const double busy = sample.stages[at].busy_s / stages_[at].jobs;
            if (busy < least_busy) least_busy = busy, made.stage = at;
        }
        if (least_busy == endless) return std::nullopt;
        made.from = stages_[made.stage].jobs;
        made.to = made.from - 1;
    }
    most_jobs_ = std::max(1U, all_jobs - (made.from - made.to));
    made.reason = fmt::format("{:.0f}% of the memory is taken", 100 * sample.memory_share);
    clear_window();
    sizer_decision done = decide(std::move(made), sample.memory_share);
    decisions_.back().result = verdict::as_predicted;  // whatever it costs
    pending_ = false;
    return done;
}

// Leaves the stage alone until something has changed.
void autosizer::settle(std::size_t stage, bool missed) {
    memory_of& known = known_[stage];
    known.settled = true;
    known.settled_rate = -1;  // the next figures, with the jobs that it is left with
    if (missed) ++known.missed;
}

sizer_decision autosizer::decide(sizer_decision made, double memory_share) {
    stages_[made.stage].jobs = made.to;
    pending_ = true;
    changing_ = true;
    memory_before_ = memory_share;
    to_skip_ = options_.settling;
    waited_ = 0;
    resting_.clear();
    decisions_.push_back(made);
    return made;
}

void autosizer::clear_window() {
    window_.assign(stages_.size(), {});
    window_s_ = 0;
    intervals_ = 0;
}

}  // namespace leat
