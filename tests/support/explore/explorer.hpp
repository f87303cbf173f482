// The interleaving explorer: runs a small scenario of two or three threads under every schedule, and says which one breaks
// it. Used by tests/explore; the code under test is built with LEAT_EXPLORE, so that its atomics, locks, futexes, threads,
// clock and randomness are the explorer's.
//
//     auto report = leat::explore::run({.preemption_bound = 3}, [] {
//         auto state = std::make_shared<my_state>();
//         leat::explore::thread([state] { … });
//         leat::explore::thread([state] { … });
//         leat::explore::join_all();
//         leat::explore::check(state->sum == 2, "both increments are there");
//     });
//     EXPECT_TRUE(report.ok()) << report.text();
//     EXPECT_TRUE(report.complete);
//
// A schedule fails by check(), leat::bug(), an exception out of a thread, std::terminate, a data race on an env::shared, a
// use of an atomic, shared or mutex after its end, a deadlock (a lost wake-up shows as one), or too many steps.
//
// How it searches: depth-first over the choice made at each point where more than one thread can go on; each schedule runs
// the scenario from its start. So the scenario must do the same whenever it is given the same choices (it is told when it
// does not), and must not keep state from one run to the next. It runs once more than `schedules` says, first, so that
// what is made once in a program (function-local statics) is there.
//
// Orders weaker than seq_cst: without `stale` they show as races on the env::shared that they should have published; with
// it also as old values. memory.hpp has the rules.
//
// A thread that calls env::pause() goes on only when another has changed an atomic or a lock: a spin loop makes no endless
// schedule. When all that are left pause, they go on in turn, and timed waits expire after some rounds of that.
#pragma once

#include <cstdint>
#include <explore/place.hpp>
#include <memory>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace leat::explore {

inline constexpr int unlimited = -1;

struct options {
    // How often a schedule may take a thread off that could have gone on. Few faults need more than two or three.
    int preemption_bound = unlimited;
    // Where to stop; the report is then not complete.
    std::uint64_t max_schedules = 10'000'000;
    // When not 0: so many schedules, each choice drawn at random, instead of all of them; no preemption bound.
    std::uint64_t random_schedules = 0;
    // When not 0, random schedules draw priorities instead of steps (PCT: Burckhardt, Kothari, Musuvathi and Nagarakatte,
    // ASPLOS 2010): the thread of the highest goes on, and pct_depth - 1 times in a schedule the running one falls below
    // all others. A fault that takes `pct_depth` steps in the right order, of n threads and k steps in all, is hit by a
    // schedule with a probability of at least 1 / (n k^(pct_depth - 1)): more than by drawing each step, where k is large.
    unsigned pct_depth = 0;
    std::uint64_t seed = 1;
    // Steps of one schedule, after which it counts as a livelock.
    std::uint32_t max_steps = 10'000;
    // How often a schedule may have the deadline of a timed wait pass while other things can still happen; else it passes
    // only when nothing else can.
    int timeouts = 0;
    // How often a schedule may wake a futex sleeper for nothing or fail a compare_exchange_weak that could succeed.
    int spurious = 0;
    // How often a schedule may have a load see a value that was overwritten, where its order and what the thread has seen
    // allow that; else every load sees the newest. Few faults need more than two.
    int stale = 0;
    // Skips schedules that only swap neighbouring steps which have nothing to do with each other (sleep sets). Nothing is
    // missed that the threads do to each other through the seam. Needs preemption_bound == unlimited.
    bool reduce = false;
    // The replay string of a failure: runs that schedule alone. Needs its timeouts, spurious and stale.
    std::string replay = {};
};

struct report {
    bool complete = false;        // every schedule within the bounds was run
    std::uint64_t schedules = 0;  // that were run
    std::uint64_t redundant = 0;  // that `reduce` ran besides, before it saw that they were redundant
    std::uint64_t steps = 0;      // of all schedules together
    std::string failure = {};     // what broke; empty when nothing did
    std::uint64_t failed_schedule = 0;
    std::string replay = {};  // of the failing schedule
    std::string bounds = {};  // the options that it needs besides, as text() shows them
    std::string trace = {};   // the failing schedule, a line a step

    [[nodiscard]] bool ok() const noexcept { return failure.empty(); }
    // For people: what was searched, what failed, how to see it again, and the trace.
    [[nodiscard]] std::string text() const;
};

namespace detail {

class callable {
public:
    virtual ~callable() = default;
    virtual void operator()() = 0;
};

template <class Body>
class callable_of : public callable {
public:
    explicit callable_of(Body body) : body_(std::move(body)) {}
    void operator()() override { body_(); }

private:
    Body body_;
};

report run_callable(const options& how, callable& scenario);
void start_thread(const char* name, std::unique_ptr<callable> body, const place& where);

}  // namespace detail

// Explores `scenario`, which is called as scenario() once a schedule, on the first thread of it. Threads that it has not
// joined at its end are joined then. Stops at the first failure; the threads of a failed schedule are left where they
// are, with all that they own.
template <class Scenario>
[[nodiscard]] report run(const options& how, Scenario scenario) {
    detail::callable_of<Scenario> body(std::move(scenario));
    return detail::run_callable(how, body);
}

// --- Within a scenario ---

// Starts a thread that calls body(). What it captured is destroyed when all threads have ended, by the first one.
template <class Body>
void thread(const char* name, Body body, place where = place::current()) {
    detail::start_thread(name, std::make_unique<detail::callable_of<Body>>(std::move(body)), where);
}
template <class Body>
    requires std::is_invocable_v<Body&>
void thread(Body body, place where = place::current()) {
    thread(nullptr, std::move(body), where);
}

// Waits for the end of every thread that thread() has started.
void join_all(place where = place::current());

// How the scenario itself waits, with one step each: pass() waits until open() was called once more than pass() has
// returned. All that was done before an open() is ordered before what follows a later pass().
class gate {
public:
    explicit gate(place where = place::current());
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;
    ~gate();
    void open(place where = place::current());
    void pass(place where = place::current());
};

// Fails the schedule unless `holds`.
void check(bool holds, std::string_view what, place where = place::current());
[[noreturn]] void fail(std::string_view what, place where = place::current());

// 0 to count - 1, each in schedules of its own: for choices of the outside world.
[[nodiscard]] unsigned choose(unsigned count, place where = place::current());

// What the trace calls the atomic, shared or mutex at this address from now on; a literal.
void name(const void* object, const char* label) noexcept;

// Writes a line into the trace; a literal.
void note(const char* text, place where = place::current()) noexcept;

}  // namespace leat::explore
