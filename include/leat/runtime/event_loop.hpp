// event_loop: a runtime on one thread, the one that calls run(). Deterministic in what it runs: first posted, first run.
// It can be driven by a foreign loop too: call poll() when something may be ready, and again by next_deadline().
#pragma once

#include <leat/runtime/inbox.hpp>
#include <leat/runtime/parker.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/timer_queue.hpp>
#include <leat/runtime/visitors.hpp>
#include <leat/task/frame_cache.hpp>

namespace leat {

class event_loop final : public runtime {
public:
    // `suspect_after`: run_options::suspect_deadlock_after. Unless it is zero, a task that holds the loop for
    // `report_holds_after` is reported, from a thread that exists for it alone: see run_options.
    explicit event_loop(duration suspect_after = {}, duration report_holds_after = {});
    ~event_loop() override;

    // Any thread.
    void post(work_item& item) noexcept override { put(item, item.urgency); }
    void post_all(item_list& items, std::uint32_t count) noexcept override;
    void post_last(work_item& item) noexcept override { put(item, priority::normal); }
    void start(timer& timer) noexcept override;
    void cancel(timer& timer) noexcept override { timers_.cancel(timer); }
    void use(poller& events) noexcept override { events_.store(&events, env::release); }

    // Runs what is ready now, without waiting. True when it ran something. Only by the thread that drives the loop.
    bool poll() noexcept;
    // When poll() has something to do again if nothing is posted, or shortly before; time_point::max() when never.
    [[nodiscard]] time_point next_deadline() noexcept { return timers_.next(); }

private:
    void run_until(done_flag& done) override;
    void signal(done_flag& done) noexcept override;
    void put(work_item& item, priority as) noexcept;
    bool step() noexcept;
    void sleep(poller* events) noexcept;

    seat seat_{this};
    std::unique_ptr<hold_watch> watch_;  // null: nobody asked
    detail::frame_cache frames_;
    ready_queue ready_;  // of the thread that drives the loop
    inbox inbox_;        // what others have posted
    timer_queue timers_;
    parker sleep_;
    visitors visitors_;
    detail::stillness still_;
    env::atomic<poller*> events_{nullptr};  // null until the io layer brings one
};

}  // namespace leat
