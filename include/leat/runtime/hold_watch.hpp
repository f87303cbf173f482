// hold_watch: finds the task that has held a worker for long, and says in the log which it is. Both runtimes for programs
// have one when asked to (run_options::report_holds_after).
//
// A thread of its own looks at what the workers show of themselves, a few times in the limit, and sleeps while all of them
// do: neither an idle worker, which need not exist, nor a clock read at each item. A worker that is watched writes three
// words of its own at each item; one that is not watched pays a branch.
//
// Invariants:
//  1. A step is one item, or one rest (then it is even). Who sees the same odd step at two looks has seen one item run all
//     the time in between.
//  2. A worker that ends its rest looks for a sleeping watch afterwards; the watch announces its sleep and looks at the steps
//     afterwards, all sequentially consistent: one of the two sees the other.
#pragma once

#include <source_location>
#include <vector>

#include <leat/task/context.hpp>

namespace leat {

class hold_watch;

// What one worker runs now. Written by its thread alone, read by the watch.
class now_running {
public:
    // The worker is about to run `item`, or to go on inside one with what is of another line.
    void begins(work_item& item) noexcept {
        if (watch_ != nullptr) [[unlikely]]
            show(item);
    }
    // It is about to sleep, or to return to who drives it.
    void rests() noexcept {
        if (watch_ != nullptr) [[unlikely]]
            show_rest();
    }

private:
    friend hold_watch;
    void show(work_item& item) noexcept;
    void show_rest() noexcept;

    hold_watch* watch_ = nullptr;                     // written once, before the worker runs
    env::atomic<std::uint32_t> step_{0};              // odd: runs an item; even: rests. Never the same again
    env::atomic<const char*> name_{nullptr};          // a literal; null: no task
    env::atomic<std::source_location> spawned_at_{};  // where the task was spawned; line 0: not known
};

class hold_watch {
public:
    // Reports what holds one of `workers` for `limit` or longer: once a hold, at level warning, within a quarter of the limit.
    // The workers outlive the watch, and run nothing when it begins and when it ends. Where the system refuses a thread
    // nothing is reported but that.
    hold_watch(const std::vector<now_running*>& workers, duration limit);
    hold_watch(const hold_watch&) = delete;
    hold_watch& operator=(const hold_watch&) = delete;
    ~hold_watch();
    // In a forked child, which has not its thread.
    void forget() noexcept { thread_.forget(); }

private:
    friend now_running;
    static constexpr std::uint32_t looks = 0, sleeps = 1, ends = 2;

    struct watched {
        now_running* worker;
        std::uint32_t step = 0;  // as at the last look; the following as at the first look that saw this step
        time_point since{};
        const char* name = nullptr;
        std::source_location spawned_at{};
        bool reported = false;
    };

    void work() noexcept;
    bool look(time_point now) noexcept;
    [[nodiscard]] bool all_rest_still() const noexcept;
    void sleep() noexcept;
    void wake() noexcept;
    void report(std::size_t number, const watched& held, duration already) const noexcept;

    const duration limit_;
    std::vector<watched> workers_;
    env::atomic<std::uint32_t> state_{looks};  // looks; sleeps until a worker ends its rest; ends
    env::thread thread_;
};

}  // namespace leat
