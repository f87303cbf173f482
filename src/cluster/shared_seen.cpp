#include <leat/cluster/shared_seen.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <fmt/format.h>
#include <optional>
#include <stdexcept>
#include <unordered_set>
#include <zstd.h>

#include <leat/base/env.hpp>
#include <leat/cluster/broker_failed.hpp>
#include <leat/flow/bloom_filter.hpp>
#include <leat/process/codec.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

#include <cluster/insist.hpp>
#include <cluster/job_messages.hpp>
#include <cluster/shared_buckets.hpp>

namespace leat::cluster {

namespace {

constexpr unsigned lanes = 32;  // entries written at a time
constexpr std::size_t most_waiting =
    1'000'000;  // keys that are kept while the engine takes none; the oldest are let go
constexpr unsigned most_conflicts = 20;

// What lies under the key of a partition. The blob before this one is removed by the next that publishes, so that who has
// just read an entry still finds what it refers to.
struct seen_partition {
    std::uint64_t raw_bytes = 0;
    job_value filter;  // by zstd
    std::optional<blob_ref> before;
};
// What the filters are made for: under "shape".
struct seen_shape {
    std::uint64_t items = 0;
    double false_positives = 0;
    std::uint64_t partitions = 0;
    bool exact = true;
};

struct digest_hash {
    std::size_t operator()(const key_digest& key) const noexcept { return key.low ^ key.high; }
};

std::string entry_key(key_digest key) { return fmt::format("k/{:016x}{:016x}", key.high, key.low); }

shared_seen_options checked(shared_seen_options options) {
    require_plain_name(options.name);
    if (options.partitions == 0 || options.partitions > 65536 || options.items == 0)
        throw std::invalid_argument("a shared_seen has 1 to 65536 partitions, and is made for one key at least");
    if (options.exchange_every <= duration::zero() || options.patience <= duration::zero())
        throw std::invalid_argument("exchange_every and patience of a shared_seen are times");
    return options;
}
// With some room, since keys do not fall into partitions evenly.
std::uint64_t items_of_partition(const shared_seen_options& options) {
    const std::uint64_t even = options.items / options.partitions + 1;
    return even + even / 20 + 16;
}

std::string compressed(const std::string& bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1);
    if (ZSTD_isError(size) != 0) throw std::bad_alloc();
    out.resize(size);
    return out;
}
// None when it is not what was compressed to so many bytes.
std::optional<std::string> expanded(const std::string& bytes, std::uint64_t raw_bytes, std::uint64_t most) {
    if (raw_bytes > most) return std::nullopt;
    std::string out(static_cast<std::size_t>(raw_bytes), '\0');
    const std::size_t size = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
    if (ZSTD_isError(size) != 0 || size != out.size()) return std::nullopt;
    return out;
}

}  // namespace

struct shared_seen::state {
    state(broker& where, shared_seen_options with)
        : link(where),
          options(checked(std::move(with))),
          bucket(seen_buckets(options.name).entries),
          blobs(where, seen_buckets(options.name).blobs_with(options)) {
        for (unsigned i = 0; i < options.partitions; ++i) parts.emplace_back(options);
    }

    struct partition {
        explicit partition(const shared_seen_options& with) : known(items_of_partition(with), with.false_positives) {}
        bloom_filter known;          // under lock
        std::uint64_t fresh = 0;     // under lock: insertions that were not published
        std::uint64_t revision = 0;  // what was fetched or published last; of who exchanges
    };

    partition& part_of(key_digest key) noexcept { return parts[key.high % parts.size()]; }

    template <class T>
    task<broker_result<T>> ask(task<broker_result<T>> question) {
        outcome<broker_result<T>> end = co_await timeout(std::move(question), options.patience).as_outcome();
        if (end.is_value()) {
            broker_result<T> answer = std::move(end).get();
            if (!answer && answer.error().problem != broker_problem::not_found &&
                answer.error().problem != broker_problem::conflict)
                count_broken();
            co_return answer;
        }
        context& line = co_await this_task::line();
        if (line.stop_requested()) leat::detail::throw_cancelled();
        count_broken();
        co_return unexpected(broker_error{broker_problem::timed_out, "the engine gave no answer in time"});
    }
    void count_broken() noexcept {
        const env::lock_guard held(lock);
        ++counts.broken;
    }

    // --- Entries ---

    static task<> write_lane(state* self, const std::vector<key_digest>* keys, std::size_t* next,
                             std::vector<key_digest>* written) {
        for (;;) {
            key_digest key;
            {
                const env::lock_guard held(self->lock);
                if (*next == keys->size()) co_return;
                key = (*keys)[(*next)++];
            }
            const auto put = co_await self->ask(self->link.put(self->bucket, entry_key(key), ""));
            const env::lock_guard held(self->lock);
            if (put) written->push_back(key);
            else *next = keys->size();  // the others have no better luck: next time
        }
    }

    task<> write_entries() {
        std::vector<key_digest> keys;
        {
            const env::lock_guard held(lock);
            keys.assign(order.begin(), order.end());
        }
        std::vector<key_digest> written;
        if (options.exact) {
            context& line = co_await this_task::line();
            std::size_t next = 0;
            scope work(line);
            const std::size_t most = std::min<std::size_t>(lanes, keys.size());
            for (std::size_t i = 0; i < most; ++i) work.spawn(&write_lane, this, &keys, &next, &written);
            (void)co_await work.join_quietly();
        } else {
            written = keys;
        }
        // Into the filter once its entry is there: what is in the filter alone would be asked for in vain.
        const env::lock_guard held(lock);
        for (const key_digest& key : written) {
            waiting.erase(key);
            partition& part = part_of(key);
            if (part.known.insert_if_new(key.low)) ++part.fresh;
        }
        std::erase_if(order, [this](const key_digest& key) { return !waiting.contains(key); });
    }

    // --- Filters ---

    task<std::optional<bloom_filter>> filter_of(seen_partition& entry, std::uint64_t most_bytes) {
        std::string bytes;
        if (auto* const here = std::get_if<std::string>(&entry.filter)) {
            bytes = std::move(*here);
        } else {
            broker_result<std::string> found = co_await ask(blobs.get(std::get<blob_ref>(entry.filter)));
            if (!found) co_return std::nullopt;
            bytes = *std::move(found);
        }
        const std::size_t moved = bytes.size();
        const std::optional<std::string> raw = expanded(bytes, entry.raw_bytes, most_bytes);
        if (!raw) co_return std::nullopt;
        auto made = bloom_filter::from_bytes(*raw);
        if (!made) co_return std::nullopt;
        const env::lock_guard held(lock);
        ++counts.fetched;
        counts.bytes_moved += moved;
        co_return std::move(made->filter);
    }

    // False when the engine does not answer.
    task<bool> exchange_one(std::size_t index) {
        partition& part = parts[index];
        const std::string key = fmt::format("f/{}", index);
        for (unsigned attempt = 0; attempt < most_conflicts; ++attempt) {
            std::uint64_t revision = 0;
            seen_partition entry;
            broker_result<leat::cluster::entry> found = co_await ask(link.get(bucket, key));
            if (!found && found.error().problem != broker_problem::not_found) co_return false;
            if (found) {
                revision = found->revision;
                auto decoded = decode<seen_partition>(found->value);
                const bool is_one = decoded.has_value();
                if (is_one) entry = *std::move(decoded);
                const bool is_new = revision != part.revision;
                if (is_new) {
                    std::optional<blob_ref> before = entry.before;
                    const auto* const at = std::get_if<blob_ref>(&entry.filter);
                    const std::optional<blob_ref> now_at = at == nullptr ? std::optional<blob_ref>() : *at;
                    std::optional<bloom_filter> other;
                    if (is_one) other = co_await filter_of(entry, part.known.bytes() + 1024);
                    const env::lock_guard held(lock);
                    bool is_good = false;
                    if (other) {
                        try {
                            part.known.merge(*other);
                            is_good = true;
                        } catch (const std::invalid_argument&) {  // of another shape: told below
                            is_good = false;
                        }
                    }
                    // What cannot be read is replaced by what is known here: keys that are missing from it then are done again.
                    if (is_good) part.revision = revision;
                    else ++counts.broken, ++part.fresh;
                    entry.before = before;
                    if (now_at) entry.filter = *now_at;
                }
            }
            std::string raw;
            std::uint64_t fresh = 0;
            {
                const env::lock_guard held(lock);
                fresh = part.fresh;
                if (fresh != 0) raw = part.known.to_bytes();
            }
            if (fresh == 0) co_return true;
            seen_partition next;
            next.raw_bytes = raw.size();
            std::string bytes = compressed(raw);
            const std::size_t moved = bytes.size();
            std::optional<blob_ref> mine;
            if (blobs.is_large(bytes.size())) {
                broker_result<blob_ref> put = co_await ask(blobs.put(std::move(bytes)));
                if (!put) co_return false;
                mine = *put;
                next.filter = *std::move(put);
            } else {
                next.filter = std::move(bytes);
            }
            if (const auto* const old = std::get_if<blob_ref>(&entry.filter)) next.before = *old;
            const std::string message = encode(next);
            const auto stored = co_await ask(link.update(bucket, key, message, revision));
            if (stored) {
                part.revision = *stored;
                if (entry.before) (void)co_await ask(blobs.remove(*entry.before));
                const env::lock_guard held(lock);
                part.fresh -= fresh;
                ++counts.published;
                counts.bytes_moved += moved;
                co_return true;
            }
            if (stored.error().problem != broker_problem::conflict) co_return false;
            if (mine) (void)co_await ask(blobs.remove(*std::move(mine)));
            const env::lock_guard held(lock);
            ++counts.conflicts;
        }
        co_return true;
    }

    task<> exchange_all() {
        {
            context& line = co_await this_task::line();
            const env::lock_guard held(lock);
            due = line.where().now() + options.exchange_every;
        }
        co_await write_entries();
        for (std::size_t index = 0; index < parts.size(); ++index) {
            const bool answers = co_await exchange_one(index);
            if (!answers) co_return;
        }
    }

    task<> open() {
        const auto must = [this](const auto& made) {
            if (!made) throw broker_failed(fmt::format("the keys seen of \"{}\"", options.name), made.error());
        };
        const auto make_bucket = [this] { return link.make_bucket(bucket, options.age, options.replicas); };
        must(co_await insist(options.patience, make_bucket));
        must(co_await blobs.open());
        seen_shape mine;
        mine.items = options.items;
        mine.false_positives = options.false_positives;
        mine.partitions = options.partitions;
        mine.exact = options.exact;
        const std::string shape = encode(mine);
        const auto create = [&] { return link.update(bucket, "shape", shape, 0); };
        const broker_result<std::uint64_t> made = co_await insist(options.patience, create);
        if (!made && made.error().problem != broker_problem::conflict) must(made);
        if (!made) {
            const auto get = [&] { return link.get(bucket, "shape"); };
            const broker_result<entry> there = co_await insist(options.patience, get);
            must(there);
            const auto theirs = decode<seen_shape>(there->value);
            if (there->value != shape)
                throw broker_failed(fmt::format("the keys seen of \"{}\"", options.name),
                                    {broker_problem::mismatch,
                                     theirs ? fmt::format("they are kept for {} items at {} in {} partitions, {}; "
                                                          "asked for were {} items at {} in "
                                                          "{} partitions, {}",
                                                          theirs->items, theirs->false_positives, theirs->partitions,
                                                          theirs->exact ? "exactly" : "by filter alone", mine.items,
                                                          mine.false_positives, mine.partitions,
                                                          mine.exact ? "exactly" : "by filter alone")
                                            : std::string("what is there is something else")});
        }
        const mutex::guard turn = co_await exchanging.lock();
        co_await exchange_all();
    }

    broker& link;
    const shared_seen_options options;
    const std::string bucket;
    blob_store blobs;
    std::deque<partition> parts;
    mutex exchanging;

    mutable env::mutex lock;
    std::unordered_set<key_digest, digest_hash> waiting;  // noted, and not in the filter yet
    std::deque<key_digest> order;                         // the same, in order
    time_point due{};
    shared_seen_counts counts;
};

shared_seen::shared_seen(broker& where, shared_seen_options options)
    : state_(std::make_unique<state>(where, std::move(options))) {}
shared_seen::~shared_seen() = default;

task<> shared_seen::open() { return state_->open(); }

task<bool> shared_seen::has(key_digest key, std::size_t bytes) {
    state& mine = *state_;
    context& line = co_await this_task::line();
    bool is_due = false;
    {
        const env::lock_guard held(mine.lock);
        is_due = line.where().now() >= mine.due || mine.order.size() >= mine.options.exchange_after;
    }
    if (is_due) {
        // Whoever is first; the others go on with what is known.
        std::optional<mutex::guard> turn = mine.exchanging.try_lock();
        if (turn) co_await mine.exchange_all();
    }
    bool is_known = false;
    bool is_certain = !mine.options.exact;
    {
        const env::lock_guard held(mine.lock);
        ++mine.counts.asked;
        if (mine.waiting.contains(key)) is_known = is_certain = true;
        else is_known = mine.part_of(key).known.contains(key.low);
    }
    if (is_known && !is_certain) {
        const auto entry = co_await mine.ask(mine.link.get(mine.bucket, entry_key(key)));
        is_known = entry.has_value();
        if (!entry && entry.error().problem == broker_problem::not_found) {
            const env::lock_guard held(mine.lock);
            ++mine.counts.false_alarms;
        }
    }
    if (is_known) {
        const env::lock_guard held(mine.lock);
        ++mine.counts.seen;
        mine.counts.bytes_saved += bytes;
    }
    co_return is_known;
}

void shared_seen::note(key_digest key) noexcept {
    const env::lock_guard held(state_->lock);
    ++state_->counts.noted;
    if (!state_->waiting.insert(key).second) return;
    state_->order.push_back(key);
    if (state_->order.size() <= most_waiting) return;
    state_->waiting.erase(state_->order.front());
    state_->order.pop_front();
}

task<> shared_seen::exchange() {
    const mutex::guard turn = co_await state_->exchanging.lock();
    co_await state_->exchange_all();
}

shared_seen_counts shared_seen::counts() const noexcept {
    const env::lock_guard held(state_->lock);
    return state_->counts;
}
const shared_seen_options& shared_seen::options() const noexcept { return state_->options; }

// --- The stage ---

namespace detail {

namespace {

// The account of an item that goes on: its key is noted when it was committed.
class noted_item final : public merged_ack {
public:
    noted_item(std::vector<ack_ref> of, std::shared_ptr<shared_seen> seen, key_digest key)
        : merged_ack(std::move(of)), seen_(std::move(seen)), key_(key) {}

protected:
    void settled(fate how) noexcept override {
        if (how == fate::committed) seen_->note(key_);
        merged_ack::settled(how);
    }

private:
    std::shared_ptr<shared_seen> seen_;
    key_digest key_;
};

class skip_seen final : public stage {
public:
    skip_seen(leat::detail::digest_function digest, std::shared_ptr<shared_seen> seen)
        : digest_(std::move(digest)), seen_(std::move(seen)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(digest_, seen_); }
    task<> close() override { return seen_->exchange(); }
    [[nodiscard]] transfer saved_transfer() const noexcept override {
        const shared_seen_counts now = seen_->counts();
        return {now.bytes_saved - before_.bytes_saved, now.bytes_moved - before_.bytes_moved};
    }

private:
    class worker final : public stage_worker {
    public:
        worker(leat::detail::digest_function digest, std::shared_ptr<shared_seen> seen)
            : digest_(std::move(digest)), seen_(std::move(seen)) {}
        task<> process(item& in, emitter& out) override {
            const key_digest key = digest_(in.value, room_);
            const bool is_seen = co_await seen_->has(key, in.value.weight());
            if (is_seen) co_return;
            std::vector<ack_ref> one;
            one.push_back(in.ack.fork());
            ack_ref account(new noted_item(std::move(one), seen_, key));
            payload value = out.may_consume() ? std::move(in.value) : in.value.copy();
            co_await out.emit(std::move(value), std::move(account));
        }

    private:
        leat::detail::digest_function digest_;
        std::shared_ptr<shared_seen> seen_;
        std::string room_;
    };
    const leat::detail::digest_function digest_;
    std::shared_ptr<shared_seen> seen_;
    const shared_seen_counts before_ = seen_->counts();  // of earlier flows
};

}  // namespace

std::shared_ptr<stage> make_skip_seen_stage(leat::detail::digest_function digest, std::shared_ptr<shared_seen> seen) {
    return std::make_shared<skip_seen>(std::move(digest), std::move(seen));
}

}  // namespace detail

}  // namespace leat::cluster
