// manifest: what a run tells its workers of itself, as JSON under the key manifest.FLOW.RUN; and the names of what it has in the
// engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <leat/base/expected.hpp>
#include <leat/flow/policy.hpp>

namespace leat::cluster {

inline constexpr const char* runs_bucket = "leat-runs";
inline constexpr const char* workers_bucket = "leat-workers";
inline constexpr std::chrono::seconds workers_age{15};
inline constexpr const char* worker_consumer = "workers";  // of a segment's stream of items
inline constexpr const char* results_consumer = "coordinator";
inline constexpr const char* dead_consumer = "replay";

// A stage of a segment.
struct manifest_stage {
    std::string name;
    std::string function;  // of a C++ flow
    std::uint64_t type = 0;
    stage_policy policy;  // of a C++ flow: retries, timeout and jobs
};
struct manifest_segment {
    std::string name;
    std::vector<manifest_stage> stages;
    std::chrono::nanoseconds ack_wait{0};
    unsigned most_deliveries = 5;
};
struct manifest {
    std::string leat;  // the version of who wrote it
    std::string flow;  // as in names
    std::string run;
    std::string owner;       // the coordinator: host and process
    std::string hash;        // of what must be the same for a worker
    std::string flow_words;  // flow_text() of a flow file; empty: a C++ flow
    std::string file;        // its name, for messages
    std::string text;
    std::vector<manifest_segment> segments;

    [[nodiscard]] bool is_file() const noexcept { return !flow_words.empty(); }
    [[nodiscard]] std::string key() const { return "manifest." + flow + "." + run; }
    [[nodiscard]] std::string items_stream(std::size_t segment) const;
    [[nodiscard]] std::string items_subject(std::size_t segment) const;
    [[nodiscard]] std::string results_stream(std::size_t segment) const;
    [[nodiscard]] std::string results_subject(std::size_t segment) const;
};

[[nodiscard]] std::string dead_stream(std::string_view flow);
[[nodiscard]] std::string dead_subject(std::string_view flow, std::string_view run, std::size_t segment);

[[nodiscard]] std::string to_json(const manifest& what);
// The error is a sentence.
[[nodiscard]] expected<manifest, std::string> manifest_from_json(std::string_view text);

// What must be the same where the coordinator and a worker have a flow: its words and segments, or its functions.
[[nodiscard]] std::string hash_of(const manifest& what);
[[nodiscard]] std::string version();
// "HOST:PID".
[[nodiscard]] std::string this_process();

}  // namespace leat::cluster
