// How busy the machine is just now, as far as Linux says so; nothing where it does not.
#pragma once

#include <cstdint>
#include <optional>

namespace leat::cli {

// Processes and threads of the whole machine that run or wait for a CPU, without the caller.
std::optional<unsigned> runnable_tasks();
// Bytes that programs can have without swapping others out.
std::optional<std::uint64_t> available_memory();

}  // namespace leat::cli
