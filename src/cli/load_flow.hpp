// load_flow: a flow file that can be run on this machine. Shared by `leat run` and `leat validate`.
#pragma once

#include <string>

#include <leat/base/expected.hpp>
#include <leat/flow/flow_file.hpp>

namespace leat::cli {

// Reads and checks the file, and looks up the commands it names. The error is all that was wrong, a line each, ended.
expected<flow_file, std::string> load_flow(const std::string& path, const registry& kinds,
                                           journal_place kept = journal_place::in_state);

}  // namespace leat::cli
