// report: the account of a run. It adds up: in = out + skipped + dead + failed + unfinished, in source items.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace leat {

struct stage_report {
    std::string name;
    std::uint64_t in = 0;       // items it was given
    std::uint64_t out = 0;      // items it emitted; for a sink: committed
    std::uint64_t skipped = 0;  // left out: filtered, duplicates, on_error = skip
    std::uint64_t retried = 0;  // attempts beyond the first
    std::uint64_t dead = 0;
    std::uint64_t failed = 0;
    unsigned jobs = 1;
    unsigned workers = 1;  // items at work at a time: jobs, times what a job holds
    double busy_s = 0;     // its workers' time in the stage itself, processes and I/O it waits for included
    double starved_s = 0;  // waiting for input
    double blocked_s = 0;  // waiting for what follows, or for its turn
    double p50_ms = 0;     // of the time an item takes in the stage, all attempts
    double p99_ms = 0;
};

enum class flow_end : std::uint8_t {
    complete,     // the source ended and everything was settled
    failed,       // an error ended it; see `error`
    interrupted,  // it was asked to drain or to stop
};

struct report {
    std::string flow;
    flow_end end = flow_end::complete;
    std::string error;  // when end is failed: one sentence
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    std::uint64_t skipped = 0;
    std::uint64_t dead = 0;
    std::uint64_t failed = 0;
    std::uint64_t unfinished = 0;
    std::vector<std::string> unfinished_names;  // at most some hundred
    double seconds = 0;
    std::vector<stage_report> stages;

    [[nodiscard]] bool adds_up() const noexcept { return in == out + skipped + dead + failed + unfinished; }
    // As one JSON object: flow, in, out, skipped, dead, failed, unfinished, seconds, stages, …
    [[nodiscard]] std::string to_json() const;
    // As a table for a person, with throughput and the name of the stage that was busiest. Several lines, each ended.
    [[nodiscard]] std::string to_text() const;
};

}  // namespace leat
