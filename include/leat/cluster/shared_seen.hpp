// shared_seen: which keys have been done with, by any machine: so that what others have done is not sent at all.
//
//   leat::cluster::shared_seen seen(broker, leat::cluster::shared_seen_options("pages"));
//   co_await seen.open();
//   if (co_await seen.has(leat::digest_of(url), size)) return;     // somebody has done it; `size` bytes were saved
//   …
//   seen.note(leat::digest_of(url));                                // it is done
//   co_await seen.exchange();                                        // at the latest at the end
//
// Each machine has a Bloom filter (flow/bloom_filter.hpp) in partitions by key. From time to time, in a call of has(), it
// fetches the partitions that have changed, adds them to its own, and publishes those that it knows more of: a partition is a key
// in the engine, changed by compare and set, so that nobody's keys are lost. A key that is in no filter has been done by nobody,
// as far as was told here: asking costs nothing then. One that is in the filter may be new all the same, at the rate that was chosen:
// so it is asked for in the engine, where each key that is done has an entry of its own, and only if it is there it counts as
// seen. by_filter_alone() does without these entries and that question, and then a new item is lost now and then, at that rate.
//
// What is promised with entries: nothing is taken for seen that was not noted. What was noted may be taken for new, by who has not
// fetched the filter yet, when two have it in work at once, or while the engine does not answer: then it is done again.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <leat/cluster/blob_store.hpp>
#include <leat/cluster/broker.hpp>
#include <leat/flow/dedup.hpp>
#include <leat/flow/key_digest.hpp>
#include <leat/task/task.hpp>

namespace leat::cluster {

struct shared_seen_options {
    explicit shared_seen_options(std::string called = "seen") : name(std::move(called)) {}
    std::string name;                  // of what all machines share: letters, digits, '-' and '_'
    std::uint64_t items = 10'000'000;  // keys that the filters are made for, all together
    double false_positives = 1e-4;
    unsigned partitions = 16;
    bool exact = true;
    duration exchange_every = std::chrono::seconds(5);
    std::uint64_t exchange_after = 10'000;  // keys noted; or sooner
    duration age = duration::zero();        // then keys are forgotten; zero: never
    duration patience = std::chrono::seconds(10);
    unsigned replicas = 1;
    blob_options blobs = {};  // bucket, age and replicas are its own

    // What the filter knows counts as seen, and so, at its rate, a key that is new.
    shared_seen_options& by_filter_alone() {
        exact = false;
        return *this;
    }
};

// A snapshot.
struct shared_seen_counts {
    std::uint64_t asked = 0;
    std::uint64_t seen = 0;          // of these: somebody has done it
    std::uint64_t false_alarms = 0;  // of these: in the filter, and not among the entries
    std::uint64_t bytes_saved = 0;   // of what was seen, as has() was told
    std::uint64_t noted = 0;
    std::uint64_t published = 0;    // partitions
    std::uint64_t fetched = 0;      // partitions
    std::uint64_t conflicts = 0;    // another one was quicker, and it was done again
    std::uint64_t bytes_moved = 0;  // of filters, published and fetched
    std::uint64_t broken = 0;       // questions to the engine without a good answer
};

class shared_seen {
public:
    // The broker outlives it. Throws std::invalid_argument for options that cannot be meant so.
    explicit shared_seen(broker& where, shared_seen_options options = shared_seen_options());
    shared_seen(const shared_seen&) = delete;
    shared_seen& operator=(const shared_seen&) = delete;
    // What was noted and not exchanged is forgotten.
    ~shared_seen();

    // Makes it in the engine, or joins it there, and fetches what is known. Throws broker_failed: `mismatch` where it was made
    // for other figures than these. Once, before the rest.
    task<> open();

    // Whether somebody has done it. `bytes`: what is saved then. Throws cancelled alone: while the engine does not answer, nobody
    // has. Any number of tasks at once; one of them may take the time for an exchange now and then.
    task<bool> has(key_digest key, std::size_t bytes = 0);
    // It is done. Any thread; others know after the next exchange.
    void note(key_digest key) noexcept;
    // Writes what was noted, fetches and publishes. What the engine does not take is kept for the next time. Throws cancelled
    // alone. One at a time: others wait.
    task<> exchange();

    [[nodiscard]] shared_seen_counts counts() const noexcept;
    [[nodiscard]] const shared_seen_options& options() const noexcept;

private:
    struct state;
    std::unique_ptr<state> state_;
};

namespace detail {

std::shared_ptr<stage> make_skip_seen_stage(leat::detail::digest_function digest, std::shared_ptr<shared_seen> seen);

}  // namespace detail

template <class Function>
struct skip_seen_stage : stage_settings<skip_seen_stage<Function>> {
    skip_seen_stage(std::string called, Function with, std::shared_ptr<shared_seen> by)
        : stage_settings<skip_seen_stage>(std::move(called)), fn(std::move(with)), seen(std::move(by)) {}
    Function fn;
    std::shared_ptr<shared_seen> seen;
};

// Leaves out the items whose key(item), as for leat::dedup, somebody has done: counted as skipped, and their bytes in the report. The key of an item that goes on
// is noted when it was committed. Does not tell items of one key apart that are at work at the same time: put a dedup in front.
template <class Function>
skip_seen_stage<Function> skip_seen(std::string name, Function key, std::shared_ptr<shared_seen> seen) {
    return {std::move(name), std::move(key), std::move(seen)};
}

template <class In, class Function>
    requires std::invocable<Function&, const In&>
pipeline<In> operator|(pipeline<In> before, skip_seen_stage<Function> stage) {
    auto digest = [fn = std::move(stage.fn)](payload& value, std::string&) mutable {
        return leat::detail::digest_of_key<std::decay_t<std::invoke_result_t<Function&, const In&>>>(
            fn(value.as<In>()));
    };
    auto what = detail::make_skip_seen_stage(std::move(digest), std::move(stage.seen));
    before.place.add_stage(leat::detail::node_of(stage, std::move(what)));
    return before;
}

}  // namespace leat::cluster
