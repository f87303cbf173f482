#include <leat/cluster/shared_seen.hpp>

#include <ranges>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/cluster/broker_failed.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/flow/flow.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

#include "../support/soak.hpp"

namespace {

using leat::task;
using leat::cluster::memory_engine;
using leat::cluster::shared_seen;
using leat::cluster::shared_seen_options;
using namespace std::chrono_literals;
using testing::HasSubstr;

leat::key_digest key(std::uint64_t number) {
    return leat::digest_of({reinterpret_cast<const char*>(&number), sizeof number});
}

shared_seen_options small(const std::string& name = "test") {
    shared_seen_options options(name);
    options.items = 10'000;
    options.partitions = 4;
    return options;
}

struct machine {
    explicit machine(memory_engine& engine, const shared_seen_options& options = small())
        : link(engine.connect()), seen(*link, options) {}
    std::unique_ptr<leat::cluster::memory_broker> link;
    shared_seen seen;
};

template <class Program>
leat::sim::result simulate(Program program, std::uint64_t seed = 1, leat::cluster::memory_options how = {}) {
    leat::sim::result told = leat::sim::run({.seed = seed}, [&]() -> task<> {
        memory_engine engine(how);
        co_await program(engine);
    });
    EXPECT_TRUE(told.ok()) << told.report();
    return told;
}

TEST(shared_seen, what_one_machine_has_done_others_know_after_an_exchange) {
    simulate([](memory_engine& engine) -> task<> {
        machine one(engine);
        machine two(engine);
        co_await one.seen.open();
        co_await two.seen.open();
        bool is_seen = co_await one.seen.has(key(1), 100);
        EXPECT_FALSE(is_seen);
        one.seen.note(key(1));
        is_seen = co_await one.seen.has(key(1), 100);
        EXPECT_TRUE(is_seen);  // here at once
        is_seen = co_await two.seen.has(key(1), 100);
        EXPECT_FALSE(is_seen);
        co_await one.seen.exchange();
        co_await leat::sleep_for(two.seen.options().exchange_every);
        is_seen = co_await two.seen.has(key(1), 100);
        EXPECT_TRUE(is_seen);
        is_seen = co_await two.seen.has(key(2), 100);
        EXPECT_FALSE(is_seen);
        EXPECT_EQ(two.seen.counts().seen, 1U);
        EXPECT_EQ(two.seen.counts().bytes_saved, 100U);
        machine three(engine);
        co_await three.seen.open();
        is_seen = co_await three.seen.has(key(1));
        EXPECT_TRUE(is_seen);  // who comes later fetches as it opens
    });
}

TEST(shared_seen, machines_that_publish_at_once_lose_nothing) {
    simulate([](memory_engine& engine) -> task<> {
        std::vector<std::unique_ptr<machine>> all;
        for (int i = 0; i < 5; ++i) {
            all.push_back(std::make_unique<machine>(engine));
            co_await all.back()->seen.open();
        }
        for (std::uint64_t i = 0; i < 500; ++i) all[i % 5]->seen.note(key(i));
        leat::scope work;
        const auto exchange = [](machine* of) -> task<> { co_await of->seen.exchange(); };
        for (auto& each : all) work.spawn(exchange, each.get());
        co_await work.join();
        std::uint64_t conflicts = 0;
        for (auto& each : all) conflicts += each->seen.counts().conflicts;
        EXPECT_GT(conflicts, 0U);
        machine last(engine);
        co_await last.seen.open();
        for (std::uint64_t i = 0; i < 500; ++i) {
            const bool is_seen = co_await last.seen.has(key(i));
            EXPECT_TRUE(is_seen) << i;
        }
    });
}

TEST(shared_seen, what_the_filter_takes_for_seen_is_asked_for_and_no_new_key_is_lost) {
    simulate([](memory_engine& engine) -> task<> {
        shared_seen_options options = small();
        options.items = 100;
        options.false_positives = 0.5;
        options.exchange_after = 100'000;
        machine one(engine, options);
        co_await one.seen.open();
        for (std::uint64_t i = 0; i < 300; ++i) one.seen.note(key(i));
        co_await one.seen.exchange();
        for (std::uint64_t i = 0; i < 300; ++i) {
            const bool is_seen = co_await one.seen.has(key(i));
            EXPECT_TRUE(is_seen);
        }
        for (std::uint64_t i = 1000; i < 1300; ++i) {
            const bool is_seen = co_await one.seen.has(key(i));
            EXPECT_FALSE(is_seen);
        }
        EXPECT_GT(one.seen.counts().false_alarms, 5U);
    });
}

TEST(shared_seen, by_filter_alone_nothing_is_asked_and_there_are_no_entries) {
    simulate([](memory_engine& engine) -> task<> {
        machine one(engine, small().by_filter_alone());
        co_await one.seen.open();
        for (std::uint64_t i = 0; i < 300; ++i) one.seen.note(key(i));
        co_await one.seen.exchange();
        const auto entries = co_await one.link->keys("ls_test", "k/");
        EXPECT_TRUE(entries && entries->empty());
        machine two(engine, small().by_filter_alone());
        co_await two.seen.open();
        for (std::uint64_t i = 0; i < 300; ++i) {
            const bool is_seen = co_await two.seen.has(key(i));
            EXPECT_TRUE(is_seen);
        }
    });
}

TEST(shared_seen, large_filters_go_by_reference_and_old_ones_are_removed) {
    simulate([](memory_engine& engine) -> task<> {
        shared_seen_options options = small();
        options.blobs.bound = 200;
        options.blobs.chunk = 1000;
        options.partitions = 1;
        machine one(engine, options);
        machine two(engine, options);
        co_await one.seen.open();
        co_await two.seen.open();
        for (std::uint64_t i = 0; i < 2000; ++i) {
            one.seen.note(key(i));
            if (i % 200 == 0) co_await one.seen.exchange();
        }
        co_await one.seen.exchange();
        co_await two.seen.exchange();
        for (std::uint64_t i = 0; i < 2000; ++i) {
            const bool is_seen = co_await two.seen.has(key(i));
            EXPECT_TRUE(is_seen);
        }
        EXPECT_EQ(one.seen.counts().published, 11U);
        const auto chunks = co_await one.link->keys("ls_test_blobs", "");
        std::set<std::string> ids;
        for (const std::string& each : *chunks) ids.insert(each.substr(0, each.find('/')));
        EXPECT_EQ(ids.size(), 2U);  // the one, and the one before
    });
}

TEST(shared_seen, another_shape_is_a_mismatch_that_says_in_what) {
    simulate([](memory_engine& engine) -> task<> {
        machine one(engine);
        co_await one.seen.open();
        shared_seen_options options = small();
        options.items = 20'000;
        machine two(engine, options);
        leat::outcome<void> end = co_await two.seen.open().as_outcome();
        try {
            std::move(end).get();
            ADD_FAILURE();
        } catch (const leat::cluster::broker_failed& error) {
            EXPECT_EQ(error.problem(), leat::cluster::broker_problem::mismatch);
            EXPECT_THAT(error.what(), HasSubstr("10000 items at 0.0001 in 4 partitions, exactly"));
            EXPECT_THAT(error.what(), HasSubstr("asked for were 20000"));
        }
    });
}

TEST(shared_seen, a_damaged_filter_is_replaced_and_keys_that_are_known_here_stay) {
    simulate([](memory_engine& engine) -> task<> {
        machine one(engine);
        co_await one.seen.open();
        for (std::uint64_t i = 0; i < 100; ++i) one.seen.note(key(i));
        co_await one.seen.exchange();
        for (int part = 0; part < 4; ++part)
            (void)co_await one.link->put("ls_test", "f/" + std::to_string(part), "rubbish");
        co_await one.seen.exchange();
        EXPECT_EQ(one.seen.counts().broken, 4U);
        machine two(engine);
        co_await two.seen.open();
        for (std::uint64_t i = 0; i < 100; ++i) {
            const bool is_seen = co_await two.seen.has(key(i));
            EXPECT_TRUE(is_seen);
        }
    });
}

TEST(shared_seen, while_the_engine_is_away_nothing_is_seen_and_what_was_noted_is_kept) {
    simulate([](memory_engine& engine) -> task<> {
        machine one(engine);
        co_await one.seen.open();
        engine.go_down();
        one.seen.note(key(1));
        co_await one.seen.exchange();
        const bool is_seen = co_await one.seen.has(key(2));
        EXPECT_FALSE(is_seen);
        engine.come_back();
        co_await one.seen.exchange();
        machine two(engine);
        co_await two.seen.open();
        const bool is_known = co_await two.seen.has(key(1));
        EXPECT_TRUE(is_known);
    });
}

TEST(shared_seen, a_stage_leaves_out_what_other_flows_have_committed) {
    simulate([](memory_engine& engine) -> task<> {
        std::multiset<int> done;
        const auto link = engine.connect();
        const auto run = [&](int first, int last) -> task<leat::report> {
            auto seen = std::make_shared<shared_seen>(*link, small());
            co_await seen->open();
            const auto same = [](const int& item) { return item; };
            const auto keep = [&done](int item) {
                if (item % 10 == 3) throw std::runtime_error("refused");
                done.insert(item);
            };
            auto flow = leat::from(std::views::iota(first, last)) | leat::cluster::skip_seen("unseen", same, seen) |
                        leat::for_each("keep", keep).on_error(leat::on_error::skip);
            leat::report told = co_await leat::run_flow(std::move(flow));
            co_return told;
        };
        const leat::report one = co_await run(0, 100);
        EXPECT_EQ(one.out, 90U);
        const leat::report two = co_await run(50, 150);
        EXPECT_EQ(two.out, 45U);  // of the new ones; the failed ones of before come again, and fail
        EXPECT_EQ(one.stages[0].saved_bytes, 0U);
        EXPECT_EQ(two.stages[0].saved_bytes, 45 * leat::payload(0).weight());
        EXPECT_GT(two.stages[0].moved_bytes, 0U);
        EXPECT_THAT(two.to_text(), HasSubstr("'unseen' saved the transfer of "));
        const auto again = leat::report::from_json(two.to_json());
        EXPECT_TRUE(again && again->stages[0].saved_bytes == two.stages[0].saved_bytes &&
                    again->stages[0].moved_bytes == two.stages[0].moved_bytes);
        EXPECT_EQ(done.size(), 135U);
        EXPECT_EQ(std::set<int>(done.begin(), done.end()).size(), 135U);
    });
}

TEST(shared_seen, soak_under_faults_what_is_seen_was_noted) {
    for (leat_test::soak rounds(30); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice draw(rounds.seed());
        leat::cluster::memory_options how;
        how.faults.seed = rounds.seed();
        how.faults.refused_calls = draw(50);
        how.faults.lost_calls = draw(30);
        how.faults.late_calls = draw(50);
        how.faults.lost_answers = draw(50);
        how.faults.restarts = draw(4);
        how.faults.most = 100;
        simulate(
            [&](memory_engine& engine) -> task<> {
                std::vector<std::unique_ptr<machine>> all;
                std::set<std::uint64_t> noted;
                shared_seen_options options = small();
                options.false_positives = 0.1;
                options.items = 50;
                options.patience = 30s;
                for (int i = 0; i < 3; ++i) {
                    all.push_back(std::make_unique<machine>(engine, options));
                    co_await all.back()->seen.open();
                }
                const auto work = [&noted](machine* on) -> task<> {
                    for (int i = 0; i < 60; ++i) {
                        const std::uint64_t item = leat::sim::draw(200);
                        const bool is_seen = co_await on->seen.has(key(item));
                        if (is_seen && !noted.contains(item)) throw std::runtime_error("a new key was lost");
                        if (!is_seen && leat::sim::chance(50)) {
                            noted.insert(item);
                            on->seen.note(key(item));
                        }
                        co_await leat::sleep_for(1ms * leat::sim::draw(1000));
                    }
                    co_await on->seen.exchange();
                };
                leat::scope tasks;
                for (auto& each : all) tasks.spawn(work, each.get());
                co_await tasks.join();
                engine.set_faults({});
                co_await leat::sleep_for(1min);  // a server that is away comes back
                for (auto& each : all) co_await each->seen.exchange();
                machine last(engine, options);
                co_await last.seen.open();
                for (const std::uint64_t item : noted) {
                    const bool is_seen = co_await last.seen.has(key(item));
                    if (!is_seen) throw std::runtime_error("a key that was noted is not known");
                }
            },
            rounds.seed(), how);
    }
}

TEST(shared_seen, many_tasks_on_threads) {
    memory_engine engine;
    leat::run(leat::run_options(4), [&]() -> task<> {
        shared_seen_options options = small();
        options.exchange_after = 50;
        machine one(engine, options);
        machine two(engine, options);
        co_await one.seen.open();
        co_await two.seen.open();
        const auto work = [](machine* on, std::uint64_t first) -> task<> {
            for (std::uint64_t i = first; i < first + 200; ++i) {
                const bool is_seen = co_await on->seen.has(key(i));
                if (!is_seen) on->seen.note(key(i));
            }
        };
        leat::scope tasks;
        for (std::uint64_t i = 0; i < 10; ++i) tasks.spawn(work, i % 2 == 0 ? &one : &two, i * 150);
        co_await tasks.join();
        co_await one.seen.exchange();
        co_await two.seen.exchange();
        machine last(engine, options);
        co_await last.seen.open();
        for (std::uint64_t i = 0; i < 1550; ++i) {
            const bool is_seen = co_await last.seen.has(key(i));
            EXPECT_TRUE(is_seen) << i;
        }
    });
}

}  // namespace
