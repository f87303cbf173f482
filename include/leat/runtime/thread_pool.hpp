// thread_pool: the work-stealing runtime. Each worker has a queue and a LIFO slot; what comes from outside and what is urgent
// goes through one inbox; idle workers sleep, one of them inside the poller when there is one.
//
// Invariants:
//  1. No wake-up is lost: who makes work visible looks at idle_ afterwards, who goes to sleep announces it in idle_ and
//     looks for work afterwards, all sequentially consistent; one of the two sees the other.
//  2. While a worker searches nobody else is woken: a searcher that finds work wakes the next when it was the last.
//  3. While any worker sleeps one of them is driver_ and waits for events and timers, or a worker searches: a driver that
//     leaves with work has been a searcher, and so wakes the next (2), which becomes the driver when it finds nothing.
#pragma once

#include <memory>
#include <vector>

#include <leat/runtime/inbox.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/timer_queue.hpp>
#include <leat/runtime/visitors.hpp>

namespace leat {

class thread_pool final : public runtime {
public:
    // `threads` workers; 0: the effective CPUs. `suspect_after`: run_options::suspect_deadlock_after. Unless it is zero, a task
    // that holds a worker for `report_holds_after` is reported: see run_options. Throws std::invalid_argument above
    // max_threads, std::system_error when the system refuses a worker's thread.
    explicit thread_pool(unsigned threads = 0, duration suspect_after = {}, duration report_holds_after = {});
    ~thread_pool() override;
    static constexpr unsigned max_threads = 1024;

    void post(work_item& item) noexcept override;
    void post_all(item_list& items, std::uint32_t count) noexcept override;
    void post_last(work_item& item) noexcept override;
    void start(timer& timer) noexcept override;
    void cancel(timer& timer) noexcept override { timer_queue::cancel_at_home(timer); }
    void use(poller& events) noexcept override;
    [[nodiscard]] detail::fork_worker* fork_worker_here() noexcept override;
    void alert_fork_workers() noexcept override;

    [[nodiscard]] unsigned size() const noexcept { return static_cast<unsigned>(workers_.size()); }

private:
    struct worker;

    void run_until(done_flag& done) override;
    void signal(done_flag& done) noexcept override;

    void end_workers() noexcept;
    void work(worker& self) noexcept;
    work_item* next_item(worker& self) noexcept;
    work_item* search(worker& self) noexcept;
    work_item* steal(worker& self, bool also_lifo) noexcept;
    bool poll_events() noexcept;
    bool fire_timers() noexcept;
    [[nodiscard]] time_point next_timer() const noexcept;
    void fall_asleep(worker& self) noexcept;
    [[nodiscard]] bool look_for_what_hangs(poller* events) noexcept;
    [[nodiscard]] bool anything_ready() const noexcept;
    [[nodiscard]] bool forks_run(const worker& self) const noexcept;
    void notify() noexcept;
    void post_from_outside(work_item& item, priority as) noexcept;
    void wake_driver() noexcept;
    worker* here() const noexcept;

    std::vector<std::unique_ptr<worker>> workers_;
    std::unique_ptr<hold_watch> watch_;  // null: nobody asked
    inbox inbox_;
    timer_queue timers_;  // set by threads from outside; each worker has its own
    visitors visitors_;
    detail::stillness still_;
    env::atomic<unsigned> runs_{0};         // threads that wait in run_until()
    env::atomic<poller*> events_{nullptr};  // null until the io layer brings one
    env::atomic<worker*> driver_{nullptr};  // null: nobody sleeps for events; else who does, or is about to
    env::mutex events_lock_;                // the poller's one user: the driver over its sleep, others only try
    env::atomic<std::uint64_t> idle_{0};    // low half: workers asleep or announced so; high half: workers searching
    env::mutex sleepers_lock_;
    std::vector<worker*> sleepers_;  // under sleepers_lock_; reserved for all
    env::atomic<bool> ending_{false};
};

}  // namespace leat
