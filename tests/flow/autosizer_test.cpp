// The sizing of stages, fed by pipelines that are computed: known service times, CPUs, memory, and stages that do not scale.
#include <leat/flow/autosizer.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <map>
#include <random>
#include <soak.hpp>
#include <tuple>

namespace {

using leat::autosizer;
using leat::sizer_decision;
using leat::sizer_sample;
using leat::sizer_stage;
using purpose = sizer_decision::purpose;
using verdict = sizer_decision::verdict;
using testing::HasSubstr;

struct fake_stage {
    double service_s = 0.01;
    double cpu_share = 0;
    double visits = 1;
    double most_rate = 1e12;  // of its items: a lock or a disk that its workers share
    unsigned most = 8;
    unsigned jobs = 1;
};

struct fake_flow {
    std::vector<fake_stage> stages;
    double cpus = 1e9;
    double source_rate = 1e12;
    double memory_base = 0;
    double memory_per_job = 0;
    double noise = 0;
    std::mt19937 random{1};

    // A worker's time for an item, where CPU time is stretched by so much.
    [[nodiscard]] static double service(const fake_stage& of, double stretched) {
        const double alone = of.service_s * (1 - of.cpu_share + of.cpu_share * stretched);
        return std::max(alone, of.jobs / of.most_rate);
    }
    [[nodiscard]] double by_workers(double stretched) const {
        double rate = source_rate;
        for (const fake_stage& each : stages)
            rate = std::min(rate, each.jobs / (each.visits * service(each, stretched)));
        return rate;
    }
    [[nodiscard]] double cpu_s() const {
        double all = 0;
        for (const fake_stage& each : stages) all += each.visits * each.service_s * each.cpu_share;
        return all;
    }
    [[nodiscard]] double rate() const { return cpu_s() > 0 ? std::min(by_workers(1), cpus / cpu_s()) : by_workers(1); }
    [[nodiscard]] double cpu_used() const { return rate() * cpu_s() / cpus; }
    [[nodiscard]] double memory() const {
        double all = memory_base;
        for (const fake_stage& each : stages) all += memory_per_job * each.jobs;
        return all;
    }

    [[nodiscard]] sizer_sample run(double seconds) {
        // Where the CPUs are the limit, who waits for one is busy: stretched until the rate is theirs.
        double low = 1;
        double high = 1;
        if (by_workers(1) > rate()) {
            for (high = 1e6; high - low > 1e-6 * high;)
                (by_workers((low + high) / 2) > rate() ? low : high) = (low + high) / 2;
        }
        sizer_sample told;
        told.seconds = seconds;
        for (const fake_stage& each : stages) {
            const double shaken = 1 + noise * (2 * std::uniform_real_distribution<>()(random) - 1);
            leat::stage_sample one;
            one.jobs = each.jobs;
            one.items = static_cast<std::uint64_t>(rate() * each.visits * seconds * shaken);
            one.busy_s = std::min(each.jobs * seconds, rate() * each.visits * seconds * service(each, high));
            one.starved_s = each.jobs * seconds - one.busy_s;
            told.stages.push_back(one);
        }
        told.cpu_share = cpu_used();
        told.memory_share = memory();
        told.own_memory_share = memory_per_job > 0 ? memory() - memory_base : 0;
        return told;
    }

    // The best rate of all allocations that the memory allows.
    [[nodiscard]] double best() const {
        fake_flow tried = *this;
        double found = 0;
        const std::function<void(std::size_t)> try_from = [&](std::size_t at) {
            if (at == tried.stages.size()) {
                if (tried.memory() <= 0.85) found = std::max(found, tried.rate());
                return;
            }
            for (unsigned jobs = 1; jobs <= stages[at].most; ++jobs) {
                tried.stages[at].jobs = jobs;
                try_from(at + 1);
            }
        };
        try_from(0);
        return found;
    }
};

autosizer sizer_of(const fake_flow& flow) {
    std::vector<sizer_stage> stages;
    for (const fake_stage& each : flow.stages)
        stages.push_back({"stage " + std::to_string(stages.size()), each.jobs, 1, each.most});
    return autosizer(std::move(stages));
}

std::string story(const autosizer& sizer) {
    std::string all;
    for (const sizer_decision& each : sizer.decisions()) all += each.to_text(sizer.stages()[each.stage].name) + "\n";
    return all + "rests: " + sizer.resting_because() + "\n";
}

// So many intervals of a second; checks at each that no gate was overlooked.
void live(fake_flow& flow, autosizer& sizer, int intervals) {
    for (int i = 0; i < intervals; ++i) {
        const sizer_sample sample = flow.run(1);
        const auto decided = sizer.observe(sample);
        if (!decided) continue;
        fake_stage& changed = flow.stages[decided->stage];
        ASSERT_EQ(changed.jobs, decided->from);
        ASSERT_GE(decided->to, 1U);
        ASSERT_LE(decided->to, changed.most);
        if (decided->what == purpose::grow) {
            ASSERT_LT(sample.cpu_share, 0.85) << story(sizer);
            ASSERT_LT(sample.memory_share, 0.85) << story(sizer);
            ASSERT_GT(decided->to, decided->from);
        }
        changed.jobs = decided->to;
    }
}

TEST(autosizer, doubles_the_bottleneck_while_it_pays_and_stops_where_the_next_one_limits) {
    fake_flow flow;
    flow.stages = {{0.001}, {0.016}, {0.002}};
    flow.stages[2].most = 1;
    flow.stages[1].most = 64;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 40);
    EXPECT_EQ(flow.stages[1].jobs, 8U) << "500 a second, as the sink can do\n" << story(sizer);
    EXPECT_EQ(flow.stages[0].jobs, 1U);
    ASSERT_EQ(sizer.decisions().size(), 3U) << story(sizer);
    for (const sizer_decision& each : sizer.decisions()) {
        EXPECT_EQ(each.what, purpose::grow);
        EXPECT_EQ(each.result, verdict::as_predicted);
        EXPECT_NEAR(each.rate_after, each.predicted_rate, 0.02 * each.predicted_rate);
    }
    EXPECT_THAT(sizer.resting_because(),
                HasSubstr("stage 1 is the bottleneck, but more would gain nothing: stage 2 lets no more through"));
}

TEST(autosizer, takes_back_what_did_not_pay) {
    fake_flow flow;
    flow.stages = {{0.010}};
    flow.stages[0].most_rate = 100;  // a lock that all share
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 100);
    EXPECT_EQ(flow.stages[0].jobs, 1U) << story(sizer);
    ASSERT_EQ(sizer.decisions().size(), 2U) << story(sizer);
    EXPECT_EQ(sizer.decisions()[0].result, verdict::nothing);
    EXPECT_EQ(sizer.decisions()[1].what, purpose::take_back);
    EXPECT_THAT(sizer.decisions()[1].to_text("a"),
                HasSubstr("a 2 → 1: more did not pay: 200 items/s was predicted, 100 items/s came"));
}

TEST(autosizer, refines_to_the_jobs_that_the_rate_needs) {
    fake_flow flow;
    flow.stages = {{0.010}};
    flow.stages[0].most_rate = 300;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 100);
    EXPECT_EQ(flow.stages[0].jobs, 3U) << story(sizer);
    ASSERT_EQ(sizer.decisions().size(), 3U) << story(sizer);
    EXPECT_EQ(sizer.decisions()[1].result, verdict::less);
    EXPECT_EQ(sizer.decisions()[2].what, purpose::refine);
    EXPECT_EQ(sizer.decisions()[2].result, verdict::as_predicted);
}

TEST(autosizer, a_slow_source_needs_no_more_workers) {
    fake_flow flow;
    flow.stages = {{0.010}, {0.005}};
    flow.source_rate = 50;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 50);
    EXPECT_TRUE(sizer.decisions().empty()) << story(sizer);
    EXPECT_THAT(sizer.resting_because(), HasSubstr("no stage is busy all the time"));
}

TEST(autosizer, two_stages_that_are_as_slow_grow_in_turn) {
    fake_flow flow;
    flow.stages = {{0.010}, {0.010}, {0.010}};
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 100);
    EXPECT_NEAR(flow.rate(), flow.best(), 0.01 * flow.best()) << story(sizer);
}

TEST(autosizer, cpus_at_their_gate_end_the_growth) {
    fake_flow flow;
    flow.stages = {{0.001, 1}, {0.003, 1}};
    flow.cpus = 4;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 100);
    EXPECT_NEAR(flow.rate(), 1000, 1) << story(sizer);
    EXPECT_EQ(flow.stages[0].jobs + flow.stages[1].jobs, 4U);
    EXPECT_LE(sizer.decisions().size(), 3U) << story(sizer);
}

TEST(autosizer, memory_never_passes_its_gate_when_jobs_are_alike) {
    fake_flow flow;
    flow.stages = {{0.010}, {0.001}};
    flow.memory_base = 0.2;
    flow.memory_per_job = 0.1;  // 6 jobs fit
    autosizer sizer = sizer_of(flow);
    for (int i = 0; i < 100; ++i) {
        live(flow, sizer, 1);
        ASSERT_LE(flow.memory(), 0.85) << story(sizer);
    }
    EXPECT_EQ(flow.stages[0].jobs, 5U) << story(sizer);
}

TEST(autosizer, memory_that_is_taken_by_others_is_given_back_by_who_needs_it_least) {
    fake_flow flow;
    flow.stages = {{0.010}, {0.001}};
    flow.stages[0].jobs = 4;
    flow.stages[0].most = 4;
    flow.stages[1].jobs = 4;
    flow.memory_base = 0.74;
    flow.memory_per_job = 0.02;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 50);
    EXPECT_EQ(flow.stages[0].jobs, 4U) << story(sizer);
    EXPECT_EQ(flow.stages[1].jobs, 1U) << story(sizer);
    EXPECT_LT(flow.memory(), 0.85);
    flow.memory_base = 0.3;
    live(flow, sizer, 50);
    EXPECT_EQ(flow.stages[1].jobs, 1U) << "it is not the bottleneck";
}

TEST(autosizer, a_stage_that_did_not_pay_is_tried_again_when_its_items_change) {
    fake_flow flow;
    flow.stages = {{0.010}};
    flow.stages[0].most_rate = 100;
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 50);
    ASSERT_EQ(flow.stages[0].jobs, 1U);
    flow.stages[0].most_rate = 1e9;
    flow.stages[0].service_s = 0.020;
    live(flow, sizer, 50);
    EXPECT_EQ(flow.stages[0].jobs, 8U) << story(sizer);
}

TEST(autosizer, a_change_by_somebody_else_is_taken_as_it_is) {
    fake_flow flow;
    flow.stages = {{0.010}};
    autosizer sizer = sizer_of(flow);
    ASSERT_FALSE(sizer.observe(flow.run(1)));
    ASSERT_TRUE(sizer.observe(flow.run(1)));
    flow.stages[0].jobs = 5;  // not the 2 that were decided
    live(flow, sizer, 60);
    EXPECT_EQ(sizer.decisions()[0].result, verdict::overruled) << story(sizer);
    EXPECT_EQ(flow.stages[0].jobs, 8U) << story(sizer);
}

TEST(autosizer, a_few_slow_items_are_waited_for) {
    fake_flow flow;
    flow.stages = {{4.0}};  // an item takes four intervals
    autosizer sizer = sizer_of(flow);
    live(flow, sizer, 15);
    EXPECT_TRUE(sizer.decisions().empty());
    live(flow, sizer, 400);
    EXPECT_EQ(flow.stages[0].jobs, 8U) << story(sizer);
}

TEST(autosizer, samples_that_make_no_sense_decide_nothing) {
    fake_flow flow;
    flow.stages = {{0.010}};
    autosizer sizer = sizer_of(flow);
    for (int i = 0; i < 20; ++i) {
        sizer_sample sample = flow.run(1);
        sample.seconds = i % 2 == 0 ? 0 : std::nan("");
        EXPECT_FALSE(sizer.observe(sample));
        sample = flow.run(1);
        sample.stages.clear();
        EXPECT_FALSE(sizer.observe(sample));
    }
    autosizer none({});
    EXPECT_FALSE(none.observe(sizer_sample{}));
}

// Pipelines that are drawn: whatever the service times, fan-outs, limits and CPUs, a bounded number of decisions leads to within
// 5 % of the best allocation, or to the gate of the CPUs, and there they end.
TEST(autosizer, soak_comes_close_to_the_best_allocation_and_rests_there) {
    for (leat_test::soak rounds(400); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice draw(rounds.seed());
        fake_flow flow;
        flow.noise = 0.01;
        flow.random.seed(rounds.seed());
        const unsigned count = 1 + draw(4);
        for (unsigned at = 0; at < count; ++at) {
            fake_stage one;
            one.service_s = 0.0005 * std::exp2(draw(60) / 10.0);
            one.cpu_share = draw(2) == 0 ? 0 : draw(100) / 100.0;
            one.visits = at == 0 || draw(3) != 0 ? 1 : (1 + draw(40)) / 10.0;
            one.most = 1 + draw(8);
            if (draw(4) == 0) one.most_rate = (1 + draw(50) / 10.0) / one.service_s;
            flow.stages.push_back(one);
        }
        flow.cpus = 1 + draw(16);
        if (draw(3) == 0) flow.source_rate = 20 + draw(2000);
        const double best = flow.best();
        autosizer sizer = sizer_of(flow);
        live(flow, sizer, 200);
        const std::string before = story(sizer);
        EXPECT_TRUE(flow.rate() >= 0.95 * best || flow.cpu_used() >= 0.85)
            << flow.rate() << " of " << best << " items/s\n"
            << before;
        EXPECT_LE(sizer.decisions().size(), 6 * count) << before;
        const std::size_t made = sizer.decisions().size();
        live(flow, sizer, 300);
        // But for gains at the edge of the noise, one a stage.
        EXPECT_LE(sizer.decisions().size(), made + count) << "it goes on deciding\n" << story(sizer);
        std::map<std::tuple<std::size_t, unsigned, unsigned>, int> same;
        for (const sizer_decision& each : sizer.decisions())
            EXPECT_EQ(++same[std::make_tuple(each.stage, each.from, each.to)], 1) << "again and again\n" << before;
    }
}

}  // namespace
