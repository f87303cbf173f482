// The kind `exec`: a program as a stage. Part of add_builtin_kinds().
#pragma once

#include <leat/flow/component.hpp>

namespace leat {

void add_exec_kind(registry& kinds);

}  // namespace leat
