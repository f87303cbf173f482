// report: the account of a run. It adds up: in = out + skipped + dead + failed + unfinished, in source items.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>

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
    unsigned workers = 1;    // items at work at a time: jobs, times what a job holds
    unsigned most_jobs = 0;  // it can have; 0: not known
    bool fused = false;      // its items stayed with the worker that did the stage before: the two share their workers
    // Its workers' time, in five parts without a gap. Of fused stages each has its own in the first three; the first waits for
    // input, and the last for what follows.
    double busy_s = 0;     // in the stage itself, on a CPU
    double io_s = 0;       // in the stage itself, waiting: for I/O, processes, locks
    double core_s = 0;     // ready, and waiting for a CPU
    double starved_s = 0;  // waiting for input
    double blocked_s =
        0;  // waiting for what follows, for its turn, or as its policy says (rate, pool, delay of a retry)
    [[nodiscard]] double useful_s() const noexcept { return busy_s + io_s; }
    double p50_ms = 0;  // of the time an item takes in the stage, all attempts
    double p99_ms = 0;
    std::uint64_t spilled = 0;      // put aside for want of room: see when_full::spill
    std::uint64_t saved_bytes = 0;  // of items that it left out so that they were not sent
    std::uint64_t moved_bytes = 0;  // what it moved itself to know that
};

enum class flow_end : std::uint8_t {
    complete,     // the source ended and everything was settled
    failed,       // an error ended it; see `error`
    interrupted,  // it was asked to drain or to stop
};

// What was predicted of the run, by flow_plan from a sample.
struct plan_forecast {
    std::uint64_t sampled = 0;  // items
    std::uint64_t items = 0;    // in all; 0: not known
    double rate = 0;            // items of the source a second
    double seconds = 0;         // 0: not known
    double peak_bytes = 0;      // of memory
    std::string sentence;       // what limits the flow
};

struct report {
    std::string flow;
    flow_end end = flow_end::complete;
    std::string error;  // when end is failed: one sentence
    std::uint64_t in = 0;
    std::uint64_t out = 0;
    std::uint64_t skipped = 0;
    std::uint64_t resumed = 0;  // of the skipped: done in an earlier run
    std::uint64_t dead = 0;
    std::uint64_t failed = 0;
    std::uint64_t unfinished = 0;
    std::vector<std::string> unfinished_names;  // at most some hundred
    double seconds = 0;
    double cpus = 0;        // that there were, effectively; this and the next two by who ran the flow, 0: not known
    double cpu_s = 0;       // that the program and its children used
    double peak_bytes = 0;  // of the program's memory
    std::vector<stage_report> stages;
    std::vector<std::string>
        sizing;  // what was decided about stages with a range of jobs or a full disk: a sentence each
    std::optional<plan_forecast> plan;

    [[nodiscard]] bool adds_up() const noexcept { return in == out + skipped + dead + failed + unfinished; }
    // As one JSON object: flow, in, out, skipped, dead, failed, unfinished, seconds, stages, …
    [[nodiscard]] std::string to_json() const;
    // What to_json() wrote. The error is a sentence: not JSON, no report, what is missing or wrong in it.
    [[nodiscard]] static expected<report, std::string> from_json(std::string_view text);
    // As a table for a person, with throughput, what limited the flow, and what a plan had said of it. Several lines, each ended.
    [[nodiscard]] std::string to_text() const;
};

}  // namespace leat
