// Flows on the in-memory engine: what crosses, what fails, who comes and goes.
#include <algorithm>
#include <mutex>
#include <numeric>
#include <set>

#include <gmock/gmock.h>

#include <leat/cluster/cluster_stage.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>

namespace leat::cluster {

struct picky {
    int value = 0;
};

}  // namespace leat::cluster

template <>
struct leat::codec<leat::cluster::picky> {
    static int pack(const leat::cluster::picky& from) {
        if (from.value == 7) throw std::invalid_argument("no seven is packed");
        return from.value;
    }
    static leat::cluster::picky unpack(int value) { return {value}; }
};

namespace leat::cluster {

int value_of(const picky& from) { return from.value; }
int twice(int from) {
    if (from % 10 == 7) throw std::invalid_argument("no sevens");
    return 2 * from;
}
std::string named(const std::string& from) { return from + "!"; }
task<int> slowly(int from) {
    co_await sleep_for(std::chrono::milliseconds(5));
    co_return from + 1;
}
std::atomic<int> attempts_at_three{0};
int third_time(int from) {
    if (from == 3 && attempts_at_three.fetch_add(1) < 2) throw std::runtime_error("not yet");
    return from;
}
long longer(long from) { return from + 1; }
task<int> hangs(int from) {
    if (from == 5) co_await sleep_for(std::chrono::hours(24));
    co_return from;
}
task<int> for_a_day(int from) {
    co_await sleep_for(std::chrono::hours(24));
    co_return from;
}
std::string huge(int from) { return std::string(from == 2 ? 3'000'000 : 10, 'x'); }

namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// An engine, and workers that come and go.
class cluster_of {
public:
    explicit cluster_of(memory_options options = {}) : engine_(options) {}
    memory_engine& engine() { return engine_; }
    std::shared_ptr<broker> link() { return std::shared_ptr<broker>(engine_.connect()); }
    std::shared_ptr<cluster_worker> worker(scope& in, worker_options options = {}) {
        if (options.name.empty()) options.name = "w" + std::to_string(workers_.size());
        auto made = std::make_shared<cluster_worker>(link(), std::move(options));
        workers_.push_back(made);
        in.spawn([](std::shared_ptr<cluster_worker> which) -> task<> { co_await which->run(); }, made);
        return made;
    }
    void drain() {
        for (const auto& each : workers_) each->drain();
    }

private:
    memory_engine engine_;
    std::vector<std::shared_ptr<cluster_worker>> workers_;
};

struct result {
    report done;
    cluster_report cluster;
    std::vector<int> out;
};

// 0 to `items` - 1 through `make(pipeline)`, with so many workers.
template <class Make>
task<result> run_numbers(cluster_of& on, int items, unsigned workers, Make make, placement_options options = {}) {
    result all;
    at place(on.link(), std::move(options));
    scope work;
    for (unsigned i = 0; i < workers; ++i) on.worker(work);
    auto keep = [&all](int value) { all.out.push_back(value); };
    pipeline<int> source = from(std::views::iota(0, items));
    flow_graph graph = make(std::move(source), place) | for_each("keep", keep);
    all.done = co_await run_flow(std::move(graph));
    all.cluster = place.run()->report();
    on.drain();
    co_await work.join();
    co_return all;
}

auto just_twice = [](pipeline<int> in, const at& place) {
    auto stage = map<twice>("twice").on(place).on_error(on_error::skip);
    return std::move(in) | std::move(stage);
};

TEST(cluster_flow, items_come_back_in_order_and_the_account_adds_up) {
    const auto program = []() -> task<> {
        cluster_of on;
        const result got = co_await run_numbers(on, 1000, 2, just_twice);
        EXPECT_EQ(got.done.end, flow_end::complete) << got.done.error;
        EXPECT_TRUE(got.done.adds_up());
        EXPECT_EQ(got.done.in, 1000U);
        EXPECT_EQ(got.done.out, 900U);
        EXPECT_EQ(got.done.skipped, 100U);
        std::vector<int> expected;
        for (int i = 0; i < 1000; ++i)
            if (i % 10 != 7) expected.push_back(2 * i);
        EXPECT_EQ(got.out, expected);
        EXPECT_EQ(got.cluster.items, 1000U);
        EXPECT_TRUE(got.cluster.adds_up()) << got.cluster.to_text();
        EXPECT_LT(got.cluster.parcels, 1000U) << "no item travelled with another";
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
    run(program);
}

TEST(cluster_flow, nothing_is_left_in_the_engine) {
    const auto program = []() -> task<> {
        cluster_of on;
        (void)co_await run_numbers(on, 10, 1, just_twice);
        const auto link = on.link();
        const auto streams = co_await link->streams("df-");
        EXPECT_TRUE(streams.has_value());
        EXPECT_THAT(*streams, testing::ElementsAre("df-twice-dead"));
        const auto keys = co_await link->keys("leat-runs", "");
        EXPECT_TRUE(keys.has_value());
        EXPECT_THAT(*keys, testing::ElementsAre("lease.twice"));
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, an_item_that_fails_is_tried_again_by_the_worker_and_counted_here) {
    attempts_at_three = 0;
    const auto program = []() -> task<> {
        cluster_of on;
        const auto make = [](pipeline<int> in, const at& place) {
            auto stage = map<third_time>("third").on(place).retry(2, 1ms);
            return std::move(in) | std::move(stage);
        };
        const result got = co_await run_numbers(on, 10, 1, make);
        EXPECT_EQ(got.done.out, 10U);
        EXPECT_EQ(got.done.stages.front().retried, 2U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, an_error_of_the_function_comes_with_its_text) {
    const auto program = []() -> task<> {
        cluster_of on;
        const auto make = [](pipeline<int> in, const at& place) {
            auto stage = map<twice>("twice").on(place);
            return std::move(in) | std::move(stage);
        };
        const result got = co_await run_numbers(on, 10, 1, make);
        EXPECT_EQ(got.done.end, flow_end::failed);
        EXPECT_THAT(got.done.error, HasSubstr("no sevens"));
        EXPECT_TRUE(got.done.adds_up());
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, two_stages_of_one_run_are_served_by_the_same_workers) {
    const auto program = []() -> task<> {
        cluster_of on;
        const auto make = [](pipeline<int> in, const at& place) {
            auto first = map<slowly>("first").on(place).concurrency(4);
            auto second = map<slowly>("second").on(place).concurrency(4).buffer(64);
            return std::move(in) | std::move(first) | std::move(second);
        };
        const result got = co_await run_numbers(on, 100, 2, make);
        EXPECT_EQ(got.out.size(), 100U);
        EXPECT_EQ(got.out.back(), 101);
        EXPECT_EQ(got.cluster.items, 200U);
        EXPECT_EQ(got.done.stages.size(), 3U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, neighbours_of_one_run_are_one_hop_with_the_policies_of_each) {
    attempts_at_three = 0;
    const auto program = []() -> task<> {
        cluster_of on;
        const auto make = [](pipeline<int> in, const at& place) {
            auto first = map<slowly>("first").on(place).concurrency(4);
            auto second = map<third_time>("second").on(place).retry(2, 1ms);
            auto third = map<slowly>("third").on(place).concurrency(2);
            return std::move(in) | std::move(first) | std::move(second) | std::move(third);
        };
        const result got = co_await run_numbers(on, 100, 2, make);
        EXPECT_EQ(got.out.size(), 100U);
        EXPECT_TRUE(std::is_sorted(got.out.begin(), got.out.end()));
        EXPECT_EQ(got.out.back(), 101);
        EXPECT_EQ(got.cluster.items, 100U);
        EXPECT_EQ(got.done.stages.size(), 2U);
        EXPECT_EQ(got.done.stages.front().name, "first+second+third");
        EXPECT_EQ(got.done.stages.front().retried, 2U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, neighbours_stay_two_where_something_lies_between) {
    const auto program = []() -> task<> {
        {  // a conversion
            cluster_of on;
            result all;
            at place(on.link());
            scope work;
            on.worker(work);
            auto first = map<slowly>("first").on(place);
            auto second = map<longer>("second").on(place);
            auto keep = [&all](long value) { all.out.push_back(static_cast<int>(value)); };
            flow_graph graph =
                from(std::views::iota(0, 20)) | std::move(first) | std::move(second) | for_each("keep", keep);
            all.done = co_await run_flow(std::move(graph));
            on.drain();
            co_await work.join();
            EXPECT_EQ(all.out.back(), 21);
            EXPECT_EQ(place.run()->report().items, 40U);
        }
        {  // another taker, and another place
            cluster_of on;
            cluster_of elsewhere;
            at place(on.link());
            at other(elsewhere.link());
            scope work;
            on.worker(work);
            elsewhere.worker(work);
            auto first = map<slowly>("first").on(place);
            auto left = map<slowly>("left").on(place);
            auto right = map<slowly>("right").on(place);
            auto far = map<slowly>("far").on(other);
            int sum = 0;
            auto keep = [&sum](int value) { sum += value; };
            auto both = from(std::views::iota(0, 10)) | std::move(first);
            both | std::move(left) | for_each("keep left", keep);
            auto near = both | std::move(right);
            const report done = co_await run_flow(std::move(near) | std::move(far) | for_each("keep right", keep));
            on.drain();
            elsewhere.drain();
            co_await work.join();
            EXPECT_EQ(done.end, flow_end::complete) << done.to_text();
            EXPECT_EQ(sum, 45 + 20 + 45 + 30);
            EXPECT_EQ(place.run()->report().items, 30U);
            EXPECT_EQ(other.run()->report().items, 10U);
        }
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, what_was_joined_runs_again_as_it_did) {
    const auto program = []() -> task<> {
        cluster_of on;
        at place([&on]() -> task<std::shared_ptr<broker>> { co_return on.link(); });
        scope work;
        on.worker(work);
        auto first = map<slowly>("first").on(place);
        auto second = map<slowly>("second").on(place);
        int sum = 0;
        auto keep = [&sum](int value) { sum += value; };
        const flow_graph graph =
            from(std::vector<int>{1, 2, 3}) | std::move(first) | std::move(second) | for_each("keep", keep);
        for (int round = 1; round <= 2; ++round) {
            const report done = co_await run_flow(graph);
            EXPECT_EQ(done.end, flow_end::complete) << done.to_text();
            EXPECT_EQ(sum, 12 * round);
            EXPECT_EQ(place.run()->segments().size(), 1U);
            EXPECT_EQ(place.run()->report().items, 3U);
        }
        on.drain();
        co_await work.join();
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, a_worker_may_come_late_and_go_early) {
    const auto program = []() -> task<> {
        cluster_of on;
        result all;
        at place(on.link());
        scope work;
        auto keep = [&all](int value) { all.out.push_back(value); };
        auto stage = map<slowly>("slow").on(place).concurrency(2);
        pipeline<int> source = from(std::views::iota(0, 500));
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
        const auto come_and_go = [](cluster_of* where, scope* in) -> task<> {
            co_await sleep_for(3s);
            const auto first = where->worker(*in);
            co_await sleep_for(700ms);
            (void)where->worker(*in);
            co_await sleep_for(100ms);
            first->drain();
        };
        work.spawn(come_and_go, &on, &work);
        all.done = co_await run_flow(std::move(graph));
        on.drain();
        co_await work.join();
        EXPECT_EQ(all.done.out, 500U);
        EXPECT_TRUE(std::is_sorted(all.out.begin(), all.out.end()));
        EXPECT_EQ(place.run()->report().redelivered, 0U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, a_worker_that_is_killed_costs_no_item) {
    const auto program = []() -> task<> {
        cluster_of on;
        result all;
        placement_options options;
        options.ack_wait = 2s;
        at place(on.link(), options);
        scope work;
        auto keep = [&all](int value) { all.out.push_back(value); };
        auto stage = map<slowly>("slow").on(place).concurrency(2);
        pipeline<int> source = from(std::views::iota(0, 500));
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
        const auto kill = [](cluster_of* where) -> task<> {
            for (int i = 0; i < 5; ++i) {
                scope life;
                (void)where->worker(life);
                co_await sleep_for(300ms);
                life.stop();
                (void)co_await life.join_quietly();
            }
        };
        work.spawn(kill, &on);
        const auto late = [](cluster_of* where, scope* in) -> task<> {
            co_await sleep_for(2s);
            (void)where->worker(*in);
        };
        work.spawn(late, &on, &work);
        all.done = co_await run_flow(std::move(graph));
        on.drain();
        co_await work.join();
        EXPECT_EQ(all.done.out, 500U);
        EXPECT_EQ(all.out.size(), 500U);
        EXPECT_TRUE(std::is_sorted(all.out.begin(), all.out.end()));
        EXPECT_GT(place.run()->report().redelivered, 0U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, items_of_one_key_keep_their_order_while_workers_are_killed) {
    const auto program = []() -> task<> {
        cluster_of on;
        std::vector<int> out;
        placement_options options;
        options.ack_wait = 1s;
        at place(on.link(), options);
        scope work;
        auto keep = [&out](int value) { out.push_back(value - 1); };
        auto key = [](int value) { return value % 7; };
        auto stage = map<slowly>("slow").on(place).concurrency(3);
        pipeline<int> source = from(std::views::iota(0, 300));
        flow_graph graph =
            std::move(source) | key_by("key", key).concurrency(1) | std::move(stage) | for_each("keep", keep);
        graph.ordered = order::key;
        const auto kill = [](cluster_of* where) -> task<> {
            for (int i = 0; i < 4; ++i) {
                scope life;
                (void)where->worker(life);
                co_await sleep_for(300ms);
                life.stop();
                (void)co_await life.join_quietly();
            }
        };
        work.spawn(kill, &on);
        (void)on.worker(work);
        const report done = co_await run_flow(std::move(graph));
        on.drain();
        co_await work.join();
        EXPECT_EQ(done.out, 300U);
        std::vector<int> last(7, -1);
        for (const int each : out) {
            EXPECT_LT(last[each % 7], each);
            last[each % 7] = each;
        }
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
    EXPECT_TRUE(sim::run({.seed = 2}, program).ok());
}

TEST(cluster_flow, an_item_that_hangs_for_ever_is_given_up_as_poison_and_no_other) {
    const auto program = []() -> task<> {
        cluster_of on;
        result all;
        placement_options options;
        options.ack_wait = 3s;
        options.most_deliveries = 3;
        at place(on.link(), options);
        scope work;
        worker_options how;
        how.stall = 5s;
        auto keep = [&all](int value) { all.out.push_back(value); };
        auto stage = map<hangs>("hangs").on(place).concurrency(4);
        pipeline<int> source = from(std::views::iota(0, 50));
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
        (void)on.worker(work, how);
        (void)on.worker(work, how);
        all.done = co_await run_flow(std::move(graph));
        work.stop();
        (void)co_await work.join_quietly();
        EXPECT_EQ(all.done.end, flow_end::complete) << all.done.error;
        EXPECT_EQ(all.done.out, 49U);
        EXPECT_EQ(all.done.dead, 1U);
        EXPECT_TRUE(all.done.adds_up());
        EXPECT_EQ(place.run()->report().poison, 1U);
        const auto letters = co_await read_dead_letters(on.link(), "hangs", 10);
        EXPECT_TRUE(letters.has_value() && letters->size() == 1);
        if (!letters || letters->empty()) co_return;
        EXPECT_THAT(letters->front().why, HasSubstr("given up after 3 deliveries"));
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, what_is_held_of_a_run_that_was_removed_does_not_keep_its_worker) {
    const auto program = [](bool drains_first) -> task<> {
        cluster_of on;
        scope work;
        const auto coordinate = [](cluster_of* where) -> task<> {
            at place(where->link());
            pipeline<int> source = from(std::views::iota(0, 500));
            auto stage = map<for_a_day>("day").on(place).concurrency(2);
            auto ignore = [](int) {};
            flow_graph graph = std::move(source) | std::move(stage) | for_each("ignore", ignore);
            (void)co_await run_flow(std::move(graph));
        };
        scope coordinator;
        coordinator.spawn(coordinate, &on);
        const auto worker = on.worker(work);
        co_await sleep_for(20s);  // it holds as much as it may, and fetches no more
        context& line = co_await this_task::line();
        const time_point start = line.where().now();
        if (drains_first) worker->drain();
        coordinator.stop();
        (void)co_await coordinator.join_quietly();
        if (!drains_first) co_await sleep_for(20s);
        worker->drain();
        co_await work.join();
        EXPECT_LT(line.where().now() - start, 60s);
    };
    for (const bool drains_first : {false, true})
        EXPECT_TRUE(sim::run({.seed = 1}, [&] { return program(drains_first); }).ok());
}

TEST(cluster_flow, what_cannot_be_packed_fails_alone) {
    const auto program = []() -> task<> {
        cluster_of on;
        std::vector<int> out;
        at place(on.link());
        scope work;
        auto keep = [&out](int value) { out.push_back(value); };
        auto numbers = std::views::iota(0, 50) | std::views::transform([](int value) { return picky{value}; });
        auto stage = map<value_of>("value").on(place).on_error(on_error::keep_going);
        pipeline<picky> source = from(numbers);
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
        (void)on.worker(work);
        const report done = co_await run_flow(std::move(graph));
        on.drain();
        co_await work.join();
        EXPECT_EQ(done.end, flow_end::complete) << done.error;
        EXPECT_EQ(done.failed, 1U);
        EXPECT_EQ(out.size(), 49U);
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

TEST(cluster_flow, what_is_larger_than_a_message_fails_alone) {
    const auto program = []() -> task<> {
        cluster_of on;
        result all;
        at place(on.link());
        scope work;
        std::vector<std::string> texts = {"a", std::string(2'000'000, 'b'), "c"};
        std::vector<std::string> out;
        auto keep = [&out](std::string value) { out.push_back(std::move(value)); };
        auto stage = map<named>("named").on(place).on_error(on_error::keep_going);
        pipeline<std::string> source = from(texts);
        flow_graph graph = std::move(source) | std::move(stage) | for_each("keep", keep);
        (void)on.worker(work);
        all.done = co_await run_flow(std::move(graph));
        EXPECT_EQ(all.done.failed, 1U);
        EXPECT_THAT(out, testing::ElementsAre("a!", "c!"));

        at other(on.link());
        out.clear();
        auto large = map<huge>("huge").on(other).on_error(on_error::keep_going);
        pipeline<int> numbers = from(std::views::iota(0, 4));
        flow_graph second = std::move(numbers) | std::move(large) | for_each("keep", keep);
        all.done = co_await run_flow(std::move(second));
        EXPECT_EQ(all.done.failed, 1U);
        EXPECT_EQ(out.size(), 3U);
        on.drain();
        co_await work.join();
    };
    EXPECT_TRUE(sim::run({.seed = 1}, program).ok());
}

}  // namespace
}  // namespace leat::cluster
