// source, stage and sink: what a flow is made of, without types. The typed builders of flow.hpp and the kinds of flow files
// both end in these.
//
// A stage makes one stage_worker for each of its jobs; a worker handles one item at a time and may hold state (a model, a
// connection). A sink is a stage that emits nothing and commits what it was given.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <leat/flow/ack.hpp>
#include <leat/flow/payload.hpp>
#include <leat/flow/policy.hpp>
#include <leat/task/task.hpp>

namespace leat {

// What travels on an edge.
struct item {
    item() = default;
    item(payload content, ack_ref account) noexcept : value(std::move(content)), ack(std::move(account)) {}
    item(item&&) noexcept = default;
    item& operator=(item&&) noexcept = default;
    // One that is left where it is was abandoned.
    ~item() {
        if (ack.is_plain()) [[unlikely]]
            ack.abandon(value.name());
    }
    payload value;
    ack_ref ack;
    std::uint64_t place = 0;  // among the items of its edge; the engine's
    std::uint32_t key = 0;    // a hash of what its order goes by; 0: of its name
    std::uint32_t port = 0;   // where it leaves its stage
};

// Where a stage puts what it makes of an item.
class emitter {
public:
    // Gives `value`, which comes from the item being processed, to what follows; waits while that is full. Throws cancelled
    // when the flow stops. With retries set for the stage, what an attempt emits is held back until the attempt succeeds.
    virtual task<> emit(payload value) = 0;
    // The same for a value that comes from the items whose acks are given (a batch).
    virtual task<> emit(payload value, ack_ref of) = 0;

    // True when the item will not be needed again, so that the stage may move from it: no retry, no dead letter.
    [[nodiscard]] bool may_consume() const noexcept { return may_consume_; }
    // For an item that stands for several (payload::items()): so many of them have failed for good, or were tried again. The
    // stage has told why, emits what there is of the others, and does not fail.
    virtual void count_failed(std::uint64_t /*items*/) noexcept {}
    virtual void count_retried(std::uint64_t /*items*/) noexcept {}
    // In a sink: the item at hand was there already, from an earlier run. Its account is committed like another's, and the stage
    // counts it as skipped.
    virtual void count_known() noexcept {}
    // What was emitted goes on even when this attempt fails the item for good: for a stage that has something to show of
    // what failed, too.
    void keep_outputs() noexcept { keeps_outputs_ = true; }
    // What is emitted from now on leaves at that port of the stage; 0 at the beginning of each item.
    void use_port(unsigned port) noexcept { port_ = port; }
    // As emit(payload), when that needs no waiting; else false, and `value` is as it was.
    [[nodiscard]] bool try_emit(payload& value) {
        if (into_ == nullptr || into_->size() >= room_) return false;
        item& each = into_->emplace_back();
        each.value = std::move(value);
        each.port = port_;
        return true;
    }
    // In finish(): the flow drains, so there was more input to come; what is made of it is not the whole.
    [[nodiscard]] bool is_cut_short() const noexcept { return is_cut_short_; }

protected:
    ~emitter() = default;
    bool may_consume_ = true;
    bool keeps_outputs_ = false;
    bool is_cut_short_ = false;
    unsigned port_ = 0;
    std::vector<item>* into_ = nullptr;  // where try_emit() puts items, without their accounts; null: nowhere
    std::size_t room_ = 0;               // as long as there are fewer than so many
};

// What became of an item that was handled at once.
enum class made : std::uint8_t {
    one,        // it goes on, as what was made of it, at its port
    none,       // it is left out
    committed,  // the sink has it for good
    held,       // the stage has moved its ack away, and answers for it
};

class sink_journal;

class stage_worker {
public:
    virtual ~stage_worker() = default;

    // Of a direct stage (stage::is_direct()) instead of process(): one attempt at one item, at once, on the worker's thread.
    // Makes of `in` what goes on; without `may_consume` it leaves `in` as it was when it throws. The engine calls it for
    // many items in turn, which costs a few nanoseconds each; process() does the same with one.
    virtual made transform(item& in, bool may_consume);

    // Of a stage with items_at_once(): called with the items of a batch before process() of each of them in turn, on the same
    // line: what takes long may be begun, and waited for, for all of them together. `may_consume` as in transform(). What is to
    // fail an item is thrown by its process(); what is thrown here fails the flow.
    virtual task<> prepare(std::span<item> batch, bool may_consume);

    // One attempt at one item. Throws to fail it (permanent_error: without retries). A stage that emits nothing for an item
    // has left it out: counted as skipped. A stage that holds the item for later (a batch, a sink that commits later) moves
    // `in.ack` away, and answers for it.
    virtual task<> process(item& in, emitter& out);
    // There is no more input for this worker: emits or commits what it holds. Not called when the flow fails or is stopped
    // at once. Throws to fail the flow.
    virtual task<> finish(emitter& out);
    // When it wants due() to be called if no item comes before, on the executor's clock; max(): not now. Asked for before
    // each wait for an item, and only where stage::has_deadlines() said so.
    [[nodiscard]] virtual time_point deadline() const noexcept { return time_point::max(); }
    // The deadline has passed and no item came: emits what must not wait longer. Throws to fail the flow.
    virtual task<> due(emitter& out);
    // The last call on every path, shielded from stops: gives back what it holds.
    virtual task<> close();
};

struct stage_node;

class stage {
public:
    virtual ~stage() = default;
    // Called first, with what the flow has set for this stage: one that sees to a part of it by itself takes it out, as a
    // stage of processes does with the timeout, of which it knows best when it begins and how to end what overran it.
    virtual void adopt(stage_policy& policy);
    // Called before that, where `next` alone takes what this stage gives, and nothing that was set for it needs a hop between the
    // two: one stage that does the work of both, as one that sends its items to another place does. None, as most have: they stay
    // two. The same one for the same two, in each run of a flow; `policy` is what the flow has set for this one.
    [[nodiscard]] virtual std::shared_ptr<stage> joined_with(const stage_policy& policy, const stage_node& next);
    // Called before start(), by who runs a flow that keeps something from run to run: `folder`, which need not be there yet, is
    // where, and `name` what the stage is called in the flow. Touches no file.
    virtual void use_state(const std::string& folder, const std::string& name);
    // Called before start() in a run with a journal (flow_options::journal), which outlives the run: for sinks that go on
    // where an earlier run was ended, and stages that keep something from run to run.
    virtual void use_journal(sink_journal& kept);
    // Called once, before any open(), with the number of jobs this stage will have, on a line that lives until close() has
    // returned and is stopped with the flow. Throws to fail the flow.
    virtual task<> start(unsigned jobs);
    // Called jobs * items_per_job() times before the first item: a worker for each item that is at work at a time. Throws
    // to fail the flow.
    virtual task<std::unique_ptr<stage_worker>> open() = 0;
    // After all its workers were closed, on every path, shielded: shared parts are closed here.
    virtual task<> close();
    // The most jobs this stage can have: 1 for one that must see all items (dedup, batch, file sinks).
    [[nodiscard]] virtual unsigned most_jobs() const noexcept { return stage_policy::most_jobs; }
    // How many items a job holds at a time: more than 1 where a job is a process that is given a window of them.
    [[nodiscard]] virtual unsigned items_per_job() const noexcept { return 1; }
    // More than 0 where that many items, taken by one worker at a time and given to prepare(), cost less than as many workers with
    // an item each: all workers together then hold jobs * items_per_job() items. Asked before each batch, by one at a time. Where
    // the order goes by keys, or the policy has a rate, a pool, a timeout or its stage shares its workers with another, batches
    // are not made, and nobody calls prepare().
    [[nodiscard]] virtual std::size_t items_at_once() const noexcept { return 0; }
    // True when its workers have deadlines. Only for a stage of one job: what due() emits has no place in an order.
    [[nodiscard]] virtual bool has_deadlines() const noexcept { return false; }
    // True when its workers have transform(), which never waits.
    [[nodiscard]] virtual bool is_direct() const noexcept { return false; }
    // At how many ports its items leave: more than 1 for a stage that sends them different ways.
    [[nodiscard]] virtual unsigned ports() const noexcept { return 1; }
    // What a flow file calls the ports, one name each; of a stage with one port none.
    [[nodiscard]] virtual std::vector<std::string> port_names() const { return {}; }
    // What `automatic` means for it; 0: the effective CPUs.
    [[nodiscard]] virtual unsigned automatic_jobs() const noexcept { return 0; }
    // Of one that leaves items out so that they are not sent, for the report. A snapshot, any thread.
    struct transfer {
        std::uint64_t saved_bytes = 0;  // of items that went no further
        std::uint64_t moved_bytes = 0;  // to know that
    };
    [[nodiscard]] virtual transfer saved_transfer() const noexcept { return {}; }
};

// Where a source puts its items.
class source_output {
public:
    // Gives the next item; waits while what follows is full. Throws cancelled when the flow drains or stops: the source
    // then ends. The engine numbers the items and keeps their account.
    virtual task<> emit(payload value) = 0;
    // The same with somebody who is told what became of it: for sources that can replay. Called once, from any thread.
    class listener {
    public:
        virtual void settled(std::uint64_t sequence, fate how) noexcept = 0;

    protected:
        ~listener() = default;
    };
    virtual task<> emit(payload value, listener& told) = 0;
    // The same for the values of many, which are gone then. Their accounts are the engine's.
    virtual task<> emit_many(std::vector<item>& items, listener& told);
    // An item that stands for so many and was done in an earlier run: counted as given and skipped, and numbered no item.
    virtual void count_done(std::uint64_t /*items*/) noexcept {}
    // Items are numbered from 0, those of the source at place n of the flow from n << bits_of_items.
    static constexpr unsigned bits_of_items = 48;
    // For sources that have their items at hand: keeps the value for the next flush(). True when that is due, as it is after
    // each value of a slow source and after some of a quick one. Before a source waits for anything, and at its end, it
    // flushes.
    [[nodiscard]] bool put(payload value) {
        kept_.emplace_back().value = std::move(value);
        return kept_.size() >= at_once_;
    }
    // Emits what was put.
    virtual task<> flush();
    // For an item that is bad already (a torn row): it counts as given and ends at once, as `how` says of an item whose
    // attempts have all failed. Throws permanent_error(why) when that is to end the flow, or nobody keeps such items.
    // `told`, when there is one, hears of it as of any other.
    virtual task<> refuse(payload value, const std::string& why, on_error how, listener* told = nullptr);

protected:
    ~source_output() = default;
    std::vector<item> kept_;  // without their accounts
    std::size_t at_once_ = 1;
};

class source {
public:
    virtual ~source() = default;
    // Called first in each run: what is given next is the first item again, however the run before has ended.
    virtual void begin() {}
    // Emits all items, then returns. Throws to fail the flow.
    virtual task<> run(source_output& out) = 0;
    // True when its items are at hand, so that giving them never waits, and it has pull(), too: then the workers of a parallel
    // stage behind it take them themselves, each when it wants one, and no item waits in a queue between the two.
    [[nodiscard]] virtual bool is_direct() const noexcept { return false; }
    // Of a direct source instead of run(): appends the values of its next items, `most` or fewer, without accounts. False when
    // there are no more. One caller at a time, on any thread. Throws to fail the flow.
    virtual bool pull(std::vector<item>& to, std::size_t most);
    // True when no two of its items have the same name: a journal then need not remember them to tell them apart.
    [[nodiscard]] virtual bool has_unique_names() const noexcept { return false; }
    // How many items there will be, when that is known: for progress. A snapshot, callable from any thread while it runs.
    [[nodiscard]] virtual std::optional<std::uint64_t> total() const noexcept { return std::nullopt; }
    // True when it may refuse items to the dead letters.
    [[nodiscard]] virtual bool has_dead_letters() const noexcept { return false; }
};

// Where a stage takes items from: a port of a stage in front of it, or a source.
struct flow_input {
    bool is_source = false;
    std::size_t index = 0;  // among the flow's sources, or its stages
    unsigned port = 0;
};

struct source_node {
    std::string name;
    std::shared_ptr<source> what;
};

// One stage of a flow as described: the engine's input.
struct stage_node {
    std::string name;
    std::shared_ptr<stage> what;
    stage_policy policy;
    std::vector<flow_input> from = {};  // empty: the stage in front of it in the list, or the first source
    bool is_sink = false;               // it keeps what it gets; where none says so, the last of the list does
};

// A flow: its sources, and its stages and sinks, each behind those that it takes from. Several that take from one port each
// get all of its items (copies: the payload must allow that).
struct flow_graph {
    std::string name = "flow";
    std::vector<source_node> sources;
    std::vector<stage_node> stages;
    order ordered = order::input;
};

}  // namespace leat
