// strand: an executor on top of another, whose items run one at a time, in the order in which they were posted; no thread
// waits for that. What runs on one strand needs no lock against its own kind, between two suspensions.
//
//   leat::strand log(pool);
//   co_await leat::on(log, append(line));     // task/resume_on.hpp
//
// Tasks that are on a strand take turns where they suspend, as on an event loop. The strand keeps the thread for a bounded
// run of items, then lets the executor below run others. Priorities make no difference on it: the order is the order. Timers
// and attachments (blocking calls, I/O) are those of the executor below.
//
// It outlives the tasks on it; one that has left (on() has returned) may destroy it at once. The executor below outlives it.
//
// Invariants of the core, which is what the executor below runs:
//  1. It is in the executor, or running, exactly while `scheduled`; who sets that posts it, after unlocking.
//  2. `ready` belongs to the run under way, and is run before what was posted later.
//  3. Who finds the strand gone and nothing scheduled deletes it: the run that ends, or else the strand's destructor.
#pragma once

#include <leat/task/executor.hpp>

namespace leat {

class strand final : public executor {
public:
    explicit strand(executor& below);
    ~strand();

    // Any thread. Both behind everything that is on the strand.
    void post(work_item& item) noexcept override;

    time_point now() const noexcept override { return below_.now(); }
    std::uint64_t random() noexcept override { return below_.random(); }
    bool blocks_in_place() const noexcept override { return below_.blocks_in_place(); }
    void start(timer& timer) noexcept override { below_.start(timer); }
    void cancel(timer& timer) noexcept override { below_.cancel(timer); }
    executor& host() noexcept override { return below_.host(); }

private:
    struct core;
    executor& below_;
    core* core_;
};

}  // namespace leat
