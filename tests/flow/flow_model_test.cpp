// The model of a flow: cases that were computed by hand, and pipelines that were run in virtual time.
#include <leat/flow/flow_model.hpp>

#include <cmath>
#include <gmock/gmock.h>
#include <ranges>

#include <leat/flow/flow.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/this_task.hpp>

namespace {

using namespace std::chrono_literals;
using leat::flow_model;
using leat::flow_prediction;
using leat::model_gain;
using leat::model_stage;
using leat::task;
using limit = flow_prediction::limit;
using testing::HasSubstr;

flow_model three_stages() {
    flow_model model;
    model.cpus = 4;
    model.stages = {model_stage("source", 0.001, 1), model_stage("work", 0.010, 2), model_stage("store", 0.001, 1)};
    model.stages[2].most_jobs = 1;
    return model;
}

TEST(flow_model, the_slowest_stage_sets_the_rate) {
    const flow_model model = three_stages();
    const flow_prediction told = predict(model, 1000);
    EXPECT_EQ(told.limited_by, limit::stage);
    EXPECT_EQ(told.bottleneck, 1U);
    EXPECT_DOUBLE_EQ(told.rate, 200);      // 2 workers / 10 ms
    EXPECT_DOUBLE_EQ(told.fill_s, 0.012);  // 1 + 10 + 1 ms
    EXPECT_NEAR(told.total_s, 0.012 + 999 * 0.005, 1e-9);
    EXPECT_DOUBLE_EQ(told.stages[1].utilization, 1);
    EXPECT_DOUBLE_EQ(told.stages[2].utilization, 0.2);  // the utilization law: 200/s times 1 ms
    EXPECT_DOUBLE_EQ(told.cpus, 2.4);                   // 200/s times 12 ms
    // Little's law: the source's, 64 that wait, 2 at work, 0.2 in the sink.
    EXPECT_DOUBLE_EQ(told.in_flight, 1 + 64 + 2 + 0.2);
    EXPECT_DOUBLE_EQ(told.latency_s, told.in_flight / told.rate);
    EXPECT_EQ(told.sentence(model),
              "work limits the flow: its 2 workers can do 200 items/s; the next, source, could do 1,000 items/s");
}

TEST(flow_model, one_more_worker_is_capped_by_what_limits_then) {
    flow_model model = three_stages();
    const model_gain one = gain_of_jobs(model, 1);
    EXPECT_DOUBLE_EQ(one.rate_after, 300);
    EXPECT_DOUBLE_EQ(one.factor(), 1.5);
    EXPECT_EQ(one.capped_by, "");
    EXPECT_EQ(one.to_text(model.stages[1], 1), "one more worker (2 → 3) would give 300 items/s, 1.50 times as much");
    const model_gain two = gain_of_jobs(model, 1, 2);
    EXPECT_NEAR(two.rate_after, 4 / 0.012, 1e-9);  // not 400: 4 CPUs / 12 ms
    EXPECT_EQ(two.capped_by, "the CPUs");
    model.cpus = 0;
    const model_gain many = gain_of_jobs(model, 1, 98);
    EXPECT_DOUBLE_EQ(many.rate_after, 1000);
    EXPECT_EQ(many.capped_by, "source");
    EXPECT_EQ(gain_of_jobs(model, 2).factor(), 1) << "it is not the bottleneck";
    EXPECT_FALSE(gain_of_jobs(model, 2).possible);
    model.stages[1].most_jobs = 2;
    EXPECT_FALSE(gain_of_jobs(model, 1).possible);
    EXPECT_EQ(gain_of_jobs(model, 1).to_text(model.stages[1], 1), "it can have no more workers");
}

TEST(flow_model, all_cpus_together_bound_the_rate) {
    flow_model model = three_stages();
    model.cpus = 1;
    const flow_prediction told = predict(model, 10);
    EXPECT_EQ(told.limited_by, limit::cpus);
    EXPECT_NEAR(told.rate, 1 / 0.012, 1e-9);
    EXPECT_NEAR(told.cpus, 1, 1e-9);
    EXPECT_THAT(told.sentence(model), HasSubstr("the CPUs limit the flow: 1 of them"));
    EXPECT_THAT(gain_of_jobs(model, 1).to_text(model.stages[1], 1),
                HasSubstr("would gain nothing: the CPUs are the limit"));
    model.stages[1].cpu_share = 0.1;  // it waits for a disk
    EXPECT_EQ(predict(model, 10).limited_by, limit::stage);
    EXPECT_DOUBLE_EQ(predict(model, 10).rate, 200);
}

TEST(flow_model, fan_out_counts_by_visits) {
    flow_model model;
    model.cpus = 0;
    model.stages = {model_stage("source", 0.001, 1), model_stage("split", 0.001, 1), model_stage("work", 0.002, 1)};
    model.stages[1].fan_out = 10;
    const flow_prediction told = predict(model, 100);
    EXPECT_DOUBLE_EQ(told.stages[2].visits, 10);
    EXPECT_DOUBLE_EQ(told.stages[2].demand_s, 0.020);
    EXPECT_DOUBLE_EQ(told.rate, 50);
    EXPECT_DOUBLE_EQ(told.fill_s, 0.004);
    EXPECT_NEAR(told.total_s, 0.002 + 1000 * 0.002, 1e-9);  // a thousand parts, from 2 ms on
}

TEST(flow_model, the_first_item_behind_a_batch_waits_for_the_others_of_it) {
    flow_model model;
    model.cpus = 0;
    model.stages = {model_stage("source", 0.010, 1), model_stage("batch", 0, 1), model_stage("store", 0.100, 1)};
    model.stages[1].fan_out = 1.0 / 20;
    model.stages[1].gathered = 20;
    const flow_prediction told = predict(model, 100);
    EXPECT_DOUBLE_EQ(told.rate, 100);  // the source's; the sink could do 200
    EXPECT_NEAR(told.fill_s, 0.010 + 19 * 0.010 + 0.100, 1e-9);
    EXPECT_NEAR(told.total_s, 0.110 + 99 * 0.010, 1e-9);
    EXPECT_EQ(told.bottleneck, 0U);
    EXPECT_THAT(told.sentence(model), HasSubstr("the source, source, limits the flow: it gives 100 items/s"));
}

TEST(flow_model, fused_stages_share_their_workers) {
    flow_model model;
    model.cpus = 0;
    model.stages = {model_stage("source", 0.0001, 1), model_stage("a", 0.002, 5), model_stage("b", 0.003, 5),
                    model_stage("sink", 0.0001, 1)};
    EXPECT_NEAR(predict(model, 1).rate, 5 / 0.003, 1e-9);
    model.stages[2].fused = true;
    const flow_prediction told = predict(model, 1);
    EXPECT_NEAR(told.rate, 5 / 0.005, 1e-9);
    EXPECT_EQ(told.bottleneck, 2U) << "it takes most of the workers' time";
    EXPECT_NEAR(gain_of_jobs(model, 1).rate_after, 6 / 0.005, 1e-9);
    EXPECT_NEAR(gain_of_jobs(model, 2).rate_after, 6 / 0.005, 1e-9);
}

TEST(flow_model, memory_is_items_times_their_size_and_queues_end_at_their_bytes) {
    flow_model model = three_stages();
    for (model_stage& each : model.stages) each.item_bytes = 1000;
    EXPECT_NEAR(predict(model, 1).bytes, 67'200, 1e-6);
    EXPECT_NEAR(predict(model, 1).most_bytes, 1000 * (1 + 2 + 64 + 1 + 64), 1e-6);
    model.stages[1].buffer_bytes = 10'000;
    EXPECT_NEAR(predict(model, 1).bytes, 13'200, 1e-6);
}

TEST(flow_model, a_bound_on_items_in_flight_bounds_the_rate) {
    flow_model model = three_stages();
    model.most_in_flight = 1.2;
    const flow_prediction told = predict(model, 1);
    EXPECT_EQ(told.limited_by, limit::in_flight);
    EXPECT_NEAR(told.rate, 100, 1e-9);  // 1.2 / 12 ms
    EXPECT_NEAR(told.in_flight, 1.2, 1e-9);
}

TEST(flow_model, figures_that_are_none_predict_nothing) {
    EXPECT_EQ(predict(flow_model{}, 10).rate, 0);
    flow_model model;
    model.stages = {model_stage("source", 0, 1), model_stage("sink", std::nan(""), 0)};
    const flow_prediction told = predict(model, 1000);
    EXPECT_EQ(told.limited_by, limit::nothing);
    EXPECT_TRUE(std::isinf(told.rate));
    EXPECT_EQ(told.total_s, 0);
    EXPECT_EQ(told.bytes, 0);
    EXPECT_THAT(told.to_text(model, 1000), HasSubstr("nothing in the flow takes time"));
    EXPECT_EQ(gain_of_jobs(model, 1).factor(), 1);
    EXPECT_EQ(gain_of_jobs(model, 7).factor(), 1);
    model.stages[1].service_s = -1;
    model.stages[0].fan_out = -3;
    EXPECT_EQ(predict(model, 5).total_s, 0);
}

// --- Beside what happens ---

struct drawn_flow {
    std::uint64_t seed;
    int items = 300;
    std::vector<int> service_ms;
    std::vector<unsigned> jobs;
    int parts = 1;
};

drawn_flow drawn(std::uint64_t seed) {
    drawn_flow of{seed, 300, {}, {}, 1};
    for (int stage = 0; stage < 4; ++stage) {
        of.service_ms.push_back(1 + static_cast<int>(leat::sim::draw(20)));
        of.jobs.push_back(1 + leat::sim::draw(6));
    }
    of.parts = 1 + static_cast<int>(leat::sim::draw(4));
    return of;
}

TEST(flow_model_in_virtual_time, a_pipeline_of_sleeping_stages_takes_the_time_that_was_predicted) {
    const auto program = []() -> task<> {
        const drawn_flow of = drawn(1);
        flow_model model;
        model.cpus = 0;
        model.stages.emplace_back("source", 0, 1);
        for (std::size_t at = 0; at < 4; ++at)
            model.stages.emplace_back("stage", of.service_ms[at] * 1e-3, at == 3 ? 1 : of.jobs[at]);
        model.stages[2].fan_out = of.parts;  // the second stage makes several of each
        const flow_prediction told = predict(model, static_cast<std::uint64_t>(of.items));

        const auto sleeps = [&of](std::size_t at) {
            return [time = of.service_ms[at] * 1ms](int item) -> task<int> {
                co_await leat::sleep_for(time);
                co_return item;
            };
        };
        const auto splits = [&of](int item) -> task<std::vector<int>> {
            co_await leat::sleep_for(of.service_ms[1] * 1ms);
            co_return std::vector<int>(static_cast<std::size_t>(of.parts), item);
        };
        const leat::time_point start = co_await leat::this_task::now();
        leat::time_point first = leat::time_point::max();
        const auto stores = [&](int) -> task<> {
            co_await leat::sleep_for(of.service_ms[3] * 1ms);
            first = std::min(first, co_await leat::this_task::now());
        };
        auto graph = leat::from(std::views::iota(0, of.items)) |
                     leat::map("a", sleeps(0)).concurrency(of.jobs[0]).buffer(64) |
                     leat::flat_map("b", splits).concurrency(of.jobs[1]).buffer(64) |
                     leat::map("c", sleeps(2)).concurrency(of.jobs[2]).buffer(64) | leat::for_each("d", stores);
        const leat::report done = co_await leat::run_flow(std::move(graph));
        const double total = std::chrono::duration<double>(co_await leat::this_task::now() - start).count();
        const double fill = std::chrono::duration<double>(first - start).count();
        if (done.out != static_cast<std::uint64_t>(of.items)) throw std::runtime_error("not all came out");
        if (std::abs(told.total_s - total) > 0.05 * total)
            throw std::runtime_error("predicted " + std::to_string(told.total_s) + " s, took " + std::to_string(total) +
                                     " s\n" + told.to_text(model, 300));
        if (std::abs(told.fill_s - fill) > 1e-6)
            throw std::runtime_error("predicted " + std::to_string(told.fill_s) + " s, the first came after " +
                                     std::to_string(fill) + " s");
    };
    leat::sim::explore({.seeds = 100}, program);
}

}  // namespace
