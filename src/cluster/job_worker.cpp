#include <leat/cluster/job_worker.hpp>

#include <algorithm>
#include <deque>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include <leat/base/env.hpp>
#include <leat/base/log.hpp>
#include <leat/base/machine.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/arm.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

#include <cluster/insist.hpp>
#include <cluster/job_messages.hpp>

namespace leat::cluster {

namespace {

// Answers of a parcel that takes longer than this are sent before its end.
constexpr duration longest_silence = std::chrono::milliseconds(5);
constexpr std::size_t most_answer_bytes = std::size_t{256} << 10U;  // of a message, beside its last answer
constexpr std::size_t most_answers = 2000;
constexpr std::size_t most_publishing = 2;  // messages to one client on their way: what comes meanwhile goes together
constexpr std::size_t most_gone = 10'000;   // clients that are remembered as gone
// Below this a parcel is so short that the next ones are fetched before it ends.
constexpr duration short_parcel = std::chrono::milliseconds(50);

// One answer on its way, and the parcel that waits for it.
struct parcel_at_work;
struct answer_out {
    job_answer what;
    std::size_t bytes = 0;
    std::shared_ptr<parcel_at_work> of;
};

struct parcel_at_work {
    delivery from;    // without its payload; never changed
    job_parcel what;  // written under the worker's lock
    // Under the worker's lock.
    std::size_t unsent = 0;  // answers
    bool is_lost = false;    // an answer could not be stored
    time_point sign_due{};   // of life
    time_point job_started{};
    bool is_running = false;      // a job
    bool is_overdue = false;      // that job has had its time
    std::uint64_t running = 0;    // its id
    stop_source* stop = nullptr;  // of that job
    event sent{true};             // unsent is 0
};
using parcel_ptr = std::shared_ptr<parcel_at_work>;

// A client as this worker sees it.
struct caller {
    std::deque<answer_out> answers;  // to be sent
    std::size_t publishing = 0;
    std::size_t parcels = 0;  // of its, held here
    std::unordered_set<std::uint64_t> withdrawn;
    std::uint64_t revision = 0;  // of its note
    unsigned missed = 0;         // how often in a row it was looked for in vain; twice, since a replica may be late
    bool is_gone = false;
};

class worker {
public:
    worker(broker& where, job_worker_options options, context& line)
        : broker_(where),
          options_(std::move(options)),
          names_(options_.name),
          here_(program_here(options_.version)),
          parallel_(options_.parallel != 0 ? options_.parallel : effective_machine().worker_count),
          blobs_(where, blobs_of(names_, options_)),
          slots_(std::size_t{2} * parallel_),
          turns_(parallel_),
          executor_(line.where()),
          beside_(line),
          work_(line) {
        name_ = fmt::format("{:016x}", executor_.random());
    }

    task<job_worker_report> run(event* drain) {
        const bool is_there = co_await meet(drain);
        if (!is_there) co_return report_;
        beside_.spawn(task_name("job worker: signs of life"), &worker::give_signs, this);
        beside_.spawn(task_name("job worker: clients"), &worker::look_at_clients, this);
        outcome<void> end = co_await take_all(drain).as_outcome();
        if (end.is_value()) co_await drain_all();
        else work_.stop();
        (void)co_await work_.join_quietly();
        beside_.stop();
        (void)co_await beside_.join_quietly();
        if (failed_) std::rethrow_exception(failed_);
        std::move(end).get();
        co_return report_;
    }

private:
    static blob_options blobs_of(const job_names& names, const job_worker_options& options) {
        blob_options blobs;
        blobs.bucket = names.blobs();
        blobs.patience = options.patience;
        return blobs;
    }
    [[nodiscard]] time_point now() const noexcept { return executor_.now(); }

    // Waits until a client of this version has opened the queue. False when it is to drain before.
    task<bool> meet(event* drain) {
        constexpr duration again = std::chrono::milliseconds(500);
        for (;;) {
            if (drain != nullptr && drain->is_set()) co_return false;
            const broker_result<entry> mine = co_await broker_.get(names_.bucket(), job_names::program_key(here_.hash));
            if (mine) {
                if (const auto program = decode<job_program>(mine->value); program && program->ack_wait_ns > 0) {
                    sign_every_ = std::chrono::nanoseconds(program->ack_wait_ns) / 3;
                    co_return true;
                }
            } else if (mine.error().problem == broker_problem::not_found) {
                co_await compare_with_others();
            } else if (!mine.error().is_passing()) {
                throw broker_failed(fmt::format("the queue \"{}\"", options_.name), mine.error());
            }
            if (drain == nullptr) co_await sleep_for(again);
            else (void)co_await drain->wait_for(again);
        }
    }

    task<> compare_with_others() {
        const broker_result<std::vector<std::string>> programs = co_await broker_.keys(names_.bucket(), "programs/");
        if (!programs || programs->empty()) co_return;
        std::string text;
        for (const std::string& key : *programs) {
            const broker_result<entry> found = co_await broker_.get(names_.bucket(), key);
            if (!found) continue;
            const auto other = decode<job_program>(found->value);
            if (!other) continue;
            if (other->hash == here_.hash) co_return;  // it has come meanwhile
            text += (text.empty() ? "" : "; or ") + difference(here_, *other);
        }
        if (text.empty()) co_return;
        throw worker_refused(fmt::format("the clients of the queue \"{}\" are another version of this program: {}",
                                         options_.name, text));
    }

    // ------------------------------------------------------------------------------------------------ taking parcels

    task<> take_all(event* drain) {
        pauses between;
        const std::string stream = names_.jobs(here_.hash);
        while (drain == nullptr || !drain->is_set()) {
            if (failed()) co_return;
            // What is held here and not at work is kept from other workers: nothing is, unless parcels are short.
            std::size_t most = 0;
            std::vector<semaphore::permit> slots;
            slots.push_back(co_await slots_.acquire());
            {
                const env::lock_guard held(lock_);
                const bool are_short =
                    average_ns_ >= 0 &&
                    average_ns_ < static_cast<double>(std::chrono::nanoseconds(short_parcel).count());
                most = std::size_t{parallel_} * (are_short ? 2 : 1);
                most = most > held_.size() ? most - held_.size() : 0;
            }
            if (most == 0) {
                slots.clear();
                (void)co_await freed_.wait_for(options_.wait);
                continue;
            }
            while (slots.size() < most) {
                auto one = slots_.try_acquire();
                if (!one) break;
                slots.push_back(std::move(*one));
            }
            broker_result<std::vector<delivery>> came =
                co_await broker_.fetch(stream, job_names::of_jobs, slots.size(), options_.wait);
            if (!came) {
                // The stream comes and goes with the clients of this version.
                if (!came.error().is_passing() && came.error().problem != broker_problem::not_found)
                    throw broker_failed("jobs", came.error());
                const duration pause = between.next(executor_.random());
                co_await sleep_for(pause);
                continue;
            }
            between = pauses();
            for (delivery& each : *came) accept(std::move(each), slots);
        }
    }

    void accept(delivery from, std::vector<semaphore::permit>& slots) {
        auto parcel = std::make_shared<parcel_at_work>();
        std::string payload = std::move(from.what.payload);
        parcel->from = std::move(from);
        parcel->sign_due = now() + sign_every_;
        {
            const env::lock_guard held(lock_);
            ++report_.parcels;
            if (parcel->from.deliveries > 1) ++report_.redelivered;
            held_.push_back(parcel);
        }
        std::optional<semaphore::permit> slot;
        if (!slots.empty()) {
            slot.emplace(std::move(slots.back()));
            slots.pop_back();
        }
        work_.spawn(task_name("job worker: a parcel"), &worker::handle, this, std::move(parcel), std::move(payload),
                    std::move(slot));
    }

    task<> drain_all() {
        const time_point until = now() + options_.drain;
        while (work_.pending() != 0) {
            if (now() >= until) {
                work_.stop();
                co_return;
            }
            (void)co_await freed_.wait_for(std::chrono::milliseconds(50));
        }
    }

    // -------------------------------------------------------------------------------------------------- one parcel

    task<> handle(parcel_ptr parcel, std::string payload, std::optional<semaphore::permit> slot) {
        outcome<void> end = co_await handle_all(parcel, std::move(payload)).as_outcome();
        {
            const env::lock_guard held(lock_);
            std::erase(held_, parcel);
        }
        if (end.is_cancelled()) co_await shield(give_back(parcel));
        if (end.is_error()) note_failure(end.error());
        slot.reset();
        freed_.set();
    }

    task<> give_back(parcel_ptr parcel) { (void)co_await broker_.nack(parcel->from, std::chrono::nanoseconds::zero()); }

    task<> handle_all(parcel_ptr parcel, std::string payload) {
        auto what = decode<job_parcel>(payload);
        payload.clear();
        if (!what) {
            log(log_level::error, "a message of jobs could not be read, and was dropped: " + what.error().text());
            (void)co_await broker_.terminate(parcel->from);
            co_return;
        }
        {
            const env::lock_guard held(lock_);  // others look whose it is
            parcel->what = *std::move(what);
        }
        const std::uint64_t attempt = parcel->from.deliveries;
        const bool is_known = co_await enter(parcel->what.client);
        if (!is_known) {
            acknowledge(*parcel);
        } else if (attempt > options_.deliveries && parcel->what.jobs.size() > 1) {
            co_await split(*parcel);
        } else {
            if (attempt > options_.deliveries) {
                give_up(parcel);
            } else {
                if (attempt > 1) co_await pause_before(attempt);
                const semaphore::permit turn = co_await turns_.acquire();
                co_await run_jobs(parcel);
            }
            co_await parcel->sent.wait();
            bool is_lost = false;
            {
                const env::lock_guard held(lock_);
                is_lost = parcel->is_lost;
            }
            if (is_lost) co_await give_back(parcel);
            else acknowledge(*parcel);
        }
        leave(parcel->what.client);
    }

    task<> pause_before(std::uint64_t attempt) {
        const std::uint64_t doublings = std::min<std::uint64_t>(attempt - 2, 16);
        const duration whole = std::min(options_.first_pause * (std::int64_t{1} << doublings), options_.longest_pause);
        pauses drawn(whole, whole);
        const duration pause = drawn.next(executor_.random());
        co_await sleep_for(pause);
    }

    // Beside the rest, so that it keeps no place. When it fails the parcel is delivered again, and what is answered twice counts
    // once.
    void acknowledge(const parcel_at_work& parcel) {
        work_.spawn(task_name("job worker: acknowledge"), &cluster::acknowledge, std::ref(broker_), parcel.from);
    }

    // Each job by itself, so that only the one dies that workers die of.
    task<> split(const parcel_at_work& parcel) {
        {
            const env::lock_guard held(lock_);
            ++report_.split;
        }
        for (const job_order& each : parcel.what.jobs) {
            message one;
            one.subject = names_.jobs_subject(here_.hash);
            one.id = fmt::format("{}/job/{}", parcel.what.client, each.id);
            job_parcel alone;
            alone.client = parcel.what.client;
            alone.jobs.push_back(each);
            one.payload = encode(alone);
            const auto publish = [&] { return broker_.publish(one); };
            const broker_result<receipt> stored = co_await insist(options_.patience, publish);
            if (!stored) co_return;  // it is delivered again, and what was stored already is known by its id
        }
        acknowledge(parcel);
    }

    void give_up(const parcel_ptr& parcel) {
        std::vector<answer_out> all;
        for (const job_order& each : parcel->what.jobs) {
            const detail::job_function_entry* const function = detail::find_job_function(each.function);
            all.push_back(answer_of(
                parcel, each, 0,
                fault(job_failed::reason::poison,
                      fmt::format("{} was given to workers {} times, and none came to its end: they "
                                  "died of it, or gave no sign of life for too long",
                                  function == nullptr ? "a job" : function->name, parcel->from.deliveries - 1))));
        }
        {
            const env::lock_guard held(lock_);
            report_.poisoned += all.size();
        }
        post(parcel->what.client, std::move(all), parcel);
    }

    using job_ending = std::variant<job_value, exception_record, job_fault>;
    static job_ending fault(job_failed::reason why, std::string text) {
        return job_fault{static_cast<std::uint8_t>(why), std::move(text)};
    }
    static answer_out answer_of(const parcel_ptr& parcel, const job_order& job, std::uint64_t ns, job_ending end) {
        answer_out made;
        if (const auto* const value = std::get_if<job_value>(&end);
            value != nullptr && std::holds_alternative<std::string>(*value))
            made.bytes = std::get<std::string>(*value).size();
        made.bytes += 32;
        made.what.id = job.id;
        made.what.ns = ns;
        made.what.end = std::move(end);
        made.of = parcel;
        return made;
    }

    task<> run_jobs(const parcel_ptr& parcel) {
        std::vector<answer_out> made;
        const time_point start = now();
        time_point last_post = start;
        std::size_t bytes = 0;
        for (job_order& job : parcel->what.jobs) {
            if (!begins(*parcel, job.id)) continue;
            const time_point began = now();
            std::optional<job_ending> end = co_await run_job(parcel, job);
            const time_point ended = now();
            if (!end) continue;
            made.push_back(answer_of(parcel, job,
                                     static_cast<std::uint64_t>(std::chrono::nanoseconds(ended - began).count()),
                                     *std::move(end)));
            bytes += made.back().bytes;
            if (ended - last_post < longest_silence && bytes < most_answer_bytes) continue;
            post(parcel->what.client, std::move(made), parcel);
            made.clear();
            bytes = 0;
            last_post = ended;
        }
        post(parcel->what.client, std::move(made), parcel);
        const auto took = static_cast<double>(std::chrono::nanoseconds(now() - start).count());
        const env::lock_guard held(lock_);
        average_ns_ = average_ns_ < 0 ? took : average_ns_ + 0.2 * (took - average_ns_);
    }

    // False when nobody wants it any more.
    bool begins(parcel_at_work& parcel, std::uint64_t id) {
        const env::lock_guard held(lock_);
        const caller& from = callers_[parcel.what.client];
        if (!from.is_gone && !from.withdrawn.contains(id)) return true;
        ++report_.withdrawn;
        return false;
    }

    // None when it was stopped since nobody wants it any more.
    task<std::optional<job_ending>> run_job(const parcel_ptr& parcel, job_order& job) {
        const detail::job_function_entry* const function = detail::find_job_function(job.function);
        if (function == nullptr)
            co_return fault(job_failed::reason::refused, "this program's workers do not have the function");
        context& line = co_await this_task::line();
        child_stop_source stop(line.stop());
        lone_arm<std::optional<job_ending>> body(line, compute(*function, parcel, job));
        {
            const env::lock_guard held(lock_);
            parcel->job_started = now();
            parcel->running = job.id;
            parcel->stop = &stop;
            parcel->is_running = true;
            parcel->is_overdue = false;
        }
        body.start(stop);
        co_await body.arrived("a job");
        bool is_overdue = false;
        {
            const env::lock_guard held(lock_);
            parcel->is_running = false;
            parcel->stop = nullptr;
            is_overdue = parcel->is_overdue;
        }
        outcome<std::optional<job_ending>> end = body.take();
        if (line.stop_requested()) leat::detail::throw_cancelled();
        if (end.is_cancelled()) {
            const env::lock_guard held(lock_);
            if (!is_overdue) {
                // A stop of its own making is an end like an exception.
                if (!stop.stop_requested()) {
                    ++report_.failed;
                    co_return exception_record{"leat::cancelled", "the job ended as cancelled"};
                }
                ++report_.withdrawn;
                co_return std::nullopt;
            }
            ++report_.failed;
            co_return fault(
                job_failed::reason::timed_out,
                fmt::format("{} took longer than {} ms, and was stopped", function->name,
                            std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout).count()));
        }
        const env::lock_guard held(lock_);
        ++report_.jobs;
        if (end.is_error()) {
            ++report_.failed;
            co_return exception_record::of(end.error());
        }
        co_return std::move(end).get();
    }

    // None when the engine would not take the value: the parcel is for others then.
    task<std::optional<job_ending>> compute(const detail::job_function_entry& function, parcel_ptr parcel,
                                            job_order& job) {
        std::vector<std::string> arguments;
        for (job_value& each : job.arguments) {
            if (auto* const bytes = std::get_if<std::string>(&each)) {
                arguments.push_back(std::move(*bytes));
                continue;
            }
            broker_result<std::string> bytes = co_await blobs_.get(std::get<blob_ref>(each));
            if (!bytes) co_return fault(job_failed::reason::lost, "an argument of a job: " + bytes.error().text);
            arguments.push_back(*std::move(bytes));
        }
        std::string value = co_await function.run(std::move(arguments));
        if (!blobs_.is_large(value.size())) co_return job_value(std::move(value));
        broker_result<blob_ref> put = co_await blobs_.put(std::move(value));
        if (put) co_return job_value(*std::move(put));
        if (!put.error().is_passing())
            co_return fault(job_failed::reason::lost, "the value of a job: " + put.error().text);
        const env::lock_guard held(lock_);
        parcel->is_lost = true;
        co_return std::nullopt;
    }

    // ------------------------------------------------------------------------------------------------------ answers

    void post(const std::string& client, std::vector<answer_out> answers, const parcel_ptr& parcel) {
        if (answers.empty()) return;
        const env::lock_guard held(lock_);
        caller& to = callers_[client];
        if (to.is_gone) return;
        if (parcel->unsent == 0) parcel->sent.reset();
        parcel->unsent += answers.size();
        for (answer_out& each : answers) to.answers.push_back(std::move(each));
        if (to.publishing < most_publishing) {
            ++to.publishing;
            work_.spawn(task_name("job worker: answers"), &worker::publish_answers, this, client);
        }
    }

    task<> publish_answers(std::string client) {
        outcome<void> end = co_await publish_all(client).as_outcome();
        if (end.is_error()) note_failure(end.error());
    }

    task<> publish_all(const std::string& client) {
        for (;;) {
            std::vector<answer_out> batch;
            message what;
            answer_parcel all;
            {
                const env::lock_guard held(lock_);
                caller& to = callers_[client];
                std::size_t bytes = 0;
                while (!to.answers.empty() && batch.size() < most_answers) {
                    answer_out& next = to.answers.front();
                    if (!batch.empty() && bytes + next.bytes > most_answer_bytes) break;
                    bytes += next.bytes;
                    all.answers.push_back(std::move(next.what));
                    batch.push_back(std::move(next));
                    to.answers.pop_front();
                }
                if (batch.empty()) {
                    --to.publishing;
                    co_return;
                }
                ++report_.answers;
                what.id = fmt::format("{}/{}", name_, ++last_message_);
            }
            what.subject = names_.answers_subject(client);
            what.payload = encode(all);
            outcome<bool> stored = co_await publish_one(client, what).as_outcome();
            // A value above the bound that nobody hears of is removed by age.
            if (stored.is_value()) {
                settle(batch, std::move(stored).get());
                continue;
            }
            settle(batch, false);
            {
                const env::lock_guard held(lock_);
                --callers_[client].publishing;
            }
            (void)std::move(stored).get();  // throws
        }
    }

    // Whether the parcels are done with it: it is stored, or nobody wants it any more.
    task<bool> publish_one(const std::string& client, const message& what) {
        const time_point start = now();
        pauses between;
        for (;;) {
            const broker_result<receipt> stored = co_await broker_.publish(what);
            if (stored) co_return true;
            const broker_problem problem = stored.error().problem;
            // No stream: an engine that is coming back says so too.
            if (problem == broker_problem::not_found || problem == broker_problem::unavailable) {
                co_await look_at(client);
                if (is_gone(client)) co_return true;
            } else if (!stored.error().is_passing()) {
                log(log_level::error, "answers to jobs were not taken: " + stored.error().text);
                co_return false;
            }
            if (now() - start >= options_.patience) co_return false;
            const duration pause = between.next(executor_.random());
            co_await sleep_for(pause);
        }
    }

    void settle(std::vector<answer_out>& batch, bool is_stored) {
        const env::lock_guard held(lock_);
        for (answer_out& each : batch) {
            if (!is_stored) each.of->is_lost = true;
            if (--each.of->unsent == 0) each.of->sent.set();
        }
    }

    // ------------------------------------------------------------------------------------------------------ clients

    // Whether it is there, as far as is known.
    task<bool> enter(const std::string& client) {
        {
            const env::lock_guard held(lock_);
            caller& from = callers_[client];
            if (from.is_gone) co_return false;
            if (++from.parcels > 1 || from.revision != 0) co_return true;
        }
        co_await look_at(client);
        if (is_missing(client)) {
            co_await sleep_for(options_.look / 4);
            co_await look_at(client);
        }
        const env::lock_guard held(lock_);
        caller& from = callers_[client];
        if (!from.is_gone) co_return true;
        --from.parcels;
        co_return false;
    }
    bool is_missing(const std::string& client) {
        const env::lock_guard held(lock_);
        return callers_[client].missed != 0;
    }
    bool is_gone(const std::string& client) {
        const env::lock_guard held(lock_);
        return callers_[client].is_gone;
    }
    void leave(const std::string& client) {
        const env::lock_guard held(lock_);
        --callers_[client].parcels;
    }
    void mark_gone(const std::string& client) {
        const env::lock_guard held(lock_);
        caller& from = callers_[client];
        from.is_gone = true;
        for (answer_out& each : from.answers)
            if (--each.of->unsent == 0) each.of->sent.set();
        from.answers.clear();
        for (const parcel_ptr& each : held_)
            if (each->what.client == client && each->stop != nullptr) each->stop->request_stop();
    }

    task<> look_at(const std::string& client) {
        const broker_result<entry> found = co_await broker_.get(names_.bucket(), job_names::client_key(client));
        bool is_gone = false;
        {
            const env::lock_guard held(lock_);
            caller& from = callers_[client];
            if (found) {
                from.missed = 0;
                if (found->revision == from.revision) co_return;
                from.revision = found->revision;
                const auto note = decode<client_note>(found->value);
                if (!note) co_return;
                from.withdrawn = std::unordered_set<std::uint64_t>(note->withdrawn.begin(), note->withdrawn.end());
                for (const parcel_ptr& each : held_)
                    if (each->what.client == client && each->is_running && from.withdrawn.contains(each->running))
                        each->stop->request_stop();
            } else if (found.error().problem == broker_problem::not_found) {
                is_gone = ++from.missed >= 2;
            }
        }
        if (is_gone) mark_gone(client);
    }

    task<> look_at_clients() {
        for (;;) {
            co_await sleep_for(options_.look);
            std::vector<std::string> at_work;
            {
                const env::lock_guard held(lock_);
                for (auto& [id, from] : callers_)
                    if (from.parcels != 0 && !from.is_gone) at_work.push_back(id);
                while (callers_.size() > most_gone) {
                    const auto at = std::find_if(callers_.begin(), callers_.end(), [](const auto& each) {
                        return each.second.parcels == 0 && each.second.publishing == 0;
                    });
                    if (at == callers_.end()) break;
                    callers_.erase(at);
                }
            }
            for (const std::string& each : at_work) co_await look_at(each);
        }
    }

    // -------------------------------------------------------------------------------------------------- signs of life

    task<> give_signs() {
        duration every = sign_every_ / 4;
        if (options_.timeout != duration::zero()) every = std::min(every, options_.timeout / 4);
        every = std::max<duration>(every, std::chrono::milliseconds(1));
        for (;;) {
            co_await sleep_for(every);
            std::vector<parcel_ptr> due;
            {
                const time_point at = now();
                const env::lock_guard held(lock_);
                for (const parcel_ptr& each : held_) {
                    if (options_.timeout != duration::zero() && each->is_running &&
                        at - each->job_started > options_.timeout) {
                        // No more signs: it ends now, or others have a try.
                        each->is_overdue = true;
                        each->stop->request_stop();
                        continue;
                    }
                    if (at < each->sign_due) continue;
                    each->sign_due = at + sign_every_;
                    due.push_back(each);
                }
            }
            for (const parcel_ptr& each : due) (void)co_await broker_.progress(each->from);
        }
    }

    void note_failure(std::exception_ptr why) noexcept {
        {
            const env::lock_guard held(lock_);
            if (!failed_) failed_ = std::move(why);
        }
        freed_.set();
    }
    [[nodiscard]] bool failed() {
        const env::lock_guard held(lock_);
        return failed_ != nullptr;
    }

    broker& broker_;
    const job_worker_options options_;
    const job_names names_;
    const job_program here_;
    const unsigned parallel_;
    blob_store blobs_;
    semaphore slots_;  // parcels held
    semaphore turns_;  // parcels at work
    executor& executor_;
    scope beside_;
    scope work_;
    auto_reset_event freed_;
    std::string name_;
    duration sign_every_{};

    env::mutex lock_;
    job_worker_report report_;
    std::vector<parcel_ptr> held_;
    std::map<std::string, caller> callers_;
    double average_ns_ = -1;  // of a parcel; not known
    std::uint64_t last_message_ = 0;
    std::exception_ptr failed_;
};

}  // namespace

task<job_worker_report> serve_jobs(broker& where, job_worker_options options, event* drain) {
    require_plain_name(options.name);
    if (options.deliveries == 0 || options.look <= duration::zero() || options.wait <= duration::zero())
        throw std::invalid_argument("a job worker has one delivery at least, and looks for clients and drains in time");
    context& line = co_await this_task::line();
    worker one(where, std::move(options), line);
    co_return co_await one.run(drain);
}

}  // namespace leat::cluster
