// exit_status: how a child process ended and what it used. Returned by child_process; a plain value.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace leat {

// What a process and those of its descendants that it waited for have used.
struct resource_usage {
    resource_usage() {}

    std::chrono::microseconds user_time{0};
    std::chrono::microseconds system_time{0};
    std::uint64_t max_rss_bytes = 0;  // of the largest of those processes
};

class exit_status {
public:
    enum class kind : unsigned char {
        exited,     // of its own will, with code()
        signalled,  // killed by signal()
        lost,       // reaped by someone else in this process: SIGCHLD is ignored, or something waits for any child
    };

    static exit_status exited(int code, resource_usage usage = {}) noexcept {
        return {kind::exited, code, false, usage};
    }
    static exit_status signalled(int signal, bool core_dumped = false, resource_usage usage = {}) noexcept {
        return {kind::signalled, signal, core_dumped, usage};
    }
    static exit_status lost() noexcept { return {kind::lost, 0, false, {}}; }

    [[nodiscard]] kind how() const noexcept { return how_; }
    [[nodiscard]] bool success() const noexcept { return how_ == kind::exited && value_ == 0; }
    // The exit code, 0 to 255; -1 when the process did not exit of its own will.
    [[nodiscard]] int code() const noexcept { return how_ == kind::exited ? value_ : -1; }
    // The signal that killed it; 0 when none did.
    [[nodiscard]] int signal() const noexcept { return how_ == kind::signalled ? value_ : 0; }
    [[nodiscard]] bool core_dumped() const noexcept { return core_dumped_; }
    [[nodiscard]] const resource_usage& usage() const noexcept { return usage_; }

    // A predicate for a sentence about the process: "exited with 3", "killed by signal 9 (SIGKILL)".
    [[nodiscard]] std::string text() const;

private:
    exit_status(kind how, int value, bool core_dumped, resource_usage usage) noexcept
        : how_(how), core_dumped_(core_dumped), value_(value), usage_(usage) {}

    kind how_;
    bool core_dumped_;
    int value_;
    resource_usage usage_;
};

}  // namespace leat
