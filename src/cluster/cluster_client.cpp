#include <leat/cluster/cluster_client.hpp>

#include <fmt/format.h>

#include <leat/base/log.hpp>
#include <leat/task/timeout.hpp>

#include <cluster/client_core.hpp>
#include <cluster/insist.hpp>

namespace leat::cluster {

namespace detail {

namespace {

// Of functions that have never given an answer so many jobs go out at first, one by one, and so many more each time that this
// has passed: they may be long, and there may be many workers; or there may be no worker yet.
constexpr std::uint64_t blind_jobs = 64;
constexpr duration blind_time = std::chrono::milliseconds(50);
constexpr duration look_again = std::chrono::milliseconds(1);
constexpr std::size_t most_withdrawn = 4096;  // ids that the workers are told: the latest
constexpr double weight_of_new = 0.2;
constexpr std::size_t order_bytes = 32;  // of a message for one job, beside its arguments

client_options checked(client_options options) {
    require_plain_name(options.name);
    if (options.most_jobs == 0 || options.most_bytes == 0 || options.parcel_jobs == 0 || options.messages == 0)
        throw std::invalid_argument("a cluster_client needs room for one job and one message at least");
    if (options.ack_wait <= duration::zero() || options.gone_after <= duration::zero())
        throw std::invalid_argument("ack_wait and gone_after of a cluster_client are times");
    return options;
}
blob_options blobs_of(const client_options& options) {
    blob_options blobs = options.blobs;
    blobs.bucket = job_names(options.name).blobs();
    blobs.replicas = options.replicas;
    return blobs;
}
job_program program_of(const client_options& options) {
    job_program program = program_here(options.version);
    program.ack_wait_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(options.ack_wait).count();
    return program;
}
bool is_hex(std::string_view text, std::size_t size) {
    const auto is_digit = [](char each) { return (each >= '0' && each <= '9') || (each >= 'a' && each <= 'f'); };
    return text.size() == size && std::all_of(text.begin(), text.end(), is_digit);
}

struct value_on_cluster final : kept_value {
    explicit value_on_cluster(const std::shared_ptr<client_core>& core) : home(core) {}
    value_on_cluster(const value_on_cluster&) = delete;
    value_on_cluster& operator=(const value_on_cluster&) = delete;
    ~value_on_cluster() override {
        const auto* const at = std::get_if<blob_ref>(&value);
        if (at == nullptr) return;
        if (const std::shared_ptr<client_core> core = home.lock()) core->discard(*at);
    }
    std::weak_ptr<client_core> home;
};

}  // namespace

client_core::client_core(broker& where, client_options options)
    : broker_(where),
      options_(checked(std::move(options))),
      names_(options_.name),
      program_(program_of(options_)),
      blobs_(where, blobs_of(options_)),
      jobs_(options_.most_jobs),
      room_(options_.most_bytes),
      turns_(options_.messages),
      confirmations_(64) {
    work_.emplace();
}

void client_core::leave() noexcept {
    if (is_open_ && !is_closed_) bug("a cluster_client was destroyed without being closed");
    work_.reset();
}

// ------------------------------------------------------------------------------------------------------- open and close

task<> client_core::open() {
    if (is_open_) bug("a cluster_client was opened twice");
    context& line = co_await this_task::line();
    id_ = fmt::format("{:016x}{:016x}", line.where().random(), line.where().random());
    const auto must = [this](const auto& made) {
        if (!made) throw broker_failed(fmt::format("the queue \"{}\" cannot be opened", options_.name), made.error());
    };
    const duration patience = options_.patience;
    const auto make_bucket = [this] {
        return broker_.make_bucket(names_.bucket(), options_.gone_after, options_.replicas);
    };
    must(co_await insist(patience, make_bucket));
    must(co_await blobs_.open());
    stream_config stream;
    stream.name = names_.jobs(program_.hash);
    stream.subjects = {names_.jobs_subject(program_.hash)};
    stream.replicas = options_.replicas;
    stream.about = {{"made_by", "leat"}, {"for", "jobs of the queue " + options_.name}};
    const auto make_stream = [&] { return broker_.make_stream(stream); };
    must(co_await insist(patience, make_stream));
    consumer_config consumer;
    consumer.stream = stream.name;
    consumer.name = job_names::of_jobs;
    consumer.ack_wait = options_.ack_wait;
    consumer.most_unacked = 10'000;
    const auto make_consumer = [&] { return broker_.make_consumer(consumer); };
    must(co_await insist(patience, make_consumer));
    // Its sign of life before its stream: a stream without one is a dead client's.
    is_open_ = true;
    const std::string first_note = encode(client_note{});
    const auto put_note = [&] { return broker_.put(names_.bucket(), job_names::client_key(id_), first_note); };
    must(co_await insist(patience, put_note));
    const std::string about = encode(program_);
    const auto put_program = [&] { return broker_.put(names_.bucket(), job_names::program_key(program_.hash), about); };
    must(co_await insist(patience, put_program));
    stream.name = names_.answers(id_);
    stream.subjects = {names_.answers_subject(id_)};
    stream.about = {{"made_by", "leat"}, {"for", "answers to a client of the queue " + options_.name}};
    must(co_await insist(patience, make_stream));
    consumer.stream = stream.name;
    consumer.name = job_names::of_answers;
    consumer.ack_wait = std::chrono::seconds(30);
    must(co_await insist(patience, make_consumer));
    work_->spawn(task_name("cluster client: send"), &client_core::guarded, this, send_all(), "sending jobs");
    work_->spawn(task_name("cluster client: receive"), &client_core::guarded, this, receive_all(), "taking answers");
    work_->spawn(task_name("cluster client: alive"), &client_core::guarded, this, stay_alive(), "staying alive");
    work_->spawn(task_name("cluster client: clean"), &client_core::guarded, this, clean_up(), "removing blobs");
    work_->spawn(task_name("cluster client: sweep"), &client_core::guarded, this, sweep(), "sweeping");
}

// A loop that ends by itself has failed, and with it all jobs: none may wait for what nobody does any more.
task<> client_core::guarded(task<> body, const char* what) {
    outcome<void> end = co_await std::move(body).as_outcome();
    if (end.is_error()) break_down(end.error());
    else if (end.is_cancelled())
        break_down(std::make_exception_ptr(
            job_failed(job_failed::reason::closed, fmt::format("the cluster_client was closed while {}", what))));
}

task<> client_core::close() {
    if (is_closed_ || !is_open_) {
        is_closed_ = true;
        co_return;
    }
    is_closed_ = true;
    break_down(std::make_exception_ptr(job_failed(job_failed::reason::closed, "the cluster_client was closed")));
    work_->stop();
    (void)co_await work_->join_quietly();
    co_await shield(remove_own());
}

task<> client_core::remove_own() {
    co_await remove_rubbish();
    const auto remove_stream = [this] { return broker_.remove_stream(names_.answers(id_)); };
    (void)co_await insist(options_.patience, remove_stream);
    const auto erase = [this] { return broker_.erase(names_.bucket(), job_names::client_key(id_)); };
    (void)co_await insist(options_.patience, erase);
}

// Streams of clients that have given no sign of life for long: their keys are gone by age.
task<> client_core::sweep() {
    const std::string prefix = names_.all_answers();
    const broker_result<std::vector<std::string>> streams = co_await broker_.streams(prefix);
    if (!streams) co_return;
    // After the streams: whoever has made one had its key before.
    const broker_result<std::vector<std::string>> keys = co_await broker_.keys(names_.bucket(), "clients/");
    if (!keys) co_return;
    for (const std::string& each : *streams) {
        const std::string client = each.substr(prefix.size());
        if (!is_hex(client, 32)) continue;  // another queue's
        if (std::find(keys->begin(), keys->end(), job_names::client_key(client)) != keys->end()) continue;
        (void)co_await broker_.remove_stream(each);
    }
}

// -------------------------------------------------------------------------------------------------------------- jobs

task<> client_core::begin(std::shared_ptr<job_calls::inbox> to, std::uint64_t index, std::uint64_t function,
                          job_arguments arguments) {
    if (!is_open_) bug("a cluster_client was used before it was opened");
    // What is written for the job goes again when it does not come to be.
    struct draft {
        explicit draft(client_core& in) : core(in), job(std::make_shared<pending>()) {}
        draft(const draft&) = delete;
        draft& operator=(const draft&) = delete;
        ~draft() {
            if (!job) return;
            for (blob_ref& each : job->own) core.discard(std::move(each));
        }
        client_core& core;
        job_ptr job;
    } made(*this);
    pending& job = *made.job;
    job.index = index;
    job.function = function;
    job.kept = std::move(arguments.kept);
    job.arguments = std::move(arguments.values);
    job.to = std::move(to);
    for (const job_value& each : job.arguments)
        job.bytes += std::holds_alternative<std::string>(each) ? std::get<std::string>(each).size() : 0;
    job.slot.emplace(co_await jobs_.acquire());
    if (job.bytes != 0) job.room.emplace(co_await room_.acquire(std::min(job.bytes, options_.most_bytes)));
    std::size_t inside = 0;
    for (job_value& each : job.arguments) {
        auto* const bytes = std::get_if<std::string>(&each);
        if (bytes == nullptr) continue;
        // Together they must fit into one message.
        if (!blobs_.is_large(inside + bytes->size())) {
            inside += bytes->size();
            continue;
        }
        broker_result<blob_ref> put = co_await blobs_.put(std::move(*bytes));
        if (!put) throw broker_failed("an argument of a job", put.error());
        job.own.push_back(*put);
        each = *std::move(put);
        note_reference();
    }
    job.bytes = inside;
    {
        const env::lock_guard held(lock_);
        if (broken_) std::rethrow_exception(broken_);
        job.id = ++last_id_;
        waiting_.emplace(job.id, made.job);
        queue_.push_back(made.job);
        ++counts_.submitted;
        const env::lock_guard within(job.to->lock);
        job.to->waiting.insert(job.id);
    }
    made.job.reset();
    to_send_.set();
}

void client_core::withdraw(job_calls::inbox& from) noexcept {
    bool must_tell = false;
    std::vector<job_ptr> gone;  // destroyed after the locks are released
    std::deque<job_end> ended;
    {
        const env::lock_guard held(lock_);
        const env::lock_guard within(from.lock);
        from.is_left = true;
        ended.swap(from.ended);
        for (const std::uint64_t id : from.waiting) {
            const auto at = waiting_.find(id);
            if (at == waiting_.end()) continue;
            ++counts_.withdrawn;
            if (at->second->is_sent) {
                withdrawn_.push_back(id);
                if (withdrawn_.size() > most_withdrawn) withdrawn_.pop_front();
                must_tell = true;
            }
            forget(*at->second);
            gone.push_back(std::move(at->second));
            waiting_.erase(at);
        }
        from.waiting.clear();
    }
    for (job_end& each : ended)
        if (auto* const at = std::get_if<blob_ref>(&each.value)) discard(std::move(*at));
    if (must_tell) to_tell_.set();
    to_clean_.set();
}

void client_core::forget(pending& job) noexcept {
    for (blob_ref& each : job.own) rubbish_.push_back(std::move(each));
    job.own.clear();
}

void client_core::end(const job_ptr& job, job_value value, std::exception_ptr error) noexcept {
    {
        const env::lock_guard held(lock_);
        ++counts_.answered;
        if (error) ++counts_.failed;
        const bool has_rubbish = !job->own.empty();
        forget(*job);
        if (has_rubbish) to_clean_.set();
    }
    job->slot.reset();
    job->room.reset();
    job->kept.clear();
    blob_ref unwanted;
    {
        const env::lock_guard within(job->to->lock);
        job->to->waiting.erase(job->id);
        if (job->to->is_left) {
            if (auto* const at = std::get_if<blob_ref>(&value)) unwanted = std::move(*at);
        } else {
            job_end& told = job->to->ended.emplace_back();
            told.index = job->index;
            told.value = std::move(value);
            told.error = std::move(error);
        }
    }
    if (!unwanted.id.empty()) discard(std::move(unwanted));
    job->to->changed.set();
}

void client_core::break_down(std::exception_ptr why) noexcept {
    std::vector<job_ptr> all;
    {
        const env::lock_guard held(lock_);
        if (!broken_) broken_ = why;
        why = broken_;
        for (auto& [id, job] : waiting_) all.push_back(job);
        waiting_.clear();
        queue_.clear();
    }
    std::sort(all.begin(), all.end(), [](const job_ptr& a, const job_ptr& b) { return a->id < b->id; });
    for (const job_ptr& each : all) end(each, {}, why);
}

// -------------------------------------------------------------------------------------------------------------- sending

// What one more job of the function adds to a parcel. Until it is known what such jobs take, each fills one.
double client_core::cost_of(std::uint64_t function, time_point now, bool& must_wait) {
    pace& of = paces_[function];
    if (of.is_known) return of.ns;
    if (of.sent == 0) of.first_sent = now;
    const auto times = static_cast<std::uint64_t>((now - of.first_sent) / blind_time);
    must_wait = of.sent >= blind_jobs * (1 + times);
    return static_cast<double>(std::chrono::nanoseconds(options_.parcel_time).count());
}

duration client_core::take(outgoing& parcel, time_point now) {
    const auto room = static_cast<double>(std::chrono::nanoseconds(options_.parcel_time).count());
    double cost = 0;
    std::size_t bytes = 0;
    job_parcel what;
    what.client = id_;
    duration wait = duration::zero();
    {
        const env::lock_guard held(lock_);
        while (!queue_.empty() && parcel.jobs.size() < options_.parcel_jobs) {
            const job_ptr& job = queue_.front();
            if (!waiting_.contains(job->id)) {
                queue_.pop_front();
                continue;
            }
            bool must_wait = false;
            const double more = cost_of(job->function, now, must_wait);
            if (must_wait) {
                if (parcel.jobs.empty()) wait = look_again;
                break;
            }
            if (!parcel.jobs.empty() && (cost + more > room || bytes + job->bytes > options_.parcel_bytes)) break;
            cost += more;
            bytes += job->bytes + order_bytes;
            ++paces_[job->function].sent;
            job->is_sent = true;
            what.jobs.push_back({job->id, job->function, std::move(job->arguments)});
            parcel.jobs.push_back(job);
            queue_.pop_front();
        }
        if (parcel.jobs.empty()) return wait;
        parcel.number = ++last_parcel_;
        ++counts_.parcels;
    }
    encode_to(parcel.payload, what);
    return duration::zero();
}

task<> client_core::send_all() {
    context& line = co_await this_task::line();
    for (;;) {
        co_await to_send_.wait();
        for (;;) {
            // First the turn, then the jobs: what comes while all turns are taken goes together.
            semaphore::permit turn = co_await turns_.acquire();
            outgoing parcel;
            const duration wait = take(parcel, line.where().now());
            if (!parcel.jobs.empty()) {
                work_->spawn(task_name("cluster client: send a parcel"), &client_core::send_one, this,
                             std::move(parcel), std::move(turn));
            } else if (wait != duration::zero()) {
                co_await sleep_for(wait);
            } else {
                break;
            }
        }
    }
}

task<> client_core::send_one(outgoing parcel, semaphore::permit turn) {
    context& line = co_await this_task::line();
    message what;
    what.subject = names_.jobs_subject(program_.hash);
    what.id = fmt::format("{}/{}", id_, parcel.number);
    what.payload = std::move(parcel.payload);
    pauses between;
    std::exception_ptr failed;
    for (;;) {
        // A full stream is one that the workers have not come round to yet: no reason to give up.
        const broker_result<receipt> stored = co_await broker_.publish(what);
        if (stored) break;
        if (!stored.error().is_passing()) {
            failed = std::make_exception_ptr(
                job_failed(job_failed::reason::engine, "a job was not taken: " + stored.error().text));
            break;
        }
        const duration pause = between.next(line.where().random());
        co_await sleep_for(pause);
    }
    turn.release();
    if (!failed) co_return;
    for (const job_ptr& each : parcel.jobs) {
        {
            const env::lock_guard held(lock_);
            if (waiting_.erase(each->id) == 0) continue;
        }
        end(each, {}, failed);
    }
}

// ------------------------------------------------------------------------------------------------------------- answers

task<> client_core::receive_all() {
    context& line = co_await this_task::line();
    const std::string stream = names_.answers(id_);
    pauses between;
    for (;;) {
        broker_result<std::vector<delivery>> came =
            co_await broker_.fetch(stream, job_names::of_answers, 100, std::chrono::seconds(5));
        if (!came) {
            if (came.error().problem == broker_problem::not_found)
                throw job_failed(job_failed::reason::gone, "the stream of this cluster_client's answers was removed");
            if (!came.error().is_passing()) throw broker_failed("the answers to jobs", came.error());
            const duration pause = between.next(line.where().random());
            co_await sleep_for(pause);
            continue;
        }
        between = pauses();
        for (delivery& each : *came) {
            take_answers(each.what.payload);
            semaphore::permit turn = co_await confirmations_.acquire();
            work_->spawn(task_name("cluster client: acknowledge"), &client_core::confirm, this, std::move(each),
                         std::move(turn));
        }
    }
}

// When that fails the answers come again, and nobody waits for them.
task<> client_core::confirm(delivery what, semaphore::permit turn) {
    co_await acknowledge(broker_, std::move(what));
    turn.release();
}

void client_core::take_answers(const std::string& payload) {
    auto all = decode<answer_parcel>(payload);
    if (!all) {
        log(log_level::warning, "a message of answers could not be read: " + all.error().text());
        return;
    }
    for (job_answer& each : all->answers) {
        job_ptr job;
        {
            const env::lock_guard held(lock_);
            const auto at = waiting_.find(each.id);
            if (at == waiting_.end()) {
                ++counts_.unexpected;
                std::erase(withdrawn_, each.id);
            } else {
                job = std::move(at->second);
                waiting_.erase(at);
                pace& of = paces_[job->function];
                const auto took = static_cast<double>(each.ns);
                of.ns = of.is_known ? of.ns + weight_of_new * (took - of.ns) : took;
                of.is_known = true;
            }
        }
        auto* const value = std::get_if<job_value>(&each.end);
        if (!job) {
            if (value != nullptr && std::holds_alternative<blob_ref>(*value)) discard(std::get<blob_ref>(*value));
        } else if (value != nullptr) {
            if (std::holds_alternative<blob_ref>(*value)) note_reference();
            end(job, std::move(*value), nullptr);
        } else if (const auto* const thrown = std::get_if<exception_record>(&each.end)) {
            end(job, {}, std::make_exception_ptr(remote_error(*thrown)));
        } else {
            const auto& fault = std::get<job_fault>(each.end);
            end(job, {}, std::make_exception_ptr(job_failed(static_cast<job_failed::reason>(fault.why), fault.text)));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- staying alive

task<> client_core::stay_alive() {
    const duration every = options_.gone_after / 4;
    const std::string key = job_names::client_key(id_);
    client_note note;
    std::string written = encode(note);
    std::uint64_t revision = 0;
    const std::string about = encode(program_);
    context& line = co_await this_task::line();
    time_point program_due = line.where().now() + every;
    for (;;) {
        (void)co_await to_tell_.wait_for(every);
        note.count += 1;
        {
            const env::lock_guard held(lock_);
            note.withdrawn.assign(withdrawn_.begin(), withdrawn_.end());
        }
        // Only over what this client wrote itself: a key that was gone meanwhile means that its jobs may be, too.
        if (revision == 0) {
            const auto get = [&] { return broker_.get(names_.bucket(), key); };
            const broker_result<entry> now = co_await insist(every, get);
            if (now && now->value == written) {
                revision = now->revision;
            } else if (now || now.error().problem == broker_problem::not_found) {
                throw job_failed(
                    job_failed::reason::gone,
                    fmt::format("the cluster took this cluster_client for dead: it gave no sign of life "
                                "for more than {} s",
                                std::chrono::duration_cast<std::chrono::seconds>(options_.gone_after).count()));
            } else if (!now.error().is_passing()) {
                throw broker_failed("the sign of life of a cluster_client", now.error());
            } else {
                continue;
            }
        }
        const std::string next = encode(note);
        const broker_result<std::uint64_t> stored = co_await broker_.update(names_.bucket(), key, next, revision);
        if (stored) {
            revision = *stored;
            written = next;
        } else {
            // It may have happened: what is there tells.
            const auto get = [&] { return broker_.get(names_.bucket(), key); };
            const broker_result<entry> now = co_await insist(every, get);
            if (now && now->value == next) written = next;
            revision = 0;
            to_tell_.set();
            co_await sleep_for(std::chrono::milliseconds(100));
        }
        if (line.where().now() < program_due) continue;
        const broker_result<std::uint64_t> told =
            co_await broker_.put(names_.bucket(), job_names::program_key(program_.hash), about);
        if (told) program_due = line.where().now() + every;
    }
}

// -------------------------------------------------------------------------------------------------------------- blobs

void client_core::discard(blob_ref which) noexcept {
    {
        const env::lock_guard held(lock_);
        rubbish_.push_back(std::move(which));
    }
    to_clean_.set();
}
void client_core::note_reference() noexcept {
    const env::lock_guard held(lock_);
    ++counts_.by_reference;
}

task<> client_core::clean_up() {
    for (;;) {
        co_await to_clean_.wait();
        co_await remove_rubbish();
    }
}

// By one task at a time. What cannot be removed goes by age.
task<> client_core::remove_rubbish() {
    for (;;) {
        blob_ref first;
        {
            const env::lock_guard held(lock_);
            if (rubbish_.empty()) co_return;
            first = rubbish_.front();  // it stays there until it is gone, since this may be stopped
        }
        (void)co_await blobs_.remove(std::move(first));
        const env::lock_guard held(lock_);
        rubbish_.pop_front();
    }
}

task<std::string> client_core::bring(job_value value) {
    if (auto* const bytes = std::get_if<std::string>(&value)) co_return std::move(*bytes);
    broker_result<std::string> bytes = co_await blobs_.get(std::get<blob_ref>(value));
    if (bytes) co_return *std::move(bytes);
    if (bytes.error().problem == broker_problem::not_found || bytes.error().problem == broker_problem::malformed)
        throw job_failed(job_failed::reason::lost, "the value of a job: " + bytes.error().text);
    throw broker_failed("the value of a job", bytes.error());
}

client_counts client_core::counts() const noexcept {
    const env::lock_guard held(lock_);
    client_counts now = counts_;
    now.under_way = waiting_.size();
    return now;
}

// ------------------------------------------------------------------------------------------------------- for templates

job_calls::job_calls(cluster_client& of) : core_(of.core_), inbox_(std::make_shared<inbox>()) {}
job_calls::~job_calls() { core_->withdraw(*inbox_); }

task<> job_calls::begin(std::uint64_t index, std::uint64_t function, job_arguments arguments) {
    co_await core_->begin(inbox_, index, function, std::move(arguments));
    ++under_way_;
}

task<job_end> job_calls::next() {
    for (;;) {
        {
            const env::lock_guard held(inbox_->lock);
            if (!inbox_->ended.empty()) {
                job_end first = std::move(inbox_->ended.front());
                inbox_->ended.pop_front();
                --under_way_;
                co_return first;
            }
        }
        co_await inbox_->changed.wait();
    }
}

task<std::string> take_value(std::shared_ptr<client_core> core, job_value value) {
    const auto* const at = std::get_if<blob_ref>(&value);
    if (at == nullptr) co_return std::get<std::string>(std::move(value));
    const blob_ref which = *at;
    outcome<std::string> bytes = co_await core->bring(std::move(value)).as_outcome();
    core->discard(which);
    co_return std::move(bytes).get();
}

task<std::string> read_value(std::shared_ptr<client_core> core, std::shared_ptr<const kept_value> value) {
    co_return co_await core->bring(value->value);
}

std::shared_ptr<const kept_value> keep_value(const std::shared_ptr<client_core>& core, job_value value) {
    auto kept = std::make_shared<value_on_cluster>(core);
    kept->value = std::move(value);
    return kept;
}

}  // namespace detail

cluster_client::cluster_client(broker& where, client_options options)
    : core_(std::make_shared<detail::client_core>(where, std::move(options))) {}
cluster_client::~cluster_client() { core_->leave(); }
task<> cluster_client::open() { return core_->open(); }
task<> cluster_client::close() { return core_->close(); }
client_counts cluster_client::counts() const noexcept { return core_->counts(); }
blob_store& cluster_client::blobs() noexcept { return core_->blobs(); }
const client_options& cluster_client::options() const noexcept { return core_->options(); }

}  // namespace leat::cluster
