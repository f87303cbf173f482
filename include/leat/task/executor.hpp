// executor: where tasks run. The low layers post resumptions and set timers through this interface and never name a
// runtime; the pool, the single-thread loop and the simulator implement it.
#pragma once

#include <cstdint>
#include <memory>

#include <leat/base/env.hpp>
#include <leat/task/work_item.hpp>

namespace leat {

namespace detail {
class fork_worker;
}

// A point in time at which `fire` is called. Lives in the frame of the operation that waits.
// Invariant: between executor::start(timer) and the return of executor::cancel(timer) or the end of `fire` the timer
// belongs to the executor.
struct timer {
    using function = void (*)(timer&) noexcept;

    explicit timer(function body) noexcept : fire(body) {}
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    function fire;           // must not wait, throw, nor start or cancel timers; runs on a thread of the executor
    time_point due{};        // time_point::max(): never
    timer* next = nullptr;   // belongs to the executor, as do the following
    timer** link = nullptr;  // null: not set; else what points to this timer in its list
    void* home = nullptr;    // the structure in which it was set last; written by start() alone
};

// Something that lives as long as an executor and that a higher layer brought: the blocking pool, the I/O poller.
class attachment {
public:
    virtual ~attachment() = default;
    // The executor is about to end: no task runs any more. Called once, before the destructor, newest first.
    virtual void stop() noexcept {}
};

// A source of events from outside, in which an idle thread of an executor parks. Brought by the io layer.
class poller {
public:
    virtual ~poller() = default;
    // Waits for events until `deadline` (time_point::max(): for ever) or interrupt(), and posts what they wake. One thread
    // at a time.
    virtual void wait(time_point deadline) noexcept = 0;
    // The same without waiting. True when something was posted.
    virtual bool poll() noexcept = 0;
    // Makes a wait that is under way, or else the next one, return soon. Any thread.
    virtual void interrupt() noexcept = 0;
    // Whether no operation is under way that could end some time: nothing will ever be posted unless somebody asks for it.
    // By the one thread that may wait.
    virtual bool has_nothing_pending() noexcept { return false; }
};

class executor;

// Items of normal priority that are to be posted together to the one executor that all of them belong to.
struct item_chain {
    executor* where = nullptr;  // null: there are none
    item_list items;
    std::uint32_t count = 0;
};

class executor {
public:
    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;

    // Runs `item` soon, on a thread of this executor, never inside this call. Any thread. Items posted by a thread of the
    // executor may run in another order than they were posted.
    virtual void post(work_item& item) noexcept = 0;

    // As post(), for all of `items`, which are `count` of normal priority: at the price of one where it can be had. Takes them.
    virtual void post_all(item_list& items, std::uint32_t count) noexcept;

    // As post(), but behind everything that is ready now: what a task that yields wants.
    virtual void post_last(work_item& item) noexcept { post(item); }

    // Resumes a line that is watched, on the thread that it was given: calls resume(line), after which it may be gone. For an
    // executor on top of another that keeps the time of its lines.
    virtual void run_watched(work_item& line, work_item::function resume) noexcept { resume(line); }

    // The executor's clock: virtual in the simulator.
    virtual time_point now() const noexcept { return env::now(); }

    // Bits for what should differ from run to run, such as the spread of retries: in the simulator from its seed.
    virtual std::uint64_t random() noexcept { return env::entropy(); }

    // Sets a timer to fire at `timer.due`, never inside this call. Any thread.
    virtual void start(timer& timer) noexcept = 0;
    // Afterwards the timer does not fire and is not firing. Any thread, but not from inside `fire`. Harmless when the
    // timer was never set or has fired.
    virtual void cancel(timer& timer) noexcept = 0;

    // Whether calls that block their thread run on this executor too, posted as other items are, while nothing else runs:
    // so in the simulator, which has no other thread.
    virtual bool blocks_in_place() const noexcept { return false; }

    // Lets idle threads park in `events` from now on; it lives as long as the executor's attachments. Once. Executors that
    // have no I/O end the program with a message.
    virtual void use(poller& events) noexcept;

    // Where attachments live: for an executor on top of another (a strand), that one.
    virtual executor& host() noexcept { return *this; }
    // What the calling thread brings to divide and conquer (fork.hpp): its deque, which others of this executor steal from,
    // and its stack of frames. Null where it brings nothing: there forks run one after the other.
    [[nodiscard]] virtual detail::fork_worker* fork_worker_here() noexcept { return nullptr; }
    // Calls alert() of all of those. Any thread.
    virtual void alert_fork_workers() noexcept {}

    // The attachment of type A, made with A(executor&) at the first call. Any thread.
    template <class A>
    A& attached() {
        static constexpr char key = 0;
        executor& where = host();
        attachment* found = where.find_attachment(&key);
        if (found == nullptr)
            found = where.add_attachment(
                &key, [](executor& self) -> std::unique_ptr<attachment> { return std::make_unique<A>(self); });
        return static_cast<A&>(*found);
    }

protected:
    executor() = default;
    ~executor();
    // For the implementation's end: stops and destroys all attachments.
    void drop_attachments() noexcept;
    // The same in a forked child, where the threads are gone that they would wait for: leaves them as they are.
    void forget_attachments() noexcept { attachments_ = nullptr; }

private:
    struct entry;
    attachment* find_attachment(const void* key) noexcept;
    attachment* add_attachment(const void* key, std::unique_ptr<attachment> (*make)(executor&));

    env::mutex lock_;
    entry* attachments_ = nullptr;  // newest first; entries are only removed by drop_attachments()
};

}  // namespace leat
