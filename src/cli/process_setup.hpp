// What the command does to its own process before anything else.
#pragma once

namespace leat::cli {

// Which standard streams were closed when the process started. /dev/null stands in for them, so that no file opened later
// takes their place.
struct closed_streams {
    bool input = false;
    bool output = false;
};

// Opens what is closed of descriptors 0 to 2, ignores SIGPIPE, and lets the library's warnings reach standard error.
closed_streams prepare_process() noexcept;

// Whether whoever read standard output has gone: `leat … | head`.
bool output_reader_gone() noexcept;

}  // namespace leat::cli
