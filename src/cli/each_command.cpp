#include <cli/each_command.hpp>

#include <atomic>
#include <cli/each_items.hpp>
#include <fmt/format.h>

#include <leat/task/this_task.hpp>

namespace leat::cli {

namespace {

using namespace std::chrono_literals;

// Ends an attempt: gives the result on, or throws for another attempt.
task<> conclude(const each_item& given, each_result result, bool retryable, unsigned tries, emitter& out) {
    if (result.failure.empty()) {
        payload value(std::move(result));
        co_await out.emit(std::move(value));
        co_return;
    }
    const std::string failure = result.failure;
    if (retryable && given.attempts < tries) throw std::runtime_error(failure);
    payload value(std::move(result));
    co_await out.emit(std::move(value));
    out.keep_outputs();
    throw permanent_error(failure);
}

// --- A process an item ---

struct item_command {
    item_command(command_template arguments_, command_options options_, unsigned tries_)
        : arguments(std::move(arguments_)), options(std::move(options_)), tries(tries_) {}
    command_template arguments;
    command_options options;
    unsigned tries;
};

class per_item_worker final : public stage_worker {
public:
    per_item_worker(std::shared_ptr<const item_command> command, unsigned slot)
        : command_(std::move(command)), slot_(slot) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<each_item>();
        ++given.attempts;
        each_result result;
        result.item = given.text();
        bool retryable = false;
        command_options options = command_->options;
        try {
            options.child.argv = command_->arguments.fill(given.parts, in.ack.sequence() + 1, slot_);
        } catch (const permanent_error& problem) {
            result.failure = problem.what();
        }
        if (result.failure.empty()) {
            outcome<command_result> ended = co_await run(std::move(options)).as_outcome();
            retryable = take(std::move(ended), result);
        }
        co_await conclude(given, std::move(result), retryable, command_->tries, out);
    }

private:
    // Waits when the system is out of processes, descriptors or memory just now: others of ours will end.
    static task<command_result> run(command_options options) {
        for (duration wait = 50ms;; wait *= 2) {
            command_options again = options;
            outcome<command_result> ended = co_await run_command(std::move(again)).as_outcome();
            if (wait > 5s || !is_out_of_resources(ended)) co_return std::move(ended).get();
            co_await sleep_for(wait);
        }
    }
    static bool is_out_of_resources(const outcome<command_result>& ended) {
        if (!ended.is_error()) return false;
        try {
            std::rethrow_exception(ended.error());
        } catch (const spawn_failed& failed) {
            return failed.retryable();
        } catch (...) {
            return false;
        }
    }

    // Puts into `result` what became of the command; whether a failure is worth another attempt.
    [[nodiscard]] bool take(outcome<command_result> ended, each_result& result) const {
        try {
            command_result done = std::move(ended).get();
            result.out = std::move(done.out);
            result.err = std::move(done.err);
            if (done.timed_out)
                result.failure = fmt::format("timed out after {:g} s",
                                             std::chrono::duration<double>(command_->options.timeout).count());
            else if (!done.status.success()) result.failure = done.status.text();
            return true;
        } catch (const spawn_failed& failed) {
            result.failure = failed.what();
            return failed.retryable();
        } catch (const spool_error& failed) {
            result.failure = fmt::format("its output could not be kept: {}", failed.what());
            return false;
        }
    }

    std::shared_ptr<const item_command> command_;
    unsigned slot_;
};

class per_item_stage final : public stage {
public:
    explicit per_item_stage(std::shared_ptr<const item_command> command) : command_(std::move(command)) {}
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<per_item_worker>(command_, slots_.fetch_add(1) + 1);
    }

private:
    std::shared_ptr<const item_command> command_;
    std::atomic<unsigned> slots_{0};  // given to workers so far
};

// --- No process ---

class shown_worker final : public stage_worker {
public:
    shown_worker(std::shared_ptr<const command_template> arguments, unsigned slot)
        : arguments_(std::move(arguments)), slot_(slot) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<each_item>();
        each_result result;
        result.item = given.text();
        try {
            result.out.append(shell_line(arguments_->fill(given.parts, in.ack.sequence() + 1, slot_)).append("\n"));
        } catch (const permanent_error& problem) {
            result.failure = problem.what();
        }
        co_await conclude(given, std::move(result), false, 1, out);
    }

private:
    std::shared_ptr<const command_template> arguments_;
    unsigned slot_;
};

class shown_stage final : public stage {
public:
    explicit shown_stage(command_template arguments)
        : arguments_(std::make_shared<const command_template>(std::move(arguments))) {}
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<shown_worker>(arguments_, slots_.fetch_add(1) + 1);
    }

private:
    std::shared_ptr<const command_template> arguments_;
    std::atomic<unsigned> slots_{0};  // given to workers so far
};

// --- A process a job ---

class per_job_worker final : public stage_worker {
public:
    per_job_worker(persistent_pool& pool, std::string_view end_mark, unsigned tries)
        : pool_(pool), end_mark_(end_mark), tries_(tries) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<each_item>();
        // One that has cost a worker its life is tried again without neighbours, who would share its fate.
        const bool suspect = ++given.attempts > 1;
        each_result result;
        result.item = given.text();
        outcome<std::string> answered = co_await pool_.call(given.text(), suspect).as_outcome();
        bool retryable = false;
        try {
            result.out.append(std::move(answered).get().append(end_mark_));
        } catch (const worker_failed& failed) {
            result.failure = failed.what();
            result.err = failed.err();
            retryable = failed.retryable();
        }
        co_await conclude(given, std::move(result), retryable, tries_, out);
    }

private:
    persistent_pool& pool_;
    std::string_view end_mark_;  // behind an answer in the output
    unsigned tries_;
};

std::string_view end_mark_of(worker_protocol protocol) {
    switch (protocol) {
        case worker_protocol::line:
            return "\n";
        case worker_protocol::nul:
            return {"", 1};
        case worker_protocol::frame:
            break;
    }
    return {};
}

class per_job_stage final : public stage {
public:
    per_job_stage(persistent_options options, unsigned tries) : options_(std::move(options)), tries_(tries) {}
    [[nodiscard]] unsigned items_per_job() const noexcept override { return options_.window; }
    task<> start(unsigned jobs) override {
        options_.workers = jobs;
        context& line = co_await this_task::line();
        pool_ = std::make_unique<persistent_pool>(options_, line);
    }
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<per_job_worker>(*pool_, end_mark_of(options_.protocol), tries_);
    }
    task<> close() override {
        if (!pool_) co_return;
        co_await pool_->close();
        pool_.reset();
    }

private:
    persistent_options options_;
    unsigned tries_;
    std::unique_ptr<persistent_pool> pool_;
};

}  // namespace

std::shared_ptr<stage> command_per_item(command_template arguments, command_options options, unsigned tries) {
    return std::make_shared<per_item_stage>(
        std::make_shared<item_command>(std::move(arguments), std::move(options), tries));
}
std::shared_ptr<stage> commands_shown(command_template arguments) {
    return std::make_shared<shown_stage>(std::move(arguments));
}
std::shared_ptr<stage> command_per_job(persistent_options options, unsigned tries) {
    return std::make_shared<per_job_stage>(std::move(options), tries);
}

}  // namespace leat::cli
