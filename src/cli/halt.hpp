// halt: when a run of `leat each` ends early, as --halt says.
#pragma once

#include <atomic>
#include <cli/screen.hpp>
#include <cstdint>

#include <leat/flow/run_flow.hpp>

namespace leat::cli {

struct halt_rule {
    enum class moment : std::uint8_t {
        never,
        soon,  // jobs that run end by themselves, no more are started
        now,   // jobs that run are ended, once the output of the last one that counted was written
    };
    enum class sort : std::uint8_t { failed, succeeded, ended };
    moment when = moment::never;
    sort counted = sort::failed;
    unsigned count = 1;       // so many jobs, or
    bool is_percent = false;  // so many of a hundred that have ended, when at least three counted
};

// Counts jobs for a rule, and ends the flow. Any thread, several at once.
class halt_watch {
public:
    // Both must outlive it.
    halt_watch(halt_rule rule, flow_control& control, screen& messages) noexcept
        : rule_(rule), control_(control), screen_(messages) {}

    // A job has ended for good.
    void job_ended(bool success) {
        if (rule_.when == halt_rule::moment::soon) count(success);
    }
    // Its output was written.
    void output_written(bool success) {
        if (rule_.when == halt_rule::moment::now) count(success);
    }

private:
    void count(bool success);

    halt_rule rule_;
    flow_control& control_;
    screen& screen_;
    std::atomic<std::uint64_t> ended_{0};
    std::atomic<std::uint64_t> counted_{0};
    std::atomic<bool> fired_{false};
};

}  // namespace leat::cli
