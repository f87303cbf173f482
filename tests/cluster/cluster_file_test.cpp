// Flow files on the cluster, and what can be seen and asked from outside while they run.
#include <mutex>

#include <gmock/gmock.h>

#include <cluster/manifest.hpp>
#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

task<int> waits_a_second(int from) {
    co_await sleep_for(std::chrono::seconds(1));
    co_return from;
}
std::atomic<bool> is_mended{false};
task<int> hangs_at_three(int from) {
    if (from == 3 && !is_mended) co_await sleep_for(std::chrono::hours(24));
    co_return from;
}

namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Keeps the contents of what comes.
class keeping final : public stage {
public:
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    [[nodiscard]] unsigned most_jobs() const noexcept override { return 1; }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }
    std::vector<std::string> kept;

private:
    class worker final : public stage_worker {
    public:
        explicit worker(keeping& of) : of_(of) {}
        made transform(item& in, bool) override {
            of_.kept.push_back(in.value.as<record>().bytes);
            return made::committed;
        }

    private:
        keeping& of_;
    };
};

struct kinds_of_all {
    registry all;
    kinds_of_all() { add_builtin_kinds(all); }
};
const registry& kinds() {
    static const kinds_of_all made;
    return made.all;
}

flow_file parsed(const std::string& text) {
    auto file = parse_flow_file(text, "flow.toml", kinds());
    if (!file) throw std::runtime_error(file.error().to_text());
    return std::move(*file);
}

constexpr const char* chain = R"(
[flow]
name = "chain"
[source]
type = "list"
items = ["a1", "b2 c3", "skip", "d4"]
[[stage]]
name = "words"
type = "split"
by = "separator"
separator = " "
placement = "cluster"
[[stage]]
name = "no-skips"
type = "filter"
pattern = "[0-9]"
placement = "cluster"
[[stage]]
name = "double"
type = "replace"
pattern = "[0-9]"
with = "\\0\\0"
placement = "cluster"
[[stage]]
name = "once"
type = "dedup"
[sink]
type = "null"
)";

struct outcome_of_file {
    report done;
    cluster_report cluster;
    std::vector<std::string> segments;
    std::vector<std::string> kept;
};

task<outcome_of_file> run_file(std::string text, unsigned workers, bool whole = false) {
    memory_engine engine;
    outcome_of_file all;
    flow_file file = parsed(text);
    const auto sink = std::make_shared<keeping>();
    file.graph.stages.back().what = sink;
    placement_options options;
    options.whole = whole;
    auto placed = place_on_cluster(file, text, std::shared_ptr<broker>(engine.connect()), options);
    if (!placed) throw std::runtime_error(placed.error());
    std::vector<std::shared_ptr<cluster_worker>> serving;
    scope work;
    for (unsigned i = 0; i < workers; ++i) {
        worker_options how;
        how.name = "w" + std::to_string(i);
        how.kinds = &kinds();
        serving.push_back(std::make_shared<cluster_worker>(std::shared_ptr<broker>(engine.connect()), how));
        work.spawn([](std::shared_ptr<cluster_worker> which) -> task<> { co_await which->run(); }, serving.back());
    }
    flow_options how = prepare_flow(file);
    all.done = co_await run_flow(std::move(file.graph), std::move(how));
    all.cluster = (*placed)->report();
    all.segments = (*placed)->segments();
    all.kept = sink->kept;
    for (const auto& each : serving) each->drain();
    co_await work.join();
    co_return all;
}

TEST(cluster_file, stages_one_behind_the_other_are_one_segment) {
    const auto program = []() -> task<> {
        const outcome_of_file got = co_await run_file(chain, 2);
        EXPECT_EQ(got.done.end, flow_end::complete) << got.done.error;
        EXPECT_THAT(got.segments, ElementsAre("words+no-skips+double"));
        EXPECT_THAT(got.kept, ElementsAre("a11", "b22", "c33", "d44"));
        EXPECT_EQ(got.done.in, 4U);
        EXPECT_EQ(got.done.out, 3U);
        EXPECT_EQ(got.done.skipped, 1U);
        EXPECT_TRUE(got.cluster.adds_up()) << got.cluster.to_text();
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
    run(program);
}

TEST(cluster_file, programs_run_where_the_worker_is) {
    const auto program = []() -> task<> {
        const std::string text = R"(
[flow]
name = "programs"
[source]
type = "list"
items = ["one", "two", "three"]
[[stage]]
name = "upper"
exec = ["tr", "a-z", "A-Z"]
[[stage]]
name = "number"
exec = ["sh", "-c", "printf '%s ' $0; cat", "{#}"]
input = "stdin"
[sink]
type = "null"
)";
        const outcome_of_file got = co_await run_file(text, 1, true);
        EXPECT_EQ(got.done.end, flow_end::complete) << got.done.error;
        EXPECT_THAT(got.kept, ElementsAre("1 ONE", "2 TWO", "3 THREE"));
    };
    run(program);
}

TEST(cluster_file, what_cannot_be_there_stays_with_the_coordinator_and_is_refused_by_name) {
    memory_engine engine;
    const auto link = std::shared_ptr<broker>(engine.connect());
    std::string text = chain;
    flow_file file = parsed(text);
    placement_options options;
    options.whole = true;
    const auto placed = place_on_cluster(file, text, link, options);
    ASSERT_TRUE(placed.has_value());
    EXPECT_EQ(file.graph.stages.size(), 3U);  // the segment, dedup and the sink

    for (std::size_t at = text.find("placement"); at != std::string::npos; at = text.find("placement"))
        text.erase(at, text.find('\n', at) - at);
    flow_file none = parsed(text);
    const auto nothing = place_on_cluster(none, text, link);
    ASSERT_FALSE(nothing.has_value());
    EXPECT_THAT(nothing.error(), HasSubstr("placement = \"cluster\""));

    text += "placement = \"cluster\"\n";
    const auto sink = parse_flow_file(text, "flow.toml", kinds());
    ASSERT_FALSE(sink.has_value());
    EXPECT_THAT(sink.error().to_text(), HasSubstr("what the flow makes is kept where it is run"));
}

// --- Versions ---

TEST(cluster_file, a_worker_with_another_version_of_the_flow_refuses_and_says_what_differs) {
    const auto program = []() -> task<> {
        memory_engine engine;
        const auto link = std::shared_ptr<broker>(engine.connect());
        (void)co_await link->make_bucket(runs_bucket, 0ns, 1);
        manifest theirs;
        theirs.leat = "9.9.9";
        theirs.flow = "chain";
        theirs.run = "r1";
        theirs.file = "flow.toml";
        theirs.text = chain;
        std::string other = chain;
        other.replace(other.find("\\\\0\\\\0"), 6, "x");
        theirs.flow_words = flow_text(parsed(other).description);
        theirs.hash = hash_of(theirs);
        (void)co_await link->put(runs_bucket, theirs.key(), to_json(theirs));
        manifest strange = theirs;
        strange.run = "r2";
        strange.flow_words.clear();
        strange.segments.push_back({"s", {{"stage", "no_such_function", 1, {}}}, 1s, 5});
        (void)co_await link->put(runs_bucket, strange.key(), to_json(strange));
        (void)co_await link->put(runs_bucket, "manifest.chain.r3", "no manifest");

        std::vector<std::string> said;
        worker_options how;
        how.kinds = &kinds();
        how.log = [&said](const std::string& line) { said.push_back(line); };
        cluster_worker mine(link, how);
        scope work;
        work.spawn([](cluster_worker* which) -> task<> { co_await which->run(); }, &mine);
        co_await sleep_for(3s);
        mine.drain();
        co_await work.join();
        EXPECT_EQ(mine.counts().refused, 3U);
        EXPECT_EQ(said.size(), 3U);
        if (said.size() != 3) co_return;
        EXPECT_THAT(said[0], HasSubstr("stage 'double' (replace): with is"));
        EXPECT_THAT(said[0], HasSubstr("leat 9.9.9"));
        EXPECT_THAT(said[1], HasSubstr("no_such_function"));
        EXPECT_THAT(said[2], HasSubstr("cannot be read"));
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
}

// --- From outside ---

// A flow of whole numbers through `Function`, with what the test does meanwhile.
template <auto Function, class Meanwhile>
task<report> run_beside(memory_engine* engine, int items, placement_options options,
                        std::shared_ptr<flow_control> control, std::vector<int>* out, Meanwhile meanwhile) {
    options.flow = "watched";
    at place(std::shared_ptr<broker>(engine->connect()), options);
    auto stage = map<Function>("stage").on(place).concurrency(2);
    auto keep = [out](int value) { out->push_back(value); };
    pipeline<int> source = from(std::views::iota(0, items));
    flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
    flow_options how;
    how.control = control.get();
    scope work;
    work.spawn(meanwhile);
    report done = co_await run_flow(std::move(graph), how);
    co_await work.join();
    co_return done;
}

task<> serve_for(memory_engine* engine, duration time, worker_options how) {
    if (how.name.empty()) how.name = "helper";
    cluster_worker mine(std::shared_ptr<broker>(engine->connect()), how);
    scope work;
    work.spawn([](cluster_worker* which) -> task<> { co_await which->run(); }, &mine);
    co_await sleep_for(time);
    mine.drain();
    co_await work.join();
}

TEST(cluster_file, the_status_tells_of_segments_and_workers_and_a_drain_ends_the_flow) {
    const auto program = []() -> task<> {
        memory_engine engine;
        const auto link = std::shared_ptr<broker>(engine.connect());
        const auto control = std::make_shared<flow_control>();
        std::vector<int> out;
        placement_options options;
        options.window = 32;
        options.on_drain = [control] { control->drain(); };
        const auto meanwhile = [&]() -> task<> {
            scope work;
            work.spawn(&serve_for, &engine, 60s, worker_options());
            co_await sleep_for(20s);  // the first parcel may have all 32 items that are held
            auto reading = read_status(link, "watched");
            const auto runs = co_await std::move(reading);
            EXPECT_TRUE(runs.has_value() && runs->size() == 1);
            if (!runs || runs->size() != 1) co_return;
            const run_status& one = runs->front();
            EXPECT_EQ(one.flow, "watched");
            EXPECT_THAT(one.coordinator, testing::Not(IsEmpty()));
            EXPECT_EQ(one.segments.size(), 1U);
            EXPECT_GT(one.segments.front().at_work, 0U);
            EXPECT_EQ(one.workers.size(), 1U);
            EXPECT_EQ(one.workers.front().name, "helper");
            EXPECT_GT(one.workers.front().done, 0U);
            EXPECT_THAT(to_text(*runs), HasSubstr("worker helper: holds"));
            auto asking = ask_to_drain(link, "watched");
            const auto asked = co_await std::move(asking);
            EXPECT_TRUE(asked.has_value());
            co_await work.join();
        };
        auto running = run_beside<waits_a_second>(&engine, 1000, options, control, &out, meanwhile);
        const report done = co_await std::move(running);
        EXPECT_EQ(done.end, flow_end::interrupted);
        EXPECT_EQ(done.unfinished, 0U);
        EXPECT_LT(done.in, 1000U);
        EXPECT_EQ(done.out, done.in);
        auto asking = ask_to_drain(link, "watched");
        const auto again = co_await std::move(asking);
        EXPECT_FALSE(again.has_value());
        auto reading = read_status(link, "");
        const auto none = co_await std::move(reading);
        EXPECT_TRUE(none.has_value() && none->empty());
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
}

TEST(cluster_file, a_second_coordinator_is_refused_and_the_first_goes_on) {
    const auto program = []() -> task<> {
        memory_engine engine;
        std::vector<int> out;
        std::vector<int> none;
        const auto second = [&]() -> task<> {
            scope work;
            work.spawn(&serve_for, &engine, 40s, worker_options());
            co_await sleep_for(2s);
            const auto nothing = []() -> task<> { co_return; };
            auto running = run_beside<waits_a_second>(&engine, 5, placement_options(), std::make_shared<flow_control>(),
                                                      &none, nothing);
            const report refused = co_await std::move(running);
            EXPECT_EQ(refused.end, flow_end::failed);
            EXPECT_THAT(refused.error, HasSubstr("one coordinator at a time"));
            co_await work.join();
        };
        auto running = run_beside<waits_a_second>(&engine, 50, placement_options(), std::make_shared<flow_control>(),
                                                  &out, second);
        const report done = co_await std::move(running);
        EXPECT_EQ(done.end, flow_end::complete) << done.error;
        EXPECT_EQ(out.size(), 50U);
        EXPECT_THAT(none, IsEmpty());
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
}

TEST(cluster_file, messages_that_are_none_are_kept_among_the_dead_letters_and_stop_nobody) {
    const auto program = []() -> task<> {
        memory_engine engine;
        const auto link = std::shared_ptr<broker>(engine.connect());
        std::vector<int> out;
        const auto disturb = [&]() -> task<> {
            co_await sleep_for(1s);
            auto reading = read_status(link, "watched");
            const auto runs = co_await std::move(reading);
            EXPECT_TRUE(runs.has_value() && runs->size() == 1);
            if (!runs || runs->size() != 1) co_return;
            message garbage;
            garbage.payload = "garbage";
            garbage.subject = "df.watched." + runs->front().run + ".0.k0";
            (void)co_await link->publish(garbage);
            garbage.subject = "df.watched." + runs->front().run + ".0.out.k0";
            (void)co_await link->publish(garbage);
            auto serving = serve_for(&engine, 30s, worker_options());
            co_await std::move(serving);
        };
        auto running = run_beside<waits_a_second>(&engine, 10, placement_options(), std::make_shared<flow_control>(),
                                                  &out, disturb);
        const report done = co_await std::move(running);
        EXPECT_EQ(done.end, flow_end::complete) << done.error;
        EXPECT_EQ(out.size(), 10U);
        auto letters = read_dead_letters(link, "watched", 10);
        const auto dead = co_await std::move(letters);
        EXPECT_TRUE(dead.has_value() && dead->size() == 2);
        if (!dead || dead->size() != 2) co_return;
        for (const dead_item& each : *dead) {
            EXPECT_FALSE(each.has_value);
            EXPECT_THAT(each.why, HasSubstr("no parcel of"));
        }
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
}

TEST(cluster_file, what_was_given_up_can_be_done_again_later) {
    const auto program = []() -> task<> {
        memory_engine engine;
        const auto link = std::shared_ptr<broker>(engine.connect());
        std::vector<int> out;
        placement_options options;
        options.ack_wait = 2s;
        options.most_deliveries = 2;
        is_mended = false;
        const auto serve = [&]() -> task<> {
            worker_options how;
            how.stall = 3s;
            how.drain_timeout = 5s;
            auto serving = serve_for(&engine, 90s, how);
            co_await std::move(serving);
        };
        auto running = run_beside<hangs_at_three>(&engine, 10, options, std::make_shared<flow_control>(), &out, serve);
        const report done = co_await std::move(running);
        EXPECT_EQ(done.dead, 1U);
        EXPECT_EQ(out.size(), 9U);

        // Into a flow of its own, which begins where the segment does.
        std::vector<std::string> replayed;
        pipeline<record> source = from_source<record>("letters", dead_letter_source(link, "watched", "stage"));
        auto keep = [&replayed](const record& value) { replayed.push_back(value.bytes); };
        flow_graph graph = std::move(source) | for_each("keep", keep);
        const report again = co_await run_flow(std::move(graph));
        EXPECT_EQ(again.end, flow_end::complete) << again.error;
        EXPECT_THAT(replayed, ElementsAre(std::string("\3\0\0\0", 4)));
        auto letters = read_dead_letters(link, "watched", 10);
        const auto dead = co_await std::move(letters);
        EXPECT_TRUE(dead.has_value() && dead->empty());
    };
    const sim::result end = sim::run({.seed = 1}, program);
    EXPECT_TRUE(end.ok()) << end.report();
}

}  // namespace
}  // namespace leat::cluster
