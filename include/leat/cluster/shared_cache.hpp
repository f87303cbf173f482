// shared_cache: a cache (flow/cache.hpp) with a second tier behind it that all machines share: values by key in the engine,
// each computed once however many machines ask for it at the same time.
//
//   leat::cluster::shared_cache<std::string, page> pages(broker, leat::cluster::shared_cache_options("pages"));
//   co_await pages.open();
//   page found = co_await pages.get(url, fetch);        // fetch(url), or fetch(): a value, or a task of one
//
// get() looks here, then in the engine; where neither has it, it claims the key there and computes. Who finds a claim waits for
// the value, or for the claim to end: its owner renews it, and one that nobody has renewed for `lease`, by the clock of who
// waits, is taken over. So a machine that dies costs the others that time, and a value may be computed twice then.
//
// A cache is there to save work and never to stop it: whatever goes wrong with the engine, or with what is found there, is a
// miss, counted as broken, and the value is computed here; after a failure the engine is left alone for a pause that grows. What
// fails a call is its own function's error, and a stop.
//
// Ages: the engine drops values older than `age`; the local tier keeps one for cache_options::longest_age from when it came
// here, so that a value is at most as old as both together. Size: each process lets go of the oldest of what it has put there
// beyond `most_bytes`. Values above 512 KiB go by reference (blob_store); above `most_value_bytes` they are not shared. Key and
// value cross by codec; keys are told apart by a hash of 128 bits.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <leat/cluster/blob_store.hpp>
#include <leat/cluster/broker.hpp>
#include <leat/flow/cache.hpp>
#include <leat/flow/flow.hpp>
#include <leat/process/codec.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/task.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

struct shared_cache_options {
    explicit shared_cache_options(std::string called = "cache") : name(std::move(called)) {}
    std::string name;  // of what all machines share: letters, digits, '-' and '_'
    cache_options local;
    duration age = std::chrono::hours(1);  // in the engine; zero: until it is let go
    std::size_t most_bytes = std::size_t{256} << 20U;
    std::size_t most_value_bytes = std::size_t{64} << 20U;
    duration lease = std::chrono::seconds(10);
    duration patience = std::chrono::seconds(2);        // with the engine, for one answer
    duration longest_pause = std::chrono::seconds(30);  // in which it is left alone after failures
    unsigned replicas = 1;
    blob_options blobs = {};  // bucket, age and replicas are the cache's
};

// A snapshot.
struct shared_cache_counts {
    cache_counts local;             // `computed` are those that the local tier did not have
    std::uint64_t shared_hits = 0;  // found in the engine
    std::uint64_t waited = 0;       // of these: computed by another machine while this one waited
    std::uint64_t computed = 0;     // here
    std::uint64_t taken_over = 0;   // of these: the claim of another one had run out
    std::uint64_t stored = 0;       // in the engine
    std::uint64_t let_go = 0;       // of these: for want of room
    std::uint64_t broken = 0;       // questions to the engine that had no good answer
    std::uint64_t bytes_saved = 0;  // of values that were found, and not computed
    std::uint64_t bytes_stored = 0;
};

namespace detail {

// The tier in the engine: texts by text.
class shared_tier {
public:
    // What is known of a key: its value; or else whether it is claimed for who asked.
    struct finding {
        std::optional<std::string> value;
        std::string token;  // of the claim; empty: none
        std::uint64_t claim_revision = 0;
        std::uint64_t entry_revision = 0;  // of an entry that is there and no good; 0: none is
    };

    // `type`: of the values: those of another are no good.
    shared_tier(broker& where, shared_cache_options options, std::uint64_t type);
    ~shared_tier();

    task<> open();
    // Waits while somebody else computes it. Throws cancelled alone.
    task<finding> look(std::string key);
    // Renews the claim until it is stopped, or lost.
    task<> keep(std::string key, finding& claim);
    // Stores the value, if there is one, and ends the claim, if there is one.
    task<> settle(std::string key, finding claim, std::optional<std::string> value);
    task<> erase(std::string key);
    // What was found cannot be read.
    void note_broken() noexcept;
    void note_computed() noexcept;
    [[nodiscard]] shared_cache_counts counts() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

// The key in the engine of a key here.
std::string shared_key(std::string_view message);

}  // namespace detail

// Hash and Equal as for cache.
template <class Key, class Value, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class shared_cache {
public:
    using shared_value = std::shared_ptr<const Value>;

    // The broker outlives it.
    explicit shared_cache(broker& where, shared_cache_options options = shared_cache_options())
        : local_(options.local), tier_(where, std::move(options), codec_type_hash<Value>()) {}

    // Makes what is needed in the engine. Where that fails the cache is a local one, until it can. Once.
    task<> open() { return tier_.open(); }

    // As cache::get(), over all machines. Throws what its own fn threw, or cancelled. Any number of tasks at once; asking for a
    // key inside its own fn is a bug. It outlives all calls.
    template <class Function>
    task<Value> get(Key key, Function fn) {
        shared_value found = co_await get_shared(std::move(key), std::move(fn));
        co_return *found;
    }
    template <class Function>
    task<shared_value> get_shared(Key key, Function fn) {
        const auto compute = [this, &fn](const Key& of) { return look(fn, of); };
        co_return co_await local_.get_shared(std::move(key), compute);
    }
    // Forgets it, here and in the engine; other machines may have it in their local tiers as long as these keep it.
    task<> erase(Key key) {
        local_.erase(key);
        co_await tier_.erase(detail::shared_key(encode(key)));
    }

    [[nodiscard]] shared_cache_counts counts() const {
        shared_cache_counts now = tier_.counts();
        now.local = local_.counts();
        return now;
    }

private:
    template <class Function>
    static task<Value> call(Function& fn, const Key& key) {
        if constexpr (std::invocable<Function&, const Key&>) {
            using given = std::invoke_result_t<Function&, const Key&>;
            if constexpr (leat::detail::is_task<given>::value) co_return co_await fn(key);
            else co_return fn(key);
        } else {
            using given = std::invoke_result_t<Function&>;
            if constexpr (leat::detail::is_task<given>::value) co_return co_await fn();
            else co_return fn();
        }
    }
    // None of one that cannot be encoded: it is not shared.
    std::optional<std::string> message_of(const Value& made) noexcept {
        try {
            return encode(made);
        } catch (...) {
            tier_.note_broken();
            return std::nullopt;
        }
    }
    template <class Function>
    task<Value> look(Function& fn, const Key& key) {
        const std::string at = detail::shared_key(encode(key));
        detail::shared_tier::finding found = co_await tier_.look(at);
        if (found.value) {
            if (auto value = decode<Value>(*found.value)) co_return *std::move(value);
            tier_.note_broken();
            found.value.reset();
        }
        tier_.note_computed();
        context& line = co_await this_task::line();
        outcome<Value> end;
        {
            scope beside(line);
            if (!found.token.empty()) beside.spawn(&detail::shared_tier::keep, &tier_, at, std::ref(found));
            end = co_await call(fn, key).as_outcome();
            beside.stop();
            (void)co_await beside.join_quietly();
        }
        std::optional<Value> made;
        std::optional<std::string> message;
        if (end.is_value()) {
            made.emplace(std::move(end).get());
            message = message_of(*made);
        }
        task<> settling = tier_.settle(at, std::move(found), std::move(message));
        co_await shield(std::move(settling));
        if (made) co_return std::move(*made);
        co_return std::move(end).get();  // throws
    }

    cache<Key, Value, Hash, Equal> local_;
    detail::shared_tier tier_;
};

template <class Function, class KeyFunction, class Cache>
struct shared_cached_map_stage : stage_settings<shared_cached_map_stage<Function, KeyFunction, Cache>> {
    shared_cached_map_stage(std::string called, Function with, KeyFunction key, std::shared_ptr<Cache> results)
        : stage_settings<shared_cached_map_stage>(std::move(called)),
          fn(std::move(with)),
          key_of(std::move(key)),
          kept(std::move(results)) {}
    Function fn;
    KeyFunction key_of;
    std::shared_ptr<Cache> kept;
};

// As leat::cached_map, with results in a shared_cache that the program has opened:
//   … | leat::cluster::shared_cached_map("resolve", look_up, host_of, names) | …
template <class Function, class KeyFunction, class Cache>
shared_cached_map_stage<Function, KeyFunction, Cache> shared_cached_map(std::string name, Function fn,
                                                                        KeyFunction key_of,
                                                                        std::shared_ptr<Cache> results) {
    return {std::move(name), std::move(fn), std::move(key_of), std::move(results)};
}

namespace detail {

template <class In, class Out, class Function, class KeyFunction, class Cache>
class shared_cached_stage final : public stage {
public:
    shared_cached_stage(Function fn, KeyFunction key_of, std::shared_ptr<Cache> kept)
        : fn_(std::move(fn)), key_of_(std::move(key_of)), kept_(std::move(kept)) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(fn_, key_of_, kept_); }

private:
    class worker final : public stage_worker {
    public:
        worker(const Function& fn, const KeyFunction& key_of, std::shared_ptr<Cache> kept)
            : fn_(fn), key_of_(key_of), kept_(std::move(kept)) {}
        task<> process(item& in, emitter& out) override {
            const In& value = in.value.as<In>();
            auto compute = [this, &value] { return fn_(value); };
            Out result = co_await kept_->get(key_of_(value), compute);
            payload next(std::move(result));
            co_await out.emit(std::move(next));
        }

    private:
        Function fn_;
        KeyFunction key_of_;
        std::shared_ptr<Cache> kept_;
    };
    const Function fn_;
    const KeyFunction key_of_;
    std::shared_ptr<Cache> kept_;
};

}  // namespace detail

template <class In, class Function, class KeyFunction, class Cache>
    requires std::invocable<Function&, const In&> && std::invocable<KeyFunction&, const In&>
auto operator|(pipeline<In> before, shared_cached_map_stage<Function, KeyFunction, Cache> stage) {
    using out_type = std::decay_t<leat::detail::result_of<Function, const In&>>;
    static_assert(!std::is_void_v<out_type>, "shared_cached_map needs a function that returns a value");
    using implementation = detail::shared_cached_stage<In, out_type, Function, KeyFunction, Cache>;
    auto what = std::make_shared<implementation>(std::move(stage.fn), std::move(stage.key_of), std::move(stage.kept));
    before.place.add_stage(leat::detail::node_of(stage, std::move(what)));
    return pipeline<out_type>{std::move(before.place)};
}

}  // namespace leat::cluster
