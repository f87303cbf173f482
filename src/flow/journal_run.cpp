#include "journal_run.hpp"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>
#include <xxhash.h>

#include <leat/base/exception_text.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

#include "engine.hpp"

namespace leat {

namespace {

constexpr duration gathering = std::chrono::milliseconds(50);
constexpr std::size_t most_pending = 20'000;  // items: with more the source waits
constexpr std::size_t most_events = 100'000;  // of a run
constexpr unsigned most_events_of_item = 20;
constexpr std::size_t longest_error = 4096;
constexpr unsigned look_ups_in_a_row = 128;

std::int64_t now_s() { return static_cast<std::int64_t>(std::time(nullptr)); }

std::string clipped(std::string_view text) { return std::string(text.substr(0, longest_error)); }

std::uint64_t content_of(payload& value) {
    if (!value.is<record>()) return 0;
    const std::string& bytes = value.as<record>().bytes;
    return XXH3_64bits(bytes.data(), bytes.size()) | 1U;  // 0: unknown
}

}  // namespace

task<std::uint64_t> journal::async_begin(journal_mode mode, const std::string& flow) {
    const auto call = [&] { return begin(mode, flow); };
    co_return co_await blocking(call);
}
task<> journal::async_write(const journal_batch& batch) {
    const auto call = [&] { write(batch); };
    co_await blocking(call);
}
task<> journal::async_end(std::string_view how) {
    const auto call = [&] { end(how); };
    co_await blocking(call);
}

// --- Sinks ---

class journal_run::stage_journal final : public sink_journal {
public:
    stage_journal(journal_run& owner, std::string name) : owner_(owner), name_(std::move(name)) {
        if (owner.mode_ != journal_mode::fresh) length_ = owner.kept_.sink_length(name_);
    }
    [[nodiscard]] journal_mode mode() const noexcept override { return owner_.mode_; }
    [[nodiscard]] std::string journal_name() const override { return owner_.kept_.name(); }
    [[nodiscard]] std::optional<std::uint64_t> length() const noexcept override { return length_; }

    void wrote(std::span<piece> pieces) noexcept override {
        try {
            const std::scoped_lock held(owner_.lock_);
            std::vector<std::uint64_t> from;
            for (const piece& each : pieces) {
                mark fresh;
                fresh.end = each.end;
                from.clear();
                each.of.sequences(from);
                for (const std::uint64_t number : from)
                    if (const auto found = owner_.items_.find(number); found != owner_.items_.end()) {
                        ++found->second.marks;
                        fresh.add(found->second);
                    }
                marks_.push_back(std::move(fresh));
            }
        } catch (...) {
            owner_.fail_with_current_exception();
        }
        for (piece& each : pieces) each.of.commit();
        owner_.wake();
    }
    task<> flush() override { return owner_.flush(); }
    void before_each_write(std::function<void()> call) override { owner_.before_write_.push_back(std::move(call)); }

    [[nodiscard]] std::vector<std::string> items_of(const ack_ref& of) const override {
        std::vector<std::uint64_t> from;
        of.sequences(from);
        std::vector<std::string> keys;
        const std::scoped_lock held(owner_.lock_);
        for (const std::uint64_t number : from)
            if (const auto found = owner_.items_.find(number); found != owner_.items_.end())
                keys.push_back(found->second.key);
        return keys;
    }
    [[nodiscard]] bool is_done(std::string_view item) override {
        if (owner_.mode_ == journal_mode::fresh) return false;
        const auto entry = owner_.kept_.find(item);
        return entry && entry->how != fate::failed && entry->how != fate::abandoned;
    }
    void done_before(std::string item) override {
        owner_.looks_up_ = true;
        owner_.done_before_.insert(std::move(item));
    }
    void when_recorded(const ack_ref& of, std::function<void()> then) override {
        const std::scoped_lock held(owner_.lock_);
        if (tracked* const found = owner_.find(of)) found->then.push_back(std::move(then));
    }

private:
    friend class journal_run;
    // A piece that is written, behind the clean end.
    struct mark {
        tracked* first = nullptr;
        std::vector<tracked*> more;
        std::uint64_t end = 0;
        void add(tracked& which) {
            if (first == nullptr) first = &which;
            else more.push_back(&which);
        }
        template <class Call>
        void each(Call call) const {
            if (first != nullptr) call(*first);
            for (tracked* const one : more) call(*one);
        }
    };
    // How many marks could be let go if the candidates were all that is settled.
    [[nodiscard]] std::size_t clean_marks() const {
        for (const mark& one : marks_)
            one.each([](tracked& which) {
                which.in_sink = 0;
                which.seen = 0;
            });
        for (const mark& one : marks_) one.each([](tracked& which) { ++which.in_sink; });
        std::size_t clean = 0;
        std::size_t open = 0;  // items with some of their pieces on either side
        for (std::size_t at = 0; at < marks_.size(); ++at) {
            bool all = true;
            marks_[at].each([&](tracked& each) {
                all = all && each.is_candidate;
                if (++each.seen == 1) ++open;
                if (each.seen == each.in_sink) --open;
            });
            if (!all) break;
            if (open == 0) clean = at + 1;
        }
        return clean;
    }

    journal_run& owner_;
    std::string name_;
    std::optional<std::uint64_t> length_;
    std::deque<mark> marks_;                // under lock_
    std::optional<std::uint64_t> to_note_;  // under lock_: a clean end that is not in a batch yet
};

// --- The source ---

class journal_run::watched_output final : public source_output {
public:
    watched_output(journal_run& owner, source_output& to, std::size_t place, std::string prefix, bool unique,
                   time_point now)
        : owner_(owner),
          to_(to),
          prefix_(std::move(prefix)),
          unique_(unique),
          given_(std::uint64_t{place} << bits_of_items),
          flushed_(now) {}
    task<> emit(payload value) override {
        if (!kept_.empty()) co_await flush();
        kept_.emplace_back().value = std::move(value);
        co_await give(nullptr);
    }
    task<> emit(payload value, listener& told) override {
        if (!kept_.empty()) co_await flush();
        kept_.emplace_back().value = std::move(value);
        co_await give(&told);
    }
    task<> emit_many(std::vector<item>& items, listener& told) override {
        if (!kept_.empty()) co_await flush();
        kept_.swap(items);
        co_await give(&told);
        items.clear();
    }
    task<> flush() override {
        if (kept_.empty()) co_return;
        const time_point now = co_await this_task::now();
        const bool quick = now - flushed_ < time_in_batch;
        at_once_ = quick ? std::min(most_in_batch, 2 * at_once_) : std::max<std::size_t>(1, at_once_ / 2);
        co_await give(nullptr);
        flushed_ = co_await this_task::now();
    }
    task<> refuse(payload value, const std::string& why, on_error how, listener* told) override {
        if (how == on_error::fail) throw permanent_error(why);
        if (!kept_.empty()) co_await flush();
        fresh_.clear();
        if (!take(value, told)) co_return;
        owner_.enter(fresh_);
        co_await to_.refuse(std::move(value), why, how, &owner_);
    }
    void count_done(std::uint64_t items) noexcept override { to_.count_done(items); }

private:
    static constexpr std::size_t most_in_batch = 64;
    static constexpr duration time_in_batch = std::chrono::microseconds(20);

    // False for what was done before, and is counted; else it is the last of fresh_.
    bool take(payload& value, listener* told) {
        tracked fresh;
        fresh.key = key_of(value, from_source_);
        fresh.content = content_of(value);
        fresh.told = told;
        fresh.told_as = from_source_++;
        if (owner_.was_done(fresh.key, fresh.content)) {
            to_.count_done(value.items());
            if (told != nullptr) told->settled(fresh.told_as, fate::committed);
            ++looked_up_;
            return false;
        }
        fresh.number = given_++;
        fresh_.push_back(std::move(fresh));
        return true;
    }

    // What was kept, without what was done before.
    task<> give(listener* told) {
        fresh_.clear();
        std::size_t left = 0;
        for (item& each : kept_) {
            if (!take(each.value, told)) continue;
            if (&each != &kept_[left]) kept_[left].value = std::move(each.value);
            ++left;
        }
        kept_.resize(left);
        if (looked_up_ >= look_ups_in_a_row) {
            looked_up_ = 0;
            co_await this_task::yield();
            const stop_token stop = co_await this_task::stop_token();
            if (stop.stop_requested()) throw cancelled{};
        }
        if (kept_.empty()) co_return;
        if (owner_.is_behind()) co_await owner_.flush();
        // They stay there when they cannot be given: some of them may be on their way all the same.
        owner_.enter(fresh_);
        std::vector<item> items = std::exchange(kept_, {});
        co_await to_.emit_many(items, owner_);
        kept_ = std::move(items);  // its room
        kept_.clear();
    }

    std::string key_of(payload& value, std::uint64_t number) {
        std::string key;
        if (owner_.item_key_) key = owner_.item_key_(value);
        else if (value.is<record>()) key = value.as<record>().key;
        if (key.empty() && !owner_.item_key_) key = value.name();
        if (key.empty()) return fmt::format("{}item {}", prefix_, number + 1);
        if (!prefix_.empty()) key.insert(0, prefix_);
        if (unique_) return key;
        // A hash stands for the name: two names with the same cost one of them a "#2", the same in each run.
        std::uint32_t count = ++names_[XXH3_64bits(key.data(), key.size())];
        for (; count > 1; ++count) {
            std::string numbered = fmt::format("{}#{}", key, count);
            if (++names_[XXH3_64bits(numbered.data(), numbered.size())] == 1) return numbered;
        }
        return key;
    }

    journal_run& owner_;
    source_output& to_;
    std::string prefix_;
    bool unique_;
    std::unordered_map<std::uint64_t, std::uint32_t> names_;  // how often each name (its hash) was there
    std::vector<tracked> fresh_;
    std::uint64_t from_source_ = 0;
    std::uint64_t given_;  // as the engine numbers them
    unsigned looked_up_ = 0;
    time_point flushed_;
};

class journal_run::watched_source final : public source {
public:
    watched_source(journal_run& owner, std::shared_ptr<source> from, std::size_t place, std::string prefix)
        : owner_(owner), from_(std::move(from)), place_(place), prefix_(std::move(prefix)) {}
    task<> run(source_output& out) override {
        const time_point now = co_await this_task::now();
        const bool unique = from_->has_unique_names() || owner_.mode_ == journal_mode::replay;
        watched_output watched(owner_, out, place_, prefix_, unique, now);
        co_await from_->run(watched);
        co_await watched.flush();
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return from_->total(); }
    [[nodiscard]] bool has_unique_names() const noexcept override { return from_->has_unique_names(); }
    [[nodiscard]] bool has_dead_letters() const noexcept override { return from_->has_dead_letters(); }

private:
    journal_run& owner_;
    std::shared_ptr<source> from_;
    std::size_t place_;
    std::string prefix_;
};

journal_run::journal_run(journal& kept, const flow_options& options)
    : kept_(kept),
      mode_(options.journal_mode),
      flow_(options.journal_flow),
      item_key_(options.item_key),
      control_(options.control),
      next_observer_(options.observer) {}
journal_run::~journal_run() = default;

task<> journal_run::begin() {
    number_ = co_await kept_.async_begin(mode_, flow_);
    looks_up_ = mode_ == journal_mode::resume;
}

void journal_run::watch(std::vector<source_node>& sources) {
    for (std::size_t place = 0; place < sources.size(); ++place) {
        source_node& each = sources[place];
        const std::string prefix = sources.size() > 1 ? each.name + ": " : std::string();
        if (each.what) each.what = std::make_shared<watched_source>(*this, std::move(each.what), place, prefix);
    }
}

sink_journal& journal_run::sink(const std::string& name) { return sinks_.emplace_back(*this, name); }

bool journal_run::was_done(const std::string& key, std::uint64_t content) {
    if (!looks_up_) return false;
    if (done_before_.contains(key)) return true;
    std::optional<item_entry> entry;
    {
        const std::scoped_lock held(find_lock_);  // there may be several sources
        entry = kept_.find(key);
    }
    if (!entry || entry->how == fate::failed || entry->how == fate::abandoned) return false;
    return entry->content == 0 || content == 0 || entry->content == content;
}

void journal_run::enter(std::vector<tracked>& some) {
    const std::scoped_lock held(lock_);
    for (tracked& each : some) {
        const std::uint64_t number = each.number;
        items_.emplace(number, std::move(each));
    }
}

bool journal_run::is_behind() const {
    const std::scoped_lock held(lock_);
    return pending_.items.size() >= most_pending;
}

// --- What becomes of items ---

journal_run::tracked* journal_run::find(const ack_ref& of) {
    const auto found = items_.find(of.sequence());
    return found == items_.end() ? nullptr : &found->second;
}

journal_run::failures& journal_run::failures_of(tracked& which) {
    if (!which.failed) which.failed = std::make_unique<failures>();
    return *which.failed;
}

void journal_run::attempt_failed(std::string_view stage, const item& what, unsigned attempt, std::string_view error,
                                 bool again) {
    {
        const std::scoped_lock held(lock_);
        if (tracked* const of = find(what.ack)) {
            failures& known = failures_of(*of);
            known.attempts = std::max(known.attempts, again ? attempt + 1 : attempt);
            if (!again) {
                known.stage = stage;
                known.error = clipped(error);
            }
            if (attempt <= most_events_of_item && events_ < most_events) {
                ++events_;
                pending_.events.push_back({number_, of->key, std::string(stage), attempt, clipped(error), now_s()});
            }
        }
    }
    if (next_observer_ != nullptr) next_observer_->attempt_failed(stage, what, attempt, error, again);
}

void journal_run::item_failed(std::string_view stage, on_error done, std::string_view name, unsigned attempts,
                              std::string_view error) {
    if (next_observer_ != nullptr) next_observer_->item_failed(stage, done, name, attempts, error);
}

// On record with its item, in the same write.
void journal_run::keep(const dead_letter& letter) {
    kept_letter kept;
    kept.run = number_;
    kept.stage = letter.stage;
    kept.attempts = letter.attempts;
    kept.error = clipped(letter.error);
    kept.time_s = now_s();
    kept.has_value = letter.what.value.is<record>();
    if (kept.has_value) kept.value = letter.what.value.as<record>();
    else kept.value.key = letter.what.value.name();
    const std::scoped_lock held(lock_);
    tracked* const of = find(letter.what.ack);
    if (of == nullptr) throw std::runtime_error("a dead letter belongs to no item of this run");
    kept.item = of->key;
    failures& known = failures_of(*of);
    known.attempts = std::max(known.attempts, kept.attempts);
    known.stage = kept.stage;
    known.error = kept.error;
    known.letters.push_back(std::move(kept));
}

void journal_run::settled(std::uint64_t sequence, fate how) noexcept {
    source_output::listener* told = nullptr;
    std::uint64_t told_as = 0;
    try {
        const std::scoped_lock held(lock_);
        const auto found = items_.find(sequence);
        if (found == items_.end()) return;
        tracked& what = found->second;
        told = what.told;
        told_as = what.told_as;
        if (how != fate::abandoned) {
            what.is_settled = true;
            what.how = how;
            if (what.marks == 0) make_ready(what);
        }
    } catch (...) {
        fail_with_current_exception();
    }
    if (told != nullptr) told->settled(told_as, how);
    wake();
}

void journal_run::make_ready(tracked& from) {
    journal_batch::settled fresh;
    fresh.entry.run = number_;
    fresh.entry.how = from.how;
    fresh.entry.content = from.content;
    if (from.failed) {
        fresh.entry.attempts = from.failed->attempts;
        if (from.how == fate::dead || from.how == fate::failed) {
            fresh.entry.stage = std::move(from.failed->stage);
            fresh.entry.error = std::move(from.failed->error);
        }
        for (kept_letter& each : from.failed->letters) pending_.letters.push_back(std::move(each));
    }
    for (auto& each : from.then) pending_then_.push_back(std::move(each));
    fresh.item = std::move(from.key);
    pending_.items.push_back(std::move(fresh));
    items_.erase(from.number);
}

// --- Clean ends ---

// The greatest clean ends that fit together: what has a piece behind one of them is no candidate for the others.
void journal_run::advance() {
    std::size_t marks = 0;
    std::size_t files = 0;
    for (const stage_journal& each : sinks_) {
        marks += each.marks_.size();
        files += each.marks_.empty() ? 0 : 1;
        for (const auto& one : each.marks_) one.each([](tracked& which) { which.is_candidate = which.is_settled; });
    }
    if (marks == 0) return;
    std::vector<std::size_t> clean(sinks_.size());
    for (bool changed = true; changed;) {
        changed = false;
        for (std::size_t i = 0; i < sinks_.size(); ++i) {
            const auto& sink = sinks_[i];
            clean[i] = sink.clean_marks();
            for (std::size_t at = clean[i]; at < sink.marks_.size(); ++at)
                sink.marks_[at].each([&](tracked& which) {
                    if (std::exchange(which.is_candidate, false)) changed = true;
                });
        }
        changed = changed && files > 1;  // of one sink nothing that is open is in front of its clean end
    }
    for (std::size_t i = 0; i < sinks_.size(); ++i) {
        stage_journal& sink = sinks_[i];
        if (clean[i] == 0) continue;
        sink.to_note_ = sink.marks_[clean[i] - 1].end;
        for (std::size_t at = 0; at < clean[i]; ++at) {
            sink.marks_.front().each([this](tracked& which) {
                if (--which.marks == 0) make_ready(which);
            });
            sink.marks_.pop_front();
            --marks;
        }
    }
    if (marks > most_held) let_all_go();
}

void journal_run::let_all_go() {
    for (stage_journal& sink : sinks_) {
        for (const auto& one : sink.marks_) {
            sink.to_note_ = one.end;
            one.each([this](tracked& which) {
                if (--which.marks == 0 && which.is_settled) make_ready(which);
            });
        }
        sink.marks_.clear();
    }
}

// --- Writing ---

journal_run::outgoing journal_run::take() {
    const std::scoped_lock held(lock_);
    advance();
    outgoing all;
    for (stage_journal& sink : sinks_)
        if (sink.to_note_) pending_.sinks.push_back({sink.name_, *std::exchange(sink.to_note_, std::nullopt)});
    all.batch = std::exchange(pending_, {});
    all.then = std::exchange(pending_then_, {});
    return all;
}

task<> journal_run::write_away(const outgoing& what) {
    if (!before_write_.empty()) {
        const auto before = [this] {
            for (const auto& each : before_write_) each();
        };
        co_await blocking(before);
    }
    co_await kept_.async_write(what.batch);
    if (!what.then.empty()) {
        const auto after = [&what] {
            for (const auto& each : what.then) each();
        };
        co_await blocking(after);
    }
}

task<> journal_run::flush() {
    auto held = co_await writing_.lock();
    {
        const std::scoped_lock locked(lock_);
        if (!failure_.empty()) throw std::runtime_error(failure_);
    }
    const outgoing all = take();
    if (all.batch.empty()) co_return;
    outcome<void> end = co_await shield(write_away(all)).as_outcome();
    try {
        std::move(end).get();
    } catch (...) {
        fail_with_current_exception();
        throw;
    }
}

task<> journal_run::write_along() {
    for (;;) {
        auto taken = co_await dirty_.acquire();
        taken.forget();
        co_await sleep_for(gathering);
        {
            const std::scoped_lock held(lock_);
            awaited_ = false;
        }
        task<> flushing = flush();
        outcome<void> end = co_await flushing.as_outcome();
        if (end.is_error()) co_return;  // which has ended the flow
        if (end.is_cancelled()) throw cancelled{};
    }
}

task<> journal_run::end(std::string_view how) { return kept_.async_end(how); }

void journal_run::wake() noexcept {
    {
        const std::scoped_lock held(lock_);
        if (std::exchange(awaited_, true)) return;
    }
    dirty_.release();
}

void journal_run::fail_with_current_exception() noexcept {
    {
        const std::scoped_lock held(lock_);
        if (failure_.empty()) failure_ = "the journal cannot be written: " + current_exception_text();
    }
    control_->stop();
}

std::string journal_run::failure() const {
    const std::scoped_lock held(lock_);
    return failure_;
}

// --- The run ---

task<report> run_with_journal(flow_graph graph, flow_options options) {
    context& line = co_await this_task::line();
    flow_control own;
    if (options.control == nullptr) options.control = &own;
    journal_run kept(*options.journal, options);
    kept.watch(graph.sources);
    std::vector<std::pair<std::string, std::shared_ptr<stage>>> stages;
    stages.reserve(graph.stages.size());
    for (const stage_node& each : graph.stages) stages.emplace_back(each.name, each.what);
    options.journal = nullptr;
    options.observer = &kept;
    if (!options.dead_letters) options.dead_letters = [&kept](const dead_letter& each) { kept.keep(each); };
    auto engine = std::make_unique<flow_engine>(std::move(graph), options, line.where());
    co_await kept.begin();  // behind what refuses a graph that cannot run
    for (const auto& [name, what] : stages) what->use_journal(kept.sink(name));

    const auto body = [&](scope& beside) -> task<> {
        const auto along = [&kept] { return kept.write_along(); };
        beside.spawn(task_name("journal"), along);
        outcome<void> end = co_await engine->run().as_outcome();
        beside.stop();
        std::move(end).get();
    };
    outcome<void> end = co_await with_scope(body).as_outcome();
    outcome<void> flushed = co_await shield(kept.flush()).as_outcome();
    report done = engine->take_report();
    engine.reset();
    if (const std::string why = kept.failure(); !why.empty() || !flushed.is_value()) {
        done.end = flow_end::failed;
        if (done.error.empty()) done.error = why.empty() ? "the journal could not be written" : why;
    } else if (!end.is_error()) {
        const char* const how = done.end == flow_end::complete ? "complete"
                                : done.end == flow_end::failed ? "failed"
                                                               : "interrupted";
        outcome<void> ended = co_await shield(kept.end(how)).as_outcome();
        if (ended.is_error()) {
            done.end = flow_end::failed;
            try {
                std::move(ended).get();
            } catch (...) {
                done.error = "the journal cannot be written: " + current_exception_text();
            }
        }
    }
    std::move(end).get();
    if (line.stop_requested()) throw cancelled{};
    co_return done;
}

}  // namespace leat
