#include <cluster/segment_server.hpp>

#include <algorithm>

#include <fmt/format.h>

#include <cluster/dead_letters.hpp>
#include <cluster/insist.hpp>
#include <leat/base/exception_text.hpp>
#include <leat/base/machine.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace {

constexpr duration longest_fetch = std::chrono::milliseconds(500);
constexpr std::size_t most_fetched = 64;      // messages at a time
constexpr std::uint64_t suspicious_from = 3;  // deliveries: such a parcel is alone with its worker
constexpr duration nack_delay = std::chrono::milliseconds(200);
constexpr std::size_t message_overhead = 4096;
constexpr std::size_t result_bytes = std::size_t{256} << 10U;  // in one message, where an item is not larger
constexpr unsigned looks_for_a_lost_stream = 5;
constexpr duration longest_ack = std::chrono::seconds(2);  // then it is asked again, or left to come again

}  // namespace

// Leads to the account that the local engine keeps, and has the number of the item's source item.
class segment_server::number_stage final : public stage {
public:
    explicit number_stage(segment_server& of) : of_(of) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(of_); }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }

private:
    class numbered final : public ack_node {
    public:
        numbered(std::uint64_t sequence, ack_ref of) noexcept : ack_node(sequence), of_(std::move(of)) {}

    private:
        void settled(fate how) noexcept override { of_.end(how); }
        void failed_in_part(std::uint64_t items) noexcept override { of_.fail_some(items); }
        void sequences(std::vector<std::uint64_t>& to) const override { of_.sequences(to); }
        ack_ref of_;
    };
    class worker final : public stage_worker {
    public:
        explicit worker(segment_server& of) : of_(of) {}
        made transform(item& in, bool) override {
            std::uint64_t sequence = 0;
            {
                const std::scoped_lock held(of_.lock_);
                const auto [which, index] = of_.find(in.ack.sequence());
                if (which != nullptr) sequence = which->items[index].sequence;
            }
            in.ack = ack_ref(new numbered(sequence, std::move(in.ack)));
            return made::one;
        }

    private:
        segment_server& of_;
    };
    segment_server& of_;
};

// The local flow's sink: keeps what came of each item with its parcel.
class segment_server::collect_stage final : public stage {
public:
    explicit collect_stage(segment_server& of) : of_(of) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(of_); }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(segment_server& of) : of_(of) {}
        made transform(item& in, bool) override {
            of_.collect(in, numbers_);
            return made::committed;
        }

    private:
        segment_server& of_;
        std::vector<std::uint64_t> numbers_;
    };
    segment_server& of_;
};

class segment_server::parcels final : public source {
public:
    explicit parcels(segment_server& of) : of_(of) {}

    task<> run(source_output& out) override {
        std::vector<item> items;
        for (;;) {
            parcel_ptr next;
            {
                const std::scoped_lock held(of_.lock_);
                if (!of_.queue_.empty()) {
                    next = std::move(of_.queue_.front());
                    of_.queue_.pop_front();
                    open(next, items);
                } else if (of_.is_closed_) {
                    co_return;
                }
            }
            if (!next) co_await of_.arrived_.wait();
            else if (!items.empty()) co_await out.emit_many(items, of_);
        }
    }

private:
    // Under the lock.
    void open(const parcel_ptr& next, std::vector<item>& items) {
        items.clear();
        next->first_id = of_.next_id_;
        next->begun = of_.where_->now();
        std::vector<std::size_t> bad;
        for (std::size_t i = 0; i < next->items.size(); ++i) {
            try {
                payload value = of_.stages_.in->unpack(std::move(next->items[i].value));
                items.emplace_back().value = std::move(value);
                next->given.push_back(static_cast<std::uint32_t>(i));
            } catch (...) {
                next->slots[i].failures.push_back({of_.stages_.chain.front().name, current_exception_text(), 1});
                next->slots[i].failed = true;
                bad.push_back(i);
            }
        }
        if (!items.empty()) of_.by_id_.emplace(of_.next_id_, next);
        of_.next_id_ += items.size();
        for (const std::size_t i : bad) of_.end_item(*next, i, item_end::failed);
    }
    segment_server& of_;
};

segment_server::segment_server(broker& engine, const manifest& run, std::size_t segment, segment_stages stages,
                               const worker_options& options, worker_tally& counted)
    : engine_(engine),
      run_(run),
      segment_(segment),
      stages_(std::move(stages)),
      options_(options),
      counted_(counted),
      name_(options.name) {}

segment_server::~segment_server() = default;

std::uint64_t segment_server::held_items() const {
    const std::scoped_lock held(lock_);
    return held_items_;
}

void segment_server::drain() noexcept {
    draining_ = true;
    room_.set();
}

// --- The run ---

task<> segment_server::run() {
    context& line = co_await this_task::line();
    where_ = &line.where();
    const std::size_t largest = engine_.limits().largest_payload;
    largest_message_ = largest > 2 * message_overhead ? largest - message_overhead : largest;
    const auto body = [this](scope& work) { return serve(work); };
    co_await with_scope(body);
    if (!problem_.empty()) throw std::runtime_error(problem_);
}

task<> segment_server::serve(scope& work) {
    flow_graph graph = make_graph();
    work.spawn(
        task_name("cluster engine"), [this](flow_graph what) { return run_engine(std::move(what)); }, std::move(graph));
    work.spawn(task_name("cluster answers"), [this] { return finish_all(); });
    work.spawn(task_name("cluster heartbeat"), [this] { return keep_alive(); });
    co_await fetch();
    close_input();
    if (is_over_) control_.stop();
    for (;;) {
        {
            const std::scoped_lock held(lock_);
            if (engine_gone_ && (is_over_ || all_.empty())) break;
        }
        co_await room_.wait();
    }
    work.stop();
}

flow_graph segment_server::make_graph() {
    flow_graph graph;
    graph.name = run_.flow;
    graph.ordered = stages_.ordered;
    graph.sources.push_back({"parcels", std::make_shared<parcels>(*this)});
    std::size_t jobs = 1;
    if (stages_.keeps_sequence) {
        stage_node number;
        number.name = "cluster number";
        number.what = std::make_shared<number_stage>(*this);
        graph.stages.push_back(std::move(number));
    }
    for (stage_node& each : stages_.chain) {
        const unsigned asked = each.policy.jobs != stage_policy::automatic ? each.policy.jobs
                               : each.what->automatic_jobs() != 0          ? each.what->automatic_jobs()
                                                                           : effective_machine().worker_count;
        jobs = std::max<std::size_t>(jobs, std::size_t{asked} * each.what->items_per_job());
        graph.stages.push_back(each);
    }
    items_to_hold_ = 2 * jobs;
    stage_node collect;
    collect.name = "cluster results";
    collect.what = std::make_shared<collect_stage>(*this);
    collect.policy.error = on_error::keep_going;
    collect.policy.jobs = 1;
    collect.is_sink = true;
    graph.stages.push_back(std::move(collect));
    return graph;
}

task<> segment_server::run_engine(flow_graph graph) {
    flow_options options;
    options.control = &control_;
    options.observer = this;
    options.window = stages_.window;
    options.retry_share = stages_.retry_share;
    auto running = run_flow(std::move(graph), std::move(options));
    outcome<report> end = co_await running.as_outcome();
    std::string why;
    if (end.is_error()) {
        why = text_of(end.error());
    } else if (end.is_value()) {
        const report done = std::move(end).get();
        if (done.end == flow_end::failed) why = done.error;
    }
    {
        const std::scoped_lock held(lock_);
        if (!is_over_ && problem_.empty()) problem_ = why;
        // What did not come to its end, or never got into the engine.
        for (const auto& [number, each] : all_) {
            if (each->left == 0) continue;
            each->is_broken = true;
            ended_.push_back(each);
        }
        queue_.clear();
        by_id_.clear();
        is_closed_ = true;
        engine_gone_ = true;
    }
    to_answer_.set();
    room_.set();
}

void segment_server::close_input() {
    {
        const std::scoped_lock held(lock_);
        is_closed_ = true;
    }
    arrived_.set();
}

// --- Parcels come ---

task<> segment_server::wait_for_room() {
    for (;;) {
        {
            const std::scoped_lock held(lock_);
            if (held_parcels_ < options_.most_parcels || held_items_ < items_to_hold_) co_return;
        }
        if (draining_ || engine_gone_) co_return;
        co_await room_.wait();
    }
}

// No parcel is in the local engine.
task<> segment_server::wait_for_quiet() {
    for (;;) {
        {
            const std::scoped_lock held(lock_);
            if (in_engine_ == 0) co_return;
        }
        if (engine_gone_) co_return;
        co_await room_.wait();
    }
}

task<> segment_server::fetch() {
    const std::string stream = run_.items_stream(segment_);
    back_off pause;
    unsigned missing = 0;
    while (!draining_ && !engine_gone_) {
        co_await wait_for_room();
        if (draining_ || engine_gone_) break;
        std::size_t most = 1;
        {
            const std::scoped_lock held(lock_);
            if (held_parcels_ < options_.most_parcels) most = options_.most_parcels - held_parcels_;
            if (held_items_ < items_to_hold_) {
                const double more = static_cast<double>(items_to_hold_ - held_items_) / std::max(1.0, items_each_);
                most = std::max(most, static_cast<std::size_t>(more));
            }
        }
        auto fetching = engine_.fetch(stream, worker_consumer, std::min(most, most_fetched), longest_fetch);
        broker_result<std::vector<delivery>> got = co_await std::move(fetching);
        if (!got) {
            const broker_problem problem = got.error().problem;
            if (problem == broker_problem::not_found) {
                // A server that has just begun may not know its streams yet.
                auto looking = was_removed();
                const bool removed = co_await std::move(looking);
                if (removed) break;
                if (++missing > looks_for_a_lost_stream) break;
            } else if (!got.error().is_passing()) {
                const std::scoped_lock held(lock_);
                problem_ = got.error().text;
                break;
            }
            co_await pause.wait();
            continue;
        }
        pause.reset();
        missing = 0;
        // Those that may have killed a worker come last, each alone.
        std::sort(got->begin(), got->end(), [this](const delivery& a, const delivery& b) {
            const bool first = is_suspicious(a);
            const bool second = is_suspicious(b);
            return first != second ? second : a.sequence < b.sequence;
        });
        {
            const std::scoped_lock held(lock_);
            for (const delivery& each : *got)
                if (is_suspicious(each)) aside_.push_back(each);
        }
        for (delivery& each : *got) {
            const std::uint64_t number = each.sequence;
            auto handling = handle(std::move(each));
            co_await std::move(handling);
            const std::scoped_lock held(lock_);
            std::erase_if(aside_, [number](const delivery& one) { return one.sequence == number; });
        }
    }
    if (!draining_ && !engine_gone_) is_over_ = true;
}

bool segment_server::is_suspicious(const delivery& what) const noexcept {
    return what.deliveries >= std::min<std::uint64_t>(suspicious_from, run_.segments[segment_].most_deliveries) &&
           what.deliveries > 1;
}

task<> segment_server::handle(delivery what) {
    if (what.deliveries > 1) counted_.redelivered.fetch_add(1, std::memory_order_relaxed);
    auto items = decode_items(what.what.payload);
    if (!items || items->empty()) {
        std::string why = items ? std::string("a parcel without items") : std::move(items).error();
        auto burying = bury(std::move(what), std::move(why));
        co_await std::move(burying);
        co_return;
    }
    if (what.deliveries > run_.segments[segment_].most_deliveries) {
        auto giving_up = poison(std::move(what), std::move(*items));
        co_await std::move(giving_up);
        co_return;
    }
    const bool suspicious = is_suspicious(what);
    if (suspicious) co_await wait_for_quiet();
    std::string payload = std::exchange(what.what.payload, {});
    auto fresh = std::make_shared<parcel>();
    fresh->what = std::move(what);
    fresh->items = std::move(*items);
    if (!accept(fresh)) {  // the local engine has ended meanwhile
        fresh->what.what.payload = std::move(payload);
        auto giving_back = give_back(std::move(fresh->what));
        co_await std::move(giving_back);
        co_return;
    }
    if (suspicious) co_await wait_for_quiet();
}

// One that nobody has tried this time is not to be given up for it: when its next delivery would be one too many, it is sent anew.
task<> segment_server::give_back(delivery what) {
    if (what.deliveries >= run_.segments[segment_].most_deliveries) {
        message again;
        again.subject = run_.items_subject(segment_);
        again.id = fmt::format("{}.{}.anew", run_.items_stream(segment_), what.sequence);
        again.payload = std::move(what.what.payload);
        auto sending = send(std::move(again));
        const bool sent = co_await std::move(sending);
        if (sent) {
            auto acknowledging = leat::cluster::acknowledge(engine_, std::move(what));
            co_await std::move(acknowledging);
            co_return;
        }
    }
    auto leaving = engine_.nack(std::move(what), nack_delay);
    (void)co_await std::move(leaving);
}

bool segment_server::accept(const parcel_ptr& fresh) {
    fresh->slots.resize(fresh->items.size());
    fresh->left = fresh->items.size();
    {
        const std::scoped_lock held(lock_);
        if (is_closed_) return false;
        // Delivered again to the same worker: what it does already counts for both.
        const auto [place, is_new] = all_.emplace(fresh->what.sequence, fresh);
        if (!is_new) {
            place->second->what = std::move(fresh->what);
            return true;
        }
        fresh->moved = where_->now();
        fresh->in_engine = true;
        ++in_engine_;
        ++held_parcels_;
        held_items_ += fresh->items.size();
        items_each_ = items_each_ * 0.75 + static_cast<double>(fresh->items.size()) * 0.25;
        queue_.push_back(fresh);
    }
    arrived_.set();
    return true;
}

// --- Items end ---

// Under the lock. Null for one that is not there.
std::pair<segment_server::parcel*, std::size_t> segment_server::find(std::uint64_t id) {
    auto after = by_id_.upper_bound(id);
    if (after == by_id_.begin()) return {nullptr, 0};
    --after;
    parcel& which = *after->second;
    const std::uint64_t offset = id - which.first_id;
    if (offset >= which.given.size()) return {nullptr, 0};
    return {&which, which.given[offset]};
}

void segment_server::collect(item& in, std::vector<std::uint64_t>& numbers) {
    numbers.clear();
    in.ack.sequences(numbers);
    wire_value value = stages_.out->pack(in.value, true);
    const std::scoped_lock held(lock_);
    const auto [which, index] = find(numbers.empty() ? 0 : numbers.front());
    if (which != nullptr) which->slots[index].outputs.push_back(std::move(value));
}

void segment_server::attempt_failed(std::string_view stage, const item& what, unsigned attempt, std::string_view error,
                                    bool again) {
    const auto skips = [&] {
        for (const stage_node& each : stages_.chain)
            if (each.name == stage) return each.policy.error == on_error::skip;
        return false;
    };
    std::vector<std::uint64_t> numbers;
    what.ack.sequences(numbers);
    const std::scoped_lock held(lock_);
    const auto [which, index] = find(numbers.empty() ? 0 : numbers.front());
    if (which == nullptr) return;
    which->moved = where_->now();
    if (again) ++which->slots[index].retried;
    else if (!skips()) which->slots[index].failures.push_back({std::string(stage), std::string(error), attempt});
}

void segment_server::settled(std::uint64_t id, fate how) noexcept {
    const std::scoped_lock held(lock_);
    const auto [which, index] = find(id);
    if (which == nullptr) return;
    if (how == fate::abandoned) which->is_broken = true;
    which->slots[index].failed = how == fate::failed;
    end_item(*which, index, how == fate::failed ? item_end::failed : item_end::done);
}

// Under the lock.
void segment_server::end_item(parcel& of, std::size_t index, item_end how) {
    slot& mine = of.slots[index];
    try {
        result_item result;
        result.id = of.items[index].id;
        result.how = how;
        result.retried = mine.retried;
        result.outputs = std::move(mine.outputs);
        result.failures = std::move(mine.failures);
        if (how == item_end::failed && result.failures.empty())
            result.failures.push_back({stages_.chain.back().name, "it failed", 1});
        mine.part = encode_part(result);
        if (mine.part.size() + part_overhead + parcel_overhead > largest_message_) {
            const std::string why =
                fmt::format("what came of it has {} bytes on its way, and the engine takes {} in one message",
                            mine.part.size(), largest_message_);
            result.how = item_end::failed;
            result.outputs.clear();
            result.failures = {{stages_.chain.back().name, why, 1}};
            mine.failed = true;
            mine.part = encode_part(result);
        }
    } catch (...) {
        of.is_broken = true;
    }
    of.moved = where_->now();
    if (--of.left > 0) return;
    const auto place = by_id_.find(of.first_id);
    if (place != by_id_.end() && place->second.get() == &of) by_id_.erase(place);
    ended_.push_back(all_.at(of.what.sequence));
    to_answer_.set();
}

// Under the lock.
void segment_server::let_go(parcel& of) {
    if (std::exchange(of.in_engine, false)) --in_engine_;
    if (!std::exchange(of.is_counted, false)) return;
    --held_parcels_;
    held_items_ -= of.items.size();
}

// --- Answers go ---

task<> segment_server::finish_all() {
    const auto body = [this](scope& work) -> task<> {
        for (;;) {
            co_await to_answer_.wait();
            std::vector<parcel_ptr> some;
            {
                const std::scoped_lock held(lock_);
                some.swap(ended_);
            }
            for (parcel_ptr& each : some)
                work.spawn(
                    task_name("cluster answer"), [this](parcel_ptr which) { return finish(std::move(which)); },
                    std::move(each));
        }
    };
    co_await with_scope(body);
}

message segment_server::results_of(const delivery& of, std::size_t first, std::size_t last, std::string payload) const {
    message what;
    what.subject = run_.results_subject(segment_);
    what.id = fmt::format("{}.{}.{}-{}", run_.items_stream(segment_), of.sequence, first, last);
    what.headers["Leat-Worker"] = name_;
    what.headers["Leat-Deliveries"] = std::to_string(of.deliveries);
    what.payload = std::move(payload);
    return what;
}

// False when the run is over, or the engine does not take it.
task<bool> segment_server::send(message what) {
    back_off pause;
    for (;;) {
        auto publishing = engine_.publish(what);
        const broker_result<receipt> sent = co_await std::move(publishing);
        if (sent) co_return true;
        if (!sent.error().is_passing()) {
            if (sent.error().problem != broker_problem::not_found && options_.log)
                options_.log(fmt::format("a result of run {} was refused: {}", run_.run, sent.error().text));
            co_return false;
        }
        // Of a stream that was removed an engine says no more than that nobody answers.
        auto looking = was_removed();
        const bool removed = co_await std::move(looking);
        if (removed) co_return false;
        co_await pause.wait();
    }
}

// A server that was killed may have forgotten the delivery: it answers to nothing that is said about it, and delivers the message
// again. What came to this worker again is acknowledged by its newest delivery.
task<> segment_server::acknowledge(parcel_ptr which) {
    const time_point until = where_->now() + std::chrono::duration_cast<duration>(run_.segments[segment_].ack_wait);
    back_off pause;
    for (;;) {
        delivery newest;
        {
            const std::scoped_lock held(lock_);
            newest = which->what;
        }
        auto asking = timeout(engine_.ack(std::move(newest)), longest_ack);
        outcome<broker_result<done>> end = co_await asking.as_outcome();
        if (end.is_value()) {
            const broker_result<done> answer = std::move(end).get();
            if (answer || !answer.error().is_passing()) co_return;
        }
        if (where_->now() >= until) co_return;  // it is done again, and known by its ids
        co_await pause.wait();
    }
}

task<bool> segment_server::was_removed() {
    auto asking = engine_.get(runs_bucket, run_.key());
    const broker_result<entry> found = co_await std::move(asking);
    co_return !found && found.error().problem == broker_problem::not_found;
}

task<> segment_server::finish(parcel_ptr which) {
    double item_ns = 0;
    delivery what;
    {
        const std::scoped_lock held(lock_);
        what = which->what;
        const time_point now = where_->now();
        const auto took =
            std::chrono::duration_cast<std::chrono::nanoseconds>(now - std::max(last_ended_, which->begun));
        item_ns = static_cast<double>(took.count()) / static_cast<double>(which->items.size());
        last_ended_ = now;
        if (std::exchange(which->in_engine, false)) --in_engine_;
    }
    room_.set();
    bool answered = !which->is_broken;
    for (std::size_t first = 0; answered && first < which->slots.size();) {
        parcel_writer writer(parcel_kind::results);
        std::size_t last = first;
        for (; last < which->slots.size(); ++last) {
            const std::string& part = which->slots[last].part;
            const std::size_t most = std::min(result_bytes, largest_message_);
            if (writer.parts() > 0 && writer.size() + part.size() + part_overhead > most) break;
            writer.add(part);
        }
        message results = results_of(what, first, last - 1, writer.take());
        if (item_ns > 0) results.headers["Leat-Item-Ns"] = fmt::format("{:.0f}", item_ns);
        auto sending = send(std::move(results));
        answered = co_await std::move(sending);
        first = last;
    }
    if (answered) {
        auto acknowledging = acknowledge(which);
        co_await std::move(acknowledging);
        counted_.parcels.fetch_add(1, std::memory_order_relaxed);
        counted_.items.fetch_add(which->items.size(), std::memory_order_relaxed);
        const auto failed =
            std::count_if(which->slots.begin(), which->slots.end(), [](const slot& each) { return each.failed; });
        counted_.failed.fetch_add(static_cast<std::uint64_t>(failed), std::memory_order_relaxed);
    } else {
        auto leaving = engine_.nack(what, nack_delay);
        (void)co_await std::move(leaving);
    }
    {
        const std::scoped_lock held(lock_);
        let_go(*which);
        all_.erase(what.sequence);
    }
    room_.set();
}

// --- What is held is still at work ---

task<> segment_server::keep_alive() {
    const duration interval = std::chrono::duration_cast<duration>(run_.segments[segment_].ack_wait) / 3;
    for (;;) {
        co_await sleep_for(interval);
        // Whoever holds as much as may be held does not fetch, and would not see it.
        auto looking = was_removed();
        const bool removed = co_await std::move(looking);
        if (removed) {
            is_over_ = true;
            control_.stop();
            room_.set();
            co_return;
        }
        std::vector<delivery> moving;
        std::size_t stuck = 0;
        {
            const std::scoped_lock held(lock_);
            moving = aside_;
            const time_point now = where_->now();
            for (const auto& [number, each] : all_) {
                if (each->left > 0 && now - each->moved > options_.stall) ++stuck;
                else moving.push_back(each->what);
            }
        }
        for (const delivery& each : moving) {
            auto telling = engine_.progress(each);
            (void)co_await std::move(telling);
        }
        if (stuck == 0) continue;
        // A new local engine has its jobs free again; what was held is done by whoever gets it next.
        counted_.given_up.fetch_add(stuck, std::memory_order_relaxed);
        {
            const std::scoped_lock held(lock_);
            problem_ = fmt::format("{} messages have not moved for {:g} s: the stages are begun anew", stuck,
                                   std::chrono::duration<double>(options_.stall).count());
        }
        control_.stop();
        co_return;
    }
}

// --- What cannot be done ---

// A parcel of many comes again item by item, so that the guilty one alone is given up.
task<> segment_server::poison(delivery what, std::vector<parcel_item> items) {
    const std::string stream = run_.items_stream(segment_);
    if (items.size() > 1) {
        counted_.split.fetch_add(1, std::memory_order_relaxed);
        for (std::size_t i = 0; i < items.size(); ++i) {
            parcel_writer writer(parcel_kind::items);
            writer.add(encode_part(items[i]));
            message one;
            one.subject = run_.items_subject(segment_);
            one.id = fmt::format("{}.{}.split.{}", stream, what.sequence, i);
            one.payload = writer.take();
            auto sending = send(std::move(one));
            const bool sent = co_await std::move(sending);
            if (!sent) co_return;
        }
        auto acknowledging = leat::cluster::acknowledge(engine_, std::move(what));
        co_await std::move(acknowledging);
        co_return;
    }
    const std::string why = fmt::format("given up after {} deliveries: whoever tried it died of it, or did not answer",
                                        what.deliveries - 1);
    message letter = dead_letter_of(run_, segment_, items.front(), why, what.deliveries - 1, name_);
    auto keeping = send(std::move(letter));
    const bool kept = co_await std::move(keeping);
    if (!kept) co_return;
    result_item result;
    result.id = items.front().id;
    result.how = item_end::dead;
    result.failures.push_back({run_.segments[segment_].name, why, static_cast<std::uint32_t>(what.deliveries - 1)});
    parcel_writer writer(parcel_kind::results);
    writer.add(encode_part(result));
    message results = results_of(what, 0, 0, writer.take());
    auto sending = send(std::move(results));
    const bool sent = co_await std::move(sending);
    if (!sent) co_return;
    counted_.poison.fetch_add(1, std::memory_order_relaxed);
    if (options_.log) options_.log(fmt::format("item {} of run {} was {}", items.front().value.key, run_.run, why));
    auto ending = timeout(engine_.terminate(std::move(what)), longest_ack);
    (void)co_await ending.as_outcome();
}

task<> segment_server::bury(delivery what, std::string why) {
    counted_.malformed.fetch_add(1, std::memory_order_relaxed);
    if (options_.log) options_.log(fmt::format("a message of run {} is among the dead letters: {}", run_.run, why));
    message letter = dead_letter_of(run_, segment_, what, why, name_);
    auto keeping = send(std::move(letter));
    const bool kept = co_await std::move(keeping);
    if (!kept) co_return;
    auto ending = timeout(engine_.terminate(std::move(what)), longest_ack);
    (void)co_await ending.as_outcome();
}

}  // namespace leat::cluster
