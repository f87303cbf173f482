// pipe_failed: what a start throws that could not make a pipe to the child.
#pragma once

#include <cerrno>
#include <fmt/format.h>
#include <system_error>

#include <leat/process/command.hpp>

#include "spawn_plan.hpp"

namespace leat {

inline spawn_failed pipe_failed(const std::error_code& error) {
    using kind = spawn_error::kind;
    const bool shortage = error.value() == EMFILE || error.value() == ENFILE || error.value() == ENOMEM;
    const std::string limit =
        error.value() == EMFILE ? fmt::format(" (the limit is {}, see `ulimit -n`)", open_file_limit()) : std::string();
    return spawn_failed(
        spawn_error(shortage ? kind::no_resources : kind::refused, error.value(),
                    fmt::format("a pipe to the command could not be made: {}{}", error.message(), limit)));
}

}  // namespace leat
