// The way of items through a flow: out of a source, through the stages of a segment, into the next.
#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include <leat/base/exception_text.hpp>
#include <leat/task/stop_when.hpp>
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

task<> until_closed(receiver<item>& empty) { (void)co_await empty.recv(); }

// The times of a worker that holds a batch: each of its items takes a place of the stage for as long.
class held_times {
public:
    explicit held_times(const stage_counts& of) noexcept : inside_(inside(of)), blocked_(of.blocked_ns.get()) {}
    // What the places of the `others` were taken for, from those that have waited for input meanwhile, so to say.
    void share(std::size_t others, stage_counts& of, stage_account& with) const noexcept {
        const std::uint64_t waited = (inside(of) - inside_) * others;
        const std::uint64_t blocked = (of.blocked_ns.get() - blocked_) * others;
        of.io_ns.add(waited);
        of.blocked_ns.add(blocked);
        with.lent_ns.add(waited + blocked);
    }

private:
    static std::uint64_t inside(const stage_counts& of) noexcept {
        return of.busy_ns.get() + of.io_ns.get() + of.core_ns.get();
    }
    std::uint64_t inside_, blocked_;
};

}  // namespace

// --- Out of a source ---

void flow_engine::origin_emitter::open(item& each, listener* told) {
    origin* const node = engine_.open_account(each, next_++, told);
    accounts_.push_back({node, node == nullptr ? 1 : node->items()});
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
        if (out_.is_one_queue()) {
            co_await engine_.deliver(nullptr, out_, kept_);
        } else {
            // What one way has got the others get too, also while the flow drains.
            auto delivering = engine_.deliver(nullptr, out_, kept_);
            auto until_stopped = stop_when(std::move(delivering), engine_.stop_all_);
            auto giving = shield(std::move(until_stopped));
            outcome<void> end = co_await std::move(giving);
            std::move(end).get();
        }
    } catch (...) {
        // A drain or a stop: what was not given, the source keeps, so to say. Of what goes several ways all counts as given once
        // it was begun: some of these accounts are gone.
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
    self_.counts[at_]->out.add(items);
}

task<> flow_engine::chain_emitter::let_go() {
    account_for(false);
    (void)charge_work();
    co_await engine_.pass(self_, at_ + 1, made_);
    begin_ = 0;
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
    self.stop = co_await this_task::stop_token();
    while (self.rests()) {
        note_open(self);
        co_await mine.may_work[self.number].wait();
        if (mine.over) co_return;
    }
    for (node* each : mine.stages) self.stages.push_back(co_await each->description.what->open());
    self.made.resize(self.stages.size());
    // A stage that was never seen at work is not taken for a quick one.
    self.cost_ns.assign(self.stages.size(), batch_ns);
    self.mean_ns.assign(self.stages.size(), 0);
    self.untimed.assign(self.stages.size(), 0);
    self.batch.reserve(most_at_once);
    if (mine.is_led) mine.led = &self;
    const std::size_t last = self.stages.size() - 1;
    self.skip_time(where_.now());
    note_open(self);
    for (;;) {
        if (self.rests()) {
            co_await mine.may_work[self.number].wait();
            self.skip_time(where_.now());
            continue;
        }
        self.batch.clear();
        std::optional<expected<std::size_t, recv_error>> got;
        std::optional<last_come_first::turn> turn;
        if (mine.taking) {
            co_await mine.taking->come(self.number);
            turn.emplace(*mine.taking);
        }
        if (mine.pulls != nullptr) {
            auto pulling = pull(self);
            got = co_await std::move(pulling);
        } else if (mine.has_deadlines) {
            auto taking = take(self);
            got = co_await std::move(taking);
        } else if (mine.is_led) {
            // Until nobody leads it any more, also when all is stopped.
            auto leading = shield(until_closed(self.in));
            co_await std::move(leading);
            got.emplace(unexpected(recv_error::closed));
            note_end_of_led(self);
        } else if (mine.prepares) {
            auto taking = take_many(self);
            got = co_await std::move(taking);
        } else {
            auto receiving = self.in.recv_many(self.batch, self.at_once());
            got = co_await std::move(receiving);
        }
        if (*got && mine.gate && mine.numbers_on_receipt) {
            std::uint64_t place = mine.places.fetch_add(self.batch.size());
            for (item& each : self.batch) each.place = place++;
        }
        turn.reset();
        self.charge_any_wait(0, &stage_counts::starved_ns, where_);
        if (!*got) {
            end_rests(mine);
            break;
        }
        const std::size_t count = self.batch.size();
        const held_times before(*self.counts.front());
        mine.taken.add(count);
        if (mine.gate) {
            while (!self.batch.empty()) {
                std::vector<item>& run = next_run(self);
                const std::uint64_t place = run.front().place;
                const std::size_t places = run.size();
                self.place = place;
                if (!mine.gate->is_admitted(place + places - 1)) {
                    co_await mine.gate->admit(place + places - 1);
                    self.charge_any_wait(last, &stage_counts::blocked_ns, where_);
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
        if (mine.prepares) {
            before.share(count - 1, *self.counts.front(), mine.stages.front()->account);
            give_room(self, 0);
        }
    }
    if (!self.stop.stop_requested()) co_await finish(self);
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

// As many items as their stage wants at once, and the segment has room for.
task<expected<std::size_t, recv_error>> flow_engine::take_many(worker& self) {
    auto making = make_room(self);
    co_await std::move(making);
    auto receiving = self.in.recv_many(self.batch, self.places);
    auto got = co_await std::move(receiving);
    give_room(self, self.batch.size());
    co_return got;
}

task<> flow_engine::make_room(worker& self) {
    semaphore& room = self.mine.room;
    semaphore::permit first = co_await room.acquire();
    first.forget();
    self.places = 1;
    const std::size_t wanted = std::min(self.mine.stages.front()->description.what->items_at_once(), most_held);
    for (std::size_t more = wanted; more > 0 && self.places < wanted;) {
        more = std::min(more, wanted - self.places);
        if (auto got = room.try_acquire(more)) {
            got->forget();
            self.places += more;
        } else {
            more /= 2;
        }
    }
}

void flow_engine::give_room(worker& self, std::size_t kept) noexcept {
    if (self.places > kept) self.mine.room.release(self.places - kept);
    self.places = std::min(self.places, kept);
}

// The next items of a source that needs no line of its own.
task<expected<std::size_t, recv_error>> flow_engine::pull(worker& self) {
    feed& from = *self.mine.pulls;
    if (to_open_.load() != 0) co_await all_open_.wait();
    auto one_by_one = co_await from.pulling.lock();
    if (!from.over && control_->drain.stop_requested()) from.over = interrupted_ = true;
    if (from.over) co_return unexpected(recv_error::closed);
    if (self.stop.stop_requested()) throw cancelled{};  // there may be nothing to wait for all along the way
    std::size_t most = self.at_once();
    if (self.mine.prepares) {
        auto making = make_room(self);
        co_await std::move(making);
        most = self.places;
    }
    try {
        from.over = !from.from->what->pull(self.batch, most);
    } catch (...) {
        fail_with_current_exception(from.from->name);
        throw cancelled{};
    }
    give_room(self, self.batch.size());
    if (self.batch.empty()) co_return unexpected(recv_error::closed);
    std::uint64_t items = 0;
    std::uint64_t place = self.mine.places.fetch_add(self.batch.size());
    for (item& each : self.batch) {
        each.place = place++;
        const origin* const account = open_account(each, from.next++, nullptr);
        items += account == nullptr ? 1 : account->items();
    }
    given_.add(items);
    self.mine.entered.add(self.batch.size());
    co_return self.batch.size();
}

task<> flow_engine::call_due(worker& self) {
    for (std::size_t at = 0; at < self.stages.size(); ++at) {
        if (self.stages[at]->deadline() > where_.now()) continue;
        item nothing;
        chain_emitter out(*this, self, at, nothing, self.made[at], false);
        out.collect_nothing();
        co_await self.stages[at]->due(out);
        (void)out.charge_work();
    }
}

task<> flow_engine::pass(worker& self, std::size_t at, std::vector<item>& items) {
    std::vector<item>* now = &items;
    if (at == 0) self.choose_timing(items.size());
    for (; at < self.stages.size() && !now->empty(); ++at) {
        if (self.mine.stages[at]->direct) {
            auto passing = pass_direct(self, at, *now);
            co_await std::move(passing);
            continue;
        }
        std::vector<item>& made = self.made[at];
        if (self.mine.prepares) {
            auto preparing = self.stages[at]->prepare(*now, self.mine.stages[at]->may_consume);
            co_await std::move(preparing);
            self.prepared_ns = self.charge_work(at, where_.now());
        }
        for (item& each : *now) {
            auto one = run_item(self, at, std::move(each), made, nullptr);
            co_await std::move(one);
        }
        now->clear();
        now = &made;
    }
    if (!self.timed) charge_untimed(self);
    if (!now->empty()) {
        auto leaving = leave(self, *now);
        co_await std::move(leaving);
    }
}

// The stages share the time of the batch as they did when they were timed.
void flow_engine::charge_untimed(worker& self) noexcept {
    if (self.clock == nullptr) return self.skip_time(where_.now());
    const line_clock::interval past = self.clock->take(where_.now());
    double all = 0;
    std::size_t last = 0;
    for (std::size_t at = 0; at < self.untimed.size(); ++at) {
        all += self.mean_ns[at] * static_cast<double>(self.untimed[at]);
        if (self.untimed[at] != 0) last = at;
    }
    line_clock::interval left = past;
    for (std::size_t at = 0; at <= last; ++at) {
        const double share =
            all > 0 ? self.mean_ns[at] * static_cast<double>(std::exchange(self.untimed[at], 0)) / all : 0;
        const auto part = [&](std::uint64_t line_clock::interval::* which) {
            const std::uint64_t mine =
                at == last
                    ? left.*which
                    : std::min(left.*which, static_cast<std::uint64_t>(share * static_cast<double>(past.*which)));
            left.*which -= mine;
            return mine;
        };
        self.counts[at]->busy_ns.add(part(&line_clock::interval::run_ns));
        self.counts[at]->io_ns.add(part(&line_clock::interval::waited_ns));
        self.counts[at]->core_ns.add(part(&line_clock::interval::core_ns));
    }
    self.untimed[last] = 0;
}

void flow_engine::transform_some(worker& self, std::size_t at, std::vector<item>& items, transform& run) {
    stage_worker& stage = *self.stages[at];
    const bool may_consume = self.mine.stages[at]->may_consume;
    try {
        for (; run.next < items.size(); ++run.next) {
            item& each = items[run.next];
            const std::uint64_t weight = each.value.items();  // now: the stage may move the value
            each.port = 0;                                    // where it left the stage before
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
    std::uint64_t took = 0;
    std::size_t by_themselves = 0;
    std::optional<outcome<void>> end;
    for (;;) {
        transform_some(self, at, items, run);
        if (!run.error) break;
        took += self.charge_work(at, where_.now());
        std::vector<item> outputs;
        auto one = run_item(self, at, std::move(items[run.next]), outputs, std::exchange(run.error, nullptr));
        end = co_await one.as_outcome();
        ++run.next;
        ++by_themselves;
        if (!end->is_value()) break;                                     // the flow has failed, or is stopped
        for (item& each : outputs) items[run.kept++] = std::move(each);  // one at most
    }
    const std::size_t count = run.next - by_themselves;
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(run.kept),
                items.begin() + static_cast<std::ptrdiff_t>(run.next));
    stage_counts& counts = *self.counts[at];
    if (!self.timed) {
        self.untimed[at] = count;
    } else if (count != 0) {
        took += self.charge_work(at, where_.now());
        self.note_cost(at, took, count);
        const auto weight = self.stages.size() > 1 && took < static_cast<std::uint64_t>(noticed_ns) ? timed_batches : 1;
        what.account.latency.add(took / count, static_cast<std::uint32_t>(count) * weight);
    }
    counts.in.add(run.in);
    if (run.out != 0) counts.out.add(run.out);
    if (run.skipped != 0) counts.skipped.add(run.skipped);
    if (run.plain_skipped != 0) settle(fate::skipped, run.plain_skipped);
    if (run.plain_committed != 0) settle(fate::committed, run.plain_committed);
    if (end && !end->is_value()) std::move(*end).get();
}

task<> flow_engine::attempt(worker& self, std::size_t at, item& in, chain_emitter& out) {
    node& what = *self.mine.stages[at];
    if (what.rate) co_await what.rate->acquire();
    std::optional<semaphore::permit> place;
    if (what.pool) place.emplace(co_await what.pool->acquire());
    if (self.clock == nullptr || self.clock->has_waited()) out.charge_delay();
    task<> trial = self.stages[at]->process(in, out);
    if (what.description.policy.timeout.count() > 0) trial = timeout(std::move(trial), what.description.policy.timeout);
    co_await std::move(trial);
}

task<> flow_engine::run_item(worker& self, std::size_t at, item in, std::vector<item>& into,
                             std::exception_ptr before) {
    node& what = *self.mine.stages[at];
    stage_counts& counts = *self.counts[at];
    const stage_policy& policy = what.description.policy;
    const std::uint64_t items = in.value.items();  // now: the stage may move the value
    counts.in.add(items);
    in.port = 0;  // where it left the stage before
    // A place of a pool is given back before what was made goes on, to where others may wait for one.
    chain_emitter out(*this, self, at, in, into, policy.retry.max > 0 || what.pool != nullptr);
    bool done = false;
    std::uint64_t delays_ns = 0;
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
            co_await give_up(self, at, in, attempts, why.message);
            if (policy.error == on_error::fail) throw cancelled{};  // those behind it are unfinished
            break;
        }
        counts.retried.add();
        (void)out.charge_work();
        const time_point waiting = where_.now();
        co_await sleep_for(delay_before(policy.retry, attempts - 1, where_.random()));
        delays_ns += elapsed_ns(waiting);
        out.charge_delay();
    }
    const std::uint64_t took = out.charge_work();
    what.account.latency.add(self.prepared_ns + took + delays_ns);
    self.note_cost(at, took, 1);
    if (!done) co_return;
    if (out.emitted()) {
        in.ack.pass();
    } else if (in.ack) {
        counts.skipped.add(items);
        in.ack.skip();
    } else if (what.is_sink) {
        // A sink has it, now or as soon as it can.
        (out.known() ? counts.skipped : counts.out).add(items);
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

task<> flow_engine::give_up(worker& self, std::size_t at, item& in, unsigned attempts, const std::string& why) {
    const node& what = *self.mine.stages[at];
    stage_counts& counts = *self.counts[at];
    const std::string& name = what.description.name;
    const on_error how = co_await settle_failure(name, what.description.policy.error, in, attempts, why);
    const std::uint64_t items = in.value.items();
    switch (how) {
        case on_error::skip:
            counts.skipped.add(items);
            in.ack.skip();
            break;
        case on_error::dead_letter:
            counts.dead.add(items);
            in.ack.dead();
            break;
        case on_error::fail:
            fail(fmt::format("{}: {}{}{}", name, in.value.name(), in.value.name().empty() ? "" : ": ", why));
            [[fallthrough]];
        case on_error::keep_going:
            counts.failed.add(items);
            in.ack.fail();
            break;
    }
}

// --- Out of a segment, into the next ---

// An item that is alone too large waits for its turn with its worker.
bool flow_engine::may_hold(segment& in, const std::vector<item>& items) noexcept {
    std::uint64_t weight = 0;
    for (const item& each : items) weight += weight_of_item(each);
    // relaxed, as below: a bound, which orders nothing.
    if (in.held_bytes.fetch_add(weight, std::memory_order_relaxed) + weight <= in.most_held_bytes) return true;
    in.held_bytes.fetch_sub(weight, std::memory_order_relaxed);
    return false;
}

void flow_engine::count_leaving(segment& from, const std::vector<item>& items) noexcept {
    std::uint64_t weight = 0;
    for (const item& each : items) weight += weight_of_item(each);
    if (weight != 0) from.held_bytes.fetch_sub(weight, std::memory_order_relaxed);
}

task<> flow_engine::leave(worker& self, std::vector<item>& items) {
    segment& mine = self.mine;
    if (self.ordered_now && !self.direct) {
        if (!mine.gate->is_turn(self.place) && self.held.size() + items.size() <= most_held && may_hold(mine, items)) {
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
        if (!self.held.empty()) {
            count_leaving(mine, self.held);
            co_await deliver(&self, mine.out, self.held);
        }
    }
    auto delivering = deliver(&self, mine.out, items);
    co_await std::move(delivering);
    self.charge_any_wait(self.stages.size() - 1, &stage_counts::blocked_ns, where_);
}

task<> flow_engine::lead(worker& self) {
    segment& mine = self.mine;
    while (mine.gate->next(self.held)) {
        count_leaving(mine, self.held);
        auto delivering = deliver(&self, mine.out, self.held);
        co_await std::move(delivering);
        mine.gate->left();
    }
    self.charge_any_wait(self.stages.size() - 1, &stage_counts::blocked_ns, where_);
}

task<> flow_engine::deliver(worker* by, outlet& to, std::vector<item>& items) {
    if (to.is_simple()) return deliver(by, to.ports.front().front(), items);
    return deliver_by_port(by, to, items);
}

task<> flow_engine::deliver_by_port(worker* by, outlet& to, std::vector<item>& items) {
    for (std::size_t port = 0; port < to.ports.size(); ++port) {
        std::vector<item> here;
        for (item& each : items)
            if (each.port == port) here.push_back(std::move(each));
        std::vector<target>& targets = to.ports[port];
        for (std::size_t i = 0; i + 1 < targets.size() && !here.empty(); ++i) {
            std::vector<item> copies;
            copies.reserve(here.size());
            for (item& each : here) {
                if (!each.value.can_be_copied())
                    throw std::invalid_argument("an item that goes two ways cannot be copied");
                if (each.ack.is_plain()) {  // none of its copies stands for it alone: its account keeps the name
                    ack_ref account(new origin(*this, 0, each.value.name(), 1, nullptr));
                    each.ack.take_over();
                    each.ack = std::move(account);
                }
                item& copy = copies.emplace_back(each.value.copy(), each.ack.fork());
                copy.key = each.key;
            }
            co_await deliver(by, targets[i], copies);
        }
        if (!here.empty()) co_await deliver(by, targets.back(), here);
    }
    items.clear();
}

task<> flow_engine::deliver(worker* by, target& to, std::vector<item>& items) {
    if (to.to->is_led) return lead_through(*by, *to.to, items);
    if (to.to->side) return send_or_spill(*to.to, items);
    return send_in_turn(*to.to, items);
}

task<> flow_engine::send_in_turn(segment& to, std::vector<item>& items) {
    if (to.lanes.size() == 1) return send(to, 0, items);
    return send_by_key(to, items);
}

task<> flow_engine::send_by_key(segment& to, std::vector<item>& items) {
    std::vector<std::vector<item>> by_lane(to.lanes.size());
    for (item& each : items) by_lane[to.lane_of(each)].push_back(std::move(each));
    items.clear();
    for (unsigned lane = 0; lane < by_lane.size(); ++lane)
        if (!by_lane[lane].empty()) co_await send(to, lane, by_lane[lane]);
}

task<> flow_engine::lead_through(worker& by, segment& to, std::vector<item>& items) {
    const std::size_t count = items.size();
    to.entered.add(count);
    to.taken.add(count);
    const time_point start = where_.now();
    // All of its own time until here, so that none is told of twice.
    const std::size_t last = by.stages.size() - 1;
    if (by.clock != nullptr && !by.clock->has_waited()) (void)by.charge_work(last, start);
    else by.charge_wait(last, &stage_counts::blocked_ns, start);
    worker& led = *to.led;
    led.clock = by.clock;
    led.last = start;
    co_await pass(led, 0, items);
    items.clear();
    to.led_ns.add(elapsed_ns(start));
    if (by.clock == nullptr) by.skip_time(where_.now());
}

// It has waited while others led it.
void flow_engine::note_end_of_led(worker& self) noexcept {
    self.clock = self.own_clock.get();
    if (self.clock == nullptr) return;
    const std::uint64_t past = self.clock->take(where_.now()).all();
    self.counts.front()->starved_ns.add(past - std::min(past, self.mine.led_ns.get()));
}

task<> flow_engine::send(segment& to, unsigned lane, std::vector<item>& items) {
    const std::size_t count = items.size();
    if (to.full == when_full::drop_newest || to.full == when_full::drop_oldest) {
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
        to.stages.front()->account.dropped.add(which.value.items());
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
