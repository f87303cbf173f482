#include <leat/cluster/broker_journal.hpp>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>

#include <leat/cluster/lease.hpp>
#include <leat/process/codec.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/when_all.hpp>

#include "journal_state.hpp"

namespace leat::cluster {

namespace {

constexpr std::size_t reads_at_once = 32;
constexpr std::uint64_t small_stream = 64U << 10U;  // bytes that are not worth writing anew
constexpr duration first_pause = std::chrono::milliseconds(50);
constexpr duration longest_pause = std::chrono::seconds(2);

std::int64_t now_s() { return static_cast<std::int64_t>(std::time(nullptr)); }

item_entry entry_of(const stored_item& from) {
    item_entry made;
    made.run = from.run;
    made.how = static_cast<fate>(from.how);
    made.attempts = from.attempts;
    made.stage = from.stage;
    made.error = from.error;
    made.content = from.content;
    return made;
}

stored_item stored_as(std::string item, const item_entry& from, std::uint64_t run) {
    stored_item made;
    made.item = std::move(item);
    made.run = run;
    made.how = static_cast<std::uint8_t>(from.how);
    made.attempts = from.attempts;
    made.stage = from.stage;
    made.error = from.error;
    made.content = from.content;
    return made;
}

kept_letter letter_of(const stored_letter& from) {
    kept_letter made;
    made.id = from.id;
    made.item = from.item;
    made.run = from.run;
    made.stage = from.stage;
    made.attempts = from.attempts;
    made.error = from.error;
    made.time_s = from.time_s;
    made.has_value = from.has_value;
    made.value.key = from.key;
    made.value.bytes = from.bytes;
    made.value.attributes = from.attributes;
    made.value.sequence = from.sequence;
    return made;
}

stored_letter stored_as(const kept_letter& from, std::int64_t id, std::uint64_t run) {
    stored_letter made;
    made.id = id;
    made.item = from.item;
    made.run = run;
    made.stage = from.stage;
    made.attempts = from.attempts;
    made.error = from.error;
    made.time_s = from.time_s;
    made.has_value = from.has_value;
    made.key = from.value.key;
    made.bytes = from.value.bytes;
    made.attributes = from.value.attributes;
    made.sequence = from.value.sequence;
    return made;
}

bool is_done(const stored_item& what) {
    const auto how = static_cast<fate>(what.how);
    return how != fate::failed && how != fate::abandoned;
}

class broker_journal final : public journal {
public:
    broker_journal(std::shared_ptr<broker> engine, broker_journal_options options)
        : engine_(std::move(engine)), options_(std::move(options)) {
        if (options_.subject.empty()) options_.subject = options_.stream;
    }

    task<> open();

    [[nodiscard]] std::optional<past_run> last_run() override;
    std::uint64_t begin(journal_mode, const std::string&) override { refuse_to_block(); }
    [[nodiscard]] std::optional<item_entry> find(std::string_view item) override;
    [[nodiscard]] std::optional<std::uint64_t> sink_length(std::string_view sink) override;
    void write(const journal_batch&) override { refuse_to_block(); }
    void end(std::string_view) override { refuse_to_block(); }
    void for_each_letter(std::int64_t behind, const std::function<bool(kept_letter&&)>& call) override;
    [[nodiscard]] std::string name() const override { return "broker:" + options_.stream; }
    task<std::uint64_t> async_begin(journal_mode mode, const std::string& flow) override;
    task<> async_write(const journal_batch& batch) override;
    task<> async_end(std::string_view how) override;

private:
    [[noreturn]] static void refuse_to_block() {
        throw std::logic_error("leat: a journal in a broker is awaited (async_write, …); it does not block");
    }
    [[noreturn]] void refuse_other() const {
        throw journal_refused(fmt::format("another coordinator has taken the journal '{}' over (ours is epoch {})",
                                          options_.stream, writer_.epoch));
    }

    template <class T, class Call>
    task<broker_result<T>> patiently(Call call, const char* what);
    task<> catch_up(std::uint64_t upto);
    task<> read_all(std::uint64_t upto);
    task<std::optional<message>> read(std::uint64_t sequence);
    task<std::uint64_t> write_change(journal_change change);
    task<> compact();
    void note(journal_change&& change);
    void note_replayed(const journal_batch& batch, journal_change& change);

    std::shared_ptr<broker> engine_;
    broker_journal_options options_;
    journal_writer writer_;
    journal_log log_;
    std::uint64_t read_ = 0;  // of the stream: all up to here has been taken
    bool is_open_ = false;
    bool has_hole_ = false;  // but something that was purged meanwhile: then what is left was not understood
    std::uint64_t number_ = 0;
    std::uint64_t base_ = 0;
    journal_mode mode_ = journal_mode::fresh;
    std::mutex lock_;      // of state_: it is asked while a write is at work
    journal_state state_;  // without the items of this run
    std::unordered_map<std::string, std::vector<std::int64_t>> old_letters_;  // by item, of the runs before
};

// Calls until it is answered: what passes is waited for, while the lease and the patience last.
template <class T, class Call>
task<broker_result<T>> broker_journal::patiently(Call call, const char* what) {
    const time_point until = co_await this_task::now() + options_.patience;
    duration pause = first_pause;
    for (;;) {
        const time_point now = co_await this_task::now();
        if (options_.held != nullptr && (!options_.held->is_held_at(now) || options_.held->epoch() != writer_.epoch))
            throw journal_refused(
                fmt::format("the lease by which the journal '{}' is written was lost", options_.stream));
        broker_result<T> answer = co_await call();
        if (answer || !answer.error().is_passing()) co_return answer;
        if (now + pause >= until)
            throw std::runtime_error(
                fmt::format("the journal '{}' cannot be reached ({}): {}", options_.stream, what, answer.error().text));
        co_await sleep_for(pause);
        pause = std::min(2 * pause, longest_pause);
    }
}

task<std::optional<message>> broker_journal::read(std::uint64_t sequence) {
    const auto call = [this, sequence] { return engine_->read(options_.stream, sequence); };
    auto found = co_await patiently<delivery>(call, "read");
    if (found) co_return std::move(found->what);
    if (found.error().problem != broker_problem::not_found)
        throw std::runtime_error(
            fmt::format("the journal '{}' cannot be read: {}", options_.stream, found.error().text));
    co_return std::nullopt;  // purged
}

task<> broker_journal::catch_up(std::uint64_t upto) {
    while (read_ < upto) {
        std::vector<task<std::optional<message>>> calls;
        const std::uint64_t end = std::min<std::uint64_t>(upto, read_ + reads_at_once);
        for (std::uint64_t sequence = read_ + 1; sequence <= end; ++sequence) calls.push_back(read(sequence));
        const auto some = co_await when_all(std::move(calls));
        for (const auto& each : some) {
            ++read_;
            if (!each) has_hole_ = true;
            else if (auto change = log_.take(*each)) note(std::move(*change));
        }
    }
}

void broker_journal::note(journal_change&& change) {
    const std::scoped_lock held(lock_);
    if (number_ != 0 && !change.is_all) change.items.clear();  // nobody asks for what this run has done
    state_.apply(std::move(change));
}

// The sequence of its first message.
task<std::uint64_t> broker_journal::write_change(journal_change change) {
    const std::size_t most_bytes = std::max<std::size_t>(1024, engine_->limits().largest_payload / 2);
    const std::string bytes = encode(change);
    std::uint64_t first = 0;
    std::vector<message> parts = writer_.parts(options_.subject, bytes, most_bytes);
    for (const message& part : parts) {
        const auto call = [this, &part] { return engine_->publish(part); };
        auto stored = co_await patiently<receipt>(call, "publish");
        if (!stored)
            throw std::runtime_error(
                fmt::format("the journal '{}' cannot be written: {}", options_.stream, stored.error().text));
        if (first == 0) first = stored->sequence;
        // What came in between tells whether it counts: also messages of ours that came late.
        co_await catch_up(stored->sequence - 1);
        if (read_ < stored->sequence) {
            read_ = stored->sequence;
            if (auto complete = log_.take(part)) note(std::move(*complete));
        }
        // Behind our first message nobody purges but one who writes after us.
        if (log_.writer() != writer_.name || (is_open_ && has_hole_)) refuse_other();
    }
    if (log_.changes() != writer_.changes) refuse_other();
    co_return first;
}

// All that is in the stream, at least up to there. Who wrote before us may purge it meanwhile: then from the beginning.
task<> broker_journal::read_all(std::uint64_t upto) {
    do {
        const auto ask = [this] { return engine_->stream(options_.stream); };
        const auto state = co_await patiently<stream_state>(ask, "stream");
        if (!state)
            throw std::runtime_error(
                fmt::format("the journal '{}' cannot be read: {}", options_.stream, state.error().text));
        log_ = {};
        state_ = {};
        has_hole_ = false;
        read_ = state->first_sequence > 1 ? state->first_sequence - 1 : 0;
        co_await catch_up(std::max(upto, state->last_sequence));
    } while (has_hole_);
}

task<> broker_journal::open() {
    context& line = co_await this_task::line();
    writer_.name = fmt::format("{:016x}", line.where().random());
    if (options_.held != nullptr) writer_.epoch = options_.held->epoch();
    stream_config config;
    config.name = options_.stream;
    config.subjects = {options_.subject};
    config.is_work_queue = false;
    config.replicas = options_.replicas;
    const auto make = [this, &config] { return engine_->make_stream(config); };
    auto made = co_await patiently<done>(make, "make_stream");
    if (!made)
        throw std::runtime_error(
            fmt::format("the journal '{}' cannot be made: {}", options_.stream, made.error().text));
    co_await read_all(0);
    if (options_.held == nullptr) writer_.epoch = std::max<std::uint64_t>(1, log_.epoch());
    if (writer_.epoch < log_.epoch()) refuse_other();
    // From here on nobody else's writes count.
    const std::uint64_t ours = co_await write_change({});
    if (has_hole_) co_await read_all(ours);
    if (log_.writer() != writer_.name) refuse_other();
    is_open_ = true;
}

std::optional<past_run> broker_journal::last_run() {
    const std::scoped_lock held(lock_);
    for (auto each = state_.runs.rbegin(); each != state_.runs.rend(); ++each) {
        const stored_run& run = each->second;
        if (static_cast<journal_mode>(run.mode) == journal_mode::replay) continue;
        past_run last;
        last.number = run.number;
        last.base = run.base;
        last.mode = static_cast<journal_mode>(run.mode);
        last.started_s = run.started_s;
        last.ended_s = run.ended_s;
        last.end = run.end;
        last.flow = run.flow;
        for (const auto& [name, item] : state_.items)
            if (item.run >= run.base && is_done(item)) ++last.done;
        return last;
    }
    return std::nullopt;
}

task<std::uint64_t> broker_journal::async_begin(journal_mode mode, const std::string& flow) {
    const std::optional<past_run> before = last_run();
    stored_run run;
    run.number = state_.runs.empty() ? 1 : state_.runs.rbegin()->first + 1;
    run.base = before ? before->base : run.number;
    if (mode == journal_mode::fresh) run.base = run.number;
    run.mode = static_cast<std::uint8_t>(mode);
    run.started_s = now_s();
    run.flow = flow;
    mode_ = mode;
    base_ = run.base;
    journal_change change;
    if (run.base == run.number) change.forget_run = run.number;
    change.runs.push_back(std::move(run));
    const std::uint64_t number = change.runs.front().number;
    (void)co_await write_change(std::move(change));
    co_await compact();
    number_ = number;
    for (const auto& [id, each] : state_.letters) old_letters_[each.item].push_back(id);
    co_return number_;
}

// What is true, written anew, where that is less than half of what the stream has. What was there before is purged once all of
// it is stored; when we end before that, the next reads both, which comes to the same.
task<> broker_journal::compact() {
    const auto ask = [this] { return engine_->stream(options_.stream); };
    const auto state = co_await patiently<stream_state>(ask, "stream");
    if (!state || state->bytes < small_stream) co_return;
    journal_change all = state_.all();
    if (encode(all).size() > state->bytes / 2) co_return;
    const std::uint64_t first = co_await write_change(std::move(all));
    const auto purge = [this, first] { return engine_->purge(options_.stream, first); };
    const auto purged = co_await patiently<done>(purge, "purge");
    if (!purged)
        throw std::runtime_error(
            fmt::format("the journal '{}' cannot be purged: {}", options_.stream, purged.error().text));
}

std::optional<item_entry> broker_journal::find(std::string_view item) {
    const std::scoped_lock held(lock_);
    const auto found = state_.items.find(std::string(item));
    if (found == state_.items.end() || found->second.run < base_) return std::nullopt;
    return entry_of(found->second);
}

std::optional<std::uint64_t> broker_journal::sink_length(std::string_view sink) {
    const std::scoped_lock held(lock_);
    const auto found = state_.sinks.find({std::string(sink), base_});
    if (found == state_.sinks.end()) return std::nullopt;
    return found->second;
}

task<> broker_journal::async_write(const journal_batch& batch) {
    journal_change change;
    {
        const std::scoped_lock held(lock_);
        for (const item_event& each : batch.events)
            change.events.push_back({number_, each.item, each.stage, each.attempt, each.error, each.time_s});
        for (const auto& [name, length] : batch.sinks) change.sinks.push_back({name, base_, length});
        if (mode_ == journal_mode::replay) {
            note_replayed(batch, change);
        } else {
            for (const auto& [item, entry] : batch.items) {
                change.items.push_back(stored_as(item, entry, number_));
                if (const auto old = old_letters_.find(item); old != old_letters_.end()) {
                    change.gone_letters.insert(change.gone_letters.end(), old->second.begin(), old->second.end());
                    old_letters_.erase(old);
                }
            }
            for (const kept_letter& each : batch.letters)
                change.letters.push_back(stored_as(each, ++state_.last_letter, number_));
        }
    }
    (void)co_await write_change(std::move(change));
}

// The items are letters, by their ids. Under lock_; changes state_ as it goes, since of one item there may be several.
void broker_journal::note_replayed(const journal_batch& batch, journal_change& change) {
    const auto put = [&](stored_letter letter) {
        state_.letters[letter.id] = letter;
        change.letters.push_back(std::move(letter));
    };
    for (const auto& [name, entry] : batch.items) {
        std::int64_t id = 0;
        std::from_chars(name.data(), name.data() + name.size(), id);
        const auto found = state_.letters.find(id);
        if (found == state_.letters.end()) continue;
        stored_letter letter = found->second;
        if (entry.how == fate::failed) {
            letter.attempts += entry.attempts;
            letter.error = entry.error;
            letter.run = number_;
            put(letter);
        } else {
            state_.letters.erase(found);
            change.gone_letters.push_back(id);
            for (const kept_letter& each : batch.letters) {
                if (each.item != name) continue;
                stored_letter fresh = stored_as(each, ++state_.last_letter, number_);
                fresh.item = letter.item;
                fresh.attempts += letter.attempts;
                put(std::move(fresh));
            }
        }
        stored_item now = stored_as(letter.item, entry, number_);
        now.content = 0;
        const auto is_of_item = [&](const auto& each) { return each.second.item == letter.item; };
        if (std::any_of(state_.letters.begin(), state_.letters.end(), is_of_item))
            now.how = static_cast<std::uint8_t>(fate::dead);
        change.items.push_back(std::move(now));
    }
}

task<> broker_journal::async_end(std::string_view how) {
    journal_change change;
    {
        const std::scoped_lock held(lock_);
        stored_run run = state_.runs[number_];
        run.ended_s = now_s();
        run.end = how;
        change.runs.push_back(std::move(run));
    }
    (void)co_await write_change(std::move(change));
}

void broker_journal::for_each_letter(std::int64_t behind, const std::function<bool(kept_letter&&)>& call) {
    for (;;) {
        kept_letter next;
        {
            const std::scoped_lock held(lock_);
            const auto found = state_.letters.upper_bound(behind);
            if (found == state_.letters.end()) return;
            next = letter_of(found->second);
        }
        behind = next.id;
        if (!call(std::move(next))) return;
    }
}

}  // namespace

task<std::unique_ptr<journal>> open_broker_journal(std::shared_ptr<broker> engine, broker_journal_options options) {
    auto made = std::make_unique<broker_journal>(std::move(engine), std::move(options));
    co_await made->open();
    co_return made;
}

}  // namespace leat::cluster
