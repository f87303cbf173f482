// sim: the simulated runtime, for tests of programs made of tasks. The real coroutines run on the calling thread, in an
// order that is drawn from a seed, and time is virtual: it stands still while something is ready and jumps to the next timer
// when nothing is, so that sleep_for(1h) takes microseconds. The same seed gives the same run, whatever compiler built it.
//
//   leat::sim::explore({.seeds = 1000}, program);           // throws at the first seed that fails, and says how to replay it
//   leat::sim::result one = leat::sim::run({.seed = 7}, program, arguments...);
//
// Not part of <leat/leat.hpp>: programs do not need it. docs/simulation.md tells more.
//
// Invariants of a simulation:
//  1. One thread: whatever another one posts is a bug, since no seed decides when it comes.
//  2. No address, no hash order and no real time has a part in a run. Lines and timers are known by the numbers that they
//     were given when they first came here.
//  3. What is drawn comes from one generator: the order of the runtime and what the program asks for (chance, draw).
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <leat/runtime/runtime.hpp>
#include <leat/task/frame_cache.hpp>

namespace leat::sim {

// Who runs next among those that are ready. Priorities of work items count for nothing: a program must work without.
enum class schedule : unsigned char {
    uniform,  // each is as likely as any other
    // Each line draws a priority, the highest runs, and at a few drawn steps the one that runs falls behind all others: finds
    // what needs one line to stand still for long. After Burckhardt, Kothari, Musuvathi, Nagarakatte: "A randomized scheduler
    // with probabilistic guarantees of finding bugs", ASPLOS 2010. A step takes time in proportion to what is ready.
    pct,
    drawn,  // one of the two, by the seed
};

// What options::on_step is told of.
struct step {
    std::uint64_t number;  // from 1
    duration time;         // since the start, virtual
    const char* what;      // the name of the line that goes on; "(timer)", or "(call)" for a work item of another kind
    std::uint32_t line;    // its number, from 1; 0 for a timer
};

struct options {
    std::uint64_t seed = 1;
    schedule order = schedule::drawn;
    // Bounds, beyond which the run has failed.
    std::uint64_t max_steps = 1'000'000;
    duration max_time = std::chrono::hours(24 * 365);
    // A machine that is less than perfect: timers come late, by up to this, and together with those set a little later;
    duration lateness{0};
    // and at each step there is this chance that all that is ready stands still until the next timer is due.
    unsigned stall_percent = 0;
    unsigned pct_changes = 3;                    // steps of schedule::pct at which a line falls behind
    std::function<void(const step&)> on_step{};  // called before each step, to print or to look into; must not throw
};

enum class ending : unsigned char {
    finished,        // the program's task gave its value
    failed,          // it threw, or the function that was to give it did, and `error` is what
    cancelled,       // it ended cancelled, though nobody outside had asked it to stop
    deadlock,        // it had not ended, but nothing was ready and no timer set
    too_many_steps,  // max_steps: it spins, or never ends
    too_late,        // max_time
};

struct result {
    std::uint64_t seed = 0;
    ending how = ending::finished;
    std::exception_ptr error;
    std::uint64_t steps = 0;
    duration time{0};         // virtual, since the start
    std::uint64_t trace = 0;  // a hash of who ran in which order at what times
    // Of a deadlock or a bound: each task that a stop request would reach, and what it waits for, a line each.
    std::string waiting;

    [[nodiscard]] bool ok() const noexcept { return how == ending::finished; }
    // All of that for people, with how to replay it.
    [[nodiscard]] std::string report() const;
};

// What explore() throws; what() is the report.
class failure : public std::runtime_error {
public:
    explicit failure(result of) : failure(std::make_shared<const result>(std::move(of))) {}
    [[nodiscard]] const result& of() const noexcept { return *of_; }

private:
    explicit failure(std::shared_ptr<const result> of) : std::runtime_error(of->report()), of_(std::move(of)) {}
    std::shared_ptr<const result> of_;
};

// True `percent` times in a hundred, drawn, inside a simulation: where a program under test lets faults happen. False
// outside of one.
[[nodiscard]] bool chance(unsigned percent) noexcept;
// A number from 0 to below - 1, drawn; 0 outside a simulation.
[[nodiscard]] std::uint32_t draw(std::uint32_t below) noexcept;

// The runtime itself, for those who need more than run() below. Made, driven and used by one thread.
class simulation final : public runtime {
public:
    explicit simulation(options how);
    ~simulation() override;

    // Bugs on another thread than the one that made it.
    void post(work_item& item) noexcept override;
    void post_last(work_item& item) noexcept override;
    [[nodiscard]] time_point now() const noexcept override { return now_; }
    void start(timer& timer) noexcept override;
    void cancel(timer& timer) noexcept override;
    // A call that blocks is a step of its own, drawn as any other, and takes no virtual time.
    [[nodiscard]] bool blocks_in_place() const noexcept override { return true; }
    [[nodiscard]] std::uint64_t random() noexcept override;
    // A bug: no seed decides what the world outside does.
    [[noreturn]] void use(poller&) noexcept override;

    // Runs `body` to its end, or until the run has failed: then stops it and waits for it to end. False when it does not:
    // its frames stay as they are, and refer to this simulation, which must then never be destroyed. What came of it is for
    // take(). Once; runtime::run() may be called again and again, and throws `failure`.
    template <class T>
    bool drive(task<T> body);
    [[nodiscard]] result take() noexcept { return std::move(result_); }
    // What take() gives when there is no body: its maker threw.
    void fail(std::exception_ptr error) noexcept;

    [[nodiscard]] std::uint32_t draw(std::uint32_t below) noexcept;

private:
    void run_until(done_flag& done) override;
    void signal(done_flag& done) noexcept override;

    bool run_to_end(done_flag& done);
    bool take_step();
    bool pass_time(duration at_most);
    void collect_due();
    void fire(std::size_t place);
    void run_item(work_item& item);
    std::size_t pick();
    std::size_t highest() const noexcept;
    void draw_priority(const work_item& item);
    void ready(work_item& item);
    void note_step(const char* what, std::uint32_t line, std::uint32_t number);
    void note_end(ending how);
    void require_home() const noexcept;

    seat seat_{this};
    leat::detail::frame_cache frames_;
    options options_;
    result result_;
    std::uint64_t generator_;
    void* const* home_;  // names the thread that made it
    bool uses_priorities_;
    bool running_ = false;
    bool abandoned_ = false;  // what is posted now never runs

    time_point now_{};  // starts at the clock's zero
    time_point latest_{};
    std::uint64_t steps_ = 0;
    std::uint64_t steps_at_instant_ = 0;
    std::uint64_t trace_ = 0;

    context* main_ = nullptr;  // the program's line, while it runs
    std::vector<work_item*> ready_;
    std::vector<work_item*> continued_;      // lines that go on within the step: see post()
    std::uint32_t lines_ = 0;                // numbers given
    std::vector<std::uint64_t> priorities_;  // by line
    std::vector<std::uint64_t> changes_;     // steps, the latest first

    std::uint32_t timers_ = 0;                                         // numbers given, kept in timer::home
    std::map<std::pair<time_point, std::uint32_t>, timer*> sleeping_;  // not due yet
    std::vector<timer*> due_;
};

template <class T>
bool simulation::drive(task<T> body) {
    check_can_run();
    auto line = std::make_unique<root<T>>(*this, "main", std::move(body));
    line->post();
    if (!run_to_end(line->done)) {
        (void)line.release();
        return false;
    }
    outcome<T> end = line->take();
    if (!result_.ok()) return true;
    if (end.is_cancelled()) result_.how = ending::cancelled;
    if (end.is_error()) {
        result_.how = ending::failed;
        result_.error = end.error();
    }
    return true;
}

namespace detail {

// One run: what chance() and draw() find.
class trial {
public:
    explicit trial(const options& how);
    trial(const trial&) = delete;
    trial& operator=(const trial&) = delete;
    ~trial();
    template <class T>
    void drive(task<T> body) {
        if (!where_->drive(std::move(body))) abandon();
    }
    void fail(std::exception_ptr error) noexcept { where_->fail(std::move(error)); }
    [[nodiscard]] result take() noexcept { return where_->take(); }

private:
    void abandon() noexcept;
    std::unique_ptr<simulation> owned_;
    simulation* where_;
    void* outer_;
};

}  // namespace detail

// Runs the task that program(arguments…) returns to its end, on the calling thread. Its value is dropped; its error, and
// what is wrong with the run, are in the result. Not from inside a task (a bug).
// A run that has failed is stopped, as by a stop request from above, and ends in good order. What does not end then (a
// spinning task that ignores the request; a lock waited for under a shield) is abandoned: it never runs again, and what it
// holds is never freed.
template <class Program, class... Argument>
    requires std::invocable<Program, Argument...>
[[nodiscard]] result run(const options& how, Program&& program, Argument&&... arguments) {
    detail::trial here(how);
    try {
        // Called within this expression, so that what an argument is converted to, for a reference parameter, lives long
        // enough.
        here.drive(std::forward<Program>(program)(std::forward<Argument>(arguments)...));
    } catch (...) {
        here.fail(std::current_exception());
    }
    return here.take();
}

struct exploration {
    std::uint64_t seeds = 1000;  // how many
    std::uint64_t first = 1;
    options run{};  // for each, but for its seed
};

struct explored {
    std::uint64_t seeds = 0;       // that were run
    std::uint64_t schedules = 0;   // how many of them differed (result::trace)
    std::uint64_t steps = 0;       // of all together
    std::optional<result> failed;  // the first that did
};

namespace detail {
explored search(const exploration& how, const std::function<result(const options&)>& one);
}

// Runs the task that program() returns, anew for each seed, until one fails. With LEAT_SIM_SEED=n in the environment only
// that seed is run. Throws std::invalid_argument when that is no number.
template <class Program>
    requires std::invocable<Program&>
[[nodiscard]] explored search(const exploration& how, Program&& program) {
    return detail::search(how, [&program](const options& one) { return run(one, program); });
}
// The same, and throws `failure` when one has failed.
template <class Program>
    requires std::invocable<Program&>
explored explore(const exploration& how, Program&& program) {
    explored all = search(how, program);
    if (all.failed) throw failure(std::move(*all.failed));
    return all;
}

}  // namespace leat::sim
