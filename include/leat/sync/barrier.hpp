// barrier: a number of participants wait for each other, phase after phase. Who arrives last runs the completion, on its own
// thread, before anybody goes on.
//
//   leat::barrier phase(3, [&]() noexcept { merge(); });
//   co_await phase.arrive_and_wait();                           // in each of the three
//
// Arriving and waiting are two things, as in std::barrier, and an arrival is never taken back: a participant whose wait is
// stopped or out of time has arrived. It may wait again for the same phase, or leave for good with drop(), which waits for
// nothing and so works in a task that was asked to stop; else the next phase waits for it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <leat/sync/waiting_room.hpp>

namespace leat {

namespace detail {

class barrier_core : waiting_room {
    struct request;

public:
    // A phase that somebody has arrived in.
    class [[nodiscard]] phase {
        friend barrier_core;
        explicit phase(std::uint64_t number) noexcept : number_(number) {}
        std::uint64_t number_;
    };

    // Arrives `count` times in the current phase; the last arrival runs the completion and lets all who wait go on. More
    // than are expected is a bug. Any thread.
    phase arrive(std::size_t count = 1) noexcept { return arrive(count, 0); }
    // Arrives, and is not expected in later phases.
    void arrive_and_drop() noexcept { (void)arrive(1, 1); }
    // The same for one that has arrived in that phase already, if it is not over.
    void drop(phase arrived) noexcept;

    // Awaits the end of a phase; resumes on the awaiting task's executor. Throws cancelled when stopped while it waits.
    auto wait(phase of) noexcept { return operation<request>(asked{this, of}); }
    // The same for a limited time: false when it was over first.
    auto wait_for(phase of, time_limit limit) noexcept { return timed_operation<request>(asked{this, of}, limit); }
    auto wait_until(phase of, time_point until) noexcept { return wait_for(of, until); }
    [[nodiscard]] bool try_wait(phase of) const noexcept { return is_over(of); }
    // As wait(), for threads that run no tasks.
    void blocking_wait(phase of) noexcept { block<request>(asked{this, of}, "blocking_wait"); }
    bool blocking_wait_for(phase of, time_limit limit) noexcept {
        return block<request>(asked{this, of}, "blocking_wait_for", limit);
    }
    // Arrives, here and now, and gives the wait to be awaited.
    auto arrive_and_wait() noexcept { return wait(arrive()); }
    auto arrive_and_wait_for(time_limit limit) noexcept { return wait_for(arrive(), limit); }
    void blocking_arrive_and_wait() noexcept { blocking_wait(arrive()); }

protected:
    using end_function = void (*)(barrier_core&) noexcept;
    barrier_core(std::size_t expected, end_function at_end) noexcept
        : waiting_room(this_kind), expected_(expected), due_(expected), at_end_(at_end) {}
    ~barrier_core() = default;  // a bug with waiters

private:
    static constexpr kind this_kind{"a barrier"};
    struct asked {
        barrier_core* at;
        phase of;
    };
    struct request : detail::request {
        using asked = barrier_core::asked;
        explicit request(asked which) noexcept : where(which) {}
        bool begin(context& who, std::coroutine_handle<> at) noexcept {
            line = &who;
            return !where.at->is_over(where.of) && where.at->join(*this, at);
        }
        bool end() noexcept { return !waited || where.at->has_ended_well(*this); }
        void value() noexcept {}
        asked where;
    };

    // acquire pairs with the release in end_phase().
    bool is_over(phase of) const noexcept { return number_.load(env::acquire) != of.number_; }
    phase arrive(std::size_t count, std::size_t dropped) noexcept;
    bool join(request& self, std::coroutine_handle<> at) noexcept;

    env::atomic<std::uint64_t> number_{0};  // of the current phase; written under lock_
    std::size_t expected_;                  // under lock_, as is due_
    std::size_t due_;                       // arrivals to come in this phase; 0 while the completion runs
    const end_function at_end_;
};

}  // namespace detail

struct no_completion {
    void operator()() noexcept {}
};

// `completion` is called as completion() at the end of each phase and must not throw.
template <class Completion = no_completion>
class barrier : public detail::barrier_core {
    static_assert(std::is_nothrow_invocable_v<Completion&>, "the completion of a barrier is noexcept");

public:
    explicit barrier(std::size_t expected, Completion completion = {}) noexcept
        : barrier_core(expected, [](barrier_core& self) noexcept { static_cast<barrier&>(self).completion_(); }),
          completion_(std::move(completion)) {}

private:
    Completion completion_;
};

}  // namespace leat
