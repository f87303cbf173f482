// What an engine is made of: see engine.hpp.
#pragma once

#include <leat/sync/condition_variable.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/rate_limiter.hpp>
#include <leat/sync/semaphore.hpp>

#include "engine.hpp"
#include "line_clock.hpp"
#include "order_gate.hpp"
#include "spill.hpp"

namespace leat {

constexpr std::size_t most_at_once = 64;      // items in a batch
constexpr double batch_ns = 50'000;           // how long a batch may take
constexpr double quick_ns = 2'000;            // an item that takes less may wait for others of its batch
constexpr double noticed_ns = 2'500;          // a stage that takes less for a batch is not timed for each
constexpr unsigned timed_batches = 8;         // but for one of so many
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

// The right to take, of one worker at a time. Of those that wait the one gets it that began to wait last: its memory is at hand,
// and as few are at work as the items need.
class last_come_first {
public:
    explicit last_come_first(unsigned workers) : woken_(workers) {}
    class turn {
    public:
        explicit turn(last_come_first& of) noexcept : of_(of) {}
        turn(const turn&) = delete;
        turn& operator=(const turn&) = delete;
        ~turn() { of_.leave(); }

    private:
        last_come_first& of_;
    };
    // Then the caller has the turn, and makes it. Throws cancelled when it is stopped before; then nobody else has it by that: the
    // flow is stopped as a whole.
    task<> come(unsigned who) {
        {
            const std::scoped_lock held(lock_);
            if (!std::exchange(taken_, true)) co_return;
            waiting_.push_back(who);
        }
        co_await woken_[who].wait();
    }

private:
    void leave() {
        unsigned next = 0;
        {
            const std::scoped_lock held(lock_);
            taken_ = !waiting_.empty();
            if (!taken_) return;
            next = waiting_.back();
            waiting_.pop_back();
        }
        woken_[next].set();
    }
    std::deque<auto_reset_event> woken_;
    std::mutex lock_;
    bool taken_ = false;
    std::vector<unsigned> waiting_;
};

// Where items wait that found no room in the queues of a segment; a task moves them there in their order. While any lies
// here, or is being moved, all that come behind do too.
struct flow_engine::side_way {
    explicit side_way(const stage_policy& of) : waiting(*of.spilled_as, stage_policy::spill_items, of.spill_bytes) {}
    [[nodiscard]] bool is_empty() const noexcept { return waiting.empty() && !moving; }
    [[nodiscard]] bool takes() const noexcept { return problem.empty() && waiting.has_room(); }
    leat::mutex lock;
    condition_variable changed;       // of what follows, under lock
    spill waiting;                    // under lock
    bool moving = false;              // under lock: some were taken and are not in a queue yet
    std::string problem;              // under lock: why the disk takes no more
    auto_reset_event wake;            // for the task: there may be some, or it is over
    std::atomic<bool> over{false};    // nobody will come any more
    std::atomic<std::size_t> now{0};  // how many lie here
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
    bool all_direct = false;
    bool prepares = false;  // its one stage is given batches: one worker at a time takes, as many as there is room for
    std::optional<last_come_first> taking;  // where one worker at a time takes: also where who receives numbers
    semaphore room{0};                      // for items that its workers hold
    when_full full = when_full::wait;
    std::unique_ptr<side_way> side;                // with when_full::spill
    std::size_t queue_bytes = 0, queue_items = 0;  // of each lane
    std::size_t most_held_bytes = 0;               // waiting for their turn behind the gate
    std::atomic<std::uint64_t> held_bytes{0};
    std::unique_ptr<order_gate> gate;                  // only when parallel and ordered by the input
    std::atomic<unsigned> feeders{0};                  // that have not ended
    std::atomic<unsigned> at_work{0};                  // workers that have not ended
    tally entered, taken;                              // items in front of it so far, and those that were taken
    bool numbers_on_receipt = false;                   // invariant 3 of the engine
    alignas(64) std::atomic<std::uint64_t> places{0};  // given to its items
    leat::mutex finishing;
    feed* pulls = nullptr;  // not null: its workers take the items of that source themselves, and its queue stays empty
    worker* led = nullptr;  // of a segment that is led, once it has opened its stages
    own_tally led_ns;       // of the lines that lead it
    bool is_led = false;    // its stages run on the worker that leads the segment in front, and its queue stays empty

    // Which queue an item goes through: by its key, or where it has none of its own, by its name.
    [[nodiscard]] unsigned lane_of(const item& each) const {
        if (lanes.size() == 1) return 0;
        const auto key =
            each.key != 0 ? each.key : static_cast<std::uint32_t>(std::hash<std::string>{}(each.value.name()));
        return static_cast<unsigned>(key % lanes.size());
    }
};

inline std::size_t weight_of_item(const item& each) { return sizeof(item) + each.value.weight(); }

inline bool flow_engine::outlet::is_one_queue() const noexcept {
    return is_simple() && ports.front().front().to->lanes.size() == 1;
}

struct flow_engine::feed {
    source_node* from = nullptr;
    unsigned number = 0;  // among the sources
    outlet out;
    bool is_pulled = false;  // by the workers of the one segment behind it
    leat::mutex pulling;
    bool over = false;       // under pulling: it has given all, or was ended
    std::uint64_t next = 0;  // under pulling: the number of its next item
};

struct flow_engine::worker {
    worker(segment& part_of, unsigned which)
        : mine(part_of), number(which), in(*part_of.lanes[which % part_of.lanes.size()].in) {
        for (node* const each : mine.stages) counts.push_back(&each->account.of[which]);
    }
    [[nodiscard]] bool rests() const noexcept { return number >= mine.wanted && !mine.over; }
    segment& mine;
    unsigned number;
    receiver<item>& in;
    stop_token stop;
    std::vector<std::unique_ptr<stage_worker>> stages;
    std::vector<std::vector<item>> made;  // by stage: what it has emitted of the batch and is not on its way yet
    std::vector<double> cost_ns;          // by stage: of an item, as it was lately at its slowest
    std::vector<double> mean_ns;          // by stage: of an item, when it was timed last
    std::vector<std::size_t> untimed;     // by stage: items of the batch at hand
    std::vector<stage_counts*> counts;    // by stage
    std::shared_ptr<line_clock> own_clock;
    line_clock* clock = nullptr;  // its own, or that of the line which leads it; null: time is not kept
    time_point last{};
    unsigned batches = 0;
    bool timed = true;             // each stage is, in the batch at hand
    std::vector<item> batch, run;  // what was taken; a part of it
    bool counted_open = false;
    bool ordered_now = false;       // a batch with places is being worked on behind a gate
    std::uint64_t place = 0;        // its first place
    bool direct = false;            // its outputs may be sent: it is its turn
    std::vector<item> held;         // what it has put out before its turn
    std::size_t places = 0;         // of mine.room, which it holds
    std::uint64_t prepared_ns = 0;  // what the items at hand had behind them before process()

    void note_cost(std::size_t at, std::uint64_t ns, std::size_t items) noexcept {
        mean_ns[at] = static_cast<double>(ns) / static_cast<double>(items);
        cost_ns[at] = std::max(mean_ns[at], cost_ns[at] * 0.875);
    }
    // Whether to look at the clock behind each stage for a batch of so many.
    void choose_timing(std::size_t items) noexcept {
        double all = 0;
        for (const double each : cost_ns) all += each;
        timed = !mine.all_direct || stages.size() == 1 || batches++ % timed_batches == 0 ||
                all * static_cast<double>(items) > noticed_ns * static_cast<double>(stages.size());
    }
    // The time since the clock was looked at last was spent …
    std::uint64_t charge_work(std::size_t at, time_point now) noexcept {
        if (clock == nullptr) return since_last(now);
        const line_clock::interval past = clock->take(now);
        counts[at]->busy_ns.add(past.run_ns);
        counts[at]->io_ns.add(past.waited_ns);
        counts[at]->core_ns.add(past.core_ns);
        return past.all();
    }
    void charge_wait(std::size_t at, own_tally stage_counts::* which, time_point now) noexcept {
        if (clock == nullptr) return (void)since_last(now);
        const line_clock::interval past = clock->take(now);
        (counts[at]->*which).add(past.run_ns + past.waited_ns);
        counts[at]->core_ns.add(past.core_ns);
    }
    // The same for a wait that may have been none: then its moment belongs to what follows.
    void charge_any_wait(std::size_t at, own_tally stage_counts::* which, const executor& where) noexcept {
        if (clock == nullptr || clock->has_waited()) charge_wait(at, which, where.now());
    }
    // … in nothing that the account knows.
    void skip_time(time_point now) noexcept {
        if (clock == nullptr) last = now;
        else clock->skip(now);
    }
    // Without a clock: what batches are sized by.
    std::uint64_t since_last(time_point now) noexcept {
        const auto past = now - std::exchange(last, now);
        return past.count() > 0 ? static_cast<std::uint64_t>(past.count()) : 0;
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
        self_.counts[at_]->failed.add(items);
        current_.ack.fail_some(items);
    }
    void count_retried(std::uint64_t items) noexcept override { self_.counts[at_]->retried.add(items); }
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
    // Of the item in the stage, so far.
    std::uint64_t charge_work() noexcept { return own_ns_ += self_.charge_work(at_, engine_.where_.now()); }
    // It was held back as its policy says.
    void charge_delay() noexcept { self_.charge_wait(at_, &stage_counts::blocked_ns, engine_.where_.now()); }

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
    std::uint64_t own_ns_ = 0;
    std::vector<item> held_;
};

}  // namespace leat
