// The engine: the threads of a scenario as fibers, and what each step of one does to the others. One lives for a run();
// the hooks of the stand-ins reach it through engine::active().
//
// Invariants:
//  1. Exactly one thread runs; it announces each step (`next`) before it takes it, and waits there for its turn. What it
//     does between two steps is taken to belong to the first of them.
//  2. A thread that starts runs to its first step at once, inside its starter: before that it can do nothing that another
//     could see.
//  3. After fail() no thread of the schedule runs again.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include <explore/explorer.hpp>
#include <explore/hooks.hpp>
#include <leat/base/env.hpp>

#include "fiber.hpp"
#include "memory.hpp"
#include "search.hpp"

namespace leat::explore::detail {

// A step that a thread is about to take.
struct step {
    operation op = operation::note;
    cell* object = nullptr;
    std::memory_order order = std::memory_order_seq_cst;
    int target = -1;  // of a join: the thread; -1: all that thread() started
    place where;
};

enum class wake_reason : unsigned char { woken, timed_out, spurious };

struct thread_state {
    enum class state : unsigned char { ready, sleeping, finished };

    unsigned number = 0;
    std::string name;
    state status = state::ready;
    fiber* on = nullptr;
    thread_state* starter = nullptr;  // waits for the first step of this one; nullptr afterwards
    bool joined_by_all = false;       // made by explore::thread
    std::unique_ptr<callable> body;   // or:
    void (*function)(void*) = nullptr;
    void* argument = nullptr;

    vector_clock clock;
    step next;
    std::uint64_t paused_at_change = 0, paused_at_step = 0;  // when next.op is pause
    std::uint64_t asleep_since = 0;                          // step; the order in which sleepers of a word are woken
    bool timed = false;
    time_point deadline;
    wake_reason woken_by = wake_reason::woken;
    std::array<void*, static_cast<unsigned>(env::slot::count)> slots{};

    [[nodiscard]] std::uint32_t now() const noexcept { return clock.at[number]; }
    void tick() noexcept { ++clock.at[number]; }
};

// A line of the trace.
struct event {
    unsigned thread = 0;
    operation op = operation::note;
    std::memory_order order = std::memory_order_seq_cst;
    bool plain = false;   // no step: happened along with the step before
    bool failed = false;  // a compare-exchange or try_lock that did not
    const cell* object = nullptr;
    std::uint64_t old_value = 0, new_value = 0;
    const char* text = nullptr;
    place where;
};

class engine {
public:
    engine(const options& how, search& choices) : how_(how), search_(choices) {}
    ~engine() { active_ = nullptr; }
    static engine& active() noexcept { return *active_; }

    // Runs one schedule. False when it failed.
    bool execute(callable& scenario);

    [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
    [[nodiscard]] bool redundant() const noexcept { return redundant_; }
    [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
    [[nodiscard]] bool saw_try_lock() const noexcept { return saw_try_lock_; }
    [[nodiscard]] std::string trace() const;
    [[nodiscard]] std::string bounds() const;
    [[nodiscard]] std::string replay_string() const { return search_.replay_string(); }

    // --- For the hooks, on a fiber ---
    thread_state& self() noexcept { return *current_; }
    memory& objects() noexcept { return memory_; }
    // Announces the step; returns when it is to be taken.
    void take_turn(const step& next);
    [[noreturn]] void fail(std::string what, const place& where);
    unsigned start(const char* name, void (*function)(void*), void* argument, std::unique_ptr<callable> body,
                   const place& where);
    void join(int target, const place& where);
    void lock(cell& mutex, const place& where);
    bool try_lock(cell& mutex, const place& where);
    void unlock(cell& mutex, const place& where);
    bool sleep(const env::atomic<std::uint32_t>& word, std::uint32_t expected, const time_point* deadline,
               const place& where);
    void wake(const void* word, int count, const place& where);
    void pause(const place& where);
    void open(cell& gate, const place& where);
    void pass(cell& gate, const place& where);
    unsigned choose(unsigned count, const place& where, bool seldom = false);
    bool spend_spurious(const place& where);
    // --- The values of an atomic, where loads may be stale ---
    void remember_first(cell& atomic, std::uint64_t value);
    void remember(cell& atomic, std::uint64_t value);
    // The current thread sees the newest value.
    void see_newest(cell& atomic, std::memory_order order) noexcept;
    // Which value a load sees; null: the newest.
    const stored* see(cell& atomic, std::memory_order order, const place& where);
    [[nodiscard]] time_point now() const noexcept { return now_; }
    std::uint64_t entropy() noexcept;

    void check_alive(const cell& object, const place& where);
    // The object was made, or last written, in a way that this thread can see.
    void check_written(const cell& object, const char* doing, const place& where);
    // All accesses of others are ordered before what this thread does now.
    void check_untouched(const cell& object, const char* doing, const place& where);
    void acquire(const cell& from) noexcept { current_->clock.join(from.published); }
    void release(cell& to) noexcept {
        to.published = current_->clock;
        current_->tick();
    }
    void touch(cell& object, bool wrote, const place& where) noexcept {
        object.touched[current_->number] = {current_->now(), wrote, where};
    }
    // A value has changed: threads that pause may look again.
    void changed() noexcept {
        ++changes_;
        idle_rounds_ = 0;
    }
    event& record(operation op, const place& where) {
        event& line = trace_.emplace_back();
        line.thread = current_->number;
        line.op = op;
        line.where = where;
        return line;
    }
    void log(std::string_view text);

private:
    enum class way : unsigned char { go_on, time_out, wake_up };
    struct alternative {
        thread_state* who;
        way how;
        [[nodiscard]] std::uint32_t bit() const noexcept {
            return 1U << (who->number * 3 + static_cast<unsigned>(how));
        }
    };
    static constexpr unsigned max_alternatives = max_threads * 2;

    static void run_thread(void* number);
    void run_body(thread_state& thread);
    void finish();
    void reschedule();
    void list_alternatives();
    bool add_when_idle();
    unsigned decide(bool self_first);
    void sleep_set_after(unsigned chosen);
    [[nodiscard]] bool dependent(const alternative& a, const alternative& b) const noexcept;
    [[nodiscard]] bool can_go_on(const thread_state& thread) const noexcept;
    void switch_to(thread_state& next) noexcept;
    void abandon();
    [[noreturn]] void fail_deadlock();
    [[nodiscard]] std::string describe_wait(const thread_state& thread) const;
    [[nodiscard]] std::string who(int thread) const;
    std::string race(const cell& object, const char* doing, const place& where, int other, const access& before) const;

    static inline engine* active_ = nullptr;

    const options& how_;
    search& search_;
    memory memory_;
    fiber driver_;
    std::array<thread_state, max_threads> threads_;
    unsigned count_ = 0;  // threads of this schedule
    thread_state* current_ = nullptr;
    callable* scenario_ = nullptr;

    std::array<alternative, max_alternatives> alternatives_;
    unsigned alternatives_count_ = 0;
    int preemptions_ = 0;
    int timeouts_left_ = 0;
    int spurious_left_ = 0;
    int stale_left_ = 0;
    std::uint32_t asleep_ = 0;  // the sleep set: alternatives that were explored in the place of an earlier step
    bool redundant_ = false;

    std::uint64_t steps_ = 0;
    std::uint64_t changes_ = 0;
    unsigned idle_rounds_ = 0;  // resumptions of pausing threads since something changed
    time_point now_;
    std::uint64_t entropy_ = 0;
    bool saw_try_lock_ = false;

    std::vector<event> trace_;
    std::deque<std::string> texts_;  // that the trace points to
    std::string failure_;
};

}  // namespace leat::explore::detail
