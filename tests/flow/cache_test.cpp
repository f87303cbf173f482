#include <leat/flow/cache.hpp>

#include <deque>
#include <map>
#include <numeric>
#include <ranges>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/flow/cached_map.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::cache_options;
using leat::task;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

using numbers = leat::cache<int, int>;

// One call after the other; the computed value is ten times the key.
int ask(numbers& all, int key) {
    return leat::run(leat::run_options(1), [&] { return all.get(key, [](const int& of) { return 10 * of; }); });
}
bool has(numbers& all, int key) { return all.find(key, leat::clock::now()) != nullptr; }

TEST(cache, a_value_is_computed_once_and_then_found) {
    numbers all;
    EXPECT_EQ(ask(all, 1), 10);
    EXPECT_EQ(ask(all, 1), 10);
    EXPECT_EQ(ask(all, 2), 20);
    const leat::cache_counts now = all.counts();
    EXPECT_EQ(now.computed, 2U);
    EXPECT_EQ(now.hits, 1U);
    EXPECT_EQ(now.items, 2U);
    all.erase(1);
    EXPECT_FALSE(has(all, 1));
    EXPECT_TRUE(has(all, 2));
    all.clear();
    EXPECT_EQ(all.counts().items, 0U);
    EXPECT_EQ(all.counts().bytes, 0U);
}

TEST(cache, keeps_so_many_and_lets_go_what_was_not_asked_for_again) {
    numbers all(cache_options().items(3));
    for (const int key : {1, 2, 3}) ask(all, key);
    ask(all, 1);
    ask(all, 4);  // 2 goes: the oldest that was not asked for again
    EXPECT_TRUE(has(all, 1) && has(all, 3) && has(all, 4));
    EXPECT_FALSE(has(all, 2));
    EXPECT_EQ(all.counts().evicted, 1U);
}

TEST(cache, keeps_so_many_bytes_and_nothing_that_is_heavier_by_itself) {
    leat::cache<int, std::string> texts(cache_options().bytes(1000));
    const auto now = leat::clock::now();
    for (int key = 0; key < 100; ++key) {
        texts.put(key, std::string(static_cast<std::size_t>(key), 'x'), now);
        ASSERT_LE(texts.counts().bytes, 1000U);
    }
    EXPECT_NE(texts.find(99, now), nullptr);
    texts.put(99, std::string(2000, 'x'), now);
    EXPECT_EQ(texts.find(99, now), nullptr);  // nor is the old one
    EXPECT_NE(texts.find(98, now), nullptr);
}

TEST(cache, bounds_hold_and_what_is_found_is_right_whatever_comes) {
    std::uint64_t drawn = 1;
    for (const std::size_t room : {0U, 1U, 2U, 7U, 100U}) {
        numbers all(cache_options().items(room));
        std::map<int, int> latest;
        for (int i = 0; i < 20'000; ++i) {
            drawn = drawn * 6364136223846793005U + 1442695040888963407U;
            const int key = static_cast<int>(drawn >> 33U) % 150;
            switch ((drawn >> 20U) % 8) {
                case 0:
                    all.erase(key);
                    break;
                case 1:
                    all.put(key, i, {});
                    latest[key] = i;
                    break;
                default:
                    if (const auto found = all.find(key, {})) {
                        ASSERT_EQ(*found, latest[key]);
                    }
            }
            ASSERT_LE(all.counts().items, room);
        }
        all.clear();
        EXPECT_EQ(all.counts().bytes, 0U);
    }
}

// Keys that are asked for much, among ever new ones.
TEST(cache, keeps_what_is_asked_for_often_while_much_passes_by) {
    numbers all(cache_options().items(100));
    const auto now = leat::clock::now();
    int found = 0;
    for (int i = 0; i < 20'000; ++i) {
        const int key = i % 2 == 0 ? i / 2 % 50 : 1000 + i;
        if (all.find(key, now)) ++found;
        else all.put(key, key, now);
    }
    EXPECT_GT(found, 9'800);  // of 10,000
}

TEST(cache, what_is_too_old_is_computed_again) {
    leat::sim::explore({.seeds = 3}, []() -> task<> {
        numbers all(cache_options().age(1min));
        int computed = 0;
        const auto compute = [&computed] { return ++computed; };
        for (const auto& [pause, wanted] : {std::pair(0s, 1), std::pair(59s, 1), std::pair(1s, 2), std::pair(60s, 3)}) {
            co_await leat::sleep_for(pause);
            const int got = co_await all.get(7, compute);
            EXPECT_EQ(got, wanted);
        }
        EXPECT_EQ(all.counts().expired, 2U);
    });
}

// --- One computation for all who ask ---

struct scene {
    numbers all;
    int running = 0;
    int computed = 0;
    int failed = 0;
    int served = 0;
    int stopped = 0;
};

// Some computations fail, some askers run out of patience; at no time are two at work for a key.
task<> asks(scene* of, int key) {
    const auto compute = [of]() -> task<int> {
        if (++of->running > 1) throw std::logic_error("two compute at once");
        bool is_stopped = true;
        try {
            co_await leat::sleep_for(1ms * (1 + leat::sim::draw(20)));
            is_stopped = false;
        } catch (const leat::cancelled&) {
        }
        --of->running;
        if (is_stopped) throw leat::cancelled{};
        ++of->computed;
        if (leat::sim::chance(30)) throw std::runtime_error("planned");
        co_return 7;
    };
    const bool is_patient = leat::sim::chance(60);
    bool again = false;
    co_await leat::sleep_for(1ms * leat::sim::draw(10));
    try {
        auto getting = of->all.get(key, compute);
        int got = 0;
        if (is_patient) got = co_await std::move(getting);
        else got = co_await leat::timeout(std::move(getting), 5ms);
        if (got != 7) throw std::logic_error("another value");
        ++of->served;
    } catch (const std::runtime_error&) {
        ++of->failed;
        again = leat::sim::chance(50);
    } catch (const leat::timed_out&) {
        ++of->stopped;
    }
    if (again) co_await asks(of, key);
}

task<> program() {
    scene all;
    const auto body = [&all](leat::scope& work) -> task<> {
        for (int i = 0; i < 12; ++i) work.spawn(&asks, &all, 1);
        co_return;
    };
    co_await leat::with_scope(body);
    if (all.served + all.failed + all.stopped < 12) throw std::logic_error("somebody got nothing");
    // Each computation that ended was one's failure, or the last.
    if (all.computed != all.failed + (all.served > 0 ? 1 : 0)) throw std::logic_error("computed again for nothing");
    const leat::cache_counts now = all.all.counts();
    if (now.items != (all.served > 0 ? 1U : 0U)) throw std::logic_error("not what is stored");
}

TEST(cache, of_those_who_ask_at_once_one_computes_under_every_seed) {
    const leat::sim::explored all = leat::sim::explore({.seeds = 1000, .run = {.stall_percent = 1}}, program);
    EXPECT_GT(all.schedules, 900U);
}

TEST(cache, what_is_erased_while_it_is_computed_is_given_to_who_waits_and_not_stored) {
    leat::sim::explore({.seeds = 20}, []() -> task<> {
        numbers all;
        int got = 0;
        const auto asker = [&]() -> task<> {
            const auto compute = []() -> task<int> {
                co_await leat::sleep_for(10ms);
                co_return 1;
            };
            got += co_await all.get(1, compute);
        };
        const auto body = [&](leat::scope& work) -> task<> {
            work.spawn(asker);
            work.spawn(asker);
            co_await leat::sleep_for(5ms);
            all.erase(1);
            const int fresh = co_await all.get(1, [] { return 100; });
            EXPECT_EQ(fresh, 100);
        };
        co_await leat::with_scope(body);
        EXPECT_EQ(got, 2);
        EXPECT_EQ(*all.find(1, leat::clock::now()), 100);
    });
}

TEST(cache, on_real_threads_each_key_is_computed_once) {
    leat::cache<int, std::string> all;
    std::atomic<int> computed = 0;
    leat::run(leat::run_options(4), [&]() -> task<> {
        const auto body = [&](leat::scope& work) -> task<> {
            for (int i = 0; i < 4000; ++i) {
                const auto one = [&all, &computed](int key) -> task<> {
                    const auto compute = [&computed, key]() -> task<std::string> {
                        ++computed;
                        co_await leat::this_task::yield();
                        co_return std::to_string(key);
                    };
                    const std::string got = co_await all.get(key, compute);
                    EXPECT_EQ(got, std::to_string(key));
                };
                work.spawn(one, i % 100);
            }
            co_return;
        };
        co_await leat::with_scope(body);
    });
    EXPECT_EQ(computed, 100);
}

TEST(cache_death, asking_for_a_key_inside_its_own_function_is_a_bug) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    const auto inside = [] {
        numbers all;
        leat::run(leat::run_options(1), [&all]() -> task<> {
            const auto compute = [&all]() -> task<int> { return all.get(1, [] { return 1; }); };
            (void)co_await all.get(1, compute);
        });
    };
    EXPECT_DEATH(inside(), "asked for a key inside the function that computes its value");
}

TEST(cached_map, calls_its_function_once_for_each_key) {
    std::atomic<int> calls = 0;
    std::vector<int> all;
    auto graph = leat::from(std::views::iota(0, 1000)) |
                 leat::cached_map(
                     "tens",
                     [&calls](const int& number) -> task<int> {
                         ++calls;
                         co_await leat::this_task::yield();
                         co_return number / 100 * 100;
                     },
                     [](const int& number) { return number / 100; })
                     .concurrency(4) |
                 leat::for_each("keep", [&all](int number) { all.push_back(number); });
    const leat::report done = leat::run(leat::run_options(2), leat::run_flow, std::move(graph), leat::flow_options());
    EXPECT_EQ(done.out, 1000U);
    EXPECT_EQ(calls, 10);
    ASSERT_EQ(all.size(), 1000U);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(all[static_cast<std::size_t>(i)], i / 100 * 100);
}

TEST(cached_map, an_error_is_the_items_that_computed) {
    int calls = 0;
    auto graph = leat::from(std::vector<std::string>{"a", "a", "a"}) |
                 leat::cached_map(
                     "flaky",
                     [&calls](const std::string& text) {
                         if (++calls == 1) throw std::runtime_error("not yet");
                         return text + text;
                     },
                     [](const std::string& text) { return text; })
                     .concurrency(1)
                     .on_error(leat::on_error::skip) |
                 leat::for_each("keep", [](const std::string& text) { EXPECT_EQ(text, "aa"); });
    const leat::report done = leat::run(leat::run_options(1), leat::run_flow, std::move(graph), leat::flow_options());
    EXPECT_EQ(done.out, 2U);
    EXPECT_EQ(done.skipped, 1U);
    EXPECT_EQ(calls, 2);
}

}  // namespace
