// thread_line: a plain thread as a waiter. Blocking forms of operations make one on the stack, wait as a coroutine would,
// and park the thread until they are resumed. block_on(operation) is that for every operation whose awaiter has a
// suspend(context&, handle) beside its await_suspend: those of channels and select.
#pragma once

#include <leat/task/context.hpp>

namespace leat {

class thread_line final : private executor, public context {
public:
    // A bug on a thread that runs tasks: it would stop them all.
    explicit thread_line(const char* name) noexcept;

    // Sleeps until the line is resumed, and fires the timers that it has set. Called once after a wait that did begin (the
    // operation's await_suspend said true).
    void park() noexcept;
    // The same until `deadline`: then ends the wait `which` as timed_out, unless it has just been ended.
    void park_until(time_point deadline, ticket which) noexcept;
    // The calling thread waits for a point in time, and for nothing else. A bug as above.
    static void sleep_until(time_point when) noexcept;

private:
    void post(work_item& item) noexcept override;
    // By the line itself, before it parks and afterwards.
    void start(timer& timer) noexcept override;
    void cancel(timer& timer) noexcept override;
    [[nodiscard]] timer* earliest() const noexcept;

    env::atomic<std::uint32_t> resumed_{0};  // 0: not yet; 1: go on
    timer* timers_ = nullptr;                // newest first; the thread's own
};

// Does `operation` on a thread that runs no tasks, and blocks it meanwhile; `name` is a literal for reports. A bug on a
// thread that runs tasks.
template <class Operation>
auto block_on(Operation operation, const char* name = "block_on") {
    thread_line line(name);
    auto awaiter = std::move(operation).operator co_await();
    if (awaiter.suspend(line, {})) line.park();
    return awaiter.await_resume();
}

}  // namespace leat
