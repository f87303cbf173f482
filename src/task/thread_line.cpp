#include <leat/task/thread_line.hpp>

#include <leat/base/bug.hpp>

namespace leat {

thread_line::thread_line(const char* name) noexcept : context(static_cast<executor&>(*this), name) {
    if (env::this_thread(env::slot::worker) != nullptr)
        bug("a blocking operation was called on a thread that runs tasks: await it instead, or use leat::blocking");
}

void thread_line::park() noexcept {
    while (resumed_.load(env::acquire) == 0) {  // pairs with post()
        timer* const soonest = earliest();
        if (soonest == nullptr) {
            env::futex_wait(resumed_, 0);
        } else if (!env::futex_wait_until(resumed_, 0, soonest->due)) {
            cancel(*soonest);
            soonest->fire(*soonest);
        }
    }
    resumed_.store(0, env::relaxed);  // relaxed: the poster has gone
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

void thread_line::start(timer& timer) noexcept {
    if (timer.due == time_point::max()) return;
    timer.next = timers_;
    timers_ = &timer;
}

void thread_line::cancel(timer& timer) noexcept {
    for (leat::timer** each = &timers_; *each != nullptr; each = &(*each)->next) {
        if (*each != &timer) continue;
        *each = timer.next;
        return;
    }
}

timer* thread_line::earliest() const noexcept {
    timer* first = timers_;
    for (timer* each = timers_; each != nullptr; each = each->next)
        if (each->due < first->due) first = each;
    return first;
}

}  // namespace leat
