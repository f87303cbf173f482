// autosizer: decides how many jobs each stage of a running flow should have. Pure logic, without clock, thread or I/O: whoever
// runs the flow feeds it a sample every interval, does what it decides, and goes on feeding it.
//
//   leat::autosizer sizer({{"parse", 1, 1, 8}, {"store", 1, 1, 1}});
//   every second:  if (auto change = sizer.observe(sample)) resize(change->stage, change->to);
//
// The rule (docs/model.md has the terms): the stage with the least capacity by its true rate, if its workers are busy, gets twice
// its jobs, or fewer where the model says that something else will be the limit then. When the rate has settled it is compared with
// the prediction: as predicted, and the next doubling may come; less, and the jobs are refined to those that the rate needs; nothing,
// and they are taken back. A stage that did not pay is left alone until its items or the flow have changed.
//
// Invariants:
//  1. One change at a time: none is decided before the last one was judged.
//  2. No stage leaves least … most. No job is added while CPUs or memory are at their gates, nor where memory is expected to
//     come above its gate; when it does, the last addition is taken back at once.
//  3. While nothing changes from outside, the number of decisions is bounded: each stage grows until it does not pay, once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace leat {

// A stage as it begins. Stages that are fused share their workers: they are one here.
struct sizer_stage {
    std::string name;
    unsigned jobs = 1;
    unsigned least = 1;
    unsigned most = 1;
};

// What a stage did in one interval, and how many workers it has at the end of it.
struct stage_sample {
    std::uint64_t items = 0;  // done
    double busy_s = 0;        // of all its workers together
    double starved_s = 0;     // waiting for input
    double blocked_s = 0;     // waiting for room behind it, or for their turn
    unsigned jobs = 1;
};

struct sizer_sample {
    double seconds = 0;  // the length of the interval
    std::vector<stage_sample> stages;
    double cpu_share = 0;         // of the effective CPUs, used by anybody: 0 … 1
    double memory_share = 0;      // of the effective memory, the same
    double own_memory_share = 0;  // of that, what this flow takes; 0: unknown
};

struct sizer_options {
    sizer_options() = default;
    double cpu_gate = 0.85;
    double memory_gate = 0.85;
    unsigned settling = 1;      // intervals after a change that do not count
    unsigned measured = 2;      // intervals that are looked at together, at least
    unsigned least_items = 10;  // that the slowest stage has done in them; or ten times as many intervals have passed
    double busy_share = 0.8;    // from here on a stage's workers count as busy
    double noise = 0.03;        // a change of the rate that says nothing
};

struct sizer_decision {
    enum class purpose : std::uint8_t {
        grow,       // more, since it is the bottleneck
        refine,     // fewer, since the rate needs no more
        take_back,  // what it had before, since more did not pay, or less cost something
        relieve,    // fewer, since memory is at its gate
    };
    enum class verdict : std::uint8_t { pending, as_predicted, less, nothing, overruled };

    purpose what = purpose::grow;
    std::size_t stage = 0;
    unsigned from = 1;
    unsigned to = 1;
    std::string reason;         // a sentence
    double rate_before = 0;     // items of the source a second
    double predicted_rate = 0;  // after the change
    double rate_after = 0;      // 0 while it is pending
    verdict result = verdict::pending;

    // "parse 2 → 4: its 2 jobs are busy …; predicted 80 items/s, came 78: as predicted". Without a line end.
    [[nodiscard]] std::string to_text(const std::string& stage_name) const;
};

// Used by one at a time.
class autosizer {
public:
    explicit autosizer(std::vector<sizer_stage> stages, sizer_options options = {});

    // The next sample; its stages are those of the constructor, in their order (others are ignored). Gives what to change now,
    // if anything: the stage is expected to have `to` workers in a later sample. A stage that has other jobs than were decided
    // ten intervals later, or that somebody else has changed, is taken as it is.
    [[nodiscard]] std::optional<sizer_decision> observe(const sizer_sample& sample);

    // All decisions so far, each with what came of it, the oldest first.
    [[nodiscard]] const std::vector<sizer_decision>& decisions() const noexcept { return decisions_; }
    // Why nothing is changed at present: a sentence for a view; empty when something is pending.
    [[nodiscard]] const std::string& resting_because() const noexcept { return resting_; }
    [[nodiscard]] const std::vector<sizer_stage>& stages() const noexcept { return stages_; }

private:
    // Of a stage, over the intervals that are looked at together.
    struct sum {
        double items = 0;
        double busy_s = 0;
    };
    struct memory_of {            // of a stage, what was learned
        bool doubles = true;      // false: it grows by one
        bool settled = false;     // it is left alone until it or the flow have changed
        double settled_rate = 0;  // then; below 0: not measured yet
        double settled_speed = 0;
        unsigned missed = 0;        // how often it did not pay
        double share_per_job = -1;  // of memory; below 0: unknown
    };
    // The figures of the window.
    struct view {
        std::vector<double> speed;     // items a second of busy time, of one worker
        std::vector<double> visits;    // items for each of the source's
        std::vector<double> capacity;  // items of the source a second
        std::vector<double> busy;      // share of the workers' time
    };

    [[nodiscard]] bool is_expected(const sizer_sample& sample);
    [[nodiscard]] bool is_enough() const;
    [[nodiscard]] view look() const;
    [[nodiscard]] double rate_at(std::size_t stage, const view& now) const;
    std::optional<sizer_decision> judge(const sizer_sample& sample, const view& now);
    std::optional<sizer_decision> grow(const sizer_sample& sample, const view& now);
    std::optional<sizer_decision> relieve(const sizer_sample& sample);
    [[nodiscard]] bool may_grow(std::size_t stage, const view& now);
    void settle(std::size_t stage, bool missed);
    sizer_decision decide(sizer_decision made, double memory_share);
    void clear_window();

    std::vector<sizer_stage> stages_;  // with the jobs that were decided
    sizer_options options_;
    std::vector<memory_of> known_;
    std::vector<sizer_decision> decisions_;
    bool pending_ = false;      // the last decision is to be judged
    bool changing_ = false;     // the jobs are not yet as decided
    double memory_before_ = 0;  // when it was made
    unsigned waited_ = 0;       // intervals for the jobs to be as decided
    unsigned to_skip_ = 0;
    unsigned most_jobs_ = 0;  // of all stages together, where memory has come to its gate; 0: no bound
    std::string resting_;

    std::vector<sum> window_;
    std::vector<double> all_items_;  // since the start
    double window_s_ = 0;
    unsigned intervals_ = 0;
};

}  // namespace leat
