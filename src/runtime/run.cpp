#include <leat/runtime/run.hpp>

#include <leat/runtime/event_loop.hpp>
#include <leat/runtime/thread_pool.hpp>

namespace leat {

std::unique_ptr<runtime> make_runtime(const run_options& options) {
    if (options.threads == 1)
        return std::make_unique<event_loop>(options.suspect_deadlock_after,
                                            options.report_holds_after.value_or(duration{}));
    return std::make_unique<thread_pool>(options.threads, options.suspect_deadlock_after,
                                         options.report_holds_after.value_or(std::chrono::seconds(1)));
}

}  // namespace leat
