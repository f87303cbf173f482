// open_state: the journal of a flow, for the commands that use one.
#pragma once

#include <memory>
#include <string>

#include <leat/flow/journal.hpp>

namespace leat::cli {

// To run with. Throws usage_error where the user has to do something about it (another run is at work, a newer version).
std::unique_ptr<journal> open_state(const std::string& state);

// The state directory that a word of the command line stands for: itself, or that of the flow file. Throws usage_error.
std::string state_of(const std::string& place, const char* command);

}  // namespace leat::cli
