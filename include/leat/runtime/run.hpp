// run: the way from a plain function into tasks.
//
//   int n = leat::run(count_words, path);             // on all effective CPUs
//   leat::run(leat::run_options(1), serve, port);      // on this thread
#pragma once

#include <functional>
#include <memory>

#include <leat/runtime/runtime.hpp>

namespace leat {

// The runtime that `options` describe. Throws as thread_pool's constructor does.
[[nodiscard]] std::unique_ptr<runtime> make_runtime(const run_options& options);

// Runs the task that fn(args…) returns to its end on a runtime of its own; gives its value, or throws its error, or
// cancelled when options.stop was asked to stop. Not from inside a task (a bug).
template <class Function, class... Argument>
    requires std::invocable<Function, Argument...>
decltype(auto) run(const run_options& options, Function&& fn, Argument&&... arguments) {
    const std::unique_ptr<runtime> where = make_runtime(options);
    // Called within this expression, so that what an argument is converted to, for a reference parameter, lives long enough.
    return where->run(std::forward<Function>(fn)(std::forward<Argument>(arguments)...), options.stop, options.name);
}
template <class Function, class... Argument>
    requires std::invocable<Function, Argument...>
decltype(auto) run(Function&& fn, Argument&&... arguments) {
    return run(run_options{}, std::forward<Function>(fn), std::forward<Argument>(arguments)...);
}

}  // namespace leat
