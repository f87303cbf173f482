// Which mistake of mutants.toml is planted in this run: 0 is none. Included in front of every source of the mutants' build.
#pragma once

#include <optional>

namespace leat::mutants {

inline int planted = 0;  // set once, before the first scenario

}  // namespace leat::mutants
