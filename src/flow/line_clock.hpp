// line_clock: an executor that keeps the time of one line on it: how long it ran, how long it was ready and waited for a thread,
// and how long it waited for something to happen. Everything else is the executor's below.
//
//   co_await line_clock::move_to(clock);                // by the line itself, which stays on it
//   …
//   const line_clock::interval past = clock->take(now); // since the last take()
//
// While a line runs its thread may be off its CPU: another thread has it, or the line has called something that blocks. A
// sample of the runs is compared with what the kernel says of the thread: its time on a CPU, and how long it was ready without one
// (where it does not say that, what was off the CPU is divided as the switches were voluntary or not). The rest of the runs counts
// in the same measure.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>

#include <leat/task/context.hpp>
#include <leat/task/task.hpp>

namespace leat {

class line_clock final : public executor, public std::enable_shared_from_this<line_clock> {
public:
    explicit line_clock(executor& below) : below_(below) {}

    // Takes the awaiting line onto the clock, where it stays until it ends; the clock outlives its last run by itself.
    static task<> move_to(std::shared_ptr<line_clock> onto);

    struct interval {
        std::uint64_t run_ns = 0;     // on a CPU, as far as is known
        std::uint64_t waited_ns = 0;  // for something
        std::uint64_t core_ns = 0;    // ready, without a thread or a CPU
        [[nodiscard]] std::uint64_t all() const noexcept { return run_ns + waited_ns + core_ns; }
    };
    // What became of the time since the last take() or skip(). By the line itself, as the following.
    [[nodiscard]] interval take(time_point now) noexcept;
    void skip(time_point now) noexcept { (void)take(now); }
    // Whether the line has waited since then.
    [[nodiscard]] bool has_waited() const noexcept { return runs_ != taken_runs_; }

    void post(work_item& item) noexcept override;
    void post_last(work_item& item) noexcept override;
    void run_watched(work_item& line, work_item::function resume) noexcept override;
    time_point now() const noexcept override { return below_.now(); }
    std::uint64_t random() noexcept override { return below_.random(); }
    bool blocks_in_place() const noexcept override { return below_.blocks_in_place(); }
    void start(timer& timer) noexcept override { below_.start(timer); }
    void cancel(timer& timer) noexcept override { below_.cancel(timer); }
    executor& host() noexcept override { return below_.host(); }
    detail::fork_worker* fork_worker_here() noexcept override { return below_.fork_worker_here(); }
    void alert_fork_workers() noexcept override { below_.alert_fork_workers(); }

    // Whether flows keep the time at all: turned off by the benchmark of what it costs, before it runs one.
    static inline bool is_used = true;

private:
    // A run is looked at closely, which costs some 3 us, when the last was so long ago: twice as long each time, so that a short
    // flow is looked at often and a long one pays little.
    static constexpr duration first_pause = std::chrono::microseconds(500);
    static constexpr duration longest_pause = std::chrono::milliseconds(16);

    executor& below_;
    const work_item* line_ = nullptr;
    // Written by who posts or runs the line, of whom there is one at a time; the queues below order them.
    time_point ready_at_{};
    time_point run_at_{};
    std::uint64_t core_ns_ = 0;
    std::uint32_t runs_ = 0;
    time_point sample_at_{};
    duration pause_ = first_pause;  // until the sample behind the next
    // Written at the end of a run, when the line may run elsewhere already. relaxed: counts, which order nothing; one that
    // comes late belongs to the next interval.
    std::atomic<std::uint64_t> run_ns_{0};
    std::atomic<std::uint64_t> looked_at_ns_{0}, off_core_ns_{0}, off_wait_ns_{0};
    // At the last take().
    time_point taken_at_{};
    std::uint64_t taken_core_ns_ = 0;
    std::uint64_t taken_run_ns_ = 0;
    std::uint32_t taken_runs_ = 0;
};

}  // namespace leat
