// The log hook: how the library says something without owning a stream. The command and `leat::main` set a hook that
// prints; a program that embeds the library sets its own, or none and hears nothing.
#pragma once

#include <string_view>

namespace leat {

enum class log_level : unsigned char { debug, info, warning, error, fatal };

// Called from any thread, possibly from several at once; must not throw and should not block.
using log_hook = void (*)(void* user, log_level level, std::string_view message) noexcept;

// Replaces the hook; nullptr silences the library. Any thread; a call of the old hook that is under way may still end
// after this returns, so `user` must outlive the program's last task.
void set_log_hook(log_hook hook, void* user) noexcept;

// Gives `message` to the hook, if one is set. Any thread.
void log(log_level level, std::string_view message) noexcept;

}  // namespace leat
