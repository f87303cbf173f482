// codec_error: where a message is not what its reader expected. Returned by decode(); a plain value that allocates nothing, so
// that an answer to garbage costs no more than the look at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace leat {

// A part of a sentence: `what`, with `number` in place of its "{}" where it has one. `what` lives for ever: a literal.
struct codec_term {
    const char* what = "";
    std::uint64_t number = 0;  // the magnitude
    bool negative = false;

    [[nodiscard]] std::string text() const;
};

struct codec_error {
    std::size_t offset = 0;  // of the part that was wrong, from the beginning of the message
    codec_term expected;
    codec_term found;

    // "at byte 3: expected an array of 2, found the number -7"
    [[nodiscard]] std::string text() const;
};

// Thrown by encode() for a value that no reader would accept, or that the format cannot hold: codec.hpp lists which.
class not_encodable : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

}  // namespace leat
