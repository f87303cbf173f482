// The way of items through a flow: out of a source, through the stages of a segment, into the next.
#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include <leat/base/exception_text.hpp>
#include <leat/task/timeout.hpp>

#include "engine_parts.hpp"

namespace leat {

namespace {

struct failure {
    std::string message;
    bool permanent = false;
    bool of_stage = false;  // a stage_failed
};

failure describe(const std::exception_ptr& error, const stage_policy& policy) {
    try {
        std::rethrow_exception(error);
    } catch (const stage_failed& all) {
        return {all.what(), true, true};
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

// What an item without a key of its own goes by.
std::uint32_t key_of(const item& each) {
    return each.key != 0 ? each.key : static_cast<std::uint32_t>(std::hash<std::string>{}(each.value.name()));
}

}  // namespace

// --- Out of a source ---

void flow_engine::origin_emitter::open(item& each, listener* told) {
    if (told == nullptr && each.value.is_plain()) {
        each.ack = ack_ref::plain(engine_);
        accounts_.push_back({nullptr, 1});
    } else {
        auto* const node = new origin(engine_, next_, each.value.name(), each.value.items(), told);
        each.ack = ack_ref(node);
        accounts_.push_back({node, node->items()});
    }
    ++next_;
}

task<> flow_engine::origin_emitter::emit(payload value) { return emit_one(std::move(value), nullptr); }
task<> flow_engine::origin_emitter::emit(payload value, listener& told) { return emit_one(std::move(value), &told); }

task<> flow_engine::origin_emitter::emit_one(payload value, listener* told) {
    if (!kept_.empty()) co_await flush();
    item& each = kept_.emplace_back();
    each.value = std::move(value);
    open(each, told);
    co_await give();
}

task<> flow_engine::origin_emitter::emit_many(std::vector<item>& items, listener& told) {
    if (!kept_.empty()) co_await flush();
    kept_.swap(items);
    for (item& each : kept_) open(each, &told);
    co_await give();
    kept_.swap(items);
}

void flow_engine::origin_emitter::count_done(std::uint64_t items) noexcept {
    engine_.given_.add(items);
    engine_.settle(fate::skipped, items);
    engine_.resumed_.add(items);
}

task<> flow_engine::origin_emitter::flush() {
    if (kept_.empty()) co_return;
    const double each = static_cast<double>(engine_.elapsed_ns(flushed_)) / static_cast<double>(kept_.size());
    at_once_ = batch_of(each, most_at_once);
    for (item& one : kept_) open(one, nullptr);
    co_await give();
    flushed_ = engine_.where_.now();
}

task<> flow_engine::origin_emitter::refuse(payload value, const std::string& why, on_error how, listener* told) {
    if (how == on_error::fail) throw permanent_error(why);
    if (!kept_.empty()) co_await flush();
    const stop_token stop = co_await this_task::stop_token();
    if (stop.stop_requested()) throw cancelled{};
    auto* const node = new origin(engine_, next_++, value.name(), value.items(), told);
    item bad(std::move(value), ack_ref(node));
    engine_.given_.add(node->items());
    co_await engine_.refuse(std::move(bad), from_.from->name, why, how);
}

task<> flow_engine::origin_emitter::give() {
    const stop_token stop = co_await this_task::stop_token();
    const bool stopped = stop.stop_requested();
    try {
        if (stopped) throw cancelled{};
        co_await engine_.deliver(out_, kept_);
    } catch (...) {
        // A drain or a stop: what was not given, the source keeps, so to say. Of what goes several ways all was given once it
        // was begun: some of these accounts are gone.
        if (stopped || out_.is_one_queue()) {
            for (std::size_t left = kept_.size(); left > 0; --left) {
                if (origin* const node = accounts_.back().node) node->take_back();
                else kept_[left - 1].ack.take_over();
                accounts_.pop_back();
            }
        }
        count_given();
        throw;
    }
    count_given();
}

void flow_engine::origin_emitter::count_given() noexcept {
    std::uint64_t items = 0;
    for (const account& each : accounts_) items += each.items;
    engine_.given_.add(items);
    accounts_.clear();
    kept_.clear();
}

// --- What a stage emits ---

task<> flow_engine::chain_emitter::emit(payload value) {
    item& each = into_->emplace_back();
    each.value = std::move(value);
    each.port = port_;
    if (into_ == &made_ && made_.size() > room_) co_await let_go();
}

task<> flow_engine::chain_emitter::emit(payload value, ack_ref of) {
    item& each = into_->emplace_back(std::move(value), std::move(of));
    each.port = port_;
    if (into_ == &made_ && made_.size() > room_) co_await let_go();
}

void flow_engine::chain_emitter::account_for(bool all) {
    if (begin_ == made_.size()) return;
    std::uint64_t items = 0;
    for (; begin_ != made_.size(); ++begin_) {
        item& each = made_[begin_];
        items += each.value.items();
        if (each.key == 0) each.key = current_.key;
        if (each.ack) continue;
        each.ack = all && begin_ + 1 == made_.size() ? std::move(current_.ack) : current_.ack.fork();
    }
    emitted_ = true;
    what_.account.out.add(items);
}

task<> flow_engine::chain_emitter::let_go() {
    account_for(false);
    const time_point start = engine_.where_.now();
    co_await engine_.pass(self_, at_ + 1, made_);
    begin_ = 0;
    downstream_ns_ += engine_.elapsed_ns(start);
}

void flow_engine::chain_emitter::drop_held() noexcept {
    for (item& each : held_) each.ack.pass();
    held_.clear();
}

task<> flow_engine::chain_emitter::release() {
    for (item& each : held_) {
        made_.push_back(std::move(each));
        if (made_.size() > most_at_once) co_await let_go();
    }
    held_.clear();
}

// --- Through a segment ---

// The sources begin when all workers that begin have opened their stages, or rest.
void flow_engine::note_open(worker& self) noexcept {
    if (!std::exchange(self.counted_open, true) && to_open_.fetch_sub(1) == 1) all_open_.set();
}

task<> flow_engine::work_through(worker& self) {
    segment& mine = self.mine;
    const stop_token stop = co_await this_task::stop_token();
    while (self.rests()) {
        note_open(self);
        co_await mine.may_work[self.number].wait();
        if (mine.over) co_return;
    }
    for (node* each : mine.stages) self.stages.push_back(co_await each->description.what->open());
    note_open(self);
    self.made.resize(self.stages.size());
    // A stage that was never seen at work is not taken for a quick one.
    self.cost_ns.assign(self.stages.size(), batch_ns);
    self.batch.reserve(most_at_once);
    stage_account& first = mine.stages.front()->account;
    stage_account& last = mine.stages.back()->account;
    time_point since = where_.now();
    for (;;) {
        if (self.rests()) {
            co_await mine.may_work[self.number].wait();
            since = where_.now();
            continue;
        }
        self.batch.clear();
        std::optional<expected<std::size_t, recv_error>> got;
        if (mine.has_deadlines) {
            auto taking = take(self);
            got = co_await std::move(taking);
        } else {
            auto receiving = self.in.recv_many(self.batch, self.at_once());
            got = co_await std::move(receiving);
        }
        first.starved_ns.add(elapsed_ns(since));
        if (!*got) {
            end_rests(mine);
            break;
        }
        const std::size_t count = self.batch.size();
        mine.taken.add(count);
        if (mine.gate) {
            if (mine.numbers_on_receipt) {
                std::uint64_t place = mine.places.fetch_add(count);
                for (item& each : self.batch) each.place = place++;
            }
            while (!self.batch.empty()) {
                std::vector<item>& run = next_run(self);
                const std::uint64_t place = run.front().place;
                const std::size_t places = run.size();
                self.place = place;
                if (!mine.gate->is_admitted(place + places - 1)) {
                    const time_point waiting = where_.now();
                    co_await mine.gate->admit(place + places - 1);
                    last.blocked_ns.add(elapsed_ns(waiting));
                }
                self.ordered_now = true;
                self.direct = false;
                co_await pass(self, 0, run);
                if (mine.gate->complete(place, places, self.held)) co_await lead(self);
                self.held.clear();
                self.ordered_now = false;
            }
        } else {
            co_await pass(self, 0, self.batch);
        }
        since = where_.now();
    }
    if (!stop.stop_requested()) co_await finish(self);
}

// What follows without a gap in the batch: all of it, as a rule. Where the worker waited, others may have taken what lay
// between its first item and the rest.
std::vector<item>& flow_engine::next_run(worker& self) {
    std::vector<item>& all = self.batch;
    std::size_t count = 1;
    while (count < all.size() && all[count].place == all[count - 1].place + 1) ++count;
    if (count == all.size()) return all;
    self.run.clear();
    for (std::size_t i = 0; i < count; ++i) self.run.push_back(std::move(all[i]));
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    return self.run;
}

// The next item for a worker whose stages have deadlines; until it comes, those whose deadline passes are called.
task<expected<std::size_t, recv_error>> flow_engine::take(worker& self) {
    for (;;) {
        time_point deadline = time_point::max();
        for (const auto& each : self.stages) deadline = std::min(deadline, each->deadline());
        if (deadline == time_point::max()) {
            auto receiving = self.in.recv_many(self.batch, self.at_once());
            co_return co_await std::move(receiving);
        }
        auto receiving = timeout(self.in.recv(), deadline - where_.now());
        auto got = co_await receiving.as_outcome();
        if (is_timeout(got)) {
            co_await call_due(self);
            continue;
        }
        expected<item, recv_error> one = std::move(got).get();
        if (!one) co_return unexpected(one.error());
        self.batch.push_back(std::move(*one));
        co_return 1;
    }
}

task<> flow_engine::call_due(worker& self) {
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        if (self.stages[at]->deadline() > where_.now()) continue;
        item nothing;
        chain_emitter out(*this, self, at, nothing, self.made[at], false);
        out.collect_nothing();
        co_await self.stages[at]->due(out);
    }
}

task<> flow_engine::pass(worker& self, std::size_t at, std::vector<item>& items) {
    std::vector<item>* now = &items;
    for (; at < self.stages.size() && !now->empty(); ++at) {
        if (self.mine.stages[at]->direct) {
            auto passing = pass_direct(self, at, *now);
            co_await std::move(passing);
            continue;
        }
        std::vector<item>& made = self.made[at];
        for (item& each : *now) {
            auto one = run_item(self, at, std::move(each), made, nullptr);
            co_await std::move(one);
        }
        now->clear();
        now = &made;
    }
    if (!now->empty()) {
        auto leaving = leave(self, *now);
        co_await std::move(leaving);
    }
}

void flow_engine::transform_some(worker& self, std::size_t at, std::vector<item>& items, transform& run) {
    stage_worker& stage = *self.stages[at];
    const bool may_consume = self.mine.stages[at]->may_consume;
    try {
        for (; run.next < items.size(); ++run.next) {
            item& each = items[run.next];
            const std::uint64_t weight = each.value.items();  // now: the stage may move the value
            const made how = stage.transform(each, may_consume);
            run.in += weight;
            if (how == made::one) {
                run.out += each.value.items();
                if (run.kept != run.next) items[run.kept] = std::move(each);
                ++run.kept;
                continue;
            }
            if (how == made::held) {
                if (self.mine.stages[at]->is_sink) run.out += weight;
                continue;
            }
            const bool committed = how == made::committed;
            (committed ? run.out : run.skipped) += weight;
            if (each.ack.is_plain()) {
                (committed ? run.plain_committed : run.plain_skipped) += 1;
                each.ack.take_over();
            } else {
                each.ack.end(committed ? fate::committed : fate::skipped);
            }
        }
    } catch (...) {
        run.error = std::current_exception();
    }
}

task<> flow_engine::pass_direct(worker& self, std::size_t at, std::vector<item>& items) {
    node& what = *self.mine.stages[at];
    transform run;
    const time_point start = where_.now();
    std::uint64_t elsewhere = 0;
    std::size_t by_themselves = 0;
    for (;;) {
        transform_some(self, at, items, run);
        if (!run.error) break;
        const time_point before = where_.now();
        std::vector<item> outputs;
        auto one = run_item(self, at, std::move(items[run.next]), outputs, std::exchange(run.error, nullptr));
        co_await std::move(one);
        ++run.next;
        ++by_themselves;
        for (item& each : outputs) items[run.kept++] = std::move(each);  // one at most
        elsewhere += elapsed_ns(before);
    }
    const std::size_t count = items.size() - by_themselves;
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(run.kept), items.end());
    stage_account& account = what.account;
    if (count != 0) {
        const std::uint64_t all = elapsed_ns(start);
        const std::uint64_t took = all - std::min(all, elsewhere);
        self.note_cost(at, took, count);
        account.busy_ns.add(took);
        account.latency.add(took / count, static_cast<std::uint32_t>(count));
    }
    account.in.add(run.in);
    if (run.out != 0) account.out.add(run.out);
    if (run.skipped != 0) account.skipped.add(run.skipped);
    if (run.plain_skipped != 0) settle(fate::skipped, run.plain_skipped);
    if (run.plain_committed != 0) settle(fate::committed, run.plain_committed);
}

task<> flow_engine::attempt(worker& self, std::size_t at, item& in, emitter& out) {
    node& what = *self.mine.stages[at];
    if (what.rate) co_await what.rate->acquire();
    std::optional<semaphore::permit> place;
    if (what.pool) place.emplace(co_await what.pool->acquire());
    task<> trial = self.stages[at]->process(in, out);
    if (what.description.policy.timeout.count() > 0) trial = timeout(std::move(trial), what.description.policy.timeout);
    co_await std::move(trial);
}

task<> flow_engine::run_item(worker& self, std::size_t at, item in, std::vector<item>& into,
                             std::exception_ptr before) {
    node& what = *self.mine.stages[at];
    const stage_policy& policy = what.description.policy;
    const time_point start = where_.now();
    const std::uint64_t items = in.value.items();  // now: the stage may move the value
    what.account.in.add(items);
    // A place of a pool is given back before what was made goes on, to where others may wait for one.
    chain_emitter out(*this, self, at, in, into, policy.retry.max > 0 || what.pool != nullptr);
    std::uint64_t idle_ns = 0;
    bool done = false;
    for (unsigned attempts = 1;; ++attempts) {
        failure why;
        if (before) {
            why = describe(std::exchange(before, nullptr), policy);
        } else {
            out.use_port(0);
            const bool plainly = policy.timeout.count() == 0 && !what.rate && !what.pool;
            task<> trial = plainly ? self.stages[at]->process(in, out) : attempt(self, at, in, out);
            outcome<void> end = co_await trial.as_outcome();
            if (end.is_value()) {
                co_await out.release();
                out.account_for(true);
                done = true;
                break;
            }
            if (end.is_cancelled()) throw cancelled{};
            why = describe(end.error(), policy);
        }
        if (why.of_stage) {
            fail(fmt::format("{}: {}", what.description.name, why.message));
            throw cancelled{};  // the item is unfinished
        }
        const bool last = why.permanent || attempts > policy.retry.max || !may_retry();
        if (options_.observer != nullptr)
            options_.observer->attempt_failed(what.description.name, in, attempts, why.message, !last);
        if (last && out.keeps_outputs()) co_await out.release();
        else out.drop_held();
        out.account_for(false);
        if (last) {
            co_await give_up(what, in, attempts, why.message);
            break;
        }
        what.account.retried.add();
        const time_point waiting = where_.now();
        co_await sleep_for(delay_before(policy.retry, attempts - 1, where_.random()));
        idle_ns += elapsed_ns(waiting);
    }
    const std::uint64_t took = elapsed_ns(start);
    const std::uint64_t elsewhere = out.downstream_ns() + idle_ns;
    what.account.busy_ns.add(took - std::min(took, elsewhere));
    what.account.latency.add(took - std::min(took, out.downstream_ns()));
    self.note_cost(at, took - std::min(took, elsewhere), 1);
    if (!done) co_return;
    if (out.emitted()) {
        in.ack.pass();
    } else if (in.ack) {
        what.account.skipped.add(items);
        in.ack.skip();
    } else if (what.is_sink) {
        // A sink has it, now or as soon as it can.
        (out.known() ? what.account.skipped : what.account.out).add(items);
    }
}

bool flow_engine::may_retry() noexcept {
    constexpr std::uint64_t always = 10;
    const std::uint64_t before = retries_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count
    return options_.retry_share <= 0 ||
           static_cast<double>(before) <
               static_cast<double>(always) + options_.retry_share * static_cast<double>(given_.get());
}

task<on_error> flow_engine::settle_failure(const std::string& where, on_error how, item& in, unsigned attempts,
                                           const std::string& why) {
    if (options_.observer != nullptr) options_.observer->item_failed(where, how, in.value.name(), attempts, why);
    if (how == on_error::dead_letter) {
        auto one_by_one = co_await dead_letters_.lock();
        try {
            options_.dead_letters(dead_letter{in, where, attempts, why});
        } catch (...) {
            fail_with_current_exception("dead letters");
            how = on_error::keep_going;  // it failed, and the flow does so already
        }
    }
    co_return how;
}

task<> flow_engine::refuse(item in, const std::string& where, const std::string& why, on_error how) {
    how = co_await settle_failure(where, how, in, 1, why);
    in.ack.end(how == on_error::skip ? fate::skipped : how == on_error::dead_letter ? fate::dead : fate::failed);
}

task<> flow_engine::give_up(node& what, item& in, unsigned attempts, const std::string& why) {
    const std::string& name = what.description.name;
    const on_error how = co_await settle_failure(name, what.description.policy.error, in, attempts, why);
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

// --- Out of a segment, into the next ---

task<> flow_engine::leave(worker& self, std::vector<item>& items) {
    segment& mine = self.mine;
    const time_point start = where_.now();
    if (self.ordered_now && !self.direct) {
        if (!mine.gate->is_turn(self.place) && self.held.size() + items.size() <= most_held) {
            if (self.held.empty()) {
                self.held.swap(items);
                items.reserve(most_at_once);
            } else {
                for (item& each : items) self.held.push_back(std::move(each));
                items.clear();
            }
            co_return;
        }
        co_await mine.gate->turn(self.place);
        self.direct = true;
        co_await deliver(mine.out, self.held);
    }
    auto delivering = deliver(mine.out, items);
    co_await std::move(delivering);
    mine.stages.back()->account.blocked_ns.add(elapsed_ns(start));
}

task<> flow_engine::lead(worker& self) {
    segment& mine = self.mine;
    const time_point start = where_.now();
    while (mine.gate->next(self.held)) {
        auto delivering = deliver(mine.out, self.held);
        co_await std::move(delivering);
        mine.gate->left();
    }
    mine.stages.back()->account.blocked_ns.add(elapsed_ns(start));
}

task<> flow_engine::deliver(outlet& to, std::vector<item>& items) {
    if (to.is_simple()) return deliver(to.ports.front().front(), items);
    return deliver_by_port(to, items);
}

task<> flow_engine::deliver_by_port(outlet& to, std::vector<item>& items) {
    for (std::size_t port = 0; port < to.ports.size(); ++port) {
        std::vector<item> here;
        for (item& each : items)
            if (each.port == port) here.push_back(std::move(each));
        std::vector<target>& targets = to.ports[port];
        for (std::size_t i = 0; i + 1 < targets.size() && !here.empty(); ++i) {
            std::vector<item> copies;
            copies.reserve(here.size());
            for (const item& each : here) {
                if (!each.value.can_be_copied())
                    throw std::invalid_argument("an item that goes two ways cannot be copied");
                item& copy = copies.emplace_back(each.value.copy(), each.ack.fork());
                copy.key = each.key;
            }
            co_await deliver(targets[i], copies);
        }
        if (!here.empty()) co_await deliver(targets.back(), here);
    }
    items.clear();
}

task<> flow_engine::deliver(target& to, std::vector<item>& items) {
    if (to.to->lanes.size() == 1) return send(*to.to, 0, items);
    return deliver_by_key(*to.to, items);
}

task<> flow_engine::deliver_by_key(segment& to, std::vector<item>& items) {
    std::vector<std::vector<item>> by_lane(to.lanes.size());
    for (item& each : items) by_lane[key_of(each) % to.lanes.size()].push_back(std::move(each));
    items.clear();
    for (unsigned lane = 0; lane < by_lane.size(); ++lane)
        if (!by_lane[lane].empty()) co_await send(to, lane, by_lane[lane]);
}

task<> flow_engine::send(segment& to, unsigned lane, std::vector<item>& items) {
    const std::size_t count = items.size();
    if (to.full != when_full::wait) {
        send_or_drop(to, lane, items);
        co_return;
    }
    if (!to.numbers_on_receipt) {
        std::uint64_t place = to.places.fetch_add(count);
        for (item& each : items) each.place = place++;
    }
    auto sending = to.lanes[lane].out->send_many(items);
    auto sent = co_await std::move(sending);
    if (!sent) {
        to.entered.add(sent.error().sent);
        items.erase(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(sent.error().sent));
        throw cancelled{};
    }
    to.entered.add(count);
    items.clear();
}

void flow_engine::send_or_drop(segment& to, unsigned lane, std::vector<item>& items) {
    lane_ends& ends = to.lanes[lane];
    const auto drop = [&](item& which) {
        to.stages.front()->account.skipped.add(which.value.items());
        which.ack.skip();
    };
    for (item& each : items) {
        item next = std::move(each);
        for (;;) {
            auto sent = ends.out->try_send(std::move(next));
            if (sent) {
                to.entered.add();
                break;
            }
            next = std::move(sent.error().value);
            if (sent.error().why != send_failure::full) throw cancelled{};
            if (to.full == when_full::drop_oldest) {
                if (auto oldest = ends.in->try_recv()) {
                    to.taken.add();
                    drop(*oldest);
                    continue;
                }
            }
            drop(next);
            break;
        }
    }
    items.clear();
}

}  // namespace leat
