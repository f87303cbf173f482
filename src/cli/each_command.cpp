#include <cli/each_command.hpp>

#include <atomic>
#include <cli/each_items.hpp>
#include <fmt/format.h>
#include <new>

#include <leat/base/exception_text.hpp>
#include <leat/base/log.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/when_any.hpp>

namespace leat::cli {

namespace {

using namespace std::chrono_literals;

// A job from its start to its end, whatever runs it.
class job {
public:
    job(const job_rules& rules, each_item& given, std::uint64_t number) : rules_(rules), given_(given) {
        ++given.attempts;
        result.parts = given.parts;
        result.number = number;
        if (!rules.log) return;
        result.job.emplace().number = number;
        if (given.block) result.job->in_bytes = given.block->text.size();
    }

    // Whether it is not to be run: it was in an earlier run, or nothing is any more. `command`: what it is in the log.
    [[nodiscard]] bool is_left_out(std::span<const std::string> command) {
        if (!result.job) return false;
        result.job->command = shell_line(command);
        const auto found = rules_.log->find(result.job->number, result.job->command);
        if (found == job_log::finding::mismatch) rules_.give_up();
        return found != job_log::finding::new_job;
    }
    void starts() {
        began_ = env::now();
        if (result.job)
            result.job->start_s =
                std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    }
    // Ends an attempt: gives the result on, or throws for another attempt.
    task<> conclude(bool retryable, emitter& out) {
        const std::string failure = result.failure;
        if (!failure.empty() && retryable && given_.attempts < rules_.tries) throw std::runtime_error(failure);
        if (!failure.empty() && result.exit_value == 0 && result.signal == 0) result.exit_value = -1;
        if (result.job) {
            result.job->runtime_s = std::chrono::duration<double>(env::now() - began_).count();
            result.job->exit_value = result.exit_value;
            result.job->signal = result.signal;
            result.job->out_bytes = result.printed_bytes.value_or(result.out.size());
        }
        if (!failure.empty() && rules_.dead_letters) {
            constexpr std::size_t most = std::size_t{8} << 10U;
            const std::size_t cut = result.err.size() - std::min(result.err.size(), most);
            given_.failed = std::make_unique<failed_attempt>(result.exit_value, result.signal, result.err.substr(cut));
        }
        payload value(std::move(result));
        co_await out.emit(std::move(value));
        if (rules_.halts) rules_.halts->job_ended(failure.empty());
        if (failure.empty()) co_return;
        out.keep_outputs();
        throw permanent_error(failure);
    }

    each_result result;

private:
    const job_rules& rules_;
    each_item& given_;
    time_point began_ = env::now();
};

// Lets jobs start one after the other, the delay apart.
class starter {
public:
    explicit starter(duration delay) noexcept : delay_(delay) {}
    task<> turn() {
        if (delay_ <= duration::zero()) co_return;
        const auto held = co_await turns_.lock();
        co_await sleep_until(next_);
        next_ = env::now() + delay_;
    }

private:
    duration delay_;
    mutex turns_;
    time_point next_{};
};

// --- A process an item ---

struct item_command {
    item_command(command_template arguments_, command_options options_, job_rules rules_, bool shown)
        : arguments(std::move(arguments_)),
          options(std::move(options_)),
          rules(std::move(rules_)),
          is_only_shown(shown),
          starts(rules.delay) {}
    command_template arguments;
    command_options options;
    job_rules rules;
    bool is_only_shown;  // a dry run
    starter starts;
    std::atomic<unsigned> running{0};         // commands from before their start to after their end
    std::atomic<std::uint64_t> ran{0};        // commands that could be started and have ended
    std::atomic<bool> shortage_told = false;  // that fewer run than could
    std::atomic<bool> hopeless = false;       // a job has waited for resources in vain, and none has run since
};

class crowded_out : public std::runtime_error {
public:
    crowded_out() : std::runtime_error("ended to make room: too little memory was free") {}
};

class per_item_worker final : public stage_worker {
public:
    per_item_worker(std::shared_ptr<item_command> command, unsigned slot) : command_(std::move(command)), slot_(slot) {}

    task<> process(item& in, emitter& out) override {
        auto& given = in.value.as<each_item>();
        const std::uint64_t number = in.ack.sequence() + 1;
        job one(command_->rules, given, number);
        each_result& result = one.result;
        bool retryable = false;
        command_options options = command_->options;
        try {
            options.child.argv =
                command_->arguments.fill(given.parts, number, given.place ? given.place->slot() : slot_);
        } catch (const permanent_error& problem) {
            result.failure = problem.what();
        } catch (const std::bad_alloc&) {
            result.failure = current_exception_text();
        }
        if (one.is_left_out(options.child.argv)) {
            if (command_->rules.live) co_await command_->rules.live->done(number);
            in.ack.skip();
            co_return;
        }
        if (command_->is_only_shown) {
            if (result.failure.empty()) result.out.append(shell_line(options.child.argv).append("\n"));
        } else if (result.failure.empty()) {
            co_await command_->starts.turn();
            one.starts();
            std::optional<live_job> live;
            if (command_->rules.live) {
                live.emplace(*command_->rules.live, result.text(), number);
                co_await live->listen(options);
            }
            const bool may_be_ended = given.place && given.place->gate().may_crowd_out();
            auto running = may_be_ended ? run_while_there_is_room(std::move(options), given)
                                        : run(std::move(options), given.block.get());
            outcome<command_result> ended = co_await running.as_outcome();
            if (live) {
                co_await live->finish();
                result.printed_bytes = live->printed_bytes();
            }
            retryable = take(std::move(ended), result);
            if (live)
                if (auto unprinted = live->take_unprinted()) result.out = std::move(*unprinted);
        }
        co_await one.conclude(retryable, out);
    }

private:
    // Waits when the system is out of processes, descriptors or memory just now: as long as others of ours run, which free
    // some when they end, and for some seconds when none does.
    task<command_result> run(command_options options, const input_block* block) {
        std::uint64_t seen = command_->ran.load();
        for (duration wait = 50ms;;) {
            command_options again = options;
            if (block != nullptr) again.input = block->text;
            command_->running.fetch_add(1);
            outcome<command_result> ended = co_await run_command(std::move(again)).as_outcome();
            bool others_run = command_->running.fetch_sub(1) > 1;
            if (!is_out_of_resources(ended)) {
                command_->ran.fetch_add(1);
                command_->hopeless = false;
                co_return std::move(ended).get();
            }
            if (const auto now = command_->ran.load(); now != std::exchange(seen, now)) others_run = true;
            if (!others_run && (wait > 5s || command_->hopeless)) {
                command_->hopeless = true;
                co_return std::move(ended).get();
            }
            if (others_run && !command_->shortage_told.exchange(true))
                log(log_level::warning, "fewer jobs at a time than asked for: " + text_of(ended.error()));
            co_await sleep_for(others_run ? 200ms : wait);
            wait = others_run ? 50ms : 2 * wait;
        }
    }
    task<command_result> run_while_there_is_room(command_options options, each_item& given) {
        start_gate& gate = given.place->gate();
        if (given.attempts > 1) co_await gate.room_again(*given.place);
        auto first = co_await when_any(run(std::move(options), given.block.get()), gate.crowded_out(*given.place));
        if (first.index() == 1) throw crowded_out();
        co_return std::get<0>(std::move(first));
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
            result.signal = done.status.signal();
            result.exit_value = done.timed_out ? -1 : std::max(done.status.code(), 0);
            return true;
        } catch (const spawn_failed& failed) {
            result.failure = failed.what();
            return failed.retryable();
        } catch (const crowded_out& ended_by_us) {
            result.failure = ended_by_us.what();
            result.exit_value = -1;
            return true;
        } catch (const data_out_failed& failed) {
            result.failure = failed.what();  // the run is about to fail
            return false;
        } catch (const spool_error& failed) {
            result.failure = fmt::format("its output could not be kept: {}", failed.what());
            return false;
        } catch (const std::bad_alloc&) {
            result.failure = current_exception_text();
            return true;
        }
    }

    std::shared_ptr<item_command> command_;
    unsigned slot_;
};

class per_item_stage final : public stage {
public:
    explicit per_item_stage(std::shared_ptr<item_command> command) : command_(std::move(command)) {}
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<per_item_worker>(command_, slots_.fetch_add(1) + 1);
    }

private:
    std::shared_ptr<item_command> command_;
    std::atomic<unsigned> slots_{0};  // given to workers so far
};

// --- A process a job ---

std::string_view end_mark_of(worker_protocol protocol) {
    switch (protocol) {
        case worker_protocol::line:
            return "\n";
        case worker_protocol::nul:
            return {"\0", 1};
        case worker_protocol::frame:
            break;
    }
    return {};
}

class per_job_worker final : public stage_worker {
public:
    per_job_worker(persistent_pool& pool, const persistent_options& options, const job_rules& rules,
                   const pace_rules& blocks)
        : pool_(pool), options_(options), end_mark_(end_mark_of(options.protocol)), rules_(rules), blocks_(blocks) {}

    task<> process(item& in, emitter& out) override {
        if (in.value.is<each_block>()) return process_block(in.value.as<each_block>(), out);
        return process_one(in, out);
    }

private:
    task<> process_one(item& in, emitter& out) {
        auto& given = in.value.as<each_item>();
        job one(rules_, given, in.ack.sequence() + 1);
        each_result& result = one.result;
        if (rules_.log) {
            std::vector<std::string> words = options_.child.argv;
            words.insert(words.end(), given.parts.begin(), given.parts.end());
            if (one.is_left_out(words)) {
                in.ack.skip();
                co_return;
            }
        }
        one.starts();
        // One that has cost a worker its life is tried again without neighbours, who would share its fate.
        const bool suspect = given.attempts > 1;
        bool retryable = false;
        try {
            std::string answer = co_await pool_.call(given.text(), suspect);
            result.out.append(answer.append(end_mark_));
        } catch (const worker_failed& failed) {
            result.failure = failed.what();
            result.err = failed.err();
            retryable = failed.retryable();
            if (failed.status()) {
                result.signal = failed.status()->signal();
                result.exit_value = failed.status()->code();
            }
        } catch (const std::bad_alloc&) {
            result.failure = current_exception_text();
        }
        co_await one.conclude(retryable, out);
    }

    task<> process_block(each_block& block, emitter& out) {
        const time_point start = env::now();
        try {
            co_await call_many(block, out);
        } catch (const std::bad_alloc&) {
            throw permanent_error(current_exception_text());  // some may have been given on: it is not tried again
        }
        set_pace(block.count, env::now() - start);
    }
    task<> conclude(persistent_pool::many_answers answered, emitter& out) {
        each_block_result result;
        result.count = answered.count;
        result.out = std::move(answered.text);
        // From the last to the first, so that the places of the others stay what they are.
        for (; !answered.failures.empty(); answered.failures.pop_back()) {
            const many_failure& failed = answered.failures.back();
            std::optional<worker_failed> last = failed.error;
            for (unsigned attempt = 1; last && last->retryable() && attempt < rules_.tries; ++attempt) {
                out.count_retried(1);
                outcome<std::string> again = co_await pool_.call(failed.item, true).as_outcome();
                last = take(std::move(again), result.out, failed.at);
            }
            if (!last) continue;
            result.failed.insert(result.failed.begin(), {short_name(failed.item), last->err(), last->what()});
            out.count_failed(1);
        }
        payload value(std::move(result));
        co_await out.emit(std::move(value));
    }
    task<> call_many(each_block& block, emitter& out) {
        persistent_pool::many_answers none;
        try {
            const auto take = [this, &out](persistent_pool::many_answers some) {
                return conclude(std::move(some), out);
            };
            co_return co_await pool_.call_many(block.text, block.count, take);
        } catch (const worker_failed& failed) {
            // The pool takes nothing any more: that is what all of them have failed of.
            none.count = block.count;
            std::string_view rest = block.text;
            for (std::size_t each = 0; each != block.count; ++each) {
                const std::size_t end = rest.find(end_mark_);
                none.failures.emplace_back(std::string(rest.substr(0, end)), 0, failed);
                rest.remove_prefix(end + 1);
            }
        }
        co_await conclude(std::move(none), out);
    }
    // Puts an answer where it belongs. What there is instead of one, if there is none.
    std::optional<worker_failed> take(outcome<std::string> again, std::string& all, std::size_t at) const {
        try {
            all.insert(at, std::move(again).get().append(end_mark_));
        } catch (const worker_failed& failed) {
            return failed;
        }
        return std::nullopt;
    }
    void set_pace(std::size_t items, duration time) noexcept {
        if (!blocks_.pace->took(items, time) || !blocks_.window_follows) return;
        constexpr std::size_t blocks_held = 4;
        pool_.set_window(std::max(options_.window, static_cast<unsigned>(blocks_held * blocks_.pace->items())));
    }

    persistent_pool& pool_;
    const persistent_options& options_;
    std::string_view end_mark_;  // behind an answer in the output
    const job_rules& rules_;
    const pace_rules& blocks_;
};

class per_job_stage final : public stage {
public:
    per_job_stage(persistent_options options, job_rules rules, pace_rules blocks)
        : options_(std::move(options)), rules_(std::move(rules)), blocks_(std::move(blocks)) {}
    [[nodiscard]] unsigned items_per_job() const noexcept override { return options_.window; }
    task<> start(unsigned jobs) override {
        options_.workers = jobs;
        context& line = co_await this_task::line();
        pool_ = std::make_unique<persistent_pool>(options_, line);
    }
    task<std::unique_ptr<stage_worker>> open() override {
        co_return std::make_unique<per_job_worker>(*pool_, options_, rules_, blocks_);
    }
    task<> close() override {
        if (!pool_) co_return;
        co_await pool_->close();
        pool_.reset();
    }

private:
    persistent_options options_;
    job_rules rules_;
    pace_rules blocks_;
    std::unique_ptr<persistent_pool> pool_;
};

}  // namespace

std::shared_ptr<stage> command_per_item(command_template arguments, command_options options, job_rules rules) {
    return std::make_shared<per_item_stage>(
        std::make_shared<item_command>(std::move(arguments), std::move(options), std::move(rules), false));
}
std::shared_ptr<stage> commands_shown(command_template arguments) {
    return std::make_shared<per_item_stage>(
        std::make_shared<item_command>(std::move(arguments), command_options(), job_rules(), true));
}
std::shared_ptr<stage> command_per_job(persistent_options options, job_rules rules, pace_rules blocks) {
    return std::make_shared<per_job_stage>(std::move(options), std::move(rules), std::move(blocks));
}

}  // namespace leat::cli
