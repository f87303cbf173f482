// How many workers of a segment are at work, where a stage was given a range: the autosizer decides, the others rest.
#include <leat/flow/autosizer.hpp>
#include <leat/task/stop_when.hpp>
#include <leat/task/timeout.hpp>

#include <flow/machine_load.hpp>

#include "engine_parts.hpp"

namespace leat {

namespace {

task<> pause(duration length) { co_await sleep_for(length); }

double seconds(std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

// The difference to what was there the time before.
std::uint64_t since(std::uint64_t& before, std::uint64_t now) { return now - std::exchange(before, now); }

struct counts_before {
    std::uint64_t items = 0, busy = 0, starved = 0, blocked = 0;
};

}  // namespace

task<> flow_engine::size_stages() {
    std::vector<sizer_stage> described;
    described.reserve(segments_.size());
    for (segment& each : segments_)
        described.push_back({each.stages.front()->description.name, each.wanted, each.least, each.workers});
    autosizer sizer(std::move(described));
    machine_load load;
    (void)load.cpu_share();
    std::vector<counts_before> before(segments_.size());
    time_point last = where_.now();
    for (;;) {
        outcome<void> waited = co_await stop_when(pause(options_.sizing_interval), over_);
        if (over_.stop_requested() || !waited.is_value()) co_return;
        sizer_sample sample;
        sample.seconds = seconds(elapsed_ns(last));
        last = where_.now();
        sample.cpu_share = load.cpu_share();
        sample.memory_share = machine_load::memory_share();
        sample.own_memory_share = machine_load::own_memory_share();
        for (std::size_t i = 0; i < segments_.size(); ++i) {
            segment& each = segments_[i];
            stage_sample& one = sample.stages.emplace_back();
            std::uint64_t busy = 0;
            for (const node* stage : each.stages)
                busy += stage->account.sum(&stage_counts::busy_ns) + stage->account.sum(&stage_counts::io_ns);
            const stage_account& first = each.stages.front()->account;
            const stage_account& end = each.stages.back()->account;
            one.items = since(before[i].items, first.sum(&stage_counts::in));
            one.busy_s = seconds(since(before[i].busy, busy));
            one.starved_s = seconds(since(before[i].starved, first.sum(&stage_counts::starved_ns)));
            one.blocked_s = seconds(since(before[i].blocked, end.sum(&stage_counts::blocked_ns)));
            one.jobs = each.wanted;
        }
        const auto change = sizer.observe(sample);
        if (change) resize(segments_[change->stage], change->to);
        const std::scoped_lock held(sizing_lock_);
        sizing_.clear();
        sizing_.reserve(sizer.decisions().size());
        for (const sizer_decision& each : sizer.decisions())
            sizing_.push_back(each.to_text(sizer.stages()[each.stage].name));
    }
}

void flow_engine::resize(segment& which, unsigned to) noexcept {
    which.wanted = to;
    for (unsigned i = 0; i < which.may_work.size(); ++i) {
        if (i < to) which.may_work[i].set();
        else which.may_work[i].reset();
    }
}

// Its input has ended: who rests goes on to its end.
void flow_engine::end_rests(segment& of) noexcept {
    of.over = true;
    for (event& each : of.may_work) each.set();
}

}  // namespace leat
