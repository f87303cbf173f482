// pool_functions: the table of what this program's workers can run.
#pragma once

#include <leat/process/pool_function.hpp>

namespace leat {

// Of a number that enter_pool_function() gave.
[[nodiscard]] const detail::pool_function_entry& pool_function_at(std::uint32_t number) noexcept;
// By name; null when there is none. Throws std::logic_error when the program has several of that name.
[[nodiscard]] const detail::pool_function_entry* find_pool_function(std::string_view name);

// The body of a process that was started as a worker.
int serve_as_pool_worker();

}  // namespace leat
