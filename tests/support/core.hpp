// For tests of the core: where a program of tasks runs, and a death by a bug.
#pragma once

#include <atomic>
#include <cstdint>
#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>

#include <leat/runtime/run.hpp>
#include <leat/task/this_task.hpp>

namespace leat_test {

// Runs the task that program(args…) returns on the calling thread alone: in a known order.
template <class Program, class... Argument>
decltype(auto) on_one_thread(Program&& program, Argument&&... arguments) {
    return leat::run(leat::run_options(1), std::forward<Program>(program), std::forward<Argument>(arguments)...);
}

// The same on so many workers.
template <class Program, class... Argument>
decltype(auto) on_threads(unsigned count, Program&& program, Argument&&... arguments) {
    return leat::run(leat::run_options(count), std::forward<Program>(program), std::forward<Argument>(arguments)...);
}

// This thread's number in the system. Asked anew each time: of std::this_thread::get_id() a compiler may keep the answer in
// code that goes on on another thread.
[[gnu::noinline]] inline long thread_number() noexcept { return ::gettid(); }

// Waits, while others run, until `holds()`; gives up after very many turns.
template <class Condition>
leat::task<bool> turns_until(Condition holds) {
    for (int turn = 0; turn < 10'000'000; ++turn) {
        if (holds()) co_return true;
        co_await leat::this_task::yield();
    }
    co_return holds();
}

// A value that can be moved and not copied, and tells whether it was moved from.
class token {
public:
    explicit token(int number) noexcept : number_(number) {}
    token(token&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    token& operator=(token&& other) noexcept {
        number_ = std::exchange(other.number_, -1);
        return *this;
    }
    [[nodiscard]] int number() const noexcept { return number_; }

private:
    int number_;
};

// Counts how many of it are alive.
class counted {
public:
    explicit counted(int& alive) noexcept : alive_(&alive) { ++std::atomic_ref(*alive_); }
    counted(const counted& other) noexcept : alive_(other.alive_) { ++std::atomic_ref(*alive_); }
    counted& operator=(const counted&) = delete;
    ~counted() { --std::atomic_ref(*alive_); }

private:
    int* alive_;
};

// The text of the std::runtime_error that `program` ends with on one thread, or what came instead.
template <class Program>
std::string error_of(Program&& program) {
    try {
        on_one_thread(std::forward<Program>(program));
    } catch (const std::runtime_error& error) {
        return error.what();
    } catch (const leat::cancelled&) {
        return "(cancelled)";
    } catch (const leat::timed_out&) {
        return "(timed out)";
    }
    return "(a value)";
}

// Waits for ever, that is until it is stopped.
inline leat::task<> until_stopped() { co_await leat::sleep_for(leat::duration::max()); }

// Ends with an error, now or after `turns` turns of the others.
inline leat::task<int> failing(const char* text, int turns = 0) {
    for (; turns > 0; --turns) co_await leat::this_task::yield();
    throw std::runtime_error(text);
}

// Gives `value`, now or after `turns` turns of the others.
inline leat::task<int> giving(int value, int turns = 0) {
    for (; turns > 0; --turns) co_await leat::this_task::yield();
    co_return value;
}

}  // namespace leat_test
