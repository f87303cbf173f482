// start_child: the system's side of spawn(): clone in the manner of vfork, the steps of the child, exec, and the exact error
// of the step that failed. Everything here is plain data that spawn() has checked and laid out beforehand.
#pragma once

#include <leat/base/expected.hpp>

#include <cstdint>
#include <span>
#include <sys/types.h>

namespace leat {

class sentinel;

// A descriptor of the child: `to` becomes a copy of `from`.
struct descriptor_mapping {
    static constexpr int kept = -1;     // `to` as it is, or /dev/null where that is closed or close-on-exec
    static constexpr int devnull = -2;  // /dev/null
    int from;
    int to;
};

struct limit_setting {
    int resource;  // RLIMIT_…
    std::uint64_t soft;
    std::uint64_t hard;
};

// Taken on right before exec, by the child itself.
struct sandbox_setting {
    bool wanted = false;         // no new privileges, and what follows
    int ruleset = -1;            // of Landlock, with a number that no mapping overwrites; -1: none
    bool socket_filter = false;  // refuse sockets but local ones
};

struct child_plan {
    const char* program;                        // a path, relative ones count from `directory`
    char* const* argv;                          // ends with a null pointer
    char* const* envp;                          // likewise
    const char* directory;                      // null: as here
    std::span<descriptor_mapping> descriptors;  // each `to` once; scratch of the child, and of no value afterwards
    std::span<const limit_setting> limits;
    sandbox_setting sandbox;
};

struct started_child {
    pid_t pid;
    int pidfd;
};

enum class start_step : unsigned char { clone, devnull, descriptor, close_others, limit, directory, sandbox, exec };

struct start_failure {
    start_step step;
    int error;    // errno
    int subject;  // the descriptor or the resource that it was about
};

// Returns once the child has passed exec, or is gone. The child leads a group of its own and is watched by `watcher`; the
// caller takes both over. Any thread; signals of the calling thread are held back meanwhile.
[[nodiscard]] expected<started_child, start_failure> start_child(const child_plan& plan, sentinel& watcher) noexcept;

}  // namespace leat
