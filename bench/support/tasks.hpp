// How benchmarks run programs of tasks: on a runtime that is there already, so that its start is not measured.
#pragma once

#include <cstdint>
#include <thread>

#include <leat/leat.hpp>
#include <support/bench.hpp>

namespace bench {

// A program is a function that gives a task and leaves its checksum in `sum`: program(count, sum). This runs it on `where`,
// for per_unit().
template <class Program>
auto on(leat::runtime& where, Program program) {
    return [&where, program](std::uint64_t count) {
        std::uint64_t sum = 0;
        where.run(program(count, sum));
        return sum;
    };
}

// Runs two tasks, each on an event loop of its own: `here` on this thread, `there` on another. Tasks that two threads run
// whatever a pool would have made of them.
template <class First, class Second>
void on_two_loops(First here, Second there) {
    const auto first = leat::make_runtime(leat::run_options(1));
    const auto second = leat::make_runtime(leat::run_options(1));
    std::thread other([&] { second->run(there()); });
    first->run(here());
    other.join();
}

}  // namespace bench
