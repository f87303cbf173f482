// Coordinators without state: the lease and the journal are in the engine, the items in workers, and whoever is killed is followed
// by another. At the end the sink, a file, has what an undisturbed run writes to it: each line once, in order.
#include <gmock/gmock.h>
#include <memory>
#include <mortal_workers.hpp>
#include <soak.hpp>

#include <leat/base/sanitizer.hpp>
#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/coordination.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace leat::cluster {

namespace takeover_functions {

task<std::string> with_mark(std::string name) {
    if (sim::chance(40)) co_await sleep_for(std::chrono::milliseconds(sim::draw(300)));
    if (name.ends_with('7')) throw permanent_error("seven");
    co_return name + "!";
}

}  // namespace takeover_functions

namespace {

using namespace std::chrono_literals;

// What is outside of all processes.
struct world {
    memory_engine engine;
    std::string file;
    std::uint64_t fence = 0;  // of the file: the epoch that has begun to write last
    unsigned items = 0;
    unsigned lives = 0;
    unsigned kills = 0;
    unsigned refusals = 0;
    unsigned runs = 0;
    bool is_complete = false;
};

struct process {
    bool is_dead = false;
    std::uint64_t epoch = 0;
};
struct killed : std::runtime_error {
    killed() : std::runtime_error("killed") {}
};

class file_sink final : public stage {
public:
    file_sink(world& in, process& of) : in_(in), of_(of) {}
    void use_journal(sink_journal& kept) override { kept_ = &kept; }
    task<> start(unsigned) override {
        check();
        in_.fence = of_.epoch;
        in_.file.resize(kept_->mode() == journal_mode::fresh ? 0 : kept_->length().value_or(0));
        co_return;
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    unsigned most_jobs() const noexcept override { return 1; }

private:
    void check() const {
        if (of_.is_dead || of_.epoch < in_.fence) throw killed();
    }
    class worker final : public stage_worker {
    public:
        explicit worker(file_sink& owner) : owner_(owner) {}
        task<> process(item& in, emitter&) override {
            owner_.check();
            owner_.in_.file += in.value.as<std::string>() + "\n";
            sink_journal::piece one{std::move(in.ack), owner_.in_.file.size()};
            owner_.kept_->wrote({&one, 1});
            co_return;
        }
        task<> finish(emitter&) override { co_await owner_.kept_->flush(); }

    private:
        file_sink& owner_;
    };
    world& in_;
    struct process& of_;
    sink_journal* kept_ = nullptr;
};

// --- Coordinators come and go, as workers do ---

task<report> run_once(world& in, process& of, std::shared_ptr<broker> link, coordination& mine) {
    placement_options options;
    options.flow = "takeover";
    options.held = &mine.held();
    options.ack_wait = 5s;
    options.lost_after = 8s;
    options.most_deliveries = 50;  // workers are killed here all the time, without being guilty
    options.window = 4 + sim::draw(40);
    at place(std::move(link), options);
    std::vector<std::string> names;
    for (unsigned number = 0; number < in.items; ++number) names.push_back(std::to_string(number));
    auto mark = map<takeover_functions::with_mark>("mark").on(place).concurrency(3).on_error(on_error::dead_letter);
    auto marked = from(names) | std::move(mark);
    flow_graph graph = std::move(marked.graph());
    stage_node sink;
    sink.name = "file";
    sink.what = std::make_shared<file_sink>(in, of);
    graph.stages.push_back(std::move(sink));
    flow_options how;
    how.journal = &mine.kept();
    how.journal_mode = mine.kept().last_run() ? journal_mode::resume : journal_mode::fresh;
    ++in.runs;
    auto running = run_flow(std::move(graph), how);
    report done = co_await std::move(running);
    if (!done.adds_up()) throw std::logic_error("the account does not add up: " + done.to_json());
    co_return done;
}

task<> coordinate(world& in, process& of, std::shared_ptr<memory_broker> link, unsigned number) {
    coordination_options how;
    how.owner = "coordinator " + std::to_string(number);
    auto beginning = coordination::begin(link, "takeover", how);
    const auto mine = co_await std::move(beginning);
    of.epoch = mine->held().epoch();
    auto running = run_once(in, of, link, *mine);
    const report done = co_await mine->hold(std::move(running));
    if (done.end == flow_end::complete && !of.is_dead) in.is_complete = true;
    co_await mine->end();
}

// A process is killed: its connection is gone, and then all else. Or the network is cut for a while, one way or both.
task<> harm(process& of, memory_broker& link) {
    co_await sleep_for(std::chrono::milliseconds(sim::draw(20'000)));
    if (sim::chance(60)) {
        of.is_dead = true;
        link.drop();
    } else {
        link.cut(static_cast<cut_way>(sim::draw(3)));
        co_await sleep_for(std::chrono::milliseconds(sim::draw(30'000)));
        link.heal();
    }
}

task<> one_life(world& in, unsigned number, bool is_harmed) {
    process of;
    std::shared_ptr<memory_broker> link = in.engine.connect();
    scope beside(co_await this_task::line());
    if (is_harmed) beside.spawn(harm, std::ref(of), std::ref(*link));
    try {
        co_await coordinate(in, of, link, number);
    } catch (const cluster_refused&) {
        ++in.refusals;
    } catch (const std::runtime_error&) {  // it was killed, or has lost its lease or its journal
        ++in.kills;
    }
    of.is_dead = true;
    link->drop();
    beside.stop();
    co_await beside.join();
}

task<> coordinators(world& in, unsigned number) {
    while (!in.is_complete) {
        const bool is_harmed = ++in.lives < 15;
        if (!is_harmed) in.engine.set_faults({});
        if (in.lives > 100) throw std::logic_error("it never ends");
        co_await one_life(in, number, is_harmed && sim::chance(80));
        co_await sleep_for(std::chrono::milliseconds(sim::draw(1000)));
    }
}

task<> play_among(scope& around, world& in) {
    in.items = 20 + sim::draw(150);
    memory_faults faults;
    faults.seed = 1 + sim::draw(1'000'000);
    faults.most = 300;
    faults.refused_calls = faults.lost_calls = faults.lost_answers = faults.late_calls = sim::draw(20);
    faults.lost_deliveries = faults.early_redeliveries = sim::draw(30);
    faults.cuts = sim::draw(4);
    faults.restarts = sim::draw(3);
    faults.reorders = sim::chance(50);
    faults.longest_delay = std::chrono::milliseconds(sim::draw(30));
    in.engine.set_faults(faults);
    const unsigned count = 1 + sim::draw(3);
    for (unsigned number = 0; number < count; ++number) around.spawn(&leat_test::mortal_workers, &in.engine, number);
    scope candidates(co_await this_task::line());
    const unsigned several = 1 + sim::draw(2);
    for (unsigned number = 0; number < several; ++number) candidates.spawn(coordinators, std::ref(in), number);
    co_await candidates.join();
    around.stop();
}

task<> play(world& in) {
    auto playing = with_scope(&play_among, std::ref(in));
    co_await std::move(playing);
    std::string expected;
    unsigned sevens = 0;
    for (unsigned number = 0; number < in.items; ++number) {
        if (number % 10 == 7) ++sevens;
        else expected += std::to_string(number) + "!\n";
    }
    if (in.file != expected) throw std::logic_error("the file is not that of an undisturbed run:\n" + in.file);
    in.engine.set_faults({});
    auto beginning = coordination::begin(in.engine.connect(), "takeover", {});
    const auto mine = co_await std::move(beginning);
    const auto last = mine->kept().last_run();
    if (!last || last->done != in.items) throw std::logic_error("not all items are on record");
    unsigned letters = 0;
    mine->kept().for_each_letter(0, [&](kept_letter&&) {
        ++letters;
        return true;
    });
    if (letters != sevens) throw std::logic_error("not the dead letters of an undisturbed run");
}

TEST(cluster_takeover, whoever_is_killed_is_followed_by_another_and_each_line_is_written_once_soak) {
    unsigned runs = 0;
    unsigned kills = 0;
    unsigned refusals = 0;
    for (leat_test::soak rounds(sanitizer::any ? 100 : 500); rounds.go_on();) {
        world in;
        sim::options how;
        how.seed = rounds.seed();
        how.max_steps = 20'000'000;
        how.max_time = 24h;
        const sim::result end = sim::run(how, play, in);
        ASSERT_TRUE(end.ok()) << end.report() << "\n" << rounds.text();
        runs += in.runs;
        kills += in.kills;
        refusals += in.refusals;
    }
    RecordProperty("runs", static_cast<int>(runs));
    RecordProperty("kills", static_cast<int>(kills));
    RecordProperty("refusals", static_cast<int>(refusals));
}

task<std::string> refusal_of(std::shared_ptr<memory_broker> link) {
    std::string why;
    try {
        auto beginning = coordination::begin(std::move(link), "takeover", {});
        const auto mine = co_await std::move(beginning);
    } catch (const cluster_refused& no) {
        why = no.what();
    }
    co_return why;
}

task<> be_refused(memory_engine& engine, std::string& why) { why = co_await refusal_of(engine.connect()); }

TEST(cluster_takeover, while_a_coordinator_lives_another_is_refused_and_told_who_it_is) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        memory_engine engine;
        std::string why;
        const auto program = [&]() -> task<> {
            coordination_options how;
            how.owner = "the first";
            auto beginning = coordination::begin(engine.connect(), "takeover", how);
            const auto mine = co_await std::move(beginning);
            auto refused = be_refused(engine, why);
            co_await mine->hold(std::move(refused));
            const time_point now = co_await this_task::now();
            EXPECT_TRUE(mine->held().is_held_at(now));
            (void)co_await mine->kept().async_begin(journal_mode::fresh, "flow");  // it can still write
            co_await mine->end();
        };
        const sim::result end = sim::run({.seed = seed}, program);
        ASSERT_TRUE(end.ok()) << end.report();
        EXPECT_THAT(why, testing::HasSubstr("the first"));
    }
}

}  // namespace
}  // namespace leat::cluster
