#include <leat/cluster/shared_cache.hpp>

#include <atomic>
#include <deque>
#include <fmt/format.h>
#include <stdexcept>
#include <xxhash.h>

#include <leat/base/env.hpp>
#include <leat/task/this_task.hpp>

#include <cluster/insist.hpp>
#include <cluster/job_messages.hpp>
#include <cluster/shared_buckets.hpp>

namespace leat::cluster::detail {

namespace {

// What lies under a key: crosses by codec.
struct shared_entry {
    std::uint64_t type = 0;
    std::uint64_t checksum = 0;  // of the value where it is here
    job_value value;
};

constexpr duration first_look = std::chrono::milliseconds(5);  // again, while another one computes
constexpr duration longest_look = std::chrono::milliseconds(200);
constexpr duration first_pause = std::chrono::milliseconds(500);

std::uint64_t checksum_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace

std::string shared_key(std::string_view message) {
    const XXH128_hash_t made = XXH3_128bits(message.data(), message.size());
    return fmt::format("{:016x}{:016x}", made.high64, made.low64);
}

struct shared_tier::state {
    state(broker& where, shared_cache_options with, std::uint64_t of)
        : link(where),
          options(std::move(with)),
          bucket(cache_buckets(options.name).entries),
          type(of),
          blobs(where, cache_buckets(options.name).blobs_with(options)) {}

    // One of those that this process has stored.
    struct stored {
        std::string key;
        std::size_t bytes = 0;
        time_point since{};
        std::optional<blob_ref> blob;
    };

    // The engine's answer, if it comes in time.
    template <class T>
    task<broker_result<T>> ask(task<broker_result<T>> question) {
        outcome<broker_result<T>> end = co_await timeout(std::move(question), options.patience).as_outcome();
        if (end.is_value()) {
            broker_result<T> answer = std::move(end).get();
            if (answer || answer.error().problem == broker_problem::not_found ||
                answer.error().problem == broker_problem::conflict)
                answered();
            else co_await failed();
            co_return answer;
        }
        context& line = co_await this_task::line();
        if (line.stop_requested()) leat::detail::throw_cancelled();
        co_await failed();
        co_return unexpected(broker_error{broker_problem::timed_out, "the engine gave no answer in time"});
    }
    task<> failed() {
        context& line = co_await this_task::line();
        const env::lock_guard held(lock);
        ++counts.broken;
        rests_until = line.where().now() + pause.next(line.where().random());
    }
    void answered() noexcept {
        const env::lock_guard held(lock);
        pause = pauses(first_pause, options.longest_pause);
    }
    task<bool> is_at_rest() {
        context& line = co_await this_task::line();
        const env::lock_guard held(lock);
        co_return line.where().now() < rests_until;
    }

    // The text of an entry, if it is good.
    task<std::optional<std::string>> value_of(std::string message) {
        auto found = decode<shared_entry>(message);
        if (!found || found->type != type) co_return std::nullopt;
        if (auto* const here = std::get_if<std::string>(&found->value)) {
            if (checksum_of(*here) != found->checksum) co_return std::nullopt;
            co_return std::move(*here);
        }
        broker_result<std::string> whole = co_await ask(blobs.get(std::get<blob_ref>(found->value)));
        if (!whole) co_return std::nullopt;
        co_return *std::move(whole);
    }

    // Lets go of what is beyond the room, and of what has gone by age.
    task<> make_room(stored fresh) {
        context& line = co_await this_task::line();
        std::vector<stored> out;
        {
            const env::lock_guard held(lock);
            bytes += fresh.bytes;
            mine.push_back(std::move(fresh));
            while (!mine.empty()) {
                const bool is_gone =
                    options.age != duration::zero() && line.where().now() - mine.front().since >= options.age;
                if (!is_gone && bytes <= options.most_bytes) break;
                bytes -= mine.front().bytes;
                if (!is_gone) {
                    ++counts.let_go;
                    out.push_back(std::move(mine.front()));
                }
                mine.pop_front();
            }
        }
        for (stored& each : out) {
            (void)co_await ask(link.erase(bucket, "v/" + each.key));
            if (each.blob) (void)co_await ask(blobs.remove(*std::move(each.blob)));
        }
    }

    task<bool> try_open() {
        auto made = co_await ask(link.make_bucket(bucket, options.age, options.replicas));
        if (!made) co_return false;
        auto opened = co_await ask(blobs.open());
        co_return opened.has_value();
    }

    broker& link;
    const shared_cache_options options;
    const std::string bucket;
    const std::uint64_t type;
    blob_store blobs;
    std::string name;  // of this process, in claims

    mutable env::mutex lock;
    shared_cache_counts counts;
    pauses pause{first_pause, std::chrono::seconds(30)};
    time_point rests_until{};
    std::deque<stored> mine;
    std::size_t bytes = 0;
    std::uint64_t claims = 0;
    std::atomic<bool> is_open = false;
};

shared_tier::shared_tier(broker& where, shared_cache_options options, std::uint64_t type)
    : state_(std::make_unique<state>(where, std::move(options), type)) {
    require_plain_name(state_->options.name);
    if (state_->options.lease <= duration::zero() || state_->options.patience <= duration::zero())
        throw std::invalid_argument("lease and patience of a shared_cache are times");
    state_->pause = pauses(first_pause, state_->options.longest_pause);
}
shared_tier::~shared_tier() = default;

task<> shared_tier::open() {
    state& mine = *state_;
    context& line = co_await this_task::line();
    mine.name = fmt::format("{:016x}", line.where().random());
    mine.is_open = co_await mine.try_open();
}

task<shared_tier::finding> shared_tier::look(std::string key) {
    state& mine = *state_;
    context& line = co_await this_task::line();
    finding found;
    const bool is_at_rest = co_await mine.is_at_rest();
    if (is_at_rest) co_return found;
    if (!mine.is_open) mine.is_open = co_await mine.try_open();
    if (!mine.is_open) co_return found;
    const std::string value_key = "v/" + key;
    const std::string claim_key = "c/" + key;
    pauses between(first_look, longest_look);
    std::uint64_t seen = 0;  // the revision of another one's claim
    time_point seen_since{};
    bool has_waited = false;
    std::uint64_t broken_revision = 0;
    for (;;) {
        broker_result<entry> stored = co_await mine.ask(mine.link.get(mine.bucket, value_key));
        if (stored && stored->revision != broken_revision) {
            const std::uint64_t revision = stored->revision;
            found.value = co_await mine.value_of(std::move(stored->value));
            if (found.value) {
                {
                    const env::lock_guard held(mine.lock);
                    ++mine.counts.shared_hits;
                    if (has_waited) ++mine.counts.waited;
                    mine.counts.bytes_saved += found.value->size();
                }
                if (!found.token.empty()) {
                    finding claim;
                    std::swap(claim.token, found.token);
                    claim.claim_revision = found.claim_revision;
                    co_await settle(key, std::move(claim), std::nullopt);
                }
                co_return found;
            }
            note_broken();
            broken_revision = revision;
            found.entry_revision = revision;
        } else if (!stored && stored.error().problem != broker_problem::not_found) {
            co_return found;
        }
        // With the claim it was looked for once more, since another one may have stored it between the two.
        if (!found.token.empty()) co_return found;

        std::string token;
        {
            const env::lock_guard held(mine.lock);
            token = fmt::format("{}/{}", mine.name, ++mine.claims);
        }
        broker_result<std::uint64_t> claimed = co_await mine.ask(mine.link.update(mine.bucket, claim_key, token, 0));
        if (!claimed && claimed.error().problem == broker_problem::conflict) {
            const broker_result<entry> other = co_await mine.ask(mine.link.get(mine.bucket, claim_key));
            if (!other && other.error().problem == broker_problem::not_found) continue;
            if (!other) co_return found;
            const time_point now = line.where().now();
            if (other->revision != seen) {
                seen = other->revision;
                seen_since = now;
            }
            if (now - seen_since >= mine.options.lease) {
                claimed = co_await mine.ask(mine.link.update(mine.bucket, claim_key, token, seen));
                if (claimed) {
                    const env::lock_guard held(mine.lock);
                    ++mine.counts.taken_over;
                }
            }
            if (!claimed) {
                has_waited = true;
                const duration wait = between.next(line.where().random());
                co_await sleep_for(wait);
                continue;
            }
        } else if (!claimed) {
            // It may have happened: then nobody else would compute for as long as the lease.
            const broker_result<entry> there = co_await mine.ask(mine.link.get(mine.bucket, claim_key));
            if (!there || there->value != token) co_return found;
            claimed = there->revision;
        }
        found.token = std::move(token);
        found.claim_revision = *claimed;
    }
}

task<> shared_tier::keep(std::string key, finding& claim) {
    state& mine = *state_;
    for (;;) {
        co_await sleep_for(mine.options.lease / 3);
        const broker_result<std::uint64_t> renewed =
            co_await mine.ask(mine.link.update(mine.bucket, "c/" + key, claim.token, claim.claim_revision));
        if (renewed) {
            claim.claim_revision = *renewed;
        } else {
            const broker_result<entry> there = co_await mine.ask(mine.link.get(mine.bucket, "c/" + key));
            if (there && there->value == claim.token) {
                claim.claim_revision = there->revision;
            } else if (there || there.error().problem == broker_problem::not_found) {
                claim.token.clear();  // another one's
                co_return;
            }
        }
    }
}

task<> shared_tier::settle(std::string key, finding claim, std::optional<std::string> value) {
    state& mine = *state_;
    const bool is_at_rest = co_await mine.is_at_rest();
    if (is_at_rest || !mine.is_open) co_return;
    if (value && value->size() <= mine.options.most_value_bytes) {
        context& line = co_await this_task::line();
        state::stored fresh;
        fresh.key = key;
        fresh.bytes = value->size() + key.size();
        fresh.since = line.where().now();
        shared_entry entry;
        entry.type = mine.type;
        bool is_ready = true;
        if (mine.blobs.is_large(value->size())) {
            broker_result<blob_ref> put = co_await mine.ask(mine.blobs.put(std::move(*value)));
            is_ready = put.has_value();
            if (is_ready) fresh.blob = *put, entry.value = *put;
        } else {
            entry.checksum = checksum_of(*value);
            entry.value = std::move(*value);
        }
        if (is_ready) {
            const std::string message = encode(entry);
            const auto stored =
                co_await mine.ask(mine.link.update(mine.bucket, "v/" + key, message, claim.entry_revision));
            if (stored) {
                {
                    const env::lock_guard held(mine.lock);
                    ++mine.counts.stored;
                    mine.counts.bytes_stored += fresh.bytes;
                }
                co_await mine.make_room(std::move(fresh));
            } else if (stored.error().problem == broker_problem::conflict && fresh.blob) {
                (void)co_await mine.ask(mine.blobs.remove(*std::move(fresh.blob)));  // another one was quicker
            }
        }
    }
    if (claim.token.empty()) co_return;
    // Only one's own: what took it over is another's.
    const broker_result<entry> there = co_await mine.ask(mine.link.get(mine.bucket, "c/" + key));
    if (there && there->value == claim.token) (void)co_await mine.ask(mine.link.erase(mine.bucket, "c/" + key));
}

task<> shared_tier::erase(std::string key) {
    state& mine = *state_;
    (void)co_await mine.ask(mine.link.erase(mine.bucket, "v/" + key));
}

void shared_tier::note_broken() noexcept {
    const env::lock_guard held(state_->lock);
    ++state_->counts.broken;
}
void shared_tier::note_computed() noexcept {
    const env::lock_guard held(state_->lock);
    ++state_->counts.computed;
}
shared_cache_counts shared_tier::counts() const noexcept {
    const env::lock_guard held(state_->lock);
    return state_->counts;
}

}  // namespace leat::cluster::detail
