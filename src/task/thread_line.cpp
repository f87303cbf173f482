#include <leat/task/thread_line.hpp>

#include <leat/base/bug.hpp>

namespace leat {

thread_line::thread_line(const char* name) noexcept : context(static_cast<executor&>(*this), name) {
    if (env::this_thread(env::slot::worker) != nullptr)
        bug("a blocking operation was called on a thread that runs tasks: await it instead, or use leat::blocking");
}

void thread_line::park() noexcept {
    while (resumed_.load(env::acquire) == 0) env::futex_wait(resumed_, 0);  // pairs with post()
    resumed_.store(0, env::relaxed);                                        // relaxed: the poster has gone
}

void thread_line::park_until(time_point deadline, ticket which) noexcept {
    while (resumed_.load(env::acquire) == 0) {  // pairs with post()
        if (env::futex_wait_until(resumed_, 0, deadline)) continue;
        if (claim(which, wake::timed_out)) return;
        return park();  // claimed by another, who is about to post
    }
    resumed_.store(0, env::relaxed);
}

void thread_line::sleep_until(time_point when) noexcept {
    thread_line line("sleep_until");
    if (line.begin_wait({}, "sleep")) line.park_until(when, line.current_ticket());
}

void thread_line::post(work_item&) noexcept {
    resumed_.store(1, env::release);  // pairs with park(); the thread may leave and free this from here on
    env::futex_wake(resumed_, 1);
}

void thread_line::start(timer&) noexcept { bug("a plain thread has no timers: use park_until"); }

}  // namespace leat
