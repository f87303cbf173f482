// worker_protocol: how a persistent worker is given an item and gives an answer over its pipes.
#pragma once

#include <cstdint>

namespace leat {

enum class worker_protocol : std::uint8_t {
    line,   // each ends with a line feed, and holds none
    nul,    // each ends with a NUL byte, and holds none
    frame,  // each is preceded by its length in bytes: 4 bytes, the most significant first
};

}  // namespace leat
