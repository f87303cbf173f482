// An executor for scenarios, and lines that run on it: what coroutines under the explorer need. Posting is one step, taking
// an item is one more; the thread of the scenario that calls run_one() or line::run() plays the worker.
//
// Timers do not look at the clock: a thread of the scenario calls fire_timers() and so says that their time has come.
#pragma once

#include <deque>
#include <explore/explorer.hpp>
#include <leat/task/arm.hpp>
#include <leat/task/executor.hpp>
#include <utility>
#include <vector>

namespace leat::explore {

class hand_executor final : public executor {
public:
    ~hand_executor() { drop_attachments(); }

    void post(work_item& item) noexcept override {
        waiting_.open();
        items_.push_back(&item);  // goes with the step: no other thread can come between
    }
    void start(timer& which) noexcept override {
        env::lock_guard held(timers_lock_);
        which.link = &which.next;
        timers_.push_back(&which);
    }
    void cancel(timer& which) noexcept override {
        env::lock_guard held(timers_lock_);
        std::erase(timers_, &which);
        which.link = nullptr;
    }

    // A thread that takes part in forks says with what.
    static void forks_with(leat::detail::fork_worker& mine) noexcept { env::this_thread(env::slot::worker) = &mine; }
    leat::detail::fork_worker* fork_worker_here() noexcept override {
        return static_cast<leat::detail::fork_worker*>(env::this_thread(env::slot::worker));
    }

    // Runs the oldest item, waiting for one; false instead when it has come to end().
    bool run_one() {
        waiting_.pass();
        work_item* const item = items_.front();
        items_.pop_front();
        if (item != nullptr) item->run(*item);
        return item != nullptr;
    }
    // For a worker that loops over run_one(): it leaves when all that was posted before has run.
    void end() {
        waiting_.open();
        items_.push_back(nullptr);
    }
    // Fires all timers that are set.
    void fire_timers() {
        env::lock_guard held(timers_lock_);
        for (timer* const each : std::exchange(timers_, {})) {
            each->link = nullptr;
            each->fire(*each);
        }
    }
    [[nodiscard]] bool idle() const noexcept { return items_.empty(); }

private:
    gate waiting_;  // open once for each item
    std::deque<work_item*> items_;
    env::mutex timers_lock_;
    std::vector<timer*> timers_;
};

// A root task of a scenario.
class line final : public arm_base {
public:
    line(hand_executor& where, const char* name, task<> body) noexcept
        : arm_base(where, name, ends_with<&ended>()), home_(where), body_(std::move(body)) {}

    // Runs the task up to its first wait, on this thread.
    void start() { arm_base::start(body_.start_on(*this, end())); }
    // Runs what is posted, until the task has ended; this thread alone plays the worker.
    void finish() {
        while (!ended_) (void)home_.run_one();
    }
    void run() {
        start();
        finish();
    }
    [[nodiscard]] bool has_ended() const noexcept { return ended_; }
    // How it ended.
    [[nodiscard]] outcome<void> how() const noexcept { return body_.peek_outcome(); }

private:
    static void ended(arm_base& self) noexcept {
        static_cast<line&>(self).ended_ = true;
        if (!static_cast<line&>(self).how().is_value()) note("the line ends without a value");
    }
    hand_executor& home_;
    task<> body_;
    bool ended_ = false;  // the worker's own
};

// Runs `body` to its end on this thread, below `stop` if there is one. The line and the frame are gone afterwards: what
// still knows of them uses them after their end.
inline void run_line(hand_executor& where, const char* name, task<> body, stop_source* stop = nullptr) {
    line on(where, name, std::move(body));
    if (stop != nullptr) on.attach(*stop);
    on.run();
}

}  // namespace leat::explore
