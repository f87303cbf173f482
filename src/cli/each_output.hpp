// The sink of `leat each`: writes each result whole, standard output to ours, then standard error to ours, unless that was
// done while it ran; then why it failed, if it did; then to the folder of results; then to the job log.
#pragma once

#include <cli/data_out.hpp>
#include <cli/halt.hpp>
#include <cli/job_log.hpp>
#include <cli/live_output.hpp>
#include <cli/result_folder.hpp>
#include <cli/screen.hpp>
#include <memory>

#include <leat/flow/stage.hpp>

namespace leat::cli {

struct output_rules {
    screen& messages;  // must outlive the run
    std::shared_ptr<data_out> out;
    bool tag = false;  // each line begins with the item and a tab
    // Each may be null: none is asked for.
    std::shared_ptr<const result_folder> folder;
    std::shared_ptr<job_log> log;
    std::shared_ptr<halt_watch> halts;
    std::shared_ptr<live_output> live;
};

std::shared_ptr<stage> each_output(output_rules rules);

}  // namespace leat::cli
