// fiber: a stack of its own that runs one job after another, switched by hand on one thread of the system. Used by the
// engine, one fiber a thread of a scenario. Fibers are pooled for the life of the program and never unwound: a job that is
// left in the middle (a failed schedule) keeps its fiber.
//
// The switch tells the sanitizers, and takes the thread's stack of caught exceptions along.
#pragma once

#include <boost/context/fiber.hpp>
#include <cstddef>

namespace leat::explore::detail {

class fiber {
public:
    // What runs on it: called anew each time it has returned and somebody switches to the fiber. It returns by finishing
    // with a switch away from the fiber; `self` is the fiber.
    using job = void (*)(void* argument);

    // The thread that is running now, to come back to.
    fiber() noexcept;
    // A new stack, which loops over body(argument).
    fiber(job body, void* argument);
    fiber(const fiber&) = delete;
    fiber& operator=(const fiber&) = delete;

    // Goes on with `to`; returns when somebody switches back to `from`, which is the fiber that runs now.
    static void jump(fiber& from, fiber& to) noexcept;

private:
    static constexpr std::size_t stack_bytes = 256 * 1024;

    void loop(boost::context::fiber&& came_from) noexcept;
    void arrived(boost::context::fiber&& came_from) noexcept;

    boost::context::fiber handle_;  // where it goes on; empty while it runs
    job body_ = nullptr;
    void* argument_ = nullptr;
    const void* bottom_ = nullptr;  // lowest address of the stack, for the sanitizers
    std::size_t size_ = 0;
    [[maybe_unused]] void* fake_stack_ = nullptr;  // of the address sanitizer
    [[maybe_unused]] void* tsan_ = nullptr;        // of the thread sanitizer
    void* exceptions_[2] = {};                     // __cxa_eh_globals while it does not run
};

}  // namespace leat::explore::detail
