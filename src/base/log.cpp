// The log hook and the end of a program with a bug in it.
#include <leat/base/bug.hpp>
#include <leat/base/env.hpp>
#include <leat/base/log.hpp>

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace leat {

namespace {

struct hook_slot {
    env::mutex lock;
    log_hook hook = nullptr;
    void* user = nullptr;
};

// Never destroyed: a task may log while static objects are being torn down.
hook_slot& slot() noexcept {
    static hook_slot& only = *new hook_slot;
    return only;
}

}  // namespace

void set_log_hook(log_hook hook, void* user) noexcept {
    env::lock_guard held(slot().lock);
    slot().hook = hook;
    slot().user = user;
}

void log(log_level level, std::string_view message) noexcept {
    slot().lock.lock();
    const log_hook hook = slot().hook;
    void* const user = slot().user;
    slot().lock.unlock();  // before the call: a hook may log
    if (hook != nullptr) hook(user, level, message);
}

void bug(std::string_view what, std::source_location where) noexcept {
    char line[2048];
    const auto end = fmt::format_to_n(line, sizeof line - 1, "leat: bug: {} ({}:{}, in {})", what, where.file_name(),
                                      where.line(), where.function_name());
    const std::string_view text(line, std::min<std::size_t>(end.size, sizeof line - 1));
    slot().lock.lock();
    const bool hooked = slot().hook != nullptr;
    slot().lock.unlock();
    if (hooked) {
        log(log_level::fatal, text);
    } else {
        line[text.size()] = '\n';
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line, text.size() + 1);
    }
    std::abort();
}

}  // namespace leat
