// progress: what is shown of a run while it goes on, as pure functions of its counts.
#pragma once

#include <string>
#include <vector>

#include <leat/flow/run_flow.hpp>

namespace leat::cli {

struct progress_style {
    unsigned width = 80;  // of the terminal; lines are shorter
    bool color = false;
};

// The lines of the block on a terminal: items done, rate and time left, then a line a stage with a bar that shows how much
// of the time of its jobs is used.
std::vector<std::string> progress_lines(const flow_control::progress& now, const progress_style& style);

// A bar with the share that is done, the items, and the time left, as far as the total is known.
std::string progress_bar(const flow_control::progress& now, const progress_style& style);
// The time left in seconds, the items left and the mean time between two ends, in the words of GNU parallel.
std::string progress_eta(const flow_control::progress& now);

// One JSON object, without a line feed.
std::string progress_json(const flow_control::progress& now);

}  // namespace leat::cli
