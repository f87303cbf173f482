// One task a slot: it waits for an item, starts a worker, and waits for the worker's end, while companions write, read and
// drain. Whatever goes wrong with a worker ends its process, so there is one way out: settle().
#include <leat/process/persistent_pool.hpp>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fmt/format.h>
#include <new>
#include <stdexcept>
#include <sys/ioctl.h>

#include <leat/base/bug.hpp>
#include <leat/base/exception_text.hpp>
#include <leat/base/log.hpp>
#include <leat/io/pipe.hpp>
#include <leat/task/scope.hpp>

#include "bounded_text.hpp"
#include "companions.hpp"
#include "ending.hpp"
#include "message_cutter.hpp"
#include "pipe_failed.hpp"
#include "worker_slots.hpp"

namespace leat {

namespace {

using reason = worker_failed::reason;

constexpr std::size_t piece_bytes = std::size_t{64} << 10U;   // what a pipe holds
constexpr auto time_to_die = std::chrono::milliseconds(500);  // for a worker that has closed a pipe, and for its output
constexpr auto first_rest = std::chrono::milliseconds(50);    // after a start that lacked resources; then twice as long
constexpr auto long_rest = std::chrono::seconds(2);           // the same while other workers run

persistent_options checked(persistent_options options) {
    if (options.child.argv.empty()) throw std::invalid_argument("a pool of persistent workers needs a command");
    if (options.workers == 0) throw std::invalid_argument("a pool of 0 workers was asked for: at least 1");
    if (options.window == 0) throw std::invalid_argument("a window of 0 items was asked for: at least 1");
    if (options.fruitless_starts == 0) options.fruitless_starts = 1;
    return options;
}

// For the end of a sentence about a worker; empty when it wrote nothing.
std::string last_line(std::string_view err) {
    while (err.ends_with('\n')) err.remove_suffix(1);
    constexpr std::size_t enough = 300;
    err.remove_prefix(std::min(err.size(), std::max(err.rfind('\n') + 1, err.size() - std::min(err.size(), enough))));
    return err.empty() ? std::string() : fmt::format("; its standard error ends: {}", err);
}

// Why a slot's task cannot go on.
worker_failure failure_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& known) {
        return {reason::not_started, known.what()};
    } catch (...) {
        return {reason::not_started, "the persistent worker cannot be started"};
    }
}

// One worker from its start to its end.
struct employment {
    explicit employment(std::size_t err_bytes) : err(0, err_bytes) {}
    child_process child;
    std::optional<io::pipe_writer> in;
    bounded_text err;
    std::uint64_t handed = 0;  // bytes that were, or are being, written to it
    // Why it was killed; nothing: it ends by itself. Under the pool's lock while companions run.
    std::optional<reason> fault;
    bool out_of_turn = false;
    bool no_memory = false;  // for an answer
    semaphore output_ended{0};
    bool leaving = false;  // its input was closed, since nothing more will come
    bool stopped = false;  // the pool was stopped
};

}  // namespace

namespace {

// A worker that writes line by line would wake us for each, which costs us both more than the line. So where one is quick and
// has still much to answer, we look again after a moment instead of at once: in place, for some microseconds, since a thread
// that waited for events would be woken all the same. One of a pool's workers at a time, so that the others do not wait long.
class reading_rhythm {
public:
    // When the next rest may be; relaxed: it says nothing of other memory.
    using rest_time = env::atomic<time_point::rep>;
    explicit reading_rhythm(rest_time& next_rest) noexcept : next_rest_(next_rest) {}

    // After each read: what it brought, and how many answers are to come.
    void after(std::size_t bytes, std::size_t answers_left) noexcept {
        const time_point now = env::now();
        const bool soon = now - last_ < moment;
        last_ = now;
        if (bytes >= much || answers_left < many || (!soon && !rested_)) {
            streak_ = 0;
            rested_ = false;
            return;
        }
        if (++streak_ < long_streak || now.time_since_epoch().count() < next_rest_.load(env::relaxed)) return;
        rested_ = true;
        next_rest_.store((now + between_rests).time_since_epoch().count(), env::relaxed);
        const timespec pause{0, moment.count()};
        ::nanosleep(&pause, nullptr);
        last_ = env::now();
    }

private:
    static constexpr std::chrono::nanoseconds moment = std::chrono::microseconds(20);  // the system makes some 70 of it
    static constexpr std::chrono::nanoseconds between_rests = std::chrono::microseconds(90);
    static constexpr std::size_t much = 4096;   // bytes: no wake-up is saved
    static constexpr std::size_t many = 64;     // answers: they take longer than the rest
    static constexpr unsigned long_streak = 8;  // of reads, each soon after the one before
    rest_time& next_rest_;
    time_point last_{};
    unsigned streak_ = 0;
    bool rested_ = false;  // before a read of this streak
};

}  // namespace

struct persistent_pool::state {
    state(persistent_options from, context& line)
        : options(checked(std::move(from))), slots(options.workers, options.window), tasks(line) {}

    void take(const pool_item_ptr& item);  // takes the lock

    // --- The task of a slot ---
    task<> serve(worker_slot& slot);
    task<> serve_until_closed(worker_slot& slot);
    task<> hear(worker_slot& slot);
    task<> employ(worker_slot& slot);
    task<> start_and_wait(worker_slot& slot, employment& work, companions& beside);
    task<> rest_after(worker_slot& slot, std::string failure);

    // --- Companions of a worker ---
    task<> write_items(worker_slot& slot, employment& work);
    task<> see_off(employment& work);
    task<> read_answers(worker_slot& slot, employment& work, io::pipe_reader from);
    task<> see_it_die(worker_slot& slot, employment& work);
    task<> read_err(employment& work, io::pipe_reader from);
    bool take_answers(worker_slot& slot, employment& work, message_cutter& text, std::size_t& left);
    void kill(worker_slot& slot, employment& work, reason why) noexcept;

    // --- Under the lock, unless said otherwise ---
    bool is_finished(const worker_slot& slot) const noexcept {
        return closed && slots.nothing_queued() && slot.load() == 0;
    }
    void finish(const pool_item_ptr& item) noexcept;
    void fail(const pool_item_ptr& item, worker_failure failure);
    void fail_first(pool_item& of, const worker_failure& failure);
    void go_to_first(pool_item& of) const;
    void give_up(worker_failure failure);
    void vacate(worker_slot& slot);
    void settle(worker_slot& slot, employment& work);  // takes the lock
    void blame(worker_slot& slot, const employment& work, const exit_status& status, const std::string& err);
    void count_fruitless(const std::string& failure);

    std::string command() const { return fmt::format("`{}`", fmt::join(options.child.argv, " ")); }

    const persistent_options options;
    mutable env::mutex lock;  // guards all below but `next_rest` and `tasks`
    worker_slots slots;
    persistent_counts counts;
    bool employed = false;                 // the tasks of the slots were spawned
    bool closed = false;                   // no more calls
    std::optional<worker_failure> broken;  // what every call fails with from now on
    unsigned fruitless = 0;                // workers in a row that had read nothing
    unsigned killed_early = 0;             // of those, by SIGKILL
    time_point last_shortage{};            // when a start last lacked resources, with no worker running
    bool shortage_told = false;
    reading_rhythm::rest_time next_rest{0};  // takes no lock
    scope tasks;
};

// ---------------------------------------------------------------------------------------------------------------- calls

persistent_pool::persistent_pool(persistent_options options)
    : persistent_pool(std::move(options), context::required("a persistent_pool was made")) {}

persistent_pool::persistent_pool(persistent_options options, context& line)
    : state_(std::make_unique<state>(std::move(options), line)) {}

persistent_pool::~persistent_pool() = default;

// What a call gives to the pool.
void persistent_pool::state::take(const pool_item_ptr& item) {
    env::lock_guard held(lock);
    if (broken) broken->raise();
    if (closed) throw worker_failed(reason::closed, "the pool of persistent workers is closed");
    if (!std::exchange(employed, true))
        for (auto& slot : slots.all())
            tasks.spawn(task_name("persistent worker"), &state::serve, this, std::ref(*slot));
    slots.add(item);
    slots.dispatch();
}

namespace {

// The end of a call on every path: an item whose call has gone is sent to nobody, and its answer is dropped.
struct item_guard {
    item_guard(env::mutex& pool_lock, worker_slots& all, pool_item_ptr own) noexcept
        : lock(pool_lock), slots(all), item(std::move(own)) {}
    item_guard(const item_guard&) = delete;
    item_guard& operator=(const item_guard&) = delete;
    ~item_guard() {
        if (answered) return;
        env::lock_guard held(lock);
        item->abandoned = true;
        slots.withdraw(item);
    }
    env::mutex& lock;
    worker_slots& slots;
    pool_item_ptr item;
    bool answered = false;
};

}  // namespace

task<std::string> persistent_pool::call(std::string text, bool alone) {
    state& pool = *state_;
    if (const auto refusal = why_no_message(text, pool.options.protocol))
        throw worker_failed(reason::bad_item, *refusal);
    auto item = std::make_shared<pool_item>(std::move(text), alone);
    pool.take(item);
    item_guard guard(pool.lock, pool.slots, item);
    auto permit = co_await item->done.acquire();
    permit.forget();
    guard.answered = true;
    if (item->error) item->error->raise();
    co_return std::move(item->answer);
}

task<> persistent_pool::call_many(std::string items, std::size_t count, many_taker take, duration patience) {
    state& pool = *state_;
    if (pool.options.protocol == worker_protocol::frame) bug("persistent_pool::call_many() was called for frames");
    if (count == 0) co_return;
    auto item = std::make_shared<pool_item>(std::move(items), count);
    pool.take(item);
    item_guard guard(pool.lock, pool.slots, item);
    for (std::size_t taken = 0; taken != count;) {
        auto permit = co_await item->done.acquire_for(patience);
        if (permit) {
            permit->forget();
            guard.answered = true;
        }
        many_answers some;
        {
            env::lock_guard held(pool.lock);
            some.count = item->settled - taken;
            some.text = std::exchange(item->answer, {});
            some.failures = std::exchange(item->failures, {});
        }
        taken += some.count;
        if (some.count != 0) co_await take(std::move(some));
    }
}

void persistent_pool::set_window(unsigned window) noexcept {
    env::lock_guard held(state_->lock);
    state_->slots.set_window(std::max(window, 1U));
    state_->slots.dispatch();
}

task<> persistent_pool::close() {
    {
        env::lock_guard held(state_->lock);
        state_->closed = true;
        state_->slots.ring_all();
    }
    if (const std::exception_ptr error = co_await state_->tasks.join_quietly()) std::rethrow_exception(error);
}

persistent_counts persistent_pool::counts() const noexcept {
    env::lock_guard held(state_->lock);
    return state_->counts;
}

std::vector<int> persistent_pool::pids() const {
    std::vector<int> all;
    env::lock_guard held(state_->lock);
    for (const auto& slot : state_->slots.all())
        if (slot->live) all.push_back(slot->pid);
    return all;
}

// ------------------------------------------------------------------------------------------------------- a slot's life

task<> persistent_pool::state::serve(worker_slot& slot) {
    const auto end = co_await serve_until_closed(slot).as_outcome();
    if (end.is_value()) co_return;
    env::lock_guard held(lock);
    vacate(slot);
    slot.resting = true;
    give_up(end.is_error() ? failure_of(end.error())
                           : worker_failure(reason::closed, "the pool of persistent workers was stopped"));
}

task<> persistent_pool::state::serve_until_closed(worker_slot& slot) {
    for (;;) {
        bool wanted = false;
        {
            env::lock_guard held(lock);
            if (is_finished(slot)) {
                slot.resting = true;
                co_return;
            }
            wanted = slot.load() != 0;
        }
        if (wanted) co_await employ(slot);
        else co_await hear(slot);
    }
}

task<> persistent_pool::state::hear(worker_slot& slot) {
    auto permit = co_await slot.bell.acquire();
    permit.forget();
    env::lock_guard held(lock);
    slot.rung = false;
}

task<> persistent_pool::state::employ(worker_slot& slot) {
    context& line = co_await this_task::line();
    if (line.stop_requested()) detail::throw_cancelled();
    employment work(options.err_tail_bytes);
    companions beside(line);
    const auto end = co_await start_and_wait(slot, work, beside).as_outcome();
    if (!end.is_value() && work.child.unreaped()) work.child.signal_group(SIGKILL);
    co_await beside.join(end.is_value() ? time_to_die : duration::zero());
    if (work.child.pid() != 0) settle(slot, work);
    std::string shortage;
    if (end.is_error()) {
        try {
            std::rethrow_exception(end.error());
        } catch (const spawn_failed& failed) {
            if (!failed.retryable()) throw;
            shortage = failed.what();
        }
    }
    if (!shortage.empty()) co_await rest_after(slot, std::move(shortage));
    if (line.stop_requested()) detail::throw_cancelled();
}

// Out of descriptors or processes: others may free some meanwhile. As long as other workers of ours run, they take its items;
// what lets slots fail that have none beside them is counted once for all of them.
task<> persistent_pool::state::rest_after(worker_slot& slot, std::string failure) {
    duration rest = long_rest;
    {
        env::lock_guard held(lock);
        slot.resting = true;
        vacate(slot);
        const bool others_run =
            std::any_of(slots.all().begin(), slots.all().end(), [](const auto& each) { return each->live; });
        if (others_run) {
            if (!std::exchange(shortage_told, true))
                log(log_level::warning, fmt::format("fewer workers {} than asked for: {}", command(), failure));
        } else {
            if (env::now() - std::exchange(last_shortage, env::now()) >= first_rest / 2) count_fruitless(failure);
            rest = first_rest * (1U << std::min(fruitless, 6U));
        }
        slots.dispatch();
    }
    co_await sleep_for(rest);
    env::lock_guard held(lock);
    slot.resting = broken.has_value();
    slots.dispatch();
}

task<> persistent_pool::state::start_and_wait(worker_slot& slot, employment& work, companions& beside) {
    auto in = io::make_outgoing_pipe();
    if (!in) throw pipe_failed(in.error());
    auto out = io::make_incoming_pipe();
    if (!out) throw pipe_failed(out.error());
    spawn_options start = options.child;
    start.in = child_stdio::descriptor(in->reader.get());
    start.out = child_stdio::descriptor(out->writer.get());
    std::optional<io::incoming_pipe> err;
    if (!options.inherit_err) {
        auto pipe = io::make_incoming_pipe();
        if (!pipe) throw pipe_failed(pipe.error());
        err.emplace(std::move(*pipe));
        start.err = child_stdio::descriptor(err->writer.get());
    }
    {
        auto started = spawn(start);
        if (!started) throw spawn_failed(std::move(started).error());
        work.child = std::move(*started);
    }
    in->reader.reset();
    out->writer.reset();
    work.in.emplace(std::move(in->writer));
    {
        env::lock_guard held(lock);
        ++counts.started;
        slot.live = true;
        slot.pid = work.child.pid();
    }
    if (err) {
        err->writer.reset();
        beside.add_reader(read_err(work, std::move(err->reader)));
    }
    beside.add_reader(read_answers(slot, work, std::move(out->reader)));
    beside.add_helper(write_items(slot, work));
    beside.add_helper(see_it_die(slot, work));
    const ending end = co_await end_of(work.child, time_point::max(), options.grace);
    work.stopped = end == ending::stopped;
}

// ----------------------------------------------------------------------------------------------------- beside a worker

task<> persistent_pool::state::write_items(worker_slot& slot, employment& work) {
    std::string batch;
    for (;;) {
        bool leave = false;
        bool any_failed = false;
        {
            env::lock_guard held(lock);
            if (slot.sent.empty() && !slot.assigned.empty()) slot.oldest_since = env::now();
            while (!slot.assigned.empty() && batch.size() < piece_bytes) {
                pool_item& next = *slot.assigned.front();
                const std::size_t had = batch.size();
                next.offset = work.handed + had;
                try {
                    if (next.many) batch.append(next.text, next.begin);
                    else append_message(batch, next.text, options.protocol);
                    slot.sent.push_back(slot.assigned.front());
                } catch (const std::bad_alloc&) {
                    batch.resize(had);
                    slot.messages -= next.left();
                    fail(slot.assigned.front(), worker_failure(reason::bad_item, current_exception_text()));
                    any_failed = true;
                }
                slot.assigned.pop_front();
            }
            if (any_failed) {
                if (slot.load() == 0) slot.exclusive = false;
                slots.dispatch();
            }
            leave = batch.empty() && is_finished(slot);
            if (leave) slot.resting = work.leaving = true;
        }
        if (leave) break;
        if (batch.empty()) {
            co_await hear(slot);
            co_await this_task::yield();  // those who are about to call join the batch
            continue;
        }
        work.handed += batch.size();
        auto written = co_await work.in->write_all(batch);
        batch.clear();
        if (written) continue;
        // It has closed its input, and may be answering what it has read before it ends.
        co_await sleep_for(options.grace);
        kill(slot, work, reason::no_answer);
        co_return;
    }
    co_await see_off(work);
}

task<> persistent_pool::state::see_off(employment& work) {
    work.in->close();
    co_await sleep_for(options.grace);
    ask_to_end(work.child);
    co_await sleep_for(options.grace);
    work.child.signal_group(SIGKILL);
}

task<> persistent_pool::state::read_answers(worker_slot& slot, employment& work, io::pipe_reader from) {
    const stop_token stop = co_await this_task::stop_token();
    const auto buffer = std::make_unique_for_overwrite<char[]>(piece_bytes);
    const std::span<char> room(buffer.get(), piece_bytes);
    const bool timed = options.timeout != duration::max();
    reading_rhythm rhythm(next_rest);
    message_cutter text(options.protocol, options.max_answer_bytes);
    while (!stop.stop_requested()) {
        time_point deadline = time_point::max();
        bool late = false;
        if (timed) {
            // Without an item the next look is in time for one that comes just now.
            const time_point now = env::now();
            env::lock_guard held(lock);
            deadline = later(slot.sent.empty() ? now : slot.oldest_since, options.timeout);
            late = deadline <= now && !slot.sent.empty();
        }
        if (late) {
            kill(slot, work, reason::timed_out);
            co_return;
        }
        auto got = co_await from.read_some(room, deadline);
        if (!got && got.error() == std::errc::timed_out) continue;
        if (!got || *got == 0) break;
        try {
            text.add({buffer.get(), *got});
            std::size_t left = 0;
            if (!take_answers(slot, work, text, left)) co_return;
            rhythm.after(*got, left);
        } catch (const std::bad_alloc&) {
            work.no_memory = true;
            kill(slot, work, reason::too_long);
            co_return;
        }
    }
    from.close();
    work.output_ended.release();
}

// Once its output has ended: usually the worker is ending too, and how it ends is worth knowing.
task<> persistent_pool::state::see_it_die(worker_slot& slot, employment& work) {
    auto permit = co_await work.output_ended.acquire();
    permit.forget();
    co_await sleep_for(time_to_die);
    kill(slot, work, reason::no_answer);
}

// Hands out the answers in `text`. False when the worker was killed.
bool persistent_pool::state::take_answers(worker_slot& slot, employment& work, message_cutter& text,
                                          std::size_t& left) {
    std::optional<reason> fault;
    {
        env::lock_guard held(lock);
        bool any = false;
        for (;;) {
            pool_item* const first = slot.sent.empty() ? nullptr : slot.sent.front().get();
            std::size_t answered = 0;
            if (first != nullptr && first->many) {
                const auto some = text.next_run(first->left());
                first->answer.append(some.text);
                answered = some.count;
            } else if (const auto answer = text.next()) {
                if (first != nullptr) first->answer.assign(*answer);
                answered = 1;
            }
            if (answered == 0) break;
            any = true;
            if (first == nullptr) {
                if (work.leaving) continue;  // its last words
                work.out_of_turn = true;
                fault = reason::died;
                break;
            }
            first->settled += answered;
            slot.messages -= answered;
            counts.answered += answered;
            fruitless = killed_early = 0;
            if (first->left() != 0) continue;
            finish(slot.sent.front());
            slot.sent.pop_front();
        }
        left = slot.load();
        if (any) {
            if (slot.load() == 0) slot.exclusive = false;
            slot.oldest_since = env::now();
            slots.dispatch();
            if (is_finished(slot)) slots.ring_all();
        }
    }
    if (!fault && text.too_long()) fault = reason::too_long;
    if (fault) kill(slot, work, *fault);
    return !fault;
}

task<> persistent_pool::state::read_err(employment& work, io::pipe_reader from) {
    const stop_token stop = co_await this_task::stop_token();
    const auto buffer = std::make_unique_for_overwrite<char[]>(piece_bytes / 4);
    const std::span<char> room(buffer.get(), piece_bytes / 4);
    while (!stop.stop_requested()) {
        auto got = co_await from.read_some(room);
        if (!got || *got == 0) break;
        work.err.append({buffer.get(), *got});
    }
    from.close();
}

void persistent_pool::state::kill(worker_slot& slot, employment& work, reason why) noexcept {
    {
        env::lock_guard held(lock);
        if (!work.fault) work.fault = why;
        slot.resting = true;
    }
    work.child.signal_group(SIGKILL);
}

// ------------------------------------------------------------------------------------------------- what becomes of items

void persistent_pool::state::finish(const pool_item_ptr& item) noexcept { item->done.release(); }

void persistent_pool::state::fail(const pool_item_ptr& item, worker_failure failure) {
    if (item->many) {
        while (item->left() != 0) fail_first(*item, failure);
    } else {
        ++counts.failed;
        item->error = std::move(failure);
    }
    finish(item);
}

// Of many, the first that is not settled.
void persistent_pool::state::fail_first(pool_item& of, const worker_failure& failure) {
    go_to_first(of);
    const std::string_view rest = std::string_view(of.text).substr(of.begin);
    const std::size_t end = end_of_messages(rest, 1, options.protocol);
    of.failures.emplace_back(std::string(rest.substr(0, end - 1)), of.answer.size(), failure.error());
    ++of.settled;
    ++counts.failed;
    go_to_first(of);
}

// Of many, what is settled is not sent again.
void persistent_pool::state::go_to_first(pool_item& of) const {
    const std::string_view sent = std::string_view(of.text).substr(of.begin);
    const std::size_t passed = end_of_messages(sent, of.settled - of.begin_count, options.protocol);
    of.begin += passed;
    of.begin_count = of.settled;
    of.offset += passed;
}

// The pool is broken, or was stopped: nothing that is queued will be done.
void persistent_pool::state::give_up(worker_failure failure) {
    if (!broken) broken = std::move(failure);
    for (const auto& item : slots.take_queued()) fail(item, *broken);
    slots.ring_all();
}

// What the slot holds goes back to where it came from.
void persistent_pool::state::vacate(worker_slot& slot) {
    slot.exclusive = slot.kept_free = false;
    slot.messages = 0;
    slots.put_back(slot.assigned);
    slots.put_back(slot.sent);
    if (broken) give_up(*broken);
}

void persistent_pool::state::settle(worker_slot& slot, employment& work) {
    // What it never took is still in the pipe.
    int unread = 0;
    if (::ioctl(work.in->fd(), FIONREAD, &unread) != 0) unread = 0;
    const std::uint64_t consumed = work.in->written() - static_cast<std::uint64_t>(unread);
    work.child.signal_group(SIGKILL);  // what it has left behind
    const exit_status status = work.child.wait();
    const std::string err = work.err.text();

    env::lock_guard held(lock);
    slot.live = false;
    slot.pid = 0;
    slot.resting = false;
    if (!work.leaving) ++counts.replaced;
    if (work.out_of_turn)
        log(log_level::warning, fmt::format("worker {} gave an answer that nobody had asked for: replaced", command()));
    for (const auto& item : slot.sent)
        if (item->many) go_to_first(*item);
    const bool innocent = work.stopped || (!work.fault && !slot.sent.empty() && slot.sent.front()->offset >= consumed);
    if (!slot.sent.empty() && !innocent) blame(slot, work, status, err);
    const bool was_fruitless = consumed == 0 && !work.fault && !work.leaving && !work.stopped;
    for (const auto& item : slot.sent) counts.resent += item->left();
    vacate(slot);
    // SIGKILL comes from outside, and says little about the command: only every tenth counts.
    constexpr unsigned kills_that_count = 10;
    if (was_fruitless && (status.signal() != SIGKILL || ++killed_early % kills_that_count == 0))
        count_fruitless(status.text() + last_line(err));
    slots.dispatch();
}

void persistent_pool::state::blame(worker_slot& slot, const employment& work, const exit_status& status,
                                   const std::string& err) {
    const pool_item_ptr suspect = slot.sent.front();
    const reason why = work.fault.value_or(reason::died);
    const std::string what = [&] {
        switch (why) {
            case reason::timed_out:
                return fmt::format("gave no answer in {} ms, and was killed",
                                   std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout).count());
            case reason::too_long:
                if (work.no_memory) return std::string("gave an answer for which memory was out, and was killed");
                return fmt::format("gave an answer of more than {} bytes, and was killed", options.max_answer_bytes);
            case reason::no_answer:
                return std::string("closed its input or output without an answer, and was killed");
            default:
                return status.text() + " without an answer";
        }
    }();
    const std::string message = fmt::format("worker {} {}{}", command(), what, last_line(err));
    worker_failure failure(why, message);
    failure.status = status;
    failure.err = err;
    if (suspect->many) {
        fail_first(*suspect, failure);
        if (suspect->left() != 0) return;  // they go on with another worker
        finish(suspect);
    } else {
        fail(suspect, std::move(failure));
    }
    slot.sent.pop_front();
}

void persistent_pool::state::count_fruitless(const std::string& failure) {
    if (++fruitless < options.fruitless_starts || broken) return;
    give_up(worker_failure(
        reason::not_started,
        fmt::format("worker {} was started {} times in a row and read nothing: {}", command(), fruitless, failure)));
}

}  // namespace leat
