#include <cluster/cluster_stage.hpp>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <cluster/dead_letters.hpp>
#include <cluster/insist.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace {

constexpr std::size_t byte_unit = 1024;       // of room_
constexpr std::size_t messages_at_once = 32;  // of results, fetched
constexpr duration longest_fetch = std::chrono::seconds(2);
constexpr duration confirm_limit = std::chrono::seconds(5);
constexpr unsigned batches_in_window = 16;
constexpr std::size_t items_at_first = 16;  // in a parcel, while nothing is known of them
constexpr duration between_looks = std::chrono::milliseconds(100);

std::size_t units_of(std::size_t bytes) noexcept { return bytes / byte_unit + 1; }

double number_in(const std::map<std::string, std::string>& headers, const std::string& name) {
    const auto found = headers.find(name);
    double number = 0;
    if (found != headers.end())
        (void)std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
    return number;
}

}  // namespace

// Ends with the last of the items that a message of results has answered.
struct cluster_stage::message_receipt {
    message_receipt(cluster_stage& owner, delivery of) : stage(owner), what(std::move(of)) {}
    message_receipt(const message_receipt&) = delete;
    message_receipt& operator=(const message_receipt&) = delete;
    ~message_receipt() {
        try {
            const std::scoped_lock held(stage.lock_);
            stage.confirmed_here_.push_back(std::move(what));
        } catch (...) {  // it comes again, and is late then
            return;
        }
        stage.to_confirm_.set();
    }
    cluster_stage& stage;
    delivery what;
};

// In held_: the items of a batch that have no error yet.
class cluster_stage::places {
public:
    places(cluster_stage& of, held_batch& batch) : of_(of), batch_(batch) {
        const time_point now = of.where_->now();
        bool wake = false;
        {
            const std::scoped_lock held(of.lock_);
            for (held_item& each : batch.all()) {
                if (each.is_answered) continue;
                if (!of.failure_.empty()) {
                    each.is_answered = true;
                    each.error = of.failure_;
                    continue;
                }
                each.is_sent = true;
                of.held_.emplace(each.id, &each);
                const std::size_t bytes = each.part.size() + part_overhead;
                of.outbox_.push_back({each.id, now, bytes});
                of.outbox_bytes_ += bytes;
                ++batch.unanswered;
            }
            if (batch.unanswered == 0) batch.answered.set();
            of.run_->counted.items.fetch_add(batch.unanswered, std::memory_order_relaxed);
            wake = of.gatherer_sleeps_ && (of.outbox_.size() >= of.wake_items_ || of.outbox_bytes_ >= of.wake_bytes_);
            if (wake) of.gatherer_sleeps_ = false;
        }
        if (wake) of.wake_.set();
    }
    places(const places&) = delete;
    places& operator=(const places&) = delete;
    ~places() {
        const std::scoped_lock held(of_.lock_);
        for (const held_item& each : batch_.all())
            if (each.is_sent) of_.held_.erase(each.id);
    }

private:
    cluster_stage& of_;
    held_batch& batch_;
};

class cluster_stage::worker final : public stage_worker {
public:
    explicit worker(cluster_stage& of) : of_(of) {}

    task<> prepare(std::span<item> batch, bool may_consume) override {
        batch_.begin(batch.size(), of_.next_id_.fetch_add(batch.size()));
        for (std::size_t i = 0; i < batch.size(); ++i) {
            parcel_item packed;
            packed.id = batch_.items[i].id;
            packed.sequence = batch[i].ack.sequence();
            try {
                packed.value = of_.in_.pack(batch[i].value, may_consume);
                encode_part(packed, batch_.items[i].part);
            } catch (...) {  // it fails alone, in its process()
                batch_.items[i].refuse(std::current_exception());
            }
        }
        next_ = 0;
        auto answering = of_.answer(batch_);
        co_await std::move(answering);
    }

    task<> process(item& in, emitter& out) override {
        if (next_ == batch_.count) {  // not prepared
            auto preparing = prepare({&in, 1}, out.may_consume());
            co_await std::move(preparing);
        }
        held_item& mine = batch_.items[next_++];
        const std::shared_ptr<message_receipt> from = std::move(mine.from);
        if (mine.refused) std::rethrow_exception(mine.refused);
        if (!mine.error.empty()) throw stage_failed(mine.error);
        result_item& got = mine.result;
        if (got.retried != 0) out.count_retried(got.retried);
        for (wire_value& each : got.outputs) {
            payload next = of_.out_.unpack(std::move(each));
            if (!out.try_emit(next)) co_await out.emit(std::move(next));
        }
        if (got.how == item_end::dead) {
            in.ack.dead();
        } else if (!got.failures.empty()) {
            out.keep_outputs();
            const failure_note& first = got.failures.front();
            std::string text = fmt::format("{}: {}", first.stage, first.error);
            if (first.attempts > 1) text += fmt::format(" (the last of {} attempts)", first.attempts);
            if (got.failures.size() > 1)
                text += fmt::format(", and {} more of what came of it", got.failures.size() - 1);
            throw permanent_error(text);
        }
    }

    task<> close() override {
        batch_.items.clear();
        co_return;
    }

private:
    cluster_stage& of_;
    held_batch batch_;      // its memory is used again
    std::size_t next_ = 0;  // in it, for process()
};

namespace {

unsigned window_of(const coordinator_body& run) {
    return static_cast<unsigned>(std::clamp<std::size_t>(run.options().window, 1, stage_policy::most_jobs));
}

}  // namespace

cluster_stage::cluster_stage(std::shared_ptr<coordinator_body> run, std::size_t segment)
    : run_(std::move(run)),
      segment_(segment),
      is_in_plan_(true),
      in_(record_codec()),
      out_(record_codec()),
      window_(window_of(*run_)),
      room_(units_of(run_->options().window_bytes)) {}

cluster_stage::cluster_stage(std::shared_ptr<coordinator_body> run, functions what)
    : run_(std::move(run)),
      functions_(std::move(what)),
      in_(functions_->in),
      out_(functions_->out),
      window_(window_of(*run_)),
      room_(units_of(run_->options().window_bytes)) {}

cluster_stage::~cluster_stage() = default;

// Attempts are the workers' affair, and how many of them there are.
void cluster_stage::adopt(stage_policy& policy) {
    if (!is_in_plan_) {
        manifest_segment& mine = functions_->segment;
        if (mine.stages.size() == 1) mine.stages.front().policy = policy;
        segment_ = run_->add(mine);
        is_in_plan_ = true;
    }
    policy.jobs = 1;
    policy.least_jobs = 0;
    policy.timeout = std::chrono::nanoseconds(0);
    policy.retry.max = 0;
}

// Of the same run: their items go there and come back once.
std::shared_ptr<stage> cluster_stage::joined_with(const stage_policy& policy, const stage_node& next) {
    if (joined_ && joined_next_ == next.what) return joined_;
    const auto* const other = dynamic_cast<const cluster_stage*>(next.what.get());
    if (other == nullptr || other->run_ != run_ || !functions_ || !other->functions_ || is_in_plan_ ||
        other->is_in_plan_ || !other->functions_->takes_as_given)
        return nullptr;
    functions both{functions_->segment, in_, other->out_, functions_->takes_as_given};
    if (both.segment.stages.size() == 1) both.segment.stages.front().policy = policy;
    both.segment.name += '+' + other->functions_->segment.name;
    for (manifest_stage each : other->functions_->segment.stages) {
        each.policy = next.policy;
        both.segment.stages.push_back(std::move(each));
    }
    joined_ = std::make_shared<cluster_stage>(run_, std::move(both));
    joined_next_ = next.what;
    return joined_;
}

task<> cluster_stage::start(unsigned) {
    context& line = co_await this_task::line();
    where_ = &line.where();
    entered_ = true;
    {  // what an earlier run has left
        const std::scoped_lock held(lock_);
        outbox_.clear();
        outbox_bytes_ = 0;
        in_flight_ = 0;
        gatherer_sleeps_ = false;
        confirmed_here_.clear();
        failure_.clear();
    }
    co_await run_->enter();
    last_result_ = where_->now();
    tasks_ = std::make_unique<scope>(line);
    confirms_ = std::make_unique<scope>(line);
    tasks_->spawn(task_name("cluster gather"), [this] { return gather(); });
    tasks_->spawn(task_name("cluster receive"), [this] { return receive(); });
    tasks_->spawn(task_name("cluster confirm"), [this] { return acknowledge(); });
    tasks_->spawn(task_name("cluster watch"), [this] { return look_for_lost(); });
    tasks_->spawn(task_name("cluster failure"), [this] { return watch_failure(); });
}

task<std::unique_ptr<stage_worker>> cluster_stage::open() { co_return std::make_unique<worker>(*this); }

task<> cluster_stage::close() {
    if (!entered_) co_return;
    entered_ = false;
    bool settled = tasks_ != nullptr;
    if (tasks_) {
        tasks_->stop();
        (void)co_await tasks_->join_quietly();
        tasks_.reset();
        // What was not taken up before the stop.
        std::vector<delivery> rest;
        {
            const std::scoped_lock held(lock_);
            rest.swap(confirmed_here_);
            settled = failure_.empty();
        }
        for (delivery& each : rest)
            confirms_->spawn(
                task_name("cluster confirm"), [this](delivery what) { return confirm(std::move(what)); },
                std::move(each));
        (void)co_await confirms_->join_quietly();
        confirms_.reset();
    }
    settled = settled && run_->counted.items == run_->counted.answered;
    co_await run_->leave(settled);
}

// --- A batch ---

void cluster_stage::held_item::end() {
    is_answered = true;
    if (--batch->unanswered == 0) batch->answered.set();
}

void cluster_stage::held_batch::begin(std::size_t of, std::uint64_t first_id) {
    answered.reset();
    count = of;
    unanswered = 0;
    if (items.size() < count) items.resize(count);
    for (held_item& each : all()) {
        each.batch = this;
        each.id = first_id++;
        each.is_answered = each.is_sent = false;
        each.refused = nullptr;
        each.error.clear();
        each.from.reset();
    }
}

task<> cluster_stage::answer(held_batch& batch) {
    const std::size_t largest = run_->largest_message();
    std::size_t units = 0;
    for (held_item& each : batch.all()) {
        if (each.refused) continue;
        if (each.part.size() + part_overhead + parcel_overhead > largest) {
            each.refuse(std::make_exception_ptr(
                permanent_error(fmt::format("the item has {} bytes on its way, and the engine takes {} in one message",
                                            each.part.size(), largest))));
        } else {
            units += units_of(each.part.size());
        }
    }
    auto taking = room_.acquire(std::clamp<std::size_t>(units, 1, units_of(run_->options().window_bytes)));
    const semaphore::permit room = co_await std::move(taking);
    const places here(*this, batch);
    co_await batch.answered.wait();
}

void cluster_stage::fail(const std::string& why) {
    run_->fail(why);
    const std::scoped_lock held(lock_);
    if (failure_.empty()) failure_ = why;
    for (const auto& [id, each] : held_) {
        if (each->is_answered) continue;
        each->error = failure_;
        each->end();
    }
}

task<> cluster_stage::watch_failure() {
    co_await run_->failed().wait();
    fail(run_->failure());
}

// --- Parcels ---

std::size_t cluster_stage::most_in_parcel() const noexcept {
    const placement_options& options = run_->options();
    const double item_ns = item_ns_.load();
    std::size_t most = items_at_first;
    if (item_ns > 0) most = static_cast<std::size_t>(static_cast<double>(options.parcel_time.count()) / item_ns) + 1;
    return std::clamp<std::size_t>(most, 1, std::max<std::size_t>(1, options.parcel_items));
}

// A few batches fill the window, so that some are on their way while others are made.
std::size_t cluster_stage::items_at_once() const noexcept {
    return std::clamp<std::size_t>(window_ / batches_in_window, 1, most_in_parcel());
}

// The next parcel, when it is time for one; else how long it may be until then.
std::optional<std::string> cluster_stage::next_parcel(duration& wait) {
    const placement_options& options = run_->options();
    const std::size_t most_bytes = std::min(options.parcel_bytes, run_->largest_message());
    const std::size_t most_items = most_in_parcel();
    wait = duration::max();
    wake_items_ = in_flight_ >= options.parcels_in_flight ? ~std::size_t{0} : in_flight_ > 0 ? most_items : 1;
    wake_bytes_ = in_flight_ > 0 ? most_bytes : 1;
    while (!outbox_.empty() && !held_.contains(outbox_.front().id)) {  // cancelled meanwhile
        outbox_bytes_ -= outbox_.front().bytes;
        outbox_.pop_front();
    }
    if (outbox_.empty() || in_flight_ >= options.parcels_in_flight) return std::nullopt;
    if (in_flight_ > 0 && outbox_.size() < most_items && outbox_bytes_ < most_bytes) {
        wait = outbox_.front().since + options.gather - where_->now();
        if (wait > duration::zero()) return std::nullopt;
        wait = duration::max();
    }
    parcel_writer writer(parcel_kind::items);
    while (!outbox_.empty() && writer.parts() < most_items) {
        const waiting& next = outbox_.front();
        const auto found = held_.find(next.id);
        if (found != held_.end() && !found->second->is_answered) {
            if (writer.parts() > 0 && writer.size() + next.bytes > most_bytes) break;
            writer.add(found->second->part);
        }
        outbox_bytes_ -= next.bytes;
        outbox_.pop_front();
    }
    if (writer.parts() == 0) {
        wait = duration::zero();
        return std::nullopt;
    }
    ++in_flight_;
    return writer.take();
}

task<> cluster_stage::gather() {
    for (;;) {
        duration wait = duration::max();
        std::optional<std::string> parcel;
        std::uint64_t number = 0;
        {
            const std::scoped_lock held(lock_);
            parcel = next_parcel(wait);
            gatherer_sleeps_ = !parcel;
            if (parcel) number = next_parcel_++;
        }
        if (parcel) {
            tasks_->spawn(
                task_name("cluster publish"),
                [this](std::string payload, std::uint64_t which) { return publish(std::move(payload), which); },
                std::move(*parcel), number);
            continue;
        }
        if (wait == duration::max()) {
            co_await wake_.wait();
        } else {
            auto waiting_for = wake_.wait_for(wait);
            (void)co_await waiting_for;
        }
    }
}

task<> cluster_stage::publish(std::string payload, std::uint64_t number) {
    broker& engine = run_->engine();
    message what;
    what.subject = run_->plan().items_subject(segment_);
    what.id = fmt::format("{}.{}.{}", run_->plan().run, segment_, number);
    what.payload = std::move(payload);
    const std::size_t size = what.payload.size();
    const auto send = [&engine, what = std::move(what)] { return engine.publish(what); };
    auto sending = insist(send);
    const broker_result<cluster::receipt> sent = co_await std::move(sending);
    {
        const std::scoped_lock held(lock_);
        --in_flight_;
    }
    wake_.set();
    if (!sent) {
        fail(fmt::format("what the engine was sent it refused: {}", sent.error().text));
        co_return;
    }
    run_->counted.parcels.fetch_add(1, std::memory_order_relaxed);
    run_->counted.bytes.fetch_add(size, std::memory_order_relaxed);
}

// --- Results ---

task<> cluster_stage::receive() {
    broker& engine = run_->engine();
    const std::string stream = run_->plan().results_stream(segment_);
    back_off pause;
    for (;;) {
        auto fetching = engine.fetch(stream, results_consumer, messages_at_once, longest_fetch);
        broker_result<std::vector<delivery>> got = co_await std::move(fetching);
        if (!got) {
            if (!got.error().is_passing()) {
                fail(fmt::format("results cannot be had from the engine: {}", got.error().text));
                co_return;
            }
            co_await pause.wait();
            continue;
        }
        pause.reset();
        for (delivery& each : *got) {
            auto results = decode_results(each.what.payload);
            if (results) {
                take(std::move(each), std::move(*results));
                continue;
            }
            auto burying = bury(std::move(each), std::move(results).error());
            co_await std::move(burying);
        }
    }
}

void cluster_stage::take(delivery what, std::vector<result_item> results) {
    coordinator_body::counts& counted = run_->counted;
    counted.result_parcels.fetch_add(1, std::memory_order_relaxed);
    counted.result_bytes.fetch_add(what.what.payload.size(), std::memory_order_relaxed);
    what.what.payload = {};
    const auto delivered = static_cast<std::uint64_t>(number_in(what.what.headers, "Leat-Deliveries"));
    counted.redelivered.fetch_add((delivered > 1 ? delivered - 1 : 0) + (what.deliveries - 1),
                                  std::memory_order_relaxed);
    const double item_ns = number_in(what.what.headers, "Leat-Item-Ns");
    const auto from = std::make_shared<message_receipt>(*this, std::move(what));
    const std::scoped_lock held(lock_);
    last_result_ = where_->now();
    const double before = item_ns_.load();
    if (item_ns > 0) item_ns_.store(before == 0 ? item_ns : before * 0.75 + item_ns * 0.25);
    for (result_item& each : results) {
        const auto found = held_.find(each.id);
        if (found == held_.end() || found->second->is_answered) {
            counted.late.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        held_item& one = *found->second;
        counted.answered.fetch_add(1, std::memory_order_relaxed);
        if (each.how == item_end::dead) counted.poison.fetch_add(1, std::memory_order_relaxed);
        one.result = std::move(each);
        one.from = from;
        one.end();
    }
}

// A message that is none: kept among the dead letters, and gone from here then.
task<> cluster_stage::bury(delivery what, std::string why) {
    run_->counted.malformed.fetch_add(1, std::memory_order_relaxed);
    run_->log(fmt::format("a result that cannot be read is among the dead letters: {}", why));
    broker& engine = run_->engine();
    message letter = dead_letter_of(run_->plan(), segment_, what, why, "coordinator");
    const auto send = [&engine, letter = std::move(letter)] { return engine.publish(letter); };
    auto sending = insist(send);
    (void)co_await std::move(sending);
    co_await confirm(std::move(what));
}

task<> cluster_stage::acknowledge() {
    for (;;) {
        co_await to_confirm_.wait();
        std::vector<delivery> some;
        {
            const std::scoped_lock held(lock_);
            some.swap(confirmed_here_);
        }
        for (delivery& each : some)
            confirms_->spawn(
                task_name("cluster confirm"), [this](delivery what) { return confirm(std::move(what)); },
                std::move(each));
    }
}

// One that fails comes again, and is late then.
task<> cluster_stage::confirm(delivery what) {
    broker& engine = run_->engine();
    const auto acknowledge_it = [&engine, what = std::move(what)] { return engine.ack(what); };
    auto asking = timeout(insist(acknowledge_it), confirm_limit);
    (void)co_await asking.as_outcome();
}

// --- What the engine has lost ---

task<bool> cluster_stage::is_at_rest() {
    broker& engine = run_->engine();
    const std::pair<std::string, std::string> both[] = {{run_->plan().items_stream(segment_), worker_consumer},
                                                        {run_->plan().results_stream(segment_), results_consumer}};
    for (const auto& [stream, reader] : both) {
        auto asking = engine.consumer(stream, reader);
        const broker_result<consumer_state> state = co_await std::move(asking);
        if (!state || state->pending != 0 || state->unacked != 0) co_return false;
    }
    co_return true;
}

task<> cluster_stage::look_for_lost() {
    const duration patience = run_->options().lost_after;
    for (;;) {
        co_await sleep_for(patience / 4);
        const auto is_silent = [this, patience] {
            const std::scoped_lock held(lock_);
            return !held_.empty() && outbox_.empty() && in_flight_ == 0 && where_->now() - last_result_ >= patience;
        };
        if (!is_silent()) continue;
        const bool rests = co_await is_at_rest();
        if (!rests) continue;
        co_await sleep_for(between_looks);
        const bool still_rests = co_await is_at_rest();
        if (!still_rests || !is_silent()) continue;
        std::vector<std::uint64_t> lost;
        {
            const std::scoped_lock held(lock_);
            for (const auto& [id, each] : held_)
                if (!each->is_answered) lost.push_back(id);
            std::sort(lost.begin(), lost.end());
            const time_point now = where_->now();
            for (const std::uint64_t id : lost) {
                const std::size_t bytes = held_.at(id)->part.size() + part_overhead;
                outbox_.push_back({id, now, bytes});
                outbox_bytes_ += bytes;
            }
            last_result_ = now;
        }
        if (lost.empty()) continue;
        run_->counted.resent.fetch_add(lost.size(), std::memory_order_relaxed);
        run_->log(fmt::format("the engine has lost {} items: they are sent again", lost.size()));
        wake_.set();
    }
}

}  // namespace leat::cluster
