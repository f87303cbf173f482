// What an engine is made of: see engine.hpp.
#pragma once

#include <leat/sync/event.hpp>
#include <leat/sync/rate_limiter.hpp>
#include <leat/sync/semaphore.hpp>

#include "engine.hpp"
#include "order_gate.hpp"

namespace leat {

constexpr std::size_t most_at_once = 64;      // items in a batch
constexpr double batch_ns = 20'000;           // how long a batch may take
constexpr double quick_ns = 2'000;            // an item that takes less may wait for others of its batch
constexpr std::size_t most_held = 256;        // outputs of a batch held back before it waits for its turn
constexpr std::size_t most_unfinished = 200;  // names of unfinished items in a report
constexpr std::size_t longest_name = 200;

// How many items that take so long each to handle at once.
inline std::size_t batch_of(double ns_each, std::size_t most) noexcept {
    return ns_each * static_cast<double>(most) <= batch_ns ? most : static_cast<std::size_t>(batch_ns / ns_each) + 1;
}

struct flow_engine::node {
    explicit node(stage_node described) : description(std::move(described)) {}
    stage_node description;
    unsigned jobs = 1;
    bool direct = false;  // its items are transformed
    bool may_consume = true;
    bool is_sink = false;
    stage_account account;
    std::optional<rate_limiter> rate;
    std::shared_ptr<semaphore> pool;
    [[nodiscard]] unsigned workers() const { return jobs * description.what->items_per_job(); }
};

struct flow_engine::target {
    segment* to = nullptr;
};

struct flow_engine::outlet {
    std::vector<std::vector<target>> ports;  // none: a sink
    [[nodiscard]] bool is_simple() const noexcept { return ports.size() == 1 && ports.front().size() == 1; }
    // What fails to go in is left as it was.
    [[nodiscard]] bool is_one_queue() const noexcept;
};

struct flow_engine::lane_ends {
    std::optional<sender<item>> out;
    std::optional<receiver<item>> in;
};

struct flow_engine::segment {
    std::vector<node*> stages;
    outlet out;
    std::vector<lane_ends> lanes;  // one, or as many as workers: then an item's key says which
    unsigned workers = 1;
    // Where a stage was given a range: at least so many are at work, `wanted` now; the others wait for their event.
    unsigned least = 1;
    std::atomic<unsigned> wanted{1};
    std::deque<event> may_work;
    std::atomic<bool> over{false};  // there is no more input
    std::size_t most_at_once = 1;   // items that a worker takes: a queue full, and a share of the window
    bool has_deadlines = false;
    when_full full = when_full::wait;
    std::unique_ptr<order_gate> gate;                  // only when parallel and ordered by the input
    std::atomic<unsigned> feeders{0};                  // that have not ended
    std::atomic<unsigned> at_work{0};                  // workers that have not ended
    tally entered, taken;                              // items in front of it so far, and those that were taken
    bool numbers_on_receipt = false;                   // invariant 3 of the engine
    alignas(64) std::atomic<std::uint64_t> places{0};  // given to its items
    leat::mutex finishing;
};

inline bool flow_engine::outlet::is_one_queue() const noexcept {
    return is_simple() && ports.front().front().to->lanes.size() == 1;
}

struct flow_engine::feed {
    source_node* from = nullptr;
    unsigned number = 0;  // among the sources
    outlet out;
};

struct flow_engine::worker {
    worker(segment& part_of, unsigned which)
        : mine(part_of), number(which), in(*part_of.lanes[which % part_of.lanes.size()].in) {}
    [[nodiscard]] bool rests() const noexcept { return number >= mine.wanted && !mine.over; }
    segment& mine;
    unsigned number;
    receiver<item>& in;
    std::vector<std::unique_ptr<stage_worker>> stages;
    std::vector<std::vector<item>> made;  // by stage: what it has emitted of the batch and is not on its way yet
    std::vector<double> cost_ns;          // by stage: of an item, as it was lately at its slowest
    std::vector<item> batch, run;         // what was taken; a part of it
    bool counted_open = false;
    bool ordered_now = false;  // a batch with places is being worked on behind a gate
    std::uint64_t place = 0;   // its first place
    bool direct = false;       // its outputs may be sent: it is its turn
    std::vector<item> held;    // what it has put out before its turn

    void note_cost(std::size_t at, std::uint64_t ns, std::size_t items) noexcept {
        cost_ns[at] = std::max(static_cast<double>(ns) / static_cast<double>(items), cost_ns[at] * 0.875);
    }
    // How many items to take at once.
    [[nodiscard]] std::size_t at_once() const noexcept {
        double all = 1;
        for (const double each : cost_ns) all += each;
        return batch_of(all, mine.most_at_once);
    }
};

struct flow_engine::transform {
    std::size_t next = 0;  // the item to begin with, or the one that failed
    std::size_t kept = 0;  // items that go on; they lie in front
    // What went in, came out (of a sink: was committed) and was left out, by what each item stands for.
    std::uint64_t in = 0, out = 0, skipped = 0;
    std::uint64_t plain_skipped = 0, plain_committed = 0;  // of those, to be told to the ledger
    std::exception_ptr error;                              // of `next`; null: all are done
};

// The account of one source item.
class flow_engine::origin final : public ack_node {
public:
    origin(flow_engine& owner, std::uint64_t sequence, std::string name, std::uint64_t items,
           source_output::listener* told)
        : ack_node(sequence), owner_(owner), name_(std::move(name)), told_(told), sequence_(sequence), items_(items) {
        if (name_.size() > longest_name) name_.resize(longest_name);
    }
    [[nodiscard]] std::uint64_t items() const noexcept { return items_; }
    // It never entered the flow.
    void take_back() noexcept { given_ = false; }

private:
    void settled(fate how) noexcept override;
    void failed_in_part(std::uint64_t items) noexcept override { failed_.fetch_add(items, std::memory_order_relaxed); }
    flow_engine& owner_;
    std::string name_;
    source_output::listener* told_;
    std::uint64_t sequence_;
    std::uint64_t items_;  // that it stands for
    std::atomic<std::uint64_t> failed_{0};
    bool given_ = true;
};

class flow_engine::origin_emitter final : public source_output {
public:
    origin_emitter(flow_engine& engine, feed& of)
        : engine_(engine), from_(of), out_(of.out), flushed_(engine.where_.now()) {
        kept_.reserve(most_at_once);
        next_ = std::uint64_t{of.number} << bits_of_items;
    }
    task<> emit(payload value) override;
    task<> emit(payload value, listener& told) override;
    task<> emit_many(std::vector<item>& items, listener& told) override;
    void count_done(std::uint64_t items) noexcept override;
    task<> flush() override;
    task<> refuse(payload value, const std::string& why, on_error how, listener* told) override;

private:
    task<> emit_one(payload value, listener* told);
    void open(item& each, listener* told);
    task<> give();
    void count_given() noexcept;
    flow_engine& engine_;
    const feed& from_;
    outlet& out_;
    struct account {
        origin* node;  // null: a plain one; may be gone once it is on its way
        std::uint64_t items;
    };
    std::vector<account> accounts_;  // of what is on its way in kept_
    std::uint64_t next_ = 0;
    time_point flushed_;
};

// What a stage emits into: collects for the next stage, and lets go on what is much, or slow.
class flow_engine::chain_emitter final : public emitter {
public:
    chain_emitter(flow_engine& engine, worker& self, std::size_t at, item& current, std::vector<item>& into, bool hold)
        : engine_(engine), self_(self), what_(*self.mine.stages[at]), at_(at), current_(current), made_(into) {
        may_consume_ = what_.may_consume;
        begin_ = into.size();
        if (hold) {
            into_ = &held_;
            room_ = ~std::size_t{0};
        } else {
            into_ = &into;
            room_ = self.cost_ns[at] < quick_ns ? most_at_once : 0;
        }
    }

    task<> emit(payload value) override;
    task<> emit(payload value, ack_ref of) override;
    void count_failed(std::uint64_t items) noexcept override {
        what_.account.failed.add(items);
        current_.ack.fail_some(items);
    }
    void count_retried(std::uint64_t items) noexcept override { what_.account.retried.add(items); }
    void count_known() noexcept override { known_ = true; }

    // For finish(), once the edge in front has ended.
    void note_whether_cut_short() noexcept { is_cut_short_ = engine_.interrupted_; }
    // What was emitted goes on at once.
    void collect_nothing() noexcept { room_ = 0; }
    // Drops what a failed attempt has put out.
    void drop_held() noexcept;
    // What was held goes on.
    task<> release();
    [[nodiscard]] bool keeps_outputs() const noexcept { return keeps_outputs_; }
    // Each that was emitted gets an account; with `all`, nothing more will be, and the last takes over that of the item.
    void account_for(bool all);
    [[nodiscard]] bool emitted() const noexcept { return emitted_; }
    [[nodiscard]] bool known() const noexcept { return known_; }
    [[nodiscard]] std::uint64_t downstream_ns() const noexcept { return downstream_ns_; }

private:
    task<> let_go();
    flow_engine& engine_;
    worker& self_;
    node& what_;
    std::size_t at_;
    item& current_;
    std::vector<item>& made_;
    std::size_t begin_;  // in made_: what has an account already, or is another item's
    bool emitted_ = false;
    bool known_ = false;
    std::uint64_t downstream_ns_ = 0;
    std::vector<item> held_;
};

}  // namespace leat
