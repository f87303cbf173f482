// leat worker: does the items of flows that run on a cluster.
#include <cli/commands/commands.hpp>

#include <atomic>
#include <cerrno>
#include <cli/engine_connection.hpp>
#include <cli/screen.hpp>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <unistd.h>

#include <leat/cluster/cluster_flow.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/io/signals.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/stop_when.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

namespace {

using namespace std::chrono_literals;

run_options on_threads(unsigned count) {
    run_options options(count);
    options.report_holds_after = duration::zero();
    return options;
}

class worker_session {
public:
    explicit worker_session(const worker_arguments& command)
        : runtime_(make_runtime(on_threads(command.jobs))), command_(command), engine_(engine_at(command.engine)) {
        if (!command.name.empty()) engine_.name = "leat worker " + command.name;
        write_health();
    }

    exit_code run() {
        const auto body = [this](scope& helpers) { return run_with(helpers); };
        const outcome<void> end = runtime_->run(with_scope(body));
        if (worker_) {
            const cluster::worker_counts done = worker_->counts();
            screen_.print(fmt::format("leat: worker: {} items of {} runs done, {} failed for good\n", done.items,
                                      done.runs, done.failed));
        }
        if (!command_.health_file.empty()) (void)::unlink(command_.health_file.c_str());
        if (end.is_error()) std::rethrow_exception(end.error());
        // Stopped while it still had something to do.
        if (end.is_cancelled() && worker_)
            return first_signal_ == SIGTERM ? exit_code::terminated : exit_code::interrupted;
        return exit_code::done;
    }

private:
    task<outcome<void>> run_with(scope& helpers) {
        const auto signals = [this] { return watch_signals(); };
        helpers.spawn(task_name("signals"), signals);
        const auto health = [this] { return tell_health(); };
        if (!command_.health_file.empty()) helpers.spawn(task_name("health"), health);
        auto serving = stop_when(serve(), stop_);
        outcome<void> end = co_await std::move(serving);
        if (connection_) co_await shield(connection_->close());
        helpers.stop();
        co_return end;
    }

    task<> serve() {
        auto connecting = connect_when_there();
        connection_ = co_await std::move(connecting);
        screen_.print(engine_text(*connection_));
        cluster::worker_options options;
        options.name = command_.name;
        options.flow = command_.flow;
        options.drain_timeout = command_.drain_timeout;
        options.log = [this](const std::string& line) { screen_.print(fmt::format("leat: worker: {}\n", line)); };
        worker_.emplace(connection_, std::move(options));
        serving_ = true;
        if (first_signal_ != 0) worker_->drain();
        co_await worker_->run();
    }

    // An engine that is not there yet is waited for, as one that goes away is.
    task<std::shared_ptr<cluster::broker>> connect_when_there() {
        for (bool told = false;; told = true) {
            auto connecting = cluster::connect(engine_);
            cluster::broker_result<std::unique_ptr<cluster::broker>> made = co_await std::move(connecting);
            if (made) co_return std::shared_ptr<cluster::broker>(std::move(*made));
            if (!made.error().is_passing()) throw cluster::cluster_refused(made.error().text);
            if (!told) screen_.print(fmt::format("leat: worker: {}; waiting for it\n", made.error().text));
            co_await sleep_for(1s);
        }
    }

    task<> watch_signals() {
        first_signal_ = co_await interrupts_.next();
        if (!serving_) {
            stop_.request_stop();
            co_return;
        }
        worker_->drain();
        screen_.print(fmt::format("leat: worker: finishing what it holds, {} again to stop at once\n",
                                  first_signal_ == SIGINT ? "Ctrl-C" : "SIGTERM"));
        (void)co_await interrupts_.next();
        stop_.request_stop();
        (void)co_await timeout(interrupts_.next(), 5s).as_outcome();
        ::_exit(128 + first_signal_);
    }

    task<> tell_health() {
        for (;;) {
            co_await sleep_for(1s);
            write_health();
        }
    }
    // In place of the old text at once: a probe never sees half of it. What is there is as old as this worker is silent.
    void write_health() {
        if (command_.health_file.empty()) return;
        const std::string fresh = command_.health_file + ".new";
        const std::string_view text = serving_ && worker_->is_connected() ? "connected\n" : "waiting\n";
        const io::unique_fd to(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (to && ::write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
            ::rename(fresh.c_str(), command_.health_file.c_str()) == 0)
            return;
        if (!health_failed_) {
            health_failed_ = true;
            screen_.print(fmt::format("leat: worker: {}: {}\n", command_.health_file, std::strerror(errno)));
        }
    }

    // First, so that it ends last: signals let go of its I/O when they end.
    std::unique_ptr<runtime> runtime_;
    worker_arguments command_;
    cluster::nats_options engine_;
    screen screen_{STDERR_FILENO};
    stop_source stop_;
    std::shared_ptr<cluster::broker> connection_;
    std::optional<cluster::cluster_worker> worker_;
    std::atomic<bool> serving_{false};  // once: worker_ is there
    std::atomic<int> first_signal_{0};  // 0: none came
    bool health_failed_ = false;
    io::signals interrupts_{SIGINT, SIGTERM};
};

}  // namespace

exit_code execute(const worker_arguments& command, closed_streams) { return worker_session(command).run(); }

}  // namespace leat::cli
