#include <leat/cluster/shared_cache.hpp>

#include <map>
#include <ranges>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

#include "../support/soak.hpp"

namespace {

using leat::task;
using leat::cluster::memory_engine;
using leat::cluster::shared_cache_options;
using namespace std::chrono_literals;

using texts = leat::cluster::shared_cache<int, std::string>;

// A machine: a connection and a cache of its own.
struct machine {
    machine(memory_engine& engine, shared_cache_options options) : link(engine.connect()), cache(*link, options) {}
    std::unique_ptr<leat::cluster::memory_broker> link;
    texts cache;
};

std::string value_of(int key) {
    return std::string(static_cast<std::size_t>(20 + key), static_cast<char>('a' + key % 26));
}

struct computing {
    std::map<int, int> times;
    std::map<int, int> at_once;
    int most_at_once = 0;
    task<std::string> operator()(int key) {
        ++times[key];
        most_at_once = std::max(most_at_once, ++at_once[key]);
        co_await leat::sleep_for(100ms);
        --at_once[key];
        co_return value_of(key);
    }
};

// program(engine, count of computations)
template <class Program>
leat::sim::result simulate(Program program, std::uint64_t seed = 1, leat::cluster::memory_options how = {}) {
    leat::sim::result told = leat::sim::run({.seed = seed}, [&]() -> task<> {
        memory_engine engine(how);
        co_await program(engine);
    });
    EXPECT_TRUE(told.ok()) << told.report();
    return told;
}

task<> ask(machine* on, computing* with, int key) {
    const auto compute = [with](const int& of) { return (*with)(of); };
    const std::string value = co_await on->cache.get(key, compute);
    if (value != value_of(key)) throw std::runtime_error("another value");
}

TEST(shared_cache, a_value_is_computed_by_one_machine_and_found_by_the_others) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        machine two(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await two.cache.open();
        co_await ask(&one, &with, 1);
        co_await ask(&one, &with, 1);
        co_await ask(&two, &with, 1);
        EXPECT_EQ(with.times[1], 1);
        EXPECT_EQ(one.cache.counts().local.hits, 1U);
        EXPECT_EQ(one.cache.counts().computed, 1U);
        EXPECT_EQ(one.cache.counts().stored, 1U);
        EXPECT_EQ(two.cache.counts().shared_hits, 1U);
        EXPECT_EQ(two.cache.counts().computed, 0U);
        EXPECT_EQ(two.cache.counts().bytes_saved, leat::encode(value_of(1)).size());
        EXPECT_EQ(two.cache.counts().broken, 0U);
    });
}

TEST(shared_cache, machines_that_ask_at_the_same_time_compute_once) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        std::vector<std::unique_ptr<machine>> all;
        for (int i = 0; i < 5; ++i) {
            all.push_back(std::make_unique<machine>(engine, shared_cache_options("test")));
            co_await all.back()->cache.open();
        }
        leat::scope work;
        for (auto& each : all)
            for (int i = 0; i < 40; ++i) work.spawn(&ask, each.get(), &with, i % 10);
        co_await work.join();
        for (int key = 0; key < 10; ++key) EXPECT_EQ(with.times[key], 1) << key;
        const auto left = co_await all.front()->link->keys("lc_test", "c/");
        EXPECT_TRUE(left && left->empty());  // no claim is left
    });
}

TEST(shared_cache, a_failure_is_its_callers_and_another_machine_computes) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        machine two(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await two.cache.open();
        leat::scope work;
        const auto failing = [](machine* on) -> task<> {
            const auto fail = []() -> task<std::string> {
                co_await leat::sleep_for(50ms);
                throw std::runtime_error("no value today");
            };
            leat::outcome<std::string> end = co_await on->cache.get(1, fail).as_outcome();
            EXPECT_TRUE(end.is_error());
        };
        work.spawn(failing, &one);
        co_await leat::sleep_for(10ms);
        work.spawn(&ask, &two, &with, 1);
        co_await work.join();
        EXPECT_EQ(with.times[1], 1);
    });
}

TEST(shared_cache, the_claim_of_a_machine_that_died_is_taken_over_when_its_lease_is_over) {
    const leat::sim::result told = simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine two(engine, shared_cache_options("test"));
        co_await two.cache.open();
        machine one(engine, shared_cache_options("test"));
        co_await one.cache.open();
        leat::scope work;
        const auto for_ever = [](machine* on) -> task<> {
            const auto compute = []() -> task<std::string> {
                co_await leat::sleep_for(24h);
                co_return "";
            };
            (void)co_await on->cache.get(1, compute).as_outcome();
        };
        work.spawn(for_ever, &one);
        co_await leat::sleep_for(1min);  // it renews
        const auto held = co_await two.link->keys("lc_test", "c/");
        EXPECT_EQ(held->size(), 1U);
        one.link->drop();
        co_await ask(&two, &with, 1);
        EXPECT_EQ(with.times[1], 1);
        EXPECT_EQ(two.cache.counts().taken_over, 1U);
        work.stop();
        (void)co_await work.join_quietly();
    });
    EXPECT_LT(told.time, 90s);
}

TEST(shared_cache, one_that_is_stopped_gives_its_claim_back_at_once) {
    const leat::sim::result told = simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        machine two(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await two.cache.open();
        leat::scope work;
        work.spawn(&ask, &one, &with, 1);
        co_await leat::sleep_for(50ms);
        work.stop();
        (void)co_await work.join_quietly();
        co_await ask(&two, &with, 1);
        EXPECT_EQ(two.cache.counts().taken_over, 0U);
    });
    EXPECT_LT(told.time, 2s);
}

TEST(shared_cache, what_is_broken_in_the_engine_is_a_miss_and_is_replaced) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await ask(&one, &with, 1);
        const auto keys = co_await one.link->keys("lc_test", "v/");
        EXPECT_EQ(keys->size(), 1U);
        const std::string key = keys->front();
        const auto good = co_await one.link->get("lc_test", key);
        std::string bent = good->value;
        bent.back() = static_cast<char>(bent.back() ^ 1);
        int round = 0;
        for (const std::string& each : {std::string("rubbish"), bent, std::string()}) {
            (void)co_await one.link->put("lc_test", key, each);
            machine other(engine, shared_cache_options("test"));
            co_await other.cache.open();
            co_await ask(&other, &with, 1);
            EXPECT_EQ(with.times[1], ++round + 1);
            EXPECT_EQ(other.cache.counts().broken, 1U);
            machine third(engine, shared_cache_options("test"));
            co_await third.cache.open();
            co_await ask(&third, &with, 1);
            EXPECT_EQ(third.cache.counts().shared_hits, 1U);
        }
    });
}

TEST(shared_cache, values_of_another_type_are_a_miss) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await ask(&one, &with, 1);
        leat::cluster::shared_cache<int, long> numbers(*one.link, shared_cache_options("test"));
        co_await numbers.open();
        const auto compute = [] { return 7L; };
        const long seven = co_await numbers.get(1, compute);
        EXPECT_EQ(seven, 7);
        EXPECT_EQ(numbers.counts().broken, 1U);
    });
}

TEST(shared_cache, without_an_engine_it_is_a_local_cache_that_hardly_waits) {
    const leat::sim::result told = simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        co_await one.cache.open();
        one.link->cut();
        for (int key = 0; key < 100; ++key) co_await ask(&one, &with, key);
        for (int key = 0; key < 100; ++key) co_await ask(&one, &with, key);
        EXPECT_EQ(one.cache.counts().computed, 100U);
        EXPECT_EQ(one.cache.counts().local.hits, 100U);
        EXPECT_GE(one.cache.counts().broken, 1U);
        one.link->heal();
        co_await leat::sleep_for(1min);
        co_await ask(&one, &with, 200);
        EXPECT_EQ(one.cache.counts().stored, 1U);  // it is back
    });
    EXPECT_LT(told.time, 2min);
}

TEST(shared_cache, without_an_engine_at_the_start_it_opens_when_there_is_one) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        engine.go_down();
        co_await one.cache.open();
        co_await ask(&one, &with, 1);
        EXPECT_EQ(one.cache.counts().stored, 0U);
        engine.come_back();
        co_await leat::sleep_for(1min);
        co_await ask(&one, &with, 2);
        EXPECT_EQ(one.cache.counts().stored, 1U);
    });
}

TEST(shared_cache, values_go_by_age_and_beyond_the_bound) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        shared_cache_options options("test");
        options.local.items(0);
        options.age = 10min;
        options.most_bytes = 500;
        machine one(engine, options);
        co_await one.cache.open();
        for (int key = 0; key < 10; ++key) co_await ask(&one, &with, key);
        const auto kept = co_await one.link->keys("lc_test", "v/");
        EXPECT_GE(kept->size(), 3U);
        EXPECT_LT(kept->size(), 10U);
        EXPECT_EQ(one.cache.counts().let_go, 10U - kept->size());
        co_await ask(&one, &with, 9);
        EXPECT_EQ(with.times[9], 1);
        co_await leat::sleep_for(11min);
        co_await ask(&one, &with, 9);
        EXPECT_EQ(with.times[9], 2);
    });
}

TEST(shared_cache, large_values_go_by_reference) {
    simulate([](memory_engine& engine) -> task<> {
        shared_cache_options options("test");
        options.blobs.bound = 1000;
        options.blobs.chunk = 300;
        options.most_value_bytes = 10'000;
        machine one(engine, options);
        machine two(engine, options);
        co_await one.cache.open();
        co_await two.cache.open();
        int times = 0;
        const auto large = [&times] { return ++times, std::string(5000, 'x'); };
        (void)co_await one.cache.get(1, large);
        const std::string again = co_await two.cache.get(1, large);
        EXPECT_EQ(again.size(), 5000U);
        EXPECT_EQ(times, 1);
        const auto chunks = co_await one.link->keys("lc_test_blobs", "");
        EXPECT_EQ(chunks->size(), 17U);
        const auto huge = [&times] { return ++times, std::string(50'000, 'x'); };
        (void)co_await one.cache.get(2, huge);
        (void)co_await two.cache.get(2, huge);
        EXPECT_EQ(times, 3);  // too large to be shared
        // Without its chunks it is a miss.
        for (const std::string& each : *chunks) (void)co_await one.link->erase("lc_test_blobs", each);
        machine three(engine, options);
        co_await three.cache.open();
        (void)co_await three.cache.get(1, large);
        EXPECT_EQ(times, 4);
    });
}

TEST(shared_cache, erase_forgets_it_here_and_in_the_engine) {
    simulate([](memory_engine& engine) -> task<> {
        computing with;
        machine one(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await ask(&one, &with, 1);
        co_await one.cache.erase(1);
        co_await ask(&one, &with, 1);
        EXPECT_EQ(with.times[1], 2);
    });
}

TEST(shared_cache, a_stage_of_two_flows_computes_each_key_once) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        auto one = std::make_shared<leat::cluster::shared_cache<int, int>>(*link, shared_cache_options("test"));
        auto two = std::make_shared<leat::cluster::shared_cache<int, int>>(*link, shared_cache_options("test"));
        co_await one->open();
        co_await two->open();
        int times = 0;
        int out = 0;
        for (const auto& each : {one, two}) {
            const auto square = [&times](const int& item) { return ++times, (item % 10) * (item % 10); };
            const auto key_of = [](const int& item) { return item % 10; };
            auto flow = leat::from(std::views::iota(0, 100)) |
                        leat::cluster::shared_cached_map("square", square, key_of, each) |
                        leat::for_each("count", [&out](int) { ++out; });
            const leat::report told = co_await leat::run_flow(std::move(flow));
            EXPECT_EQ(told.out, 100U);
        }
        EXPECT_EQ(out, 200);
        EXPECT_EQ(times, 10);
        EXPECT_EQ(two->counts().shared_hits, 10U);
    });
}

TEST(shared_cache, soak_under_faults_every_call_gets_the_right_value) {
    std::uint64_t faults = 0;
    for (leat_test::soak rounds(100); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice draw(rounds.seed());
        leat::cluster::memory_options how;
        how.faults.seed = rounds.seed();
        how.faults.refused_calls = draw(60);
        how.faults.lost_calls = draw(60);
        how.faults.late_calls = draw(60);
        how.faults.lost_answers = draw(60);
        how.faults.cuts = draw(5);
        how.faults.restarts = draw(5);
        how.faults.longest_delay = 1ms * draw(10);
        simulate(
            [&](memory_engine& engine) -> task<> {
                computing with;
                std::vector<std::unique_ptr<machine>> all;
                for (int i = 0; i < 3; ++i) {
                    all.push_back(std::make_unique<machine>(engine, shared_cache_options("test")));
                    co_await all.back()->cache.open();
                }
                leat::scope work;
                for (auto& each : all)
                    for (int i = 0; i < 30; ++i)
                        work.spawn(&ask, each.get(), &with, static_cast<int>(leat::sim::draw(12)));
                co_await work.join();
                faults += engine.counts().faults;
            },
            rounds.seed(), how);
    }
    EXPECT_GT(faults, 100U);
}

TEST(shared_cache, many_tasks_on_threads) {
    memory_engine engine;
    leat::run(leat::run_options(4), [&]() -> task<> {
        machine one(engine, shared_cache_options("test"));
        machine two(engine, shared_cache_options("test"));
        co_await one.cache.open();
        co_await two.cache.open();
        const auto one_ask = [](machine* on, int key) -> task<> {
            const auto compute = [](const int& of) { return value_of(of); };
            const std::string value = co_await on->cache.get(key, compute);
            if (value != value_of(key)) throw std::runtime_error("another value");
        };
        leat::scope work;
        for (int i = 0; i < 2000; ++i) work.spawn(one_ask, i % 2 == 0 ? &one : &two, i % 50);
        co_await work.join();
        EXPECT_LE(one.cache.counts().computed + two.cache.counts().computed, 60U);
    });
}

}  // namespace
