#include <leat/runtime/runtime.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <leat/base/bug.hpp>
#include <leat/base/log.hpp>
#include <leat/base/sanitizer.hpp>

namespace leat {

runtime::runtime() noexcept : process_(::getpid()) {}

bool runtime::in_forked_child() const noexcept { return ::getpid() != process_; }

void runtime::check_can_run() const noexcept {
    if (env::this_thread(env::slot::worker) != nullptr)
        bug("leat::run was called inside a task: await the task instead");
    if (in_forked_child())
        bug("a runtime made before fork() was asked to run a task in the child, where its threads are not: make "
            "another");
}

runtime::running_root::running_root(runtime& where, context& line) noexcept : where_(where), line_(line) {
    env::lock_guard held(where_.roots_lock_);
    next_ = std::exchange(where_.roots_, this);
}

runtime::running_root::~running_root() {
    env::lock_guard held(where_.roots_lock_);
    running_root** link = &where_.roots_;
    while (*link != this) link = &(*link)->next_;
    *link = next_;
}

unsigned runtime::threads_of_process() noexcept {
    struct stat tasks{};  // a folder for each thread, and . and .. of it
    if (::stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink < 3) return ~0U;
    const auto threads = static_cast<unsigned>(tasks.st_nlink) - 2;
    // ThreadSanitizer has one of its own, since the first that was started.
    return sanitizer::thread && threads > 1 ? threads - 1 : threads;
}

std::string runtime::report_roots(detail::holders of) {
    std::string text;
    for (running_root* each = roots_; each != nullptr; each = each->next_)
        text += detail::report_lines(each->line_, of) + (each->next_ != nullptr ? "\n" : "");
    return text;
}

bool runtime::look_for_deadlock(unsigned own) noexcept {
    if (threads_of_process() != own + detail::bystander::all()) return false;
    env::lock_guard held(roots_lock_);
    if (roots_ == nullptr) return false;
    // One that sleeps does so for ever, since no timer is set; another may have begun since the caller looked.
    for (running_root* each = roots_; each != nullptr; each = each->next_)
        if (detail::any_goes_on(each->line_)) return false;
    const std::string lines = report_roots(detail::holders::told);
    const auto report = std::make_shared<const std::string>("deadlock: every task waits for another\n" + lines);
    log(log_level::error, *report);
    for (running_root* each = roots_; each != nullptr; each = each->next_) {
        if (each->report_) bug("a deadlock that a stop request does not end:\n" + lines);
        each->report_ = report;
        each->line_.request_stop();
    }
    return true;
}

void runtime::tell_suspicion(duration age) noexcept {
    env::lock_guard held(roots_lock_);
    if (roots_ == nullptr) return;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
    log(log_level::warning, "a deadlock is suspected: nothing has run for " + std::to_string(seconds) +
                                " s, and only something outside could wake a task\n" +
                                report_roots(detail::holders::unknown));  // it may be waking one just now
}

}  // namespace leat
