#include "engine.hpp"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include <leat/base/exception_text.hpp>
#include <leat/base/machine.hpp>
#include <leat/task/stop_when.hpp>
#include <leat/task/timeout.hpp>

namespace leat {

namespace {

constexpr std::size_t most_names = 200;  // of unfinished items in a report
constexpr std::size_t most_held = 256;   // outputs of one item held back before it waits for its turn
constexpr std::size_t longest_name = 200;

std::size_t weight_of_item(const item& each) { return sizeof(item) + each.value.weight(); }

struct failure {
    std::string message;
    bool permanent = false;
};

failure describe(const std::exception_ptr& error, const stage_policy& policy) {
    try {
        std::rethrow_exception(error);
    } catch (const permanent_error& permanent) {
        return {permanent.what(), true};
    } catch (const timed_out&) {
        return {fmt::format("timed out after {:g} s", std::chrono::duration<double>(policy.timeout).count()), false};
    } catch (...) {
        return {current_exception_text(), false};
    }
}

bool is_timeout(const outcome_base& end) {
    if (!end.is_error()) return false;
    try {
        std::rethrow_exception(end.error());
    } catch (const timed_out&) {
        return true;
    } catch (...) {
        return false;
    }
}

duration delay_before(const retry_policy& policy, unsigned attempt, std::uint64_t random) {
    const double factor = 1 + policy.jitter * (static_cast<double>(random >> 11U) * 0x1p-52 - 1);  // 53 bits: [-1, 1)
    const double wanted =
        static_cast<double>(policy.first_delay.count()) * static_cast<double>(1ULL << std::min(attempt, 40U));
    const double capped = std::min(wanted, static_cast<double>(policy.longest_delay.count()));
    return duration(static_cast<duration::rep>(capped * factor));
}

}  // namespace

struct flow_engine::node {
    explicit node(stage_node described) : description(std::move(described)) {}
    stage_node description;
    unsigned jobs = 1;
    stage_account account;
    [[nodiscard]] unsigned workers() const { return jobs * description.what->items_per_job(); }
    [[nodiscard]] bool may_consume() const {
        return description.policy.retry.max == 0 && description.policy.error != on_error::dead_letter;
    }
};

struct flow_engine::segment {
    std::vector<node*> stages;
    segment* next = nullptr;  // none behind the sink
    unsigned workers = 1;
    bool has_deadlines = false;
    std::optional<receiver<item>> in;      // kept until all workers have theirs
    std::optional<sender<item>> out;       // likewise; none behind the sink
    std::unique_ptr<order_gate> gate;      // only when parallel and ordered
    tally entered, taken;                  // items in front of it so far, and those that were taken
    bool numbers_on_receipt = false;       // invariant 3 of the engine
    std::atomic<std::uint64_t> places{0};  // given to its items
    std::atomic<unsigned> starting{0};     // workers that have not got their ends of the edges yet
    leat::mutex finishing;

    void lead_to(segment& following, sender<item> edge) {
        next = &following;
        out = std::move(edge);
    }
};

struct flow_engine::worker {
    worker(segment& part_of, receiver<item> from) : mine(part_of), in(std::move(from)) {}
    segment& mine;
    receiver<item> in;
    std::optional<sender<item>> out;
    std::vector<std::unique_ptr<stage_worker>> stages;
    bool ordered_now = false;  // an item with a place is being worked on behind a gate
    std::uint64_t place = 0;   // its place
    bool direct = false;       // its outputs may be sent: it is its turn
    std::vector<item> held;    // what it has put out before its turn
};

// The account of one source item.
class flow_engine::origin final : public ack_node {
public:
    origin(flow_engine& owner, std::uint64_t sequence, const payload& value, source_output::listener* told)
        : ack_node(sequence),
          owner_(owner),
          name_(value.name()),
          told_(told),
          sequence_(sequence),
          items_(value.items()) {
        if (name_.size() > longest_name) name_.resize(longest_name);
    }
    [[nodiscard]] std::uint64_t items() const noexcept { return items_; }

private:
    void settled(fate how) noexcept override {
        if (!given_) return;
        if (how == fate::abandoned) {
            const std::scoped_lock held(owner_.names_lock_);
            if (owner_.unfinished_names_.size() < most_names) owner_.unfinished_names_.push_back(std::move(name_));
        }
        if (told_ != nullptr) told_->settled(sequence_, how);
        const std::uint64_t failed = std::min(failed_.load(std::memory_order_relaxed), items_);  // settling orders it
        if (failed != 0) owner_.settled_[static_cast<std::size_t>(fate::failed)].add(failed);
        owner_.settled_[static_cast<std::size_t>(how)].add(items_ - failed);
    }
    void failed_in_part(std::uint64_t items) noexcept override { failed_.fetch_add(items, std::memory_order_relaxed); }
    friend class origin_emitter;
    flow_engine& owner_;
    std::string name_;
    source_output::listener* told_;
    std::uint64_t sequence_;
    std::uint64_t items_;  // that it stands for
    std::atomic<std::uint64_t> failed_{0};
    bool given_ = true;  // false: it never entered the flow
};

class flow_engine::origin_emitter final : public source_output {
public:
    explicit origin_emitter(flow_engine& engine) : engine_(engine), out_(*engine.source_out_) {}
    task<> emit(payload value) override { return give(std::move(value), nullptr); }
    task<> emit(payload value, listener& told) override { return give(std::move(value), &told); }

private:
    task<> give(payload value, listener* told) {
        const stop_token stop = co_await this_task::stop_token();
        if (stop.stop_requested()) throw cancelled{};  // a drain: what was not given is not counted
        auto* const account = new origin(engine_, next_, value, told);
        const std::uint64_t items = account->items();  // which may be gone once it is sent
        item each(std::move(value), ack_ref(account));
        each.place = next_;
        auto sending = out_.send(std::move(each));
        auto sent = co_await std::move(sending);
        if (!sent) {
            account->given_ = false;  // ended while it waited: the source keeps it, so to say
            throw cancelled{};
        }
        ++next_;
        engine_.given_.add(items);
        engine_.segments_.front().entered.add();
    }
    flow_engine& engine_;
    sender<item> out_;
    std::uint64_t next_ = 0;
};

// What a stage emits into: counts, and goes on to the next stage of the segment or out of it.
class flow_engine::chain_emitter final : public emitter {
public:
    chain_emitter(flow_engine& engine, worker& self, std::size_t at, item* current, bool hold)
        : engine_(engine), self_(self), what_(*self.mine.stages[at]), at_(at), current_(current), hold_(hold) {
        may_consume_ = what_.may_consume();
    }

    task<> emit(payload value) override { return emit(std::move(value), current_->ack.fork()); }
    task<> emit(payload value, ack_ref of) override {
        item each(std::move(value), std::move(of));
        if (hold_) {
            held_.push_back(std::move(each));
            co_return;
        }
        co_await pass_on(std::move(each));
    }

    void count_failed(std::uint64_t items) noexcept override {
        what_.account.failed.add(items);
        current_->ack.fail_some(items);
    }
    void count_retried(std::uint64_t items) noexcept override { what_.account.retried.add(items); }

    // For finish(), once the edge in front has ended.
    void note_whether_cut_short() noexcept { is_cut_short_ = engine_.interrupted_; }
    // Drops what a failed attempt has put out.
    void drop_held() noexcept {
        for (item& each : held_) each.ack.pass();
        held_.clear();
    }
    task<> release_held() {
        hold_ = false;
        for (item& each : held_) co_await pass_on(std::move(each));
        held_.clear();
    }
    [[nodiscard]] bool keeps_outputs() const noexcept { return keeps_outputs_; }
    [[nodiscard]] bool emitted() const noexcept { return emitted_; }
    [[nodiscard]] std::uint64_t downstream_ns() const noexcept { return downstream_ns_; }

private:
    task<> pass_on(item each) {
        emitted_ = true;
        const time_point start = engine_.where_.now();
        what_.account.out.add(each.value.items());
        co_await engine_.forward(self_, at_ + 1, std::move(each));
        downstream_ns_ += engine_.elapsed_ns(start);
    }
    flow_engine& engine_;
    worker& self_;
    node& what_;
    std::size_t at_;
    item* current_;
    bool hold_;
    bool emitted_ = false;
    std::uint64_t downstream_ns_ = 0;
    std::vector<item> held_;
};

// --- From the description to segments ---

flow_engine::flow_engine(flow_graph graph, const flow_options& options, executor& where)
    : graph_(std::move(graph)),
      options_(options),
      where_(where),
      control_(options.control != nullptr ? options.control->state_ : std::make_shared<flow_control::state>()) {
    resolve();
    cut();
    started_ = where_.now();
    const std::scoped_lock held(control_->lock);
    control_->engine = this;
}

flow_engine::~flow_engine() {
    const std::scoped_lock held(control_->lock);
    control_->engine = nullptr;
}

void flow_engine::resolve() {
    if (!graph_.from) throw std::invalid_argument("the flow has no source");
    if (graph_.stages.empty()) throw std::invalid_argument("the flow has no sink");
    const unsigned cpus = effective_machine().worker_count;
    for (stage_node& each : graph_.stages) {
        if (!each.what) throw std::invalid_argument("stage '" + each.name + "' has no implementation");
        each.what->adopt(each.policy);
        const stage_policy& policy = each.policy;
        const unsigned most = each.what->most_jobs();
        unsigned jobs = policy.jobs;
        if (jobs == stage_policy::automatic)
            jobs = std::min(each.what->automatic_jobs() != 0 ? each.what->automatic_jobs() : cpus, most);
        if (jobs > most || jobs > stage_policy::most_jobs)
            throw std::invalid_argument(fmt::format("stage '{}' was given {} jobs: it can have at most {}", each.name,
                                                    jobs, std::min(most, stage_policy::most_jobs)));
        if (policy.error == on_error::dead_letter && !options_.dead_letters)
            throw std::invalid_argument("stage '" + each.name +
                                        "' sends what fails to the dead letters, but the flow has no place for them");
        nodes_.emplace_back(std::move(each)).jobs = jobs;
    }
}

void flow_engine::cut() {
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
        node& each = nodes_[at];
        const bool parallel = each.description.what->most_jobs() > 1;
        const bool fuses = at > 0 && parallel && !each.description.policy.own_buffer &&
                           nodes_[at - 1].description.what->most_jobs() > 1 &&
                           segments_.back().workers == each.workers();
        if (!fuses) {
            segments_.emplace_back().workers = each.workers();
            const stage_policy& policy = each.description.policy;
            const std::size_t items =
                policy.buffer_items != 0 ? policy.buffer_items : std::max<std::size_t>(64, 2 * each.workers());
            auto [out, in] = channel<item>(channel_bounds(items, policy.buffer_bytes), &weight_of_item);
            segments_.back().in = std::move(in);
            if (segments_.size() == 1) source_out_ = std::move(out);
            else segments_[segments_.size() - 2].lead_to(segments_.back(), std::move(out));
        }
        segments_.back().stages.push_back(&each);
        segments_.back().has_deadlines |= each.description.what->has_deadlines();
    }
    bool in_turn = true;  // one worker at a time sends into the segment
    for (segment& each : segments_) {
        each.starting = each.workers;
        each.numbers_on_receipt = !in_turn;
        const bool ordered = std::any_of(each.stages.begin(), each.stages.end(), [this](const node* stage) {
            return stage->description.policy.ordered.value_or(graph_.ordered) == order::input;
        });
        // The last segment's order is of no use to anybody: a sink that keeps it is serial.
        if (ordered && each.workers > 1 && each.out) {
            const std::size_t window =
                options_.window != 0 ? options_.window : std::max<std::size_t>(64, std::size_t{4} * each.workers);
            each.gate = std::make_unique<order_gate>(std::max<std::size_t>(window, each.workers));
        }
        in_turn = each.workers == 1 || each.gate != nullptr;
    }
}

// --- The run ---

task<> flow_engine::run() {
    context& line = co_await this_task::line();
    detail::stop_link stop_by_hand(control_->stop, stop_all_);
    detail::stop_link stop_from_above(line.stop(), stop_all_);
    // Below stop_all_ only: the requests above are passed on to it.
    outcome<void> end = co_await stop_when(live(), stop_all_);
    if (end.is_error()) {
        try {
            std::move(end).get();
        } catch (...) {
            fail_with_current_exception("flow");
        }
    }
    source_out_.reset();
    for (segment& each : segments_) {
        each.in.reset();
        each.out.reset();
        each.gate.reset();  // with what was still waiting for its turn
    }
}

// From the first start() to the last close(): one line, which what the stages start can rest on.
task<> flow_engine::live() {
    if (co_await start_stages()) {
        const auto body = [this](scope& work) { return supervise(work); };
        outcome<void> end = co_await with_scope(body).as_outcome();
        if (end.is_error()) fail(fmt::format("flow: {}", describe(end.error(), {}).message));
    }
    co_await shield(close_stages());
}

task<bool> flow_engine::start_stages() {
    for (node& each : nodes_) {
        outcome<void> started = co_await each.description.what->start(each.jobs).as_outcome();
        if (started.is_value()) continue;
        if (started.is_error())
            fail(fmt::format("{}: {}", each.description.name, describe(started.error(), {}).message));
        co_return false;
    }
    co_return true;
}

task<> flow_engine::supervise(scope& work) {
    for (segment& each : segments_)
        for (unsigned i = 0; i < each.workers; ++i)
            work.spawn(task_name("flow worker"), [this](segment* mine) { return run_worker(*mine); }, &each);
    const auto from = [this] { return run_source(); };
    work.spawn(task_name("flow source"), from);
    co_return;
}

task<> flow_engine::run_source() {
    origin_emitter out(*this);
    source_out_.reset();
    outcome<void> end = co_await stop_when(graph_.from->run(out), control_->drain);
    // Before `out` goes, and with it the edge: see invariant 2.
    if (end.is_error()) fail(fmt::format("{}: {}", graph_.source_name, describe(end.error(), {}).message));
    else if (end.is_cancelled() || control_->drain.stop_requested()) interrupted_ = true;
}

task<> flow_engine::run_worker(segment& mine) {
    worker self(mine, *mine.in);
    if (mine.out) self.out = *mine.out;
    if (mine.starting.fetch_sub(1) == 1) {
        // All have their ends: from now on they alone keep the edges open.
        mine.in.reset();
        mine.out.reset();
    }
    outcome<void> end = co_await work_through(self).as_outcome();
    if (end.is_error())
        fail(fmt::format("{}: {}", mine.stages.front()->description.name, describe(end.error(), {}).message));
    co_await shield(close(self));
}

task<> flow_engine::work_through(worker& self) {
    segment& mine = self.mine;
    const stop_token stop = co_await this_task::stop_token();
    for (node* each : mine.stages) self.stages.push_back(co_await each->description.what->open());
    stage_account& first = mine.stages.front()->account;
    stage_account& last = mine.stages.back()->account;
    for (;;) {
        const time_point waiting = where_.now();
        std::optional<expected<item, recv_error>> received;
        if (mine.has_deadlines) received = co_await next_item(self);
        else received = co_await self.in.recv();
        first.starved_ns.add(elapsed_ns(waiting));
        auto& got = *received;
        if (!got) break;
        mine.taken.add();
        item each = std::move(*got);
        if (mine.numbers_on_receipt) each.place = mine.places.fetch_add(1);
        if (mine.gate) {
            const time_point before = where_.now();
            self.place = each.place;
            co_await mine.gate->admit(self.place);
            self.ordered_now = true;
            self.direct = false;
            last.blocked_ns.add(elapsed_ns(before));
            co_await run_stage(self, 0, std::move(each));
            const time_point done = where_.now();
            const std::function<task<>(item)> out = [this, &self](item next) { return send(self, std::move(next)); };
            co_await mine.gate->complete(self.place, std::exchange(self.held, {}), out);
            self.ordered_now = false;
            last.blocked_ns.add(elapsed_ns(done));
        } else {
            co_await run_stage(self, 0, std::move(each));
        }
    }
    if (!stop.stop_requested()) co_await finish(self);
}

task<expected<item, recv_error>> flow_engine::next_item(worker& self) {
    for (;;) {
        time_point deadline = time_point::max();
        for (const auto& each : self.stages) deadline = std::min(deadline, each->deadline());
        if (deadline == time_point::max()) co_return co_await self.in.recv();
        auto receiving = timeout(self.in.recv(), deadline - where_.now());
        auto got = co_await receiving.as_outcome();
        if (!is_timeout(got)) co_return std::move(got).get();
        co_await call_due(self);
    }
}

task<> flow_engine::call_due(worker& self) {
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        if (self.stages[at]->deadline() > where_.now()) continue;
        item nothing;
        chain_emitter out(*this, self, at, &nothing, false);
        co_await self.stages[at]->due(out);
    }
}

task<> flow_engine::finish(worker& self) {
    segment& mine = self.mine;
    if (mine.gate) co_await mine.gate->drained(mine.taken.get());
    auto one_by_one = co_await mine.finishing.lock();
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        item nothing;
        chain_emitter out(*this, self, at, &nothing, false);
        out.note_whether_cut_short();
        const time_point start = where_.now();
        co_await self.stages[at]->finish(out);
        mine.stages[at]->account.busy_ns.add(elapsed_ns(start) - std::min(elapsed_ns(start), out.downstream_ns()));
    }
}

task<> flow_engine::close(worker& self) {
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        outcome<void> closed = co_await self.stages[at]->close().as_outcome();
        if (closed.is_error())
            fail(fmt::format("{}: {}", self.mine.stages[at]->description.name, describe(closed.error(), {}).message));
    }
}

task<> flow_engine::close_stages() {
    for (node& each : nodes_) {
        outcome<void> closed = co_await each.description.what->close().as_outcome();
        if (closed.is_error()) fail(fmt::format("{}: {}", each.description.name, describe(closed.error(), {}).message));
    }
}

// --- One item ---

task<> flow_engine::run_stage(worker& self, std::size_t at, item in) {
    node& what = *self.mine.stages[at];
    const stage_policy& policy = what.description.policy;
    const time_point start = where_.now();
    const std::uint64_t items = in.value.items();  // now: the stage may move the value
    what.account.in.add(items);
    chain_emitter out(*this, self, at, &in, policy.retry.max > 0);
    std::uint64_t idle_ns = 0;
    failure why;
    bool done = false;
    for (unsigned attempt = 0; !done; ++attempt) {
        task<> trial = self.stages[at]->process(in, out);
        if (policy.timeout.count() > 0) trial = timeout(std::move(trial), policy.timeout);
        outcome<void> end = co_await trial.as_outcome();
        if (end.is_value()) {
            co_await out.release_held();
            done = true;
        } else if (end.is_cancelled()) {
            throw cancelled{};
        } else {
            why = describe(end.error(), policy);
            const bool last = why.permanent || attempt >= policy.retry.max;
            if (last && out.keeps_outputs()) co_await out.release_held();
            else out.drop_held();
            if (last) {
                co_await give_up(what, in, attempt + 1, why.message);
                break;
            }
            what.account.retried.add();
            const time_point before = where_.now();
            co_await sleep_for(delay_before(policy.retry, attempt, where_.random()));
            idle_ns += elapsed_ns(before);
        }
    }
    const std::uint64_t took = elapsed_ns(start);
    const std::uint64_t elsewhere = out.downstream_ns() + idle_ns;
    what.account.busy_ns.add(took - std::min(took, elsewhere));
    what.account.latency.add(took - std::min(took, out.downstream_ns()));
    if (!done) co_return;
    if (out.emitted()) {
        in.ack.pass();
    } else if (in.ack) {
        what.account.skipped.add(items);
        in.ack.skip();
    } else if (&what == &nodes_.back()) {
        what.account.out.add(items);  // a sink has it, now or as soon as it can
    }
}

task<> flow_engine::give_up(node& what, item& in, unsigned attempts, const std::string& why) {
    const std::string& name = what.description.name;
    on_error how = what.description.policy.error;
    if (options_.observer != nullptr) options_.observer->item_failed(name, how, in.value.name(), attempts, why);
    if (how == on_error::dead_letter) {
        auto one_by_one = co_await dead_letters_.lock();
        try {
            options_.dead_letters(dead_letter{in, name, attempts, why});
        } catch (...) {
            fail_with_current_exception("dead letters");
            how = on_error::keep_going;  // it failed, and the flow does so already
        }
    }
    const std::uint64_t items = in.value.items();
    switch (how) {
        case on_error::skip:
            what.account.skipped.add(items);
            in.ack.skip();
            break;
        case on_error::dead_letter:
            what.account.dead.add(items);
            in.ack.dead();
            break;
        case on_error::fail:
            fail(fmt::format("{}: {}{}{}", name, in.value.name(), in.value.name().empty() ? "" : ": ", why));
            [[fallthrough]];
        case on_error::keep_going:
            what.account.failed.add(items);
            in.ack.fail();
            break;
    }
}

task<> flow_engine::forward(worker& self, std::size_t at, item in) {
    if (at < self.stages.size()) return run_stage(self, at, std::move(in));
    return leave(self, std::move(in));
}

task<> flow_engine::leave(worker& self, item out) {
    segment& mine = self.mine;
    const time_point start = where_.now();
    if (self.ordered_now && !self.direct) {
        if (!mine.gate->is_turn(self.place) && self.held.size() < most_held) {
            self.held.push_back(std::move(out));
            co_return;
        }
        co_await mine.gate->turn(self.place);
        self.direct = true;
        for (item& each : self.held) co_await send(self, std::move(each));
        self.held.clear();
    }
    co_await send(self, std::move(out));
    mine.stages.back()->account.blocked_ns.add(elapsed_ns(start));
}

task<> flow_engine::send(worker& self, item out) {
    segment& mine = self.mine;
    if (!mine.next->numbers_on_receipt) out.place = mine.next->places.fetch_add(1);
    auto sending = self.out->send(std::move(out));
    auto sent = co_await std::move(sending);
    if (!sent) throw cancelled{};
    mine.next->entered.add();
}

// --- Ends and reports ---

void flow_engine::fail(const std::string& why) noexcept {
    {
        const std::scoped_lock held(error_lock_);
        if (error_.empty()) error_ = why;
    }
    stop_all_.request_stop();
}

report flow_engine::take_report() {
    report r = snapshot().counts;
    r.unfinished_names = std::move(unfinished_names_);
    if (!error_.empty()) {
        r.end = flow_end::failed;
        r.error = error_;
    } else if (interrupted_ || control_->stop.stop_requested()) {
        r.end = flow_end::interrupted;
    }
    const std::scoped_lock held(control_->lock);
    control_->last = snapshot();
    return r;
}

flow_control::progress flow_engine::snapshot() const {
    flow_control::progress now;
    report& r = now.counts;
    r.flow = graph_.name;
    const auto settled = [this](fate how) { return settled_[static_cast<std::size_t>(how)].get(); };
    r.out = settled(fate::committed);
    r.skipped = settled(fate::skipped);
    r.dead = settled(fate::dead);
    r.failed = settled(fate::failed);
    const std::uint64_t done = r.out + r.skipped + r.dead + r.failed;
    r.in = std::max(given_.get(), done);  // an item may be settled a moment before it is counted as given
    r.unfinished = r.in - done;
    r.seconds = static_cast<double>(elapsed_ns(started_)) * 1e-9;
    now.elapsed_s = r.seconds;
    now.total = graph_.from->total().value_or(0);
    for (const segment& each : segments_) {
        for (const node* stage : each.stages) {
            r.stages.push_back(stage->account.report(stage->description.name, stage->jobs, stage->workers()));
            now.queued.push_back(0);
        }
        const std::uint64_t taken = each.taken.get();
        now.queued[now.queued.size() - each.stages.size()] = std::max(each.entered.get(), taken) - taken;
    }
    return now;
}

void flow_engine::fail_with_current_exception(const std::string& where) noexcept {
    fail(where + ": " + current_exception_text());
}

std::uint64_t flow_engine::elapsed_ns(time_point since) const noexcept {
    const auto passed = std::chrono::duration_cast<std::chrono::nanoseconds>(where_.now() - since).count();
    return passed > 0 ? static_cast<std::uint64_t>(passed) : 0;
}

}  // namespace leat
