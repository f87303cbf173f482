// The stage of `leat each`: each_item to each_result by a command, started once an item or once a job.
//
// An item that has failed for good is emitted all the same, with what the command wrote, and then fails: its output is
// printed as that of the others is.
#pragma once

#include <cli/each_items.hpp>
#include <cli/halt.hpp>
#include <cli/job_log.hpp>
#include <cli/live_output.hpp>
#include <functional>
#include <memory>

#include <leat/flow/command_template.hpp>
#include <leat/flow/stage.hpp>
#include <leat/process/command.hpp>
#include <leat/process/persistent_pool.hpp>

namespace leat::cli {

// What holds for the jobs of a run, whatever starts them.
struct job_rules {
    unsigned tries = 1;                 // attempts of an item in all, at least 1; the stage's policy must allow as many
    duration delay{0};                  // between the starts of two jobs
    std::shared_ptr<job_log> log;       // what is in it is skipped, and results are to be logged; null: none
    std::function<void()> give_up;      // called when the log is one of other items
    std::shared_ptr<halt_watch> halts;  // told of each job's end; null: nobody
    bool dead_letters = false;          // an item that fails keeps how, for its letter
    std::shared_ptr<live_output> live;  // prints what a process an item writes, as it comes; null: nobody does
};

// A process an item.
std::shared_ptr<stage> command_per_item(command_template arguments, command_options options, job_rules rules);
// Starts nothing: what each item's command would be is its output, quoted for a shell where it must be.
std::shared_ptr<stage> commands_shown(command_template arguments);
// Long-lived processes that are given items and answer them; the workers are as many as the stage has jobs.
// With a pace, items may come in blocks, of one worker each, as the pace is told they should; `rules` then has no log, no delay
// and no halts. `window_follows`: a worker may hold some blocks, however many items that is; else options.window.
struct pace_rules {
    std::shared_ptr<block_pace> pace;
    bool window_follows = false;
};
std::shared_ptr<stage> command_per_job(persistent_options options, job_rules rules, pace_rules blocks = {});

}  // namespace leat::cli
