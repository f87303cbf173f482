// What the command's exit status says. Part of its contract: scripts look at it.
#pragma once

namespace leat::cli {

enum class exit_code : int {
    done = 0,             // all items done
    items_failed = 1,     // some failed for good, or were kept as dead letters
    usage = 2,            // bad usage, a bad flow file, a command that does not exist: nothing was run
    deadlock = 3,         // every task waited for another
    engine_failed = 4,    // the run could not go on: the source or the sink failed, the output could not be written
    interrupted = 130,    // by SIGINT
    output_closed = 141,  // who read the output has gone, as in `leat … | head`
    terminated = 143,     // by SIGTERM
};

}  // namespace leat::cli
