// Runs that are killed and gone on with, in the simulator: random flows, and a crash before or after any of the first writes
// to the journal. What is in the sink at the end is what an undisturbed run puts there.
#include <fake_journal.hpp>
#include <gmock/gmock.h>
#include <leat/flow/flow.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/this_task.hpp>
#include <soak.hpp>

namespace {

using leat::task;
using leat_test::dice;
using leat_test::fake_journal;
using leat_test::journal_store;
using namespace std::chrono_literals;

// What outlives a crash.
struct world {
    journal_store store;
    std::string file;
    std::set<std::string> made;  // of a sink of whole files: their names
};

// As the kind `write` does it: bytes are gathered, written, and committed with the length of the file.
class file_sink final : public leat::stage {
public:
    file_sink(world& in, unsigned gathered) : in_(in), gathered_(gathered) {}
    void use_journal(leat::sink_journal& kept) override { kept_ = &kept; }
    task<> start(unsigned) override {
        in_.file.resize(kept_->mode() == leat::journal_mode::fresh ? 0 : kept_->length().value_or(0));
        co_return;
    }
    task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return 1; }

private:
    class worker final : public leat::stage_worker {
    public:
        explicit worker(file_sink& owner) : owner_(owner) {}
        task<> process(leat::item& in, leat::emitter&) override {
            buffer_ += in.value.as<std::string>() + "\n";
            pieces_.push_back({std::move(in.ack), owner_.in_.file.size() + buffer_.size()});
            if (pieces_.size() >= owner_.gathered_) flush();
            co_return;
        }
        task<> finish(leat::emitter&) override {
            flush();
            co_await owner_.kept_->flush();
        }

    private:
        void flush() {
            if (owner_.in_.store.has_crashed) throw leat_test::crash();
            owner_.in_.file += buffer_;
            buffer_.clear();
            owner_.kept_->wrote(pieces_);
            pieces_.clear();
        }
        file_sink& owner_;
        std::string buffer_;
        std::vector<leat::sink_journal::piece> pieces_;
    };
    world& in_;
    unsigned gathered_;
    leat::sink_journal* kept_ = nullptr;
};

// A flow drawn from a seed: what becomes of an item is the same in each run, how long it takes is not.
struct drawn_flow {
    explicit drawn_flow(unsigned seed) {
        dice draw(seed);
        items = 20 + draw(60);
        jobs = 1 + draw(4);
        fan_out = draw(3);
        gathered = draw(3) == 0 ? 1 + draw(9) : 1;
        batch = draw(2) == 0 ? 0 : 2 + draw(4);
        drops = draw(2) == 0;
        letters = draw(2) == 0;
    }
    unsigned items = 0, jobs = 1, fan_out = 0, gathered = 1, batch = 0;
    bool drops = false, letters = false;

    // Joins `count` strings; what is left at the end is one more.
    class join_stage final : public leat::stage {
    public:
        explicit join_stage(unsigned count) : count_(count) {}
        task<std::unique_ptr<leat::stage_worker>> open() override { co_return std::make_unique<worker>(count_); }
        unsigned most_jobs() const noexcept override { return 1; }

    private:
        class worker final : public leat::stage_worker {
        public:
            explicit worker(unsigned count) : count_(count) {}
            task<> process(leat::item& in, leat::emitter& out) override {
                joined_ += in.value.as<std::string>() + "+";
                acks_.push_back(std::move(in.ack));
                if (acks_.size() >= count_) co_await flush(out);
            }
            task<> finish(leat::emitter& out) override {
                if (!acks_.empty()) co_await flush(out);
            }

        private:
            task<> flush(leat::emitter& out) {
                leat::payload value(std::exchange(joined_, {}));
                leat::ack_ref account(new leat::merged_ack(std::exchange(acks_, {})));
                co_await out.emit(std::move(value), std::move(account));
            }
            unsigned count_;
            std::string joined_;
            std::vector<leat::ack_ref> acks_;
        };
        unsigned count_;
    };

    leat::flow_graph graph(world& in) const {
        std::vector<std::string> names;
        for (unsigned i = 0; i < items; ++i) names.push_back(std::to_string(i));
        const bool dead = letters;
        const unsigned pieces = fan_out;
        const bool leaves_out = drops;
        auto first = leat::from(names) | leat::map("work",
                                                   [dead](std::string name) -> task<std::string> {
                                                       if (leat::sim::chance(50))
                                                           co_await leat::sleep_for(1ms * leat::sim::draw(200));
                                                       if (dead && name.ends_with('7'))
                                                           throw leat::permanent_error("seven");
                                                       co_return name + "!";
                                                   })
                                             .concurrency(jobs)
                                             .on_error(leat::on_error::dead_letter);
        auto second = std::move(first) | leat::flat_map("pieces", [pieces](const std::string& name) {
                          std::vector<std::string> all{name};
                          for (unsigned i = 0; i < pieces; ++i) all.push_back(name + std::to_string(i));
                          return all;
                      });
        auto third = std::move(second) | leat::filter("some", [leaves_out](const std::string& name) {
                         return !leaves_out || !name.starts_with('3');
                     });
        leat::flow_graph whole = std::move(third.graph());
        if (batch != 0) {
            leat::stage_node node;
            node.name = "join";
            node.what = std::make_shared<join_stage>(batch);
            whole.stages.push_back(std::move(node));
        }
        leat::stage_node sink;
        sink.name = "file";
        sink.what = std::make_shared<file_sink>(in, gathered);
        whole.stages.push_back(std::move(sink));
        return whole;
    }
};

task<leat::report> one_run(const drawn_flow& flow, world& in, leat::journal_mode mode) {
    fake_journal journal(in.store);
    leat::flow_options options;
    options.journal = &journal;
    options.journal_mode = mode;
    leat::flow_graph graph = flow.graph(in);
    auto running = leat::run_flow(std::move(graph), options);
    co_return co_await std::move(running);
}

leat::report simulate(std::uint64_t seed, const drawn_flow& flow, world& in, leat::journal_mode mode) {
    leat::report done;
    const auto program = [&]() -> task<> { done = co_await one_run(flow, in, mode); };
    const leat::sim::result end = leat::sim::run({.seed = seed}, program);
    EXPECT_TRUE(end.ok()) << end.report();
    EXPECT_TRUE(done.adds_up());
    return done;
}

std::multiset<std::string> dead_in(const world& in) {
    std::multiset<std::string> all;
    for (const leat::kept_letter& each : in.store.letters) all.insert(each.item + ": " + each.error);
    return all;
}

// One crash at write `at`, then perhaps more, then to the end.
void crash_and_resume(unsigned seed, const drawn_flow& flow, const world& undisturbed, unsigned at) {
    dice draw(seed * 1000 + at);
    world killed;
    killed.store.writes_left = at;
    killed.store.crash_loses_last = draw(2) == 0;
    leat::report done = simulate(seed + at, flow, killed, leat::journal_mode::fresh);
    unsigned runs = 1;
    while (done.end != leat::flow_end::complete) {
        ASSERT_TRUE(killed.store.has_crashed) << done.error;
        ASSERT_LT(++runs, 50U);
        killed.store.has_crashed = false;
        killed.store.writes_left = draw(3) == 0 ? draw(3) : journal_store::never;
        done = simulate(seed + at + 7 * runs, flow, killed, leat::journal_mode::resume);
    }
    EXPECT_EQ(killed.file, undisturbed.file) << "crash at write " << at;
    EXPECT_EQ(dead_in(killed), dead_in(undisturbed));
    EXPECT_EQ(done.in, flow.items);
    EXPECT_EQ(done.unfinished, 0U);
}

TEST(resume, after_a_crash_at_any_of_the_first_writes_a_soak_of_flows_ends_as_if_there_had_been_none) {
    unsigned crashes = 0;
    for (leat_test::soak rounds(120); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        const drawn_flow flow(rounds.seed());
        world undisturbed;
        const leat::report whole = simulate(rounds.seed(), flow, undisturbed, leat::journal_mode::fresh);
        ASSERT_EQ(whole.end, leat::flow_end::complete) << whole.error;
        const unsigned writes = undisturbed.store.writes;
        for (unsigned at = 0; at < std::min(writes + 1, 12U); ++at, ++crashes)
            crash_and_resume(rounds.seed(), flow, undisturbed, at);
    }
    EXPECT_GT(crashes, 10U);
}

TEST(resume, what_is_done_is_counted_as_skipped_and_not_done_again) {
    const drawn_flow flow(3);
    world in;
    EXPECT_EQ(simulate(1, flow, in, leat::journal_mode::fresh).resumed, 0U);
    const std::string file = in.file;
    const leat::report again = simulate(2, flow, in, leat::journal_mode::resume);
    EXPECT_EQ(again.end, leat::flow_end::complete);
    EXPECT_EQ(again.in, flow.items);
    EXPECT_EQ(again.resumed, flow.items);
    EXPECT_EQ(again.skipped, flow.items);
    EXPECT_EQ(in.file, file);
}

TEST(resume, items_of_one_name_are_told_apart) {
    world in;
    const auto run = [&](leat::journal_mode mode, unsigned writes) {
        in.store.has_crashed = false;
        in.store.writes_left = writes;
        leat::report done;
        const auto program = [&]() -> task<> {
            fake_journal journal(in.store);
            leat::flow_options options;
            options.journal = &journal;
            options.journal_mode = mode;
            const std::vector<std::string> names{"a", "b", "a", "a", "a#2", "b"};
            const auto slowly = [](std::string name) -> task<std::string> {
                co_await leat::sleep_for(100ms);
                co_return name;
            };
            auto before = leat::from(names) | leat::map("slow", slowly).concurrency(1);
            leat::flow_graph graph = std::move(before.graph());
            leat::stage_node sink;
            sink.name = "file";
            sink.what = std::make_shared<file_sink>(in, 1);
            graph.stages.push_back(std::move(sink));
            auto running = leat::run_flow(std::move(graph), options);
            done = co_await std::move(running);
        };
        const leat::sim::result end = leat::sim::run({.seed = 1}, program);
        EXPECT_TRUE(end.ok()) << end.report();
        return done;
    };
    EXPECT_EQ(run(leat::journal_mode::fresh, 3).end, leat::flow_end::failed);
    const leat::report rest = run(leat::journal_mode::resume, journal_store::never);
    EXPECT_EQ(rest.end, leat::flow_end::complete) << rest.error;
    EXPECT_GT(rest.resumed, 0U);
    EXPECT_LT(rest.resumed, 6U);
    EXPECT_EQ(in.file, "a\nb\na\na\na#2\nb\n");
    std::set<std::string> keys;
    for (const auto& [key, entry] : in.store.items) keys.insert(key.first);
    EXPECT_EQ(keys.size(), 6U) << "each item has a name of its own";
}

TEST(resume, a_journal_that_cannot_be_written_ends_the_flow_and_the_account_adds_up) {
    const drawn_flow flow(5);
    world in;
    in.store.writes_left = 1;
    const leat::report done = simulate(1, flow, in, leat::journal_mode::fresh);
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_THAT(done.error, testing::HasSubstr("the journal cannot be written: crashed"));
}

}  // namespace
