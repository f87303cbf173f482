#include "engine.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <leat/base/exception_text.hpp>

#include <leat/task/stop_when.hpp>
#include <leat/task/timeout.hpp>

#include "engine_parts.hpp"

namespace leat {

namespace {

task<> pause(duration length) { co_await sleep_for(length); }

}  // namespace

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
    for (segment& each : segments_) {
        each.lanes.clear();
        each.gate.reset();  // with what was still waiting for its turn
        if (each.side) each.side->waiting.abandon();
    }
}

// From the first start() to the last close(): one line, which what the stages start can rest on.
task<> flow_engine::live() {
    if (co_await start_stages()) {
        const auto body = [this](scope& work) { return supervise(work); };
        outcome<void> end = co_await with_scope(body).as_outcome();
        if (end.is_error()) fail(fmt::format("flow: {}", text_of(end.error())));
    }
    co_await shield(close_stages());
}

task<bool> flow_engine::start_stages() {
    for (node& each : nodes_) {
        outcome<void> started = co_await each.description.what->start(each.jobs).as_outcome();
        if (started.is_value()) continue;
        if (started.is_error()) fail(fmt::format("{}: {}", each.description.name, text_of(started.error())));
        co_return false;
    }
    co_return true;
}

task<> flow_engine::supervise(scope& work) {
    for (segment& each : segments_) {
        each.at_work = each.workers;
        lines_ += each.workers;
    }
    to_open_ = lines_.load();
    for (const feed& each : feeds_) lines_ += each.is_pulled ? 0 : 1;
    for (const segment& each : segments_) lines_ += each.side ? 1 : 0;
    for (segment& each : segments_)
        for (unsigned i = 0; i < each.workers; ++i)
            work.spawn(
                task_name("flow worker"), [this](segment* mine, unsigned which) { return run_worker(*mine, which); },
                &each, i);
    for (segment& each : segments_)
        if (each.side)
            work.spawn(task_name("flow spill"), [this](segment* mine) { return run_side_way(*mine); }, &each);
    for (feed& each : feeds_)
        if (!each.is_pulled)
            work.spawn(task_name("flow source"), [this](feed* mine) { return run_source(*mine); }, &each);
    const bool sized =
        std::any_of(segments_.begin(), segments_.end(), [](const segment& each) { return each.least < each.workers; });
    if (sized) {
        const auto size = [this] { return size_stages(); };
        work.spawn(task_name("flow sizes"), size);
    }
    if (options_.drain_timeout > duration::zero()) {
        const auto watch = [this] { return watch_drain(); };
        work.spawn(task_name("flow drain"), watch);
    }
    co_return;
}

task<> flow_engine::pause_until_drain() { (void)co_await stop_when(pause(duration::max()), control_->drain); }

// Stops what a drain has not ended in time.
task<> flow_engine::watch_drain() {
    // Not to be stopped with what waits for a drain: it ends when the last line does.
    outcome<void> waited = co_await stop_when(pause_until_drain(), over_);
    if (over_.stop_requested() || !control_->drain.stop_requested()) co_return;
    outcome<void> patience = co_await stop_when(pause(options_.drain_timeout), over_);
    if (!over_.stop_requested() && patience.is_value()) control_->stop.request_stop();
}

void flow_engine::end_line() noexcept {
    if (lines_.fetch_sub(1) == 1) over_.request_stop();
}

void flow_engine::end_feed(outlet& of) noexcept {
    for (auto& port : of.ports)
        for (target& each : port)
            if (each.to->feeders.fetch_sub(1) == 1) end_input(*each.to);
}

void flow_engine::end_input(segment& of) noexcept {
    if (of.side) {
        of.side->over = true;
        of.side->wake.set();
    } else {
        for (lane_ends& lane : of.lanes) lane.out->close();
    }
}

task<> flow_engine::run_source(feed& mine) {
    origin_emitter out(*this, mine);
    outcome<void> end = co_await stop_when(feed_from(mine, out), control_->drain);
    // Before the edge is closed: see invariant 2.
    if (end.is_error()) fail(fmt::format("{}: {}", mine.from->name, text_of(end.error())));
    else if (end.is_cancelled() || control_->drain.stop_requested()) interrupted_ = true;
    end_feed(mine.out);
    end_line();
}

task<> flow_engine::feed_from(feed& mine, origin_emitter& out) {
    co_await all_open_.wait();
    co_await mine.from->what->run(out);
    co_await out.flush();
}

task<> flow_engine::run_worker(segment& mine, unsigned which) {
    worker self(mine, which);
    if (line_clock::is_used) {
        self.own_clock = std::make_shared<line_clock>(where_);
        self.clock = self.own_clock.get();
        co_await line_clock::move_to(self.own_clock);
    }
    outcome<void> end = co_await work_through(self).as_outcome();
    if (end.is_error()) fail(fmt::format("{}: {}", mine.stages.front()->description.name, text_of(end.error())));
    co_await shield(close(self));
    if (mine.at_work.fetch_sub(1) == 1) end_feed(mine.out);
    end_line();
}

task<> flow_engine::finish(worker& self) {
    segment& mine = self.mine;
    if (mine.gate) co_await mine.gate->drained(mine.taken.get());
    auto one_by_one = co_await mine.finishing.lock();
    self.charge_wait(self.stages.size() - 1, &stage_counts::blocked_ns, where_.now());
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        item nothing;
        chain_emitter out(*this, self, at, nothing, self.made[at], false);
        out.collect_nothing();
        out.note_whether_cut_short();
        co_await self.stages[at]->finish(out);
        (void)out.charge_work();
    }
}

task<> flow_engine::close(worker& self) {
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        outcome<void> closed = co_await self.stages[at]->close().as_outcome();
        if (closed.is_error())
            fail(fmt::format("{}: {}", self.mine.stages[at]->description.name, text_of(closed.error())));
    }
}

task<> flow_engine::close_stages() {
    for (node& each : nodes_) {
        outcome<void> closed = co_await each.description.what->close().as_outcome();
        if (closed.is_error()) fail(fmt::format("{}: {}", each.description.name, text_of(closed.error())));
    }
}

// --- The account ---

void flow_engine::origin::settled(fate how) noexcept {
    if (!given_) return;
    if (how == fate::abandoned) {
        const std::scoped_lock held(owner_.names_lock_);
        if (owner_.unfinished_names_.size() < most_unfinished) owner_.unfinished_names_.push_back(std::move(name_));
    }
    if (told_ != nullptr) told_->settled(sequence_, how);
    const std::uint64_t failed = std::min(failed_.load(std::memory_order_relaxed), items_);  // settling orders it
    if (failed != 0) owner_.settled_[static_cast<std::size_t>(fate::failed)].add(failed);
    owner_.settled_[static_cast<std::size_t>(how)].add(items_ - failed);
}

void flow_engine::settle(fate how, std::uint64_t items) noexcept { settled_[static_cast<std::size_t>(how)].add(items); }

void flow_engine::abandon(const std::string& name) noexcept {
    settle(fate::abandoned, 1);
    if (name.empty()) return;
    const std::scoped_lock held(names_lock_);
    if (unfinished_names_.size() < most_unfinished) unfinished_names_.push_back(name.substr(0, longest_name));
}

flow_engine::origin* flow_engine::open_account(item& each, std::uint64_t sequence, source_output::listener* told) {
    if (told == nullptr && each.value.is_plain()) {
        each.ack = ack_ref::plain(*this);
        return nullptr;
    }
    auto* const made = new origin(*this, sequence, each.value.name(), each.value.items(), told);
    each.ack = ack_ref(made);
    return made;
}

ack_node* flow_engine::open() { return new origin(*this, 0, {}, 1, nullptr); }

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
    r.resumed = resumed_.get();
    r.dead = settled(fate::dead);
    r.failed = settled(fate::failed);
    const std::uint64_t done = r.out + r.skipped + r.dead + r.failed;
    r.in = std::max(given_.get(), done);  // an item may be settled a moment before it is counted as given
    r.unfinished = r.in - done;
    r.seconds = static_cast<double>(elapsed_ns(started_)) * 1e-9;
    now.elapsed_s = r.seconds;
    for (const source_node& each : graph_.sources) now.total += each.what->total().value_or(0);
    {
        const std::scoped_lock held(sizing_lock_);
        r.sizing = sizing_;
        r.sizing.insert(r.sizing.end(), full_disks_.begin(), full_disks_.end());
    }
    const node* before = nullptr;
    for (const node& each : nodes_) {
        r.stages.push_back(each.account.report(each.description.name, each.jobs, each.workers()));
        for (const segment& one : segments_)
            if (one.least < one.workers && std::find(one.stages.begin(), one.stages.end(), &each) != one.stages.end())
                r.stages.back().jobs = r.stages.back().workers = one.wanted;
        r.stages.back().most_jobs = each.description.what->most_jobs();
        const stage::transfer saved = each.description.what->saved_transfer();
        r.stages.back().saved_bytes = saved.saved_bytes;
        r.stages.back().moved_bytes = saved.moved_bytes;
        now.queued.push_back(0);
        for (const segment& one : segments_) {
            const auto place = std::find(one.stages.begin(), one.stages.end(), &each);
            if (place == one.stages.end()) continue;
            // Told where the stage before it in the list is the one that it shares workers with.
            r.stages.back().fused = place != one.stages.begin() && *(place - 1) == before;
            if (place != one.stages.begin()) continue;
            const std::uint64_t taken = one.taken.get();
            now.queued.back() = std::max(one.entered.get(), taken) - taken;
            if (one.side) now.queued.back() += one.side->now.load(std::memory_order_relaxed);  // a snapshot
        }
        before = &each;
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
