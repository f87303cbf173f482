// Reports explained: made by hand, and of flows that were run in virtual time; reports read back; plans from samples.
#include <leat/flow/explain.hpp>

#include <cmath>
#include <gmock/gmock.h>
#include <random>
#include <ranges>

#include <leat/flow/flow.hpp>
#include <leat/flow/flow_plan.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/this_task.hpp>

namespace {

using namespace std::chrono_literals;
using leat::bottleneck;
using leat::report;
using leat::stage_report;
using leat::task;
using testing::AllOf;
using testing::HasSubstr;
using kind = bottleneck::kind;

stage_report stage(std::string name, std::uint64_t in, unsigned jobs, double busy, double starved, double blocked) {
    stage_report r;
    r.name = std::move(name);
    r.in = r.out = in;
    r.jobs = r.workers = jobs;
    r.busy_s = busy;
    r.starved_s = starved;
    r.blocked_s = blocked;
    return r;
}

// 400 items in 10 s; the second stage is busy.
report ten_seconds() {
    report r;
    r.flow = "letters";
    r.in = r.out = 400;
    r.seconds = 10;
    r.stages = {stage("read", 400, 1, 1, 0.1, 8.9), stage("parse", 400, 2, 19.4, 0.5, 0.1),
                stage("store", 400, 1, 2, 8, 0)};
    return r;
}

TEST(explain, a_busy_stage_is_named_with_what_it_could_do_and_what_a_worker_would_bring) {
    const report r = ten_seconds();
    const bottleneck found = bottleneck_of(r);
    EXPECT_EQ(found.what, kind::stage);
    EXPECT_EQ(found.stage, 1U);
    EXPECT_NEAR(found.utilization, 0.97, 1e-9);
    EXPECT_EQ(found.sentence, "parse is the bottleneck: its 2 jobs were busy 97% of the time, and can do 41.2 items/s");
    EXPECT_THAT(explain(r), HasSubstr("one more worker (2 → 3) would give 61.9 items/s, 1.50 times as much"));
    EXPECT_THAT(r.to_text(), HasSubstr("parse is the bottleneck"));
}

TEST(explain, the_gain_is_capped_by_the_next_stage_and_by_the_cpus) {
    report r = ten_seconds();
    r.stages[2].busy_s = 7.6;  // 52.6 a second
    EXPECT_THAT(explain(r), HasSubstr("would give 52.6 items/s, 1.28 times as much; then store is the limit"));
    r.cpus = 2;
    r.cpu_s = 17;  // of 28 s that stages were busy: 47 a second are all that the CPUs can do
    EXPECT_THAT(explain(r), HasSubstr("would give 47.1 items/s, 1.14 times as much; then the CPUs are the limit"));
    r.stages[1].most_jobs = 2;
    EXPECT_THAT(explain(r), HasSubstr("it can have no more workers"));
}

TEST(explain, cpus_that_are_all_taken_are_told_before_any_stage) {
    report r = ten_seconds();
    r.cpus = 2;
    r.cpu_s = 19;
    EXPECT_EQ(bottleneck_of(r).what, kind::cpus);
    EXPECT_THAT(explain(r), AllOf(HasSubstr("the CPUs are all taken: 1.90 of 2 were in use; parse was busy most (97%)"),
                                  HasSubstr("one more worker would gain nothing")));
}

TEST(explain, a_slow_source_a_busy_sink_and_an_order_that_holds_up_are_told_apart) {
    report r = ten_seconds();
    r.stages = {stage("read", 400, 1, 1, 9, 0), stage("parse", 400, 2, 2, 18, 0), stage("store", 400, 1, 1, 9, 0)};
    EXPECT_THAT(explain(r),
                HasSubstr("the source is the slowest: read waited 90% of the time for items; it gave 40.0 items/s"));
    r.stages = {stage("read", 400, 1, 1, 0.5, 8.5), stage("parse", 400, 2, 2, 1, 17),
                stage("store", 400, 1, 9.5, 0.5, 0)};
    EXPECT_THAT(explain(r), HasSubstr("the sink, store, is the bottleneck: its one job was busy 95%"));
    r.stages = {stage("read", 400, 1, 1, 4, 5), stage("parse", 400, 2, 8, 1, 11), stage("store", 400, 1, 1, 9, 0)};
    EXPECT_THAT(explain(r), HasSubstr("parse was held up: its workers waited 55% of the time"));
    r.stages = {stage("read", 400, 1, 5, 3, 2), stage("parse", 400, 2, 12, 8, 0), stage("store", 400, 1, 6, 4, 0)};
    EXPECT_THAT(explain(r), HasSubstr("no stage was busy all the time: parse was the most (60%)"));
}

TEST(explain, stages_that_share_workers_are_one) {
    report r = ten_seconds();
    r.stages = {stage("read", 400, 1, 1, 0.1, 8.9), stage("a", 400, 4, 15, 1, 0), stage("b", 400, 4, 23, 0, 1)};
    r.stages[2].fused = true;
    const bottleneck found = bottleneck_of(r);
    EXPECT_EQ(found.what, kind::stage);
    EXPECT_EQ(found.stage, 2U) << "it takes most of their time";
    EXPECT_NEAR(found.utilization, 0.95, 1e-9);
    EXPECT_TRUE(model_of(r).stages[3].fused);
    EXPECT_THAT(found.sentence, HasSubstr("can do 42.1 items/s")) << "400 items of 9.5 s of 4 workers";
}

TEST(explain, a_report_of_nothing_is_explained_as_that) {
    EXPECT_EQ(explain(report{}), "no item came in: there is nothing to explain\n");
    report r = ten_seconds();
    r.seconds = 0;
    EXPECT_EQ(bottleneck_of(r).what, kind::none);
    r = ten_seconds();
    r.stages.clear();
    EXPECT_EQ(bottleneck_of(r).what, kind::none);
    r = ten_seconds();
    r.stages[1].busy_s = std::nan("");
    r.stages[0].workers = 0;
    r.stages[2].busy_s = -3;
    EXPECT_FALSE(explain(r).empty());
    r.in = 3;
    EXPECT_THAT(explain(r), HasSubstr("of 3 items only"));
}

TEST(explain, names_the_slow_stage_of_flows_in_virtual_time_and_predicts_what_a_worker_brings) {
    const auto run = [](unsigned jobs, int slow_ms, int sink_ms) -> task<report> {
        const auto sleeps = [](int ms) {
            return [ms](int item) -> task<int> {
                co_await leat::sleep_for(ms * 1ms);
                co_return item;
            };
        };
        auto graph = leat::from(std::views::iota(0, 400)) | leat::map("quick", sleeps(1)).concurrency(1).buffer(64) |
                     leat::map("slow", sleeps(slow_ms)).concurrency(jobs).buffer(64) |
                     leat::for_each("sink", sleeps(sink_ms)).buffer(64);
        co_return co_await leat::run_flow(std::move(graph));
    };
    const auto program = [&run]() -> task<> {
        const report two = co_await run(2, 12, 1);
        const bottleneck found = bottleneck_of(two);
        if (found.what != kind::stage || found.stage != 1) throw std::runtime_error(explain(two));
        const leat::model_gain gain = gain_of_jobs(model_of(two), 2);
        const report three = co_await run(3, 12, 1);
        if (std::abs(gain.factor() - two.seconds / three.seconds) > 0.03)
            throw std::runtime_error(explain(two) + explain(three));
        const report sink = co_await run(4, 12, 9);
        if (bottleneck_of(sink).what != kind::stage || bottleneck_of(sink).stage != 2)
            throw std::runtime_error(explain(sink));
    };
    leat::sim::explore({.seeds = 20}, program);
}

// --- Reading reports ---

TEST(report_json, what_was_written_is_read) {
    report r = ten_seconds();
    r.end = leat::flow_end::failed;
    r.error = "the \"sink\" is full";
    r.skipped = 3;
    r.unfinished = 7;
    r.unfinished_names = {"a", "b"};
    r.cpus = 2;
    r.cpu_s = 3.5;
    r.peak_bytes = 1e7;
    r.stages[1].fused = true;
    r.stages[1].most_jobs = 4096;
    r.stages[1].p99_ms = 1.25;
    r.plan.emplace();
    r.plan->sampled = 100;
    r.plan->items = 400;
    r.plan->rate = 50;
    r.plan->seconds = 8;
    r.plan->peak_bytes = 2e7;
    r.plan->sentence = "parse limits the flow";
    const auto back = report::from_json(r.to_json());
    ASSERT_TRUE(back) << back.error();
    EXPECT_EQ(back->to_json(), r.to_json());
    EXPECT_EQ(back->to_text(), r.to_text());
    EXPECT_THAT(back->to_text(),
                HasSubstr("planned from a sample of 100: 400 items, 50.0 items/s, 8.00 s, 19.1 MiB of memory; came: "
                          "39.3 items/s (0.79 times as planned), 10.00 s (1.25 times as planned), 9.5 MiB"));
}

TEST(report_json, what_is_no_report_is_refused_with_a_sentence) {
    const auto refusal = [](std::string_view text) {
        const auto read = report::from_json(text);
        return read ? std::string("it was taken") : read.error();
    };
    EXPECT_THAT(refusal(""), HasSubstr("it is not JSON"));
    EXPECT_THAT(refusal("{"), HasSubstr("it is not JSON"));
    EXPECT_THAT(refusal("[1]"), HasSubstr("not the report of a run: the report is no object"));
    EXPECT_THAT(refusal("{}"), HasSubstr("the report has no \"flow\""));
    const std::string good = ten_seconds().to_json();
    const auto with = [&good](const std::string& from, const std::string& to) {
        std::string changed = good;
        const std::size_t at = changed.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return changed.replace(at, from.size(), to);
    };
    EXPECT_THAT(refusal(with("\"in\":400", "\"in\":-1")), HasSubstr("\"in\" of the report is not a whole number"));
    EXPECT_THAT(refusal(with("\"in\":400", "\"in\":1e40")), HasSubstr("not a whole number"));
    EXPECT_THAT(refusal(with("\"seconds\":1E1", "\"seconds\":1E999")),
                HasSubstr("\"seconds\" of the report is not a number"));
    EXPECT_THAT(refusal(with("\"end\":\"complete\"", "\"end\":\"late\"")), HasSubstr("`late`"));
    EXPECT_THAT(refusal(with("\"name\":\"parse\",", "")), HasSubstr("stage 2 has no \"name\""));
    EXPECT_THAT(refusal(with("\"stages\":[", "\"stages\":[7,")), HasSubstr("stage 1 is no object"));
    EXPECT_THAT(refusal(with("\"jobs\":1", "\"jobs\":5000000000")), HasSubstr("\"jobs\" of stage 1"));
    EXPECT_THAT(refusal(std::string(5000, '[')), HasSubstr("it is not JSON"));
}

TEST(report_json, nothing_that_is_read_breaks_anything) {
    report r = ten_seconds();
    r.plan.emplace();
    const std::string good = r.to_json();
    for (std::size_t length = 0; length < good.size(); ++length)
        EXPECT_FALSE(report::from_json(good.substr(0, length)));
    std::mt19937 random(1);
    for (int round = 0; round < 3000; ++round) {
        std::string changed = good;
        for (int change = 0; change < 3; ++change)
            changed[random() % changed.size()] = "0123456789-e.\"{}[],:tn"[random() % 22];
        const auto read = report::from_json(changed);
        if (!read) continue;
        EXPECT_FALSE((explain(*read) + read->to_text() + read->to_json()).empty());
    }
}

// --- Plans ---

class counting_source final : public leat::source {
public:
    explicit counting_source(int items, std::chrono::milliseconds each) : items_(items), each_(each) {}
    task<> run(leat::source_output& out) override {
        for (int i = 0; i < items_; ++i) {
            co_await leat::sleep_for(each_);
            leat::payload value(std::string(1000, 'x'));
            co_await out.emit(std::move(value));
            ++given;
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override { return items_; }
    int given = 0;

private:
    int items_;
    std::chrono::milliseconds each_;
};

struct planned_flow {
    std::shared_ptr<counting_source> from;
    leat::flow_graph graph;
    std::shared_ptr<int> stored = std::make_shared<int>(0);
};

planned_flow flow_of(int items) {
    planned_flow made;
    made.from = std::make_shared<counting_source>(items, 1ms);
    const auto slow = [](const std::string& text) -> task<std::string> {
        co_await leat::sleep_for(20ms);
        co_return text;
    };
    made.graph = leat::from(std::vector<std::string>()) | leat::map("slow", slow).concurrency(4).buffer(16) |
                 leat::for_each("store", [stored = made.stored](const std::string&) { ++*stored; }).buffer(16);
    made.graph.sources.front().what = made.from;
    return made;
}

TEST(flow_plan, a_sample_predicts_the_whole_and_does_not_touch_the_sink) {
    const auto program = []() -> task<> {
        planned_flow small = flow_of(2000);
        leat::flow_sample part(std::move(small.graph), 100);
        const report sampled = co_await leat::run_flow(part.take_graph());
        const leat::flow_plan told = part.plan(sampled, 1e6);
        const auto expect = [&](bool good, const char* what) {
            if (!good) throw std::runtime_error(std::string(what) + "\n" + told.to_text("test") + sampled.to_text());
        };
        expect(*small.stored == 0, "something was stored");
        expect(sampled.in == 100 && sampled.skipped == 100 && sampled.adds_up(), "not a hundred items");
        expect(sampled.end == leat::flow_end::complete, "it was not complete");
        expect(told.forecast.items == 2000 && !told.is_whole, "not the whole");
        expect(told.model.stages[1].name == "slow" && std::abs(told.model.stages[0].service_s - 0.001) < 1e-4,
               "not the source's time");
        expect(std::abs(told.forecast.rate - 200) < 4, "not the rate");
        expect(told.prediction.bytes > 15 * 1000 && told.prediction.bytes < 30 * 1100, "not the memory");

        planned_flow whole = flow_of(2000);
        const report done = co_await leat::run_flow(std::move(whole.graph));
        expect(done.out == 2000 && *whole.stored == 2000, "not all were stored");
        expect(std::abs(done.seconds - told.forecast.seconds) < 0.03 * done.seconds, "not the time");
    };
    leat::sim::explore({.seeds = 10}, program);
}

TEST(flow_plan, a_source_that_ends_within_the_sample_is_the_whole) {
    const auto program = []() -> task<> {
        for (const int items : {0, 1, 50, 100}) {
            planned_flow small = flow_of(items);
            leat::flow_sample part(std::move(small.graph), 100);
            const report sampled = co_await leat::run_flow(part.take_graph());
            const leat::flow_plan told = part.plan(sampled);
            if (!told.is_whole || told.forecast.items != static_cast<std::uint64_t>(items))
                throw std::runtime_error(told.to_text("test"));
            if (items == 0 && told.to_text("test").find("nothing to plan") == std::string::npos)
                throw std::runtime_error(told.to_text("test"));
        }
    };
    EXPECT_TRUE(leat::sim::run({}, program).ok()) << leat::sim::run({}, program).report();
}

TEST(flow_plan, a_flow_that_fails_in_the_sample_fails) {
    const auto program = []() -> task<> {
        auto graph = leat::from(std::views::iota(0, 100)) |
                     leat::map("fails", [](int) -> int { throw std::runtime_error("no"); }) |
                     leat::for_each("store", [](int) {});
        leat::flow_sample part(std::move(graph), 10);
        const report sampled = co_await leat::run_flow(part.take_graph());
        if (sampled.end != leat::flow_end::failed || !sampled.adds_up()) throw std::runtime_error(sampled.to_text());
        (void)part.plan(sampled).to_text("test");
    };
    EXPECT_TRUE(leat::sim::run({}, program).ok());
}

TEST(flow_plan, a_graph_without_ends_is_refused) {
    EXPECT_THROW(leat::flow_sample(leat::flow_graph{}, 10), std::invalid_argument);
}

}  // namespace
