#include <leat/cluster/cluster_worker.hpp>

#include <cstdlib>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

#include <cluster/connected_to.hpp>
#include <leat/base/log.hpp>
#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/job_function.hpp>
#include <leat/cluster/job_worker.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/process/remote_error.hpp>
#include <leat/runtime/main.hpp>
#include <leat/sync/event.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

namespace leat::cluster {

namespace {

task<> wait_for_stop() { co_await sleep_for(duration::max()); }
task<> drain(cluster_worker* which, event* draining) {
    which->drain();
    draining->set();
    co_return;
}

// What clients of this program submit, beside the flows. Where it may not be served, flows still are.
task<> serve_queue(broker* engine, std::string queue, event* draining) {
    constexpr auto again = std::chrono::seconds(5);
    if (program_here({}).functions.empty()) co_return;
    std::string told;
    while (!draining->is_set()) {
        job_worker_options options;
        options.name = queue;
        outcome<job_worker_report> end = co_await serve_jobs(*engine, std::move(options), draining).as_outcome();
        if (!end.is_error()) {
            (void)std::move(end).get();
            co_return;
        }
        // Clients of this version may come, and the engine may come back.
        std::string why = exception_record::of(end.error()).text;
        if (why != told) log(log_level::warning, "worker: no jobs: " + why);
        told = std::move(why);
        (void)co_await draining->wait_for(again);
    }
}

// Waits on beside the worker, and drains it when the stop comes.
task<> serve_beside(scope& work, cluster_worker* worker, broker* engine, std::string queue, event* draining) {
    work.spawn(
        task_name("worker drain"),
        [](cluster_worker* which, event* with) -> task<> {
            const auto end = [which, with] { return drain(which, with); };
            auto waiting = finally(wait_for_stop(), end);
            co_await std::move(waiting);
        },
        worker, draining);
    auto both = when_all(worker->run(), serve_queue(engine, std::move(queue), draining));
    auto serving = shield(std::move(both));
    (void)co_await std::move(serving);
    work.stop();
}

struct arguments {
    std::string engine;
    worker_options options;
};

// The error is a sentence.
expected<arguments, std::string> read_arguments(int argc, char** argv) {
    arguments made;
    for (int i = 2; i < argc; ++i) {
        const std::string_view each = argv[i];
        std::string* const to = each == "--engine" ? &made.engine
                                : each == "--flow" ? &made.options.flow
                                : each == "--name" ? &made.options.name
                                : each == "--jobs" ? &made.options.queue
                                                   : nullptr;
        if (to == nullptr) return unexpected(fmt::format("unknown argument '{}'", each));
        if (++i == argc) return unexpected(fmt::format("'{}' needs a value", each));
        *to = argv[i];
    }
    if (made.engine.empty()) return unexpected(std::string("no --engine"));
    return made;
}

}  // namespace

task<std::shared_ptr<broker>> connected_to(std::string url) {
    auto connecting = connect(nats_options(std::move(url)));
    broker_result<std::unique_ptr<broker>> made = co_await std::move(connecting);
    if (!made) throw cluster_refused(made.error().text);
    co_return std::shared_ptr<broker>(std::move(*made));
}

task<> serve_until_stopped(std::string engine_url, worker_options options) {
    auto connecting = connected_to(std::move(engine_url));
    const std::shared_ptr<broker> engine = co_await std::move(connecting);
    std::string queue = options.queue;
    cluster_worker worker(engine, std::move(options));
    event draining;
    auto serving = with_scope(&serve_beside, &worker, engine.get(), std::move(queue), &draining);
    const outcome<void> end = co_await serving.as_outcome();
    co_await shield(engine->close());
    if (end.is_error()) std::rethrow_exception(end.error());
}

std::optional<int> worker_main(int argc, char** argv) {
    // A worker of a process_pool is another thing, and leat::main's.
    if (argc < 2 || std::string_view(argv[1]) != "worker" || std::getenv(leat::detail::worker_variable) != nullptr)
        return {};
    auto given = read_arguments(argc, argv);
    if (!given) {
        const std::string text =
            fmt::format("error: {}\nusage: {} worker --engine URL [--flow NAME] [--name NAME] [--jobs QUEUE]\n",
                        given.error(), argv[0]);
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
        return 2;
    }
    given->options.log = [](const std::string& line) { log(log_level::warning, "worker: " + line); };
    const auto program = [&given] { return serve_until_stopped(std::move(given->engine), std::move(given->options)); };
    return leat::main(argc, argv, program);
}

}  // namespace leat::cluster
