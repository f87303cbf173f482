// The sink of `leat each`: writes each result whole, standard output to ours, then standard error to ours, then why it
// failed, if it did.
#pragma once

#include <cli/halt.hpp>
#include <cli/job_log.hpp>
#include <cli/screen.hpp>
#include <memory>

#include <leat/flow/stage.hpp>

namespace leat::cli {

// `tag`: each line begins with the item and a tab. `log` and `halts` may be null. `messages` must outlive the run.
std::shared_ptr<stage> each_output(screen& messages, bool tag, std::shared_ptr<job_log> log,
                                   std::shared_ptr<halt_watch> halts);

}  // namespace leat::cli
