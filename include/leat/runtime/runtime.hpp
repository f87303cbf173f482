// runtime: an executor that can run a task to its end. thread_pool and event_loop are the two for programs (leat::run
// makes one), sim::simulation is the one for their tests.
//
// fork(): a child has none of its parent's threads, and shares its files. So a runtime that was made before the fork cannot
// run a task there (a bug, which says so), and destroying it frees its memory and touches nothing else. The child may make
// a runtime of its own, unless it was forked by a task: such a child ends by exec or _exit, without awaiting anything.
#pragma once

#include <optional>

#include <leat/runtime/deadlock.hpp>
#include <leat/runtime/hold_watch.hpp>
#include <leat/task/arm.hpp>

namespace leat {

struct run_options {
    unsigned threads = 0;         // 0: the effective CPUs of the machine; 1: an event_loop on the calling thread
    stop_source* stop = nullptr;  // asking it to stop asks the root task
    const char* name = "main";    // of the root task, a literal
    // When nothing has run for so long and something outside could still wake a task, who waits for what is told in the
    // log: see deadlock.hpp. Zero: never.
    duration suspect_deadlock_after{};
    // A task that holds its worker for so long, without waiting or yielding, is reported in the log (hold_watch), with its
    // name and where it was spawned; zero: none is. Costs a thread, which sleeps while the workers do. Unset: a second on
    // several threads; none on one, where it would be the only other.
    std::optional<duration> report_holds_after{};
    run_options() = default;
    explicit run_options(unsigned count) : threads(count) {}
};

class runtime : public executor {
public:
    virtual ~runtime() = default;

    // Runs `body` to its end on this runtime while the calling thread waits (thread_pool) or does the work (event_loop).
    // Gives its value, or throws its error or cancelled; deadlocked when all tasks came to wait for each other. Any thread,
    // several at once for a thread_pool. Not from inside a task, nor in a forked child (bugs).
    template <class T>
    T run(task<T> body, stop_source* stop = nullptr, const char* name = "main") {
        check_can_run();
        root<T> line(*this, name, std::move(body));
        if (stop != nullptr) line.attach(*stop);
        const running_root here(*this, line);
        line.post();
        run_until(line.done);
        here.throw_if_deadlocked();
        return line.take().get();
    }

    // What env::slot::worker points to on a thread while it runs what a runtime gives it; each runtime knows its own again.
    struct seat {
        explicit seat(runtime* owner) noexcept : of(owner) {}
        runtime* of;
        now_running running;
    };

protected:
    runtime() noexcept;
    // Whether this process is not the one that made the runtime.
    [[nodiscard]] bool in_forked_child() const noexcept;

    // Set once by the root's end; 0: runs; 1: ended.
    using done_flag = env::atomic<std::uint32_t>;
    virtual void run_until(done_flag& done) = 0;
    // The root has ended: makes run_until() return. The flag may be gone once it is set.
    virtual void signal(done_flag& done) noexcept = 0;

    // A bug where a run is not possible: inside a task, in a forked child.
    void check_can_run() const noexcept;

    // For an implementation that stands still, where nothing but another thread could post: ends the runs as deadlocked when
    // there is no other thread, `own` and bystanders aside. `own` was counted before the look at what could be ready. True
    // when it did: then there is something to run.
    [[nodiscard]] bool look_for_deadlock(unsigned own) noexcept;
    // Tells in the log how the lines stand, and for how long they have.
    void tell_suspicion(duration age) noexcept;
    // The threads of the process that could post something, were they not this runtime's.
    [[nodiscard]] static unsigned threads_of_process() noexcept;

    // The line of a run: begun by post(), and its outcome taken once `done` is set.
    template <class T>
    struct root : arm_base {
        root(runtime& where, const char* name, task<T> work) noexcept
            : arm_base(where, name, ends_with<&at_end>()), owner(where), body(std::move(work)) {}
        void post() { post_at(body.start_on(*this, end()), false); }
        outcome<T> take() {
            outcome<T> result = body.take_outcome();
            body.reset();
            return result;
        }
        static void at_end(arm_base& self) noexcept {
            auto& mine = static_cast<root&>(self);
            mine.owner.signal(mine.done);
        }
        runtime& owner;
        task<T> body;
        done_flag done{0};
    };

private:
    // Keeps the root of a run where look_for_deadlock() finds it.
    class running_root {
    public:
        running_root(runtime& where, context& line) noexcept;
        running_root(const running_root&) = delete;
        ~running_root();
        void throw_if_deadlocked() const {
            if (report_) throw deadlocked(*report_);
        }

    private:
        friend class runtime;
        runtime& where_;
        context& line_;
        running_root* next_;
        std::shared_ptr<const std::string> report_;  // null: no deadlock was found
    };
    [[nodiscard]] std::string report_roots(detail::holders of);

    const int process_;
    env::mutex roots_lock_;
    running_root* roots_ = nullptr;  // newest first
};

}  // namespace leat
