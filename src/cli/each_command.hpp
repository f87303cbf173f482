// The stage of `leat each`: each_item to each_result by a command, started once an item or once a job.
//
// An item that has failed for good is emitted all the same, with what the command wrote, and then fails: its output is
// printed as that of the others is.
#pragma once

#include <memory>

#include <leat/flow/command_template.hpp>
#include <leat/flow/stage.hpp>
#include <leat/process/command.hpp>
#include <leat/process/persistent_pool.hpp>

namespace leat::cli {

// A process an item. `tries`: attempts in all, at least 1; the stage's policy must allow as many.
std::shared_ptr<stage> command_per_item(command_template arguments, command_options options, unsigned tries);
// Starts nothing: what each item's command would be is its output, quoted for a shell where it must be.
std::shared_ptr<stage> commands_shown(command_template arguments);
// Long-lived processes: a line in, a line out; the workers are as many as the stage has jobs.
std::shared_ptr<stage> command_per_job(persistent_options options, unsigned tries);

}  // namespace leat::cli
