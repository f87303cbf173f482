// One task a slot: it starts a worker when there is something to do, keeps two messages on their way, and takes what comes back.
// Whatever goes wrong with a worker ends its process, so there is one way out: settle().
#include <leat/process/process_pool.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fmt/format.h>
#include <unistd.h>

#include <leat/base/machine.hpp>
#include <leat/process/command.hpp>
#include <leat/runtime/main.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

#include "ending.hpp"
#include "pool_functions.hpp"
#include "pool_wire.hpp"

namespace leat {

namespace {

using detail::pool_job;
using detail::pool_note;
using detail::pool_progress;
using reason = worker_failed::reason;
using job_ptr = std::shared_ptr<pool_job>;

constexpr double message_ns = 200'000;                      // of work that a message is to be worth
constexpr std::size_t held_at_most = 2;                     // messages: one that the worker is at, and the next
constexpr auto first_rest = std::chrono::milliseconds(50);  // after a start that lacked resources; then twice as long

// Items that a worker was given in one message.
struct parcel {
    job_ptr job;
    std::size_t first;
    std::size_t count;
    unsigned failures;
    std::uint64_t before;  // items that its worker was given before these
};

// The place of one worker. Under the pool's lock where others than its task may look.
struct pool_slot {
    auto_reset_event bell;  // there may be something to do
    bool idle = false;      // its task waits for the bell, and was not called yet
    bool live = false;      // its process runs, and may be signalled
    child_process child;
    std::deque<parcel> held;
    std::optional<reason> fault;  // why it was killed
    bool unwanted = false;        // it was killed since the call that it worked for has left
};

struct worker_start_error {
    std::string text;
};

struct outgoing {
    pool_head head;
    std::string items;
    [[nodiscard]] std::size_t size() const noexcept { return sizeof head + items.size(); }
};

// One worker's process, and what leads to it. Its slot's task alone.
struct employment {
    std::optional<byte_sender> items;
    std::optional<byte_receiver> values;
    std::optional<shared_memory> progress_memory;
    std::optional<shared_memory> err;
    message_joiner joiner;
    std::vector<bool> known;          // functions that it was told the names of
    std::uint64_t handed = 0;         // items
    std::optional<outgoing> waiting;  // a message for which it must have nothing else: that of held.back()
    bool gone = false;                // it takes nothing any more
    bool leaving = false;             // it ends by itself, as it was asked to
    std::uint64_t seen_begun = 0;
    time_point seen_since{};

    [[nodiscard]] bool knows(std::uint32_t function) const noexcept {
        return function < known.size() && known[function];
    }
    [[nodiscard]] pool_progress& progress() const noexcept {
        return *std::launder(reinterpret_cast<pool_progress*>(progress_memory->bytes().data()));
    }
    // What the item that it is at has written to standard error.
    [[nodiscard]] std::string err_text() const {
        if (!err) return {};
        const auto bytes = err->bytes();
        const auto at = ::lseek(err->fd(), 0, SEEK_CUR);
        const auto size = std::min(static_cast<std::size_t>(std::max<off_t>(at, 0)), bytes.size());
        return {reinterpret_cast<const char*>(bytes.data()), size};
    }
};

template <class T>
T taken(expected<T, shared_error> what) {
    if (!what)
        throw spawn_failed(spawn_error(what.error().what == shared_error::kind::no_memory
                                           ? spawn_error::kind::no_resources
                                           : spawn_error::kind::refused,
                                       what.error().code, what.error().message));
    return std::move(*what);
}

std::string last_lines(std::string_view err) {
    while (err.ends_with('\n')) err.remove_suffix(1);
    if (err.empty()) return {};
    constexpr std::size_t enough = 300;
    if (err.size() > enough) err.remove_prefix(err.size() - enough);
    return fmt::format("; its standard error: {}", err);
}

void write_to_err(std::string_view text) noexcept {
    while (!text.empty()) {
        const auto written = ::write(STDERR_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

pool_options checked(pool_options options) {
    if (std::getenv(detail::worker_variable) != nullptr)
        throw std::logic_error(
            "this process was started as a worker of a process_pool and runs its program instead: let main return "
            "leat::main(argc, argv, program), or begin with `if (const auto code = leat::worker_main()) return "
            "*code;`");
    if (options.tries == 0) throw std::invalid_argument("0 tries of an item were asked for: at least 1");
    if (options.ring_bytes < 4096) throw std::invalid_argument("rings of a process_pool have at least 4096 bytes");
    if (options.timeout <= duration::zero())
        throw std::invalid_argument("a timeout of an item must be more than nothing");
    if (options.workers == 0) options.workers = effective_machine().worker_count;
    if (options.fruitless_starts == 0) options.fruitless_starts = 1;
    return options;
}

}  // namespace

struct process_pool::state {
    state(pool_options from, context& line) : options(checked(std::move(from))), tasks(line) {
        for (unsigned i = 0; i < options.workers; ++i) slots.push_back(std::make_unique<pool_slot>());
        setup.recycle_items = options.recycle_items;
        setup.recycle_bytes = options.recycle_bytes;
        setup.keeps_err = !options.inherit_err;
    }

    // --- The task of a slot ---
    task<> serve(pool_slot& slot);
    task<> serve_until_closed(pool_slot& slot);
    task<> employ(pool_slot& slot);
    task<> attend(pool_slot& slot, employment& work);
    void start(pool_slot& slot, employment& work);
    task<> introduce(employment& work);
    task<bool> fill(pool_slot& slot, employment& work);
    bool next_message(pool_slot& slot, employment& work);
    std::size_t put_items(pool_slot& slot, const parcel& newest, std::size_t most_bytes, std::string& items);
    static task<bool> define(employment& work, std::uint32_t function);
    bool take(pool_slot& slot, employment& work, const message_joiner::message& message);
    void look_at_time(pool_slot& slot, employment& work);
    void settle(pool_slot& slot, employment& work, const std::string& start_problem);
    void tell_err(std::string_view text);

    // --- Under the lock ---
    void list(const job_ptr& job);
    void wake(std::size_t messages);
    std::optional<parcel> pick(const employment& work);
    void kill(pool_slot& slot, std::optional<reason> why) noexcept {
        if (!slot.live) return;
        if (why && !slot.fault) slot.fault = why;
        slot.child.signal_group(SIGKILL);
    }
    void blame(pool_slot& slot, const employment& work, const exit_status& status, const std::string& err,
               std::vector<std::pair<parcel, std::exception_ptr>>& lost);

    // --- Takes the lock ---
    // After items of a job have ended: whether it has, too.
    void account(const job_ptr& job, std::size_t ended, bool enough);
    void end_item(const job_ptr& job, std::size_t index, std::exception_ptr error);
    // Nothing will be done any more.
    void break_down(std::exception_ptr why);

    pool_options options;
    pool_setup setup;
    mutable env::mutex lock;  // guards all below but `tasks`; taken inside a job's in_use
    std::vector<std::unique_ptr<pool_slot>> slots;
    std::deque<job_ptr> jobs;  // that have something to hand out
    pool_counts counts;
    bool employed = false;      // the tasks of the slots were spawned
    bool closed = false;        // no more calls
    std::exception_ptr broken;  // what every call fails with from now on
    unsigned fruitless = 0;     // workers in a row that have done nothing
    unsigned killed_early = 0;  // of those, by SIGKILL
    env::mutex err_lock;        // one call of on_err at a time
    scope tasks;
};

// ---------------------------------------------------------------------------------------------------------------- calls

process_pool::process_pool(pool_options options) {
    auto starts = std::move(options.starts_);
    state_ = std::make_unique<state>(std::move(options), context::required("a process_pool was made"));
    state_->setup.starts = std::move(starts);
}

process_pool::~process_pool() = default;

unsigned process_pool::workers() const noexcept { return state_->options.workers; }

void process_pool::submit(const std::shared_ptr<pool_job>& job) {
    const std::size_t end = job->end;
    job->end = 0;
    extend(job, end);
}

void process_pool::extend(const std::shared_ptr<pool_job>& job, std::size_t end) {
    state& pool = *state_;
    std::exception_ptr refusal;
    {
        const env::lock_guard held(pool.lock);
        refusal = pool.broken;
        if (!refusal && pool.closed)
            refusal = std::make_exception_ptr(worker_failed(reason::closed, "the process_pool is closed"));
        if (refusal) {
            job->stopped = job->finished = true;
        } else {
            if (!std::exchange(pool.employed, true))
                for (auto& slot : pool.slots)
                    pool.tasks.spawn(task_name("process pool worker"), &state::serve, &pool, std::ref(*slot));
            job->end = end;
            pool.list(job);
            pool.wake(job->left());
        }
    }
    if (!refusal) return;
    const env::lock_guard use(job->in_use);
    job->finish(refusal);
}

void process_pool::give_up(pool_job& job) noexcept {
    {
        const env::lock_guard use(job.in_use);
        job.given_up = true;
    }
    state& pool = *state_;
    const env::lock_guard held(pool.lock);
    if (job.finished) return;
    job.stopped = job.finished = true;
    job.again.clear();
    for (auto& slot : pool.slots) {
        const auto& at = slot->held;
        if (std::none_of(at.begin(), at.end(), [&](const parcel& each) { return each.job.get() == &job; })) continue;
        slot->unwanted = true;
        pool.kill(*slot, {});
    }
}

task<> process_pool::close() {
    {
        const env::lock_guard held(state_->lock);
        state_->closed = true;
        for (auto& slot : state_->slots) slot->bell.set();
    }
    if (const std::exception_ptr error = co_await state_->tasks.join_quietly()) std::rethrow_exception(error);
}

pool_counts process_pool::counts() const noexcept {
    const env::lock_guard held(state_->lock);
    return state_->counts;
}

std::vector<int> process_pool::pids() const {
    std::vector<int> all;
    const env::lock_guard held(state_->lock);
    for (const auto& slot : state_->slots)
        if (slot->live) all.push_back(slot->child.pid());
    return all;
}

std::exception_ptr detail::error_of(const pool_note& note) {
    return std::make_exception_ptr(remote_error(note.error, note.err));
}

// ------------------------------------------------------------------------------------------------------- a slot's life

task<> process_pool::state::serve(pool_slot& slot) {
    const auto end = co_await serve_until_closed(slot).as_outcome();
    if (end.is_value()) co_return;
    break_down(end.is_error() ? end.error()
                              : std::make_exception_ptr(worker_failed(reason::closed, "the process_pool was stopped")));
}

task<> process_pool::state::serve_until_closed(pool_slot& slot) {
    for (;;) {
        bool wanted = false;
        {
            const env::lock_guard held(lock);
            wanted = !jobs.empty() && !broken;
            if (!wanted && (closed || broken)) co_return;
            slot.idle = !wanted;
        }
        if (wanted) co_await employ(slot);
        else co_await slot.bell.wait();
    }
}

task<> process_pool::state::employ(pool_slot& slot) {
    context& line = co_await this_task::line();
    if (line.stop_requested()) detail::throw_cancelled();
    employment work;
    const auto end = co_await attend(slot, work).as_outcome();
    std::string problem;
    bool is_short = false;
    std::exception_ptr hopeless;
    if (end.is_error()) {
        try {
            std::rethrow_exception(end.error());
        } catch (const worker_start_error& failed) {
            problem = failed.text;
        } catch (const spawn_failed& failed) {
            problem = failed.what();
            is_short = failed.retryable();
            if (!is_short) hopeless = std::make_exception_ptr(worker_failed(reason::not_started, problem));
        } catch (...) {
            hopeless = std::current_exception();
        }
    }
    settle(slot, work, problem);
    if (hopeless) std::rethrow_exception(hopeless);
    if (is_short) {
        // Out of descriptors, memory or processes: others may free some meanwhile.
        unsigned times = 0;
        {
            const env::lock_guard held(lock);
            times = std::min(fruitless, 6U);
        }
        co_await sleep_for(first_rest * (1U << times));
    }
    if (line.stop_requested()) detail::throw_cancelled();
}

// Until the worker has ended, or is to be ended.
task<> process_pool::state::attend(pool_slot& slot, employment& work) {
    start(slot, work);
    co_await introduce(work);
    const bool timed = options.timeout != duration::max();
    for (;;) {
        // What it has answered before it ended is still there.
        if (!work.gone && !co_await fill(slot, work)) work.gone = true;
        bool idle = false;
        bool over = false;
        {
            const env::lock_guard held(lock);
            if (slot.held.empty()) {
                over = broken != nullptr || (closed && jobs.empty());
                idle = jobs.empty();
                slot.idle = idle && !over;
            }
        }
        if (over) break;
        if (idle) co_await slot.bell.wait();
        if (slot.held.empty()) continue;
        auto loan = co_await work.values->borrow(timed ? time_limit(options.timeout / 8) : time_limit::never());
        if (!loan) {
            if (loan.error() != ring_error::timed_out) co_return;
            look_at_time(slot, work);
            continue;
        }
        const auto whole = work.joiner.add(loan->bytes());
        if (!whole) co_return;
        if (*whole && !take(slot, work, **whole)) co_return;
        if (work.leaving) break;
    }
    work.leaving = true;
    work.items->close();
    (void)co_await end_of(slot.child, later(env::now(), options.grace), options.grace);
}

void process_pool::state::start(pool_slot& slot, employment& work) {
    auto items = taken(byte_ring::create(options.ring_bytes));
    auto values = taken(byte_ring::create(options.ring_bytes));
    work.items.emplace(taken(items.sender()));
    work.values.emplace(taken(values.receiver()));
    work.progress_memory.emplace(taken(shared_memory::create(sizeof(pool_progress))));
    new (work.progress_memory->bytes().data()) pool_progress();
    spawn_options child = options.child;
    child.argv = {program_invocation_name};
    child.program = "/proc/self/exe";
    child.environment.emplace_back(detail::worker_variable, "process_pool");
    child.in = child_stdio::null();
    child.out = child_stdio::inherit();
    child.err = child_stdio::inherit();
    if (!options.inherit_err) {
        work.err.emplace(taken(shared_memory::create(pool_err_bytes)));
        child.err = child_stdio::descriptor(work.err->fd());
    }
    child.pass = items.passed(pool_descriptors::items);
    for (const auto& each : values.passed(pool_descriptors::values)) child.pass.push_back(each);
    child.pass.emplace_back(work.progress_memory->fd(), pool_descriptors::progress);
    auto started = spawn(child);
    if (!started) throw spawn_failed(std::move(started).error());
    work.items->expect(started->pid());
    work.values->expect(started->pid());
    const env::lock_guard held(lock);
    ++counts.started;
    slot.child = std::move(*started);
    slot.live = true;
    slot.fault.reset();
    slot.unwanted = false;
}

// Throws worker_start_error, or what is thrown by all calls then.
task<> process_pool::state::introduce(employment& work) {
    auto hello = co_await work.values->borrow(time_limit(options.start_timeout));
    if (!hello) {
        const char* const what =
            hello.error() == ring_error::timed_out
                ? "did not say that it is one: its main must return leat::main(argc, argv, program), or begin with "
                  "leat::worker_main()"
                : "ended before it came to leat::main";
        throw worker_start_error{what};
    }
    hello->release();
    pool_head head;
    head.word = pool_word::setup;
    const std::string message = encode(setup);
    if (!co_await send_message(*work.items, head, message)) throw worker_start_error{"ended before it was set up"};
    for (;;) {
        auto loan = co_await work.values->borrow();
        if (!loan) throw worker_start_error{"ended while it was set up"};
        const auto whole = work.joiner.add(loan->bytes());
        if (!whole) throw worker_start_error{"said what makes no sense"};
        if (!*whole) continue;
        if ((*whole)->head.word == pool_word::ready) break;
        throw remote_error(detail::decoded<exception_record>((*whole)->body), work.err_text());
    }
}

// Gives the worker what it has room for. False when it has ended.
task<bool> process_pool::state::fill(pool_slot& slot, employment& work) {
    for (;;) {
        if (!work.waiting && !next_message(slot, work)) co_return true;
        const outgoing& message = *work.waiting;
        if (message.size() > piece_of(*work.items) && slot.held.size() > 1)
            co_return true;  // in pieces: see pool_wire.hpp
        if (!work.knows(message.head.function) && !co_await define(work, message.head.function)) co_return false;
        const auto sent = co_await send_message(*work.items, message.head, message.items);
        if (!sent) co_return false;
        work.waiting.reset();
    }
}

// Takes the next items, as the message that waits. False when there are none, or the worker has enough.
bool process_pool::state::next_message(pool_slot& slot, employment& work) {
    for (;;) {
        std::optional<parcel> next;
        {
            const env::lock_guard held(lock);
            if (slot.held.size() >= held_at_most || broken) return false;
            next = pick(work);
            if (!next) return false;
            slot.held.push_back(*next);
        }
        outgoing message;
        const std::size_t count = put_items(slot, *next, piece_of(*work.items), message.items);
        if (count == 0) continue;
        work.handed += count;
        message.head.word = pool_word::items;
        message.head.function = next->job->function;
        message.head.count = static_cast<std::uint32_t>(count);
        work.waiting = std::move(message);
        return true;
    }
}

// Appends the items of the newest parcel to a message, as many as fit, and leaves these alone in it. Gives how many.
std::size_t process_pool::state::put_items(pool_slot& slot, const parcel& newest, std::size_t most_bytes,
                                           std::string& items) {
    pool_job& job = *newest.job;
    std::size_t encoded = 0;
    bool failed = false;
    bool enough = false;
    {
        const env::lock_guard use(job.in_use);
        if (!job.given_up) {
            try {
                encoded = job.encode(newest.first, newest.count, most_bytes, items);
            } catch (...) {
                job.fail(newest.first, std::current_exception());
                failed = true;
                enough = job.has_enough();
            }
        }
    }
    {
        // What is not in this message goes back.
        const env::lock_guard held(lock);
        const std::size_t gone = failed ? 1 : encoded;
        if (gone < newest.count && !job.stopped) {
            const std::size_t rest = newest.count - gone;
            if (newest.failures == 0 && newest.first + newest.count == job.next) job.next -= rest;
            else job.again.push_back({newest.first + gone, rest, newest.failures});
            job.under_way -= rest;
            list(newest.job);
        }
        if (encoded == 0) slot.held.pop_back();
        else slot.held.back().count = encoded;
    }
    if (failed) account(newest.job, 1, enough);
    return encoded;
}

// Tells the worker the name of a function.
task<bool> process_pool::state::define(employment& work, std::uint32_t function) {
    pool_head head;
    head.word = pool_word::define;
    head.function = function;
    const auto sent = co_await send_message(*work.items, head, pool_function_at(function).name);
    if (function >= work.known.size()) work.known.resize(function + std::size_t{1});
    work.known[function] = true;
    co_return sent.has_value();
}

// False when the worker said what makes no sense.
bool process_pool::state::take(pool_slot& slot, employment& work, const message_joiner::message& message) {
    const pool_head& head = message.head;
    if (head.word != pool_word::values || head.values_bytes > message.body.size()) return false;
    std::vector<pool_note> notes;
    if (head.values_bytes < message.body.size()) {
        auto said = decode<std::vector<pool_note>>(message.body.substr(head.values_bytes));
        if (!said) return false;
        notes = std::move(*said);
    }
    parcel ended;
    {
        const env::lock_guard held(lock);
        if (slot.held.empty() || slot.held.front().count != head.count) return false;
        ended = std::move(slot.held.front());
        slot.held.pop_front();
        counts.done += ended.count;
        fruitless = 0;
        pool_job& job = *ended.job;
        const double each = static_cast<double>(head.ns) / static_cast<double>(head.count);
        job.item_ns = job.item_ns == 0 ? std::max(each, 0.1) : job.item_ns * 0.75 + each * 0.25;
    }
    bool enough = false;
    {
        const env::lock_guard use(ended.job->in_use);
        if (!ended.job->given_up) {
            ended.job->take(ended.first, ended.count, message.body.substr(0, head.values_bytes), notes);
            enough = ended.job->has_enough();
        }
    }
    for (const auto& note : notes)
        if (!note.err.empty()) tell_err(note.err);
    work.leaving = head.leaving;
    account(ended.job, ended.count, enough);
    return true;
}

void process_pool::state::tell_err(std::string_view text) {
    const env::lock_guard held(err_lock);
    if (options.on_err) options.on_err(text);
    else write_to_err(text);
}

void process_pool::state::look_at_time(pool_slot& slot, employment& work) {
    const std::uint64_t begun = work.progress().begun.load(env::relaxed);  // relaxed: only whether it moves
    const time_point now = env::now();
    if (begun == work.progress().done.load(env::relaxed) || begun != work.seen_begun) {
        work.seen_begun = begun;
        work.seen_since = now;
        return;
    }
    if (now - work.seen_since < options.timeout) return;
    const env::lock_guard held(lock);
    kill(slot, reason::timed_out);
}

// ------------------------------------------------------------------------------------------------- what becomes of items

void process_pool::state::list(const job_ptr& job) {
    if (job->listed || job->left() == 0) return;
    job->listed = true;
    jobs.push_back(job);
}

// Calls slots that wait: those with a worker first, since a start takes longer than most items.
void process_pool::state::wake(std::size_t messages) {
    for (const bool with_worker : {true, false}) {
        for (auto& slot : slots) {
            if (messages == 0) return;
            if (!slot->idle || slot->live != with_worker) continue;
            slot->idle = false;
            slot->bell.set();
            --messages;
        }
    }
}

std::optional<parcel> process_pool::state::pick(const employment& work) {
    while (!jobs.empty()) {
        const job_ptr job = jobs.front();
        const std::size_t left = job->left();
        if (left == 0) {
            job->listed = false;
            jobs.pop_front();
            continue;
        }
        const std::size_t unit = std::max<std::size_t>(job->chunk, 1);
        const double by_time = job->item_ns > 0 ? std::min(message_ns / job->item_ns, 1e6) : 1.0;
        const std::size_t fair = left / (std::size_t{2} * options.workers);
        std::size_t most = std::max(unit, std::min(static_cast<std::size_t>(by_time), fair) / unit * unit);
        most = std::min<std::size_t>(most, 1U << 30U);
        if (options.recycle_items != 0)
            most = std::min<std::size_t>(
                most, std::max<std::uint64_t>(1, options.recycle_items - std::min(work.handed, options.recycle_items)));
        parcel next{job, 0, 0, 0, work.handed};
        if (!job->again.empty()) {
            pool_job::range& oldest = job->again.back();
            next.first = oldest.first;
            next.count = std::min(most, oldest.count);
            next.failures = oldest.failures;
            oldest.first += next.count;
            oldest.count -= next.count;
            if (oldest.count == 0) job->again.pop_back();
        } else {
            next.first = job->next;
            next.count = std::min(most, job->end - job->next);
            job->next += next.count;
        }
        job->under_way += next.count;
        // The next call's turn.
        jobs.pop_front();
        job->listed = false;
        list(job);
        return next;
    }
    return {};
}

void process_pool::state::account(const job_ptr& job, std::size_t ended, bool enough) {
    {
        const env::lock_guard held(lock);
        job->under_way -= ended;
        if (enough) {
            job->stopped = true;
            job->again.clear();
        }
        const bool over = enough || (job->under_way == 0 && job->left() == 0 && !job->open);
        if (!over || std::exchange(job->finished, true)) return;
    }
    const env::lock_guard use(job->in_use);
    if (!job->given_up) job->finish(nullptr);
}

void process_pool::state::end_item(const job_ptr& job, std::size_t index, std::exception_ptr error) {
    bool enough = false;
    {
        const env::lock_guard use(job->in_use);
        if (!job->given_up) {
            job->fail(index, std::move(error));
            enough = job->has_enough();
        }
    }
    account(job, 1, enough);
}

void process_pool::state::settle(pool_slot& slot, employment& work, const std::string& start_problem) {
    if (!slot.live) {
        if (start_problem.empty()) return;
        bool hopeless = false;
        {
            const env::lock_guard held(lock);
            hopeless = ++fruitless >= options.fruitless_starts;
        }
        if (hopeless) break_down(std::make_exception_ptr(worker_failed(reason::not_started, start_problem)));
        return;
    }
    slot.child.signal_group(SIGKILL);  // what it has left behind, too
    {
        const env::lock_guard held(lock);
        slot.live = false;  // from here on nobody else signals it
    }
    const exit_status status = slot.child.wait();
    const std::string err = work.err_text();
    std::vector<std::pair<parcel, std::exception_ptr>> lost;
    std::exception_ptr hopeless;
    {
        const env::lock_guard held(lock);
        if (work.leaving) {
            if (!closed) ++counts.recycled;
        } else {
            ++counts.died;
        }
        // relaxed: it has ended, and was waited for
        const bool fruitful = work.progress().begun.load(env::relaxed) != 0 || work.leaving || slot.unwanted;
        blame(slot, work, status, err, lost);
        slot.held.clear();
        // SIGKILL comes from outside, and says little about the program: only every tenth counts.
        constexpr unsigned kills_that_count = 10;
        const bool counts_here = slot.fault || status.signal() != SIGKILL || ++killed_early % kills_that_count == 0;
        if (fruitful) fruitless = 0;
        else if (counts_here && ++fruitless >= options.fruitless_starts)
            hopeless = std::make_exception_ptr(
                worker_failed(reason::not_started,
                              fmt::format("the worker {} was started {} times in a row and did nothing: it {} ({}){}",
                                          program_invocation_name, fruitless,
                                          start_problem.empty() ? "ended before an item" : start_problem, status.text(),
                                          last_lines(err)),
                              status, err));
        wake(jobs.size());
    }
    for (auto& [where, error] : lost) end_item(where.job, where.first, error);
    if (hopeless) break_down(hopeless);
}

// What the slot holds goes back to where it came from, but for the item that its worker has died of.
void process_pool::state::blame(pool_slot& slot, const employment& work, const exit_status& status,
                                const std::string& err, std::vector<std::pair<parcel, std::exception_ptr>>& lost) {
    const std::uint64_t begun = work.progress().begun.load(env::relaxed);  // relaxed, both: it has ended
    const bool was_at_one = begun > work.progress().done.load(env::relaxed);
    context* const line = context::current();
    const bool innocent = slot.unwanted || work.leaving || (line != nullptr && line->stop_requested());
    for (const parcel& each : slot.held) {
        pool_job& job = *each.job;
        const auto back = [&](std::size_t first, std::size_t count, unsigned failures) {
            if (count == 0) return;
            job.under_way -= count;
            if (job.stopped) return;
            job.again.push_back({first, count, failures});
        };
        const bool has_suspect = was_at_one && !innocent && begun > each.before && begun <= each.before + each.count;
        if (!has_suspect) {
            if (!job.stopped && begun > each.before)
                counts.repeated += std::min<std::uint64_t>(each.count, begun - each.before);
            back(each.first, each.count, each.failures);
        } else {
            const std::size_t at = begun - each.before - 1;
            counts.repeated += at;
            back(each.first + at + 1, each.count - at - 1, 0);
            back(each.first, at, 0);
            if (each.failures + 1 < options.tries) {
                ++counts.retried;
                back(each.first + at, 1, each.failures + 1);
            } else {
                ++counts.failed;
                const reason why = slot.fault.value_or(reason::died);
                const std::string what =
                    why == reason::timed_out
                        ? fmt::format("took longer than {} ms, and was killed",
                                      std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout).count())
                        : status.text();
                const std::string times =
                    each.failures == 0 ? std::string() : fmt::format(", {} times", each.failures + 1);
                lost.emplace_back(parcel{each.job, each.first + at, 1, 0, 0},
                                  std::make_exception_ptr(worker_failed(
                                      why,
                                      fmt::format("a worker of the process_pool {} during {}{}{}", what,
                                                  pool_function_at(job.function).name, times, last_lines(err)),
                                      status, err)));
            }
        }
        list(each.job);
    }
}

void process_pool::state::break_down(std::exception_ptr why) {
    std::vector<job_ptr> waiting;
    {
        const env::lock_guard held(lock);
        if (!broken) broken = why;
        why = broken;
        waiting.assign(jobs.begin(), jobs.end());
        jobs.clear();
        for (auto& slot : slots) {
            for (const parcel& each : slot->held) waiting.push_back(each.job);
            slot->bell.set();
        }
        std::erase_if(waiting, [](const job_ptr& job) {
            job->listed = false;
            job->stopped = true;
            return std::exchange(job->finished, true);
        });
    }
    for (const job_ptr& job : waiting) {
        const env::lock_guard use(job->in_use);
        if (!job->given_up) job->finish(why);
    }
}

}  // namespace leat
