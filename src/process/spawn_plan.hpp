// spawn_plan: the options of spawn(), checked and laid out as the plain arrays that a child can use between clone and exec.
#pragma once

#include <leat/process/spawn.hpp>

#include "start_child.hpp"

namespace leat {

// The options as arrays; the pointers lead into the options and into this object.
struct spawn_plan {
    // The first thing that is wrong with the options, if any.
    std::optional<spawn_error> lay_out(const spawn_options& options);
    child_plan view(const spawn_options& options) noexcept;

    std::string program;
    std::vector<char*> argv;
    std::vector<char*> envp;  // empty: that of this process
    std::vector<std::string> variables;
    std::vector<descriptor_mapping> descriptors;
    std::vector<limit_setting> limits;

private:
    std::optional<spawn_error> lay_out_arguments(const spawn_options& options);
    std::optional<spawn_error> lay_out_environment(const spawn_options& options);
    std::optional<spawn_error> lay_out_descriptors(const spawn_options& options);
    void lay_out_limits(const child_limits& wanted);
};

// How many descriptors this process may have.
std::uint64_t open_file_limit() noexcept;

}  // namespace leat
