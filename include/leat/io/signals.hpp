// signals: SIGINT, SIGTERM and the like as a sequence that a task awaits. Only for an application that wants them: the
// library itself never makes one.
//
//   leat::io::signals interrupts({SIGINT, SIGTERM});
//   int first = co_await interrupts.next();
#pragma once

#include <initializer_list>
#include <memory>

#include <leat/task/task.hpp>

namespace leat::io {

class signals {
public:
    // Installs handlers for these signals, which no other `signals` holds at this time (std::invalid_argument otherwise).
    // Throws std::system_error when the system refuses: no descriptors left, no such signal.
    signals(std::initializer_list<int> numbers);
    // Restores what was installed before. Not while a task awaits next().
    ~signals();
    signals(const signals&) = delete;
    signals& operator=(const signals&) = delete;

    // Awaits the next signal and gives its number. Those that come while nobody waits are kept, some thousands of them.
    // Resumes on the awaiting task's executor; throws cancelled when stopped. One task at a time.
    task<int> next();

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace leat::io
