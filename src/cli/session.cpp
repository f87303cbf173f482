#include <cli/session.hpp>

#include <atomic>
#include <cerrno>
#include <cli/process_setup.hpp>
#include <cli/progress.hpp>
#include <cli/resource_use.hpp>
#include <cli/write_all.hpp>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <leat/io/signals.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cli {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t most_messages = 100;  // about failed items

std::uint64_t done_of(const report& counts) { return counts.out + counts.skipped + counts.dead + counts.failed; }

bool same_file(int one, int other) {
    struct stat a{};
    struct stat b{};
    return ::fstat(one, &a) == 0 && ::fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Opened before the run, so that a run is not wasted on a report that has no place. A standard stream by another name
// (/dev/stdout) is that stream, and written to behind what is there.
io::unique_fd open_report(const std::string& file) {
    if (file.empty()) return {};
    io::unique_fd opened(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    if (!opened) throw usage_error(fmt::format("--report: cannot write to `{}`: {}", file, std::strerror(errno)));
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
        if (same_file(opened.get(), stream)) return io::unique_fd(::fcntl(stream, F_DUPFD_CLOEXEC, 3));
    return opened;
}

bool write_report(int fd, const std::string& text) {
    const bool stream = same_file(fd, STDOUT_FILENO) || same_file(fd, STDERR_FILENO);
    if (!stream) (void)::ftruncate(fd, 0);  // what was there stays until now; a pipe has no length
    return write_all(fd, text);
}

// That a stage computes for long is nothing that those who run a command could change: it is not reported.
run_options on_threads(unsigned count) {
    run_options options(count);
    options.report_holds_after = duration::zero();
    return options;
}

class session final : public flow_observer {
public:
    session(session_plan plan, screen& messages)
        : runtime_(make_runtime(on_threads(plan.threads))),
          plan_(std::move(plan)),
          screen_(messages),
          report_file_(open_report(plan_.output.report_file)) {
        plan_.options.control = plan_.control.get();
        plan_.options.observer = this;
    }

    exit_code run() {
        report done;
        try {
            done = runtime_->run(live());
        } catch (const std::invalid_argument& problem) {
            throw usage_error(problem.what());
        }
        screen_.show({});
        used_.note(done);
        if (plan_.at_end) plan_.at_end(done);
        if (plan_.output.progress == progress_mode::json || prints_lines()) print_line();
        const bool gone = output_reader_gone();
        exit_code code = exit_code_of(done, first_signal_.load(), gone);
        tell(done, code);
        if (report_file_ && !write_report(report_file_.get(), done.to_json() + "\n")) {
            screen_.print(fmt::format("leat: cannot write the report to {}: {}\n", plan_.output.report_file,
                                      std::strerror(errno)));
            if (code == exit_code::done || code == exit_code::items_failed) code = exit_code::engine_failed;
        }
        return code;
    }

    void item_failed(std::string_view stage, on_error how, std::string_view name, unsigned attempts,
                     std::string_view error) override {
        // What fails the flow is its error, told at the end.
        if (stage == plan_.told_by || how == on_error::fail) return;
        const auto number = messages_.fetch_add(1);
        if (number == most_messages) screen_.print("leat: more items failed; they are counted, not shown\n");
        if (number >= most_messages) return;
        std::string text = fmt::format("leat: {}: item '{}': {}", printable(stage), printable(name), error);
        if (attempts > 1) text += fmt::format(" (tried {} times)", attempts);
        if (how == on_error::dead_letter) text += " (kept as a dead letter)";
        if (how == on_error::skip) text += " (skipped)";
        screen_.print(text + "\n");
    }

private:
    task<report> live() {
        const auto body = [this](scope& helpers) { return run_with(helpers); };
        return with_scope(body);
    }
    task<report> run_with(scope& helpers) {
        const auto signals = [this] { return watch_signals(); };
        helpers.spawn(task_name("signals"), signals);
        const auto lines = [this] { return print_lines(); };
        const auto block = [this] { return redraw(); };
        if (plan_.output.progress == progress_mode::json || prints_lines()) helpers.spawn(task_name("progress"), lines);
        else if (plan_.output.progress != progress_mode::none && screen_.is_terminal())
            helpers.spawn(task_name("progress"), block);
        task<report> running = plan_.run ? plan_.run(plan_.options) : run_flow(std::move(plan_.graph), plan_.options);
        outcome<report> end = co_await std::move(running).as_outcome();
        helpers.stop();
        co_return std::move(end).get();
    }

    task<> watch_signals() {
        first_signal_ = co_await interrupts_.next();
        plan_.control->drain();
        screen_.print(fmt::format("leat: draining: {} items in flight, {} again to stop at once\n",
                                  plan_.control->snapshot().counts.unfinished,
                                  first_signal_ == SIGINT ? "Ctrl-C" : "SIGTERM"));
        (void)co_await interrupts_.next();
        plan_.control->stop();
        screen_.print("leat: stopping\n");
        co_await give_up();
    }
    // Whatever hangs now hangs for good: the sentinel of our children sees us go, and ends them.
    task<> give_up() {
        outcome<int> third = co_await timeout(interrupts_.next(), 5s).as_outcome();
        if (third.is_cancelled()) co_return;
        screen_.show({});
        ::_exit(128 + first_signal_);
    }

    task<> redraw() {
        for (;;) {
            co_await sleep_for(200ms);
            progress_style style;
            style.width = screen_.width();
            style.color = screen_.wants_color();
            if (plan_.output.progress == progress_mode::automatic)
                screen_.show(progress_lines(plan_.control->snapshot(), style));
            else screen_.show({line_now(style.width)});
        }
    }
    // Where a bar was asked for and cannot be redrawn.
    [[nodiscard]] bool prints_lines() const {
        const progress_mode mode = plan_.output.progress;
        return (mode == progress_mode::bar || mode == progress_mode::eta) && !screen_.is_terminal();
    }
    task<> print_lines() {
        for (;;) {
            co_await sleep_for(500ms);
            print_line();
        }
    }
    // What has changed since the last line; JSON in any case.
    void print_line() {
        constexpr unsigned width = 80;
        std::string line = line_now(width);
        if (plan_.output.progress == progress_mode::json || line != last_line_) screen_.print(line + "\n");
        last_line_ = std::move(line);
    }
    [[nodiscard]] std::string line_now(unsigned width) const {
        const flow_control::progress now = plan_.control->snapshot();
        if (plan_.output.progress == progress_mode::json) return progress_json(now);
        if (plan_.output.progress == progress_mode::eta) return progress_eta(now);
        progress_style style;
        style.width = width;
        return progress_bar(now, style);
    }

    void tell(const report& done, exit_code code) {
        if (code == exit_code::output_closed) return;  // whoever would read on has gone
        if (plan_.print_report) return screen_.print(done.to_text());
        if (done.end == flow_end::failed) return screen_.print(fmt::format("leat: {}\n", done.error));
        if (done.end == flow_end::interrupted)
            screen_.print(fmt::format("leat: {}: {} items done, {} unfinished\n",
                                      first_signal_ == 0 ? "halted" : "interrupted", done_of(done), done.unfinished));
        if (const auto failed = done.failed + done.dead; failed > 0)
            screen_.print(fmt::format("leat: {} of {} items failed\n", failed, done.in));
    }

    // First, so that it ends last: signals and pipes let go of its I/O when they end.
    std::unique_ptr<runtime> runtime_;
    session_plan plan_;
    screen& screen_;
    const resource_use used_;
    io::unique_fd report_file_;
    io::signals interrupts_{SIGINT, SIGTERM};
    std::string last_line_;             // of progress, where it is printed
    std::atomic<int> first_signal_{0};  // 0: none came
    std::atomic<std::uint64_t> messages_{0};
};

}  // namespace

exit_code run_session(session_plan plan, screen& messages) {
    session one(std::move(plan), messages);
    return one.run();
}

exit_code exit_code_of(const report& done, int signal, bool output_gone) noexcept {
    if (done.end == flow_end::failed) {
        if (output_gone) return exit_code::output_closed;
        const bool sink_failed = !done.stages.empty() && done.stages.back().failed > 0;
        return done.failed > 0 && !sink_failed ? exit_code::items_failed : exit_code::engine_failed;
    }
    const bool halted = done.end == flow_end::interrupted && signal == 0;  // as it was asked to, by --halt
    if (done.end == flow_end::interrupted && !halted)
        return signal == SIGTERM ? exit_code::terminated : exit_code::interrupted;
    return done.failed + done.dead > 0 ? exit_code::items_failed : exit_code::done;
}

}  // namespace leat::cli
