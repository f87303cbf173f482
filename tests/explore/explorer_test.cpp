// The explorer itself: it runs every schedule once, sees each kind of failure, and says how to see it again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <explore/explorer.hpp>
#include <leat/base/bug.hpp>
#include <leat/base/env.hpp>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace env = leat::env;
namespace explore = leat::explore;

// `threads` threads that add `steps` times to a counter each.
explore::report count_up(const explore::options& how, int threads, int steps) {
    return explore::run(how, [threads, steps] {
        auto sum = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < threads; ++i)
            explore::thread([sum, steps] {
                for (int step = 0; step < steps; ++step) sum->fetch_add(1, env::relaxed);
            });
        explore::join_all();
        explore::check(sum->load(env::relaxed) == threads * steps, "every step counts");
    });
}

TEST(explorer, two_threads_of_n_steps_have_as_many_schedules_as_there_are_interleavings) {
    const std::vector<std::uint64_t> expected = {2, 6, 20, 70, 252, 924, 3432, 12870};  // (2n)! / (n! n!)
    for (int n = 1; n <= 8; ++n) {
        const explore::report report = count_up({}, 2, n);
        EXPECT_TRUE(report.ok()) << report.text();
        EXPECT_TRUE(report.complete);
        EXPECT_EQ(report.schedules, expected[static_cast<std::size_t>(n - 1)]);
    }
}

TEST(explorer, three_threads_of_n_steps_have_as_many_schedules_as_there_are_interleavings) {
    EXPECT_EQ(count_up({}, 3, 1).schedules, 6U);
    EXPECT_EQ(count_up({}, 3, 2).schedules, 90U);
    EXPECT_EQ(count_up({}, 3, 3).schedules, 1680U);
}

TEST(explorer, a_preemption_bound_cuts_the_schedules_to_those_with_no_more_preemptions) {
    // Without a preemption the threads run one after the other, in either order. With one: thread A is left after 1 to
    // n - 1 steps, and B runs to its end.
    EXPECT_EQ(count_up({.preemption_bound = 0}, 2, 5).schedules, 2U);
    EXPECT_EQ(count_up({.preemption_bound = 1}, 2, 5).schedules, 2U + 2 * 4);
    EXPECT_EQ(count_up({.preemption_bound = 8}, 2, 5).schedules, 252U);
    EXPECT_TRUE(count_up({.preemption_bound = 1}, 2, 5).complete);
}

TEST(explorer, a_limit_of_schedules_leaves_the_search_incomplete) {
    const explore::report report = count_up({.max_schedules = 10}, 2, 5);
    EXPECT_TRUE(report.ok());
    EXPECT_EQ(report.schedules, 10U);
    EXPECT_FALSE(report.complete);
}

TEST(explorer, every_interleaving_comes_exactly_once) {
    std::set<std::string> seen;
    std::uint64_t runs = 0;
    const explore::report report = explore::run({}, [&] {
        auto turn = std::make_shared<env::atomic<int>>(0);
        auto order = std::make_shared<std::string>();
        for (const char who : {'a', 'b'})
            explore::thread([turn, order, who] {
                for (int i = 0; i < 4; ++i) {
                    turn->fetch_add(1);
                    *order += who;
                }
            });
        explore::join_all();
        seen.insert(*order);
        ++runs;
    });
    EXPECT_TRUE(report.ok()) << report.text();
    EXPECT_EQ(seen.size(), 70U);
    EXPECT_EQ(runs, 71U) << "and the rehearsal";
}

TEST(explorer, all_outcomes_of_two_unprotected_increments_are_seen) {
    std::set<int> sums;
    const explore::report report = explore::run({}, [&sums] {
        auto sum = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < 2; ++i) explore::thread([sum] { sum->store(sum->load() + 1); });
        explore::join_all();
        sums.insert(sum->load());
    });
    EXPECT_TRUE(report.ok()) << report.text();
    EXPECT_EQ(sums, (std::set<int>{1, 2}));
}

// --- reduce ---

TEST(explorer, steps_that_have_nothing_to_do_with_each_other_need_one_schedule_when_reduced) {
    const auto scenario = [] {
        auto mine = std::make_shared<env::atomic<int>>(0);
        auto yours = std::make_shared<env::atomic<int>>(0);
        for (const auto& counter : {mine, yours})
            explore::thread([counter] {
                for (int i = 0; i < 4; ++i) counter->fetch_add(1);
            });
    };
    EXPECT_EQ(explore::run({}, scenario).schedules, 70U);
    const explore::report reduced = explore::run({.reduce = true}, scenario);
    EXPECT_EQ(reduced.schedules, 1U);
    EXPECT_TRUE(reduced.complete);
    EXPECT_EQ(count_up({.reduce = true}, 2, 4).schedules, 70U) << "steps on one atomic do not commute";
}

TEST(explorer, a_reduced_search_sees_every_outcome) {
    // Each thread writes its own flag, reads the other's, and then updates a common word.
    const auto outcomes = [](const explore::options& how) {
        std::set<std::vector<int>> seen;
        const explore::report report = explore::run(how, [&seen] {
            struct state {
                env::atomic<int> flag[2];
                env::atomic<int> word{0};
                int saw[2] = {};
            };
            auto all = std::make_shared<state>();
            for (int i = 0; i < 2; ++i)
                explore::thread([all, i] {
                    all->flag[i].store(1);
                    all->saw[i] = all->flag[1 - i].load();
                    all->word.store(all->word.load() * 2 + i + all->saw[i]);
                });
            explore::join_all();
            seen.insert({all->saw[0], all->saw[1], all->word.load()});
        });
        EXPECT_TRUE(report.ok() && report.complete) << report.text();
        return std::pair(seen, report.schedules);
    };
    const auto all = outcomes({});
    const auto reduced = outcomes({.reduce = true});
    EXPECT_EQ(all.first, reduced.first);
    EXPECT_LT(reduced.second, all.second);
    EXPECT_EQ(all.second, 70U);
}

TEST(explorer, a_reduced_search_takes_no_preemption_bound) {
    EXPECT_THROW((void)explore::run({.preemption_bound = 2, .reduce = true}, [] {}), std::invalid_argument);
}

// --- Failures ---

TEST(explorer, a_check_that_fails_in_one_schedule_is_found_and_told_with_its_trace) {
    const explore::report report = explore::run({}, [] {
        auto sum = std::make_shared<env::atomic<int>>(0);
        explore::name(sum.get(), "sum");
        for (int i = 0; i < 2; ++i) explore::thread([sum] { sum->store(sum->load() + 1); });
        explore::join_all();
        explore::check(sum->load() == 2, "both increments are there");
    });
    EXPECT_FALSE(report.ok());
    EXPECT_FALSE(report.complete);
    EXPECT_NE(report.failure.find("both increments are there"), std::string::npos) << report.text();
    EXPECT_NE(report.trace.find("load seq_cst of atomic 'sum': 0"), std::string::npos) << report.text();
    EXPECT_NE(report.trace.find("explorer_test.cpp:"), std::string::npos) << report.text();
    EXPECT_NE(report.text().find(report.replay), std::string::npos);
}

TEST(explorer, the_replay_string_leads_to_the_same_failure_at_once) {
    const auto scenario = [] {
        auto sum = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < 3; ++i) explore::thread([sum] { sum->store(sum->load() + 1); });
        explore::join_all();
        explore::check(sum->load() != 1, "one increment is not enough");
    };
    for (const explore::options& how : {explore::options{}, explore::options{.reduce = true},
                                        explore::options{.random_schedules = 10'000, .seed = 7}}) {
        const explore::report first = explore::run(how, scenario);
        ASSERT_FALSE(first.ok());
        const explore::report again = explore::run({.replay = first.replay}, scenario);
        EXPECT_EQ(again.schedules, 1U);
        EXPECT_EQ(again.failure, first.failure);
        EXPECT_EQ(again.trace, first.trace);
    }
}

TEST(explorer, text_that_is_no_replay_string_is_refused) {
    for (const char* text : {"x", "1,,2", "1 2", "3x", "uu"})
        EXPECT_THROW((void)explore::run({.replay = text}, [] {}), std::invalid_argument) << text;
}

TEST(explorer, random_schedules_find_what_one_seed_always_finds) {
    const auto scenario = [] {
        auto sum = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < 2; ++i)
            explore::thread([sum] {
                for (int n = 0; n < 10; ++n) sum->store(sum->load() + 1);
            });
        explore::join_all();
        explore::check(sum->load() > 8, "more than eight increments are left");
    };
    const explore::report one = explore::run({.random_schedules = 20'000, .seed = 3}, scenario);
    const explore::report two = explore::run({.random_schedules = 20'000, .seed = 3}, scenario);
    EXPECT_FALSE(one.ok());
    EXPECT_EQ(one.replay, two.replay);
    EXPECT_EQ(one.failed_schedule, two.failed_schedule);
    EXPECT_EQ(count_up({.random_schedules = 50}, 2, 10).schedules, 50U);
    EXPECT_FALSE(count_up({.random_schedules = 50}, 2, 10).complete);
}

TEST(explorer, a_bug_of_the_library_fails_the_schedule) {
    const explore::report report = explore::run({}, [] { leat::bug("the state is gone"); });
    EXPECT_NE(report.failure.find("the state is gone"), std::string::npos) << report.text();
}

TEST(explorer, an_exception_that_leaves_a_thread_fails_the_schedule) {
    const explore::report report =
        explore::run({}, [] { explore::thread("thrower", [] { throw std::runtime_error("too much"); }); });
    EXPECT_NE(report.failure.find("an exception left thrower: too much"), std::string::npos) << report.text();
}

TEST(explorer, an_exception_at_a_noexcept_boundary_fails_the_schedule) {
    const explore::report report = explore::run({}, [] {
        const auto throws = [] { throw std::runtime_error("against the promise"); };
        const auto strict = [&throws]() noexcept { throws(); };
        strict();
    });
    EXPECT_NE(report.failure.find("std::terminate was called, with the exception: against the promise"),
              std::string::npos)
        << report.text();
}

TEST(explorer, exceptions_of_several_threads_do_not_mix) {
    const explore::report report = explore::run({}, [] {
        auto word = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < 2; ++i)
            explore::thread([word, i] {
                try {
                    throw i;
                } catch (int mine) {
                    word->fetch_add(1);  // the other thread may enter and leave its handler here
                    try {
                        throw;
                    } catch (int again) {
                        explore::check(again == mine && mine == i, "each thread handles its own exception");
                    }
                }
            });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

TEST(explorer, two_locks_taken_in_opposite_orders_are_a_deadlock_that_names_who_waits_for_what) {
    const explore::report report = explore::run({}, [] {
        struct state {
            env::mutex left, right;
        };
        auto all = std::make_shared<state>();
        explore::name(&all->left, "left");
        explore::name(&all->right, "right");
        explore::thread("a", [all] {
            env::lock_guard one(all->left);
            env::lock_guard two(all->right);
        });
        explore::thread("b", [all] {
            env::lock_guard one(all->right);
            env::lock_guard two(all->left);
        });
    });
    EXPECT_NE(report.failure.find("deadlock"), std::string::npos) << report.text();
    EXPECT_NE(report.failure.find("a waits for mutex 'right', which b holds"), std::string::npos) << report.text();
    EXPECT_NE(report.failure.find("b waits for mutex 'left', which a holds"), std::string::npos) << report.text();
}

TEST(explorer, a_lock_taken_twice_and_an_unlock_too_many_fail) {
    EXPECT_NE(explore::run({},
                           [] {
                               env::mutex lock;
                               lock.lock();
                               lock.lock();
                           })
                  .failure.find("which it itself holds"),
              std::string::npos);
    EXPECT_NE(explore::run({},
                           [] {
                               env::mutex lock;
                               lock.lock();
                               lock.unlock();
                               lock.unlock();
                           })
                  .failure.find("which it does not hold"),
              std::string::npos);
}

TEST(explorer, a_futex_that_nobody_wakes_is_a_deadlock) {
    const explore::report report = explore::run({}, [] {
        env::atomic<std::uint32_t> word{0};
        env::futex_wait(word, 1);  // does not hold 1: returns
        env::futex_wait(word, 0);
    });
    EXPECT_NE(report.failure.find("main sleeps in futex_wait"), std::string::npos) << report.text();
}

TEST(explorer, a_spin_loop_with_a_pause_waits_for_the_other_thread_and_not_for_ever) {
    const explore::report report = explore::run({}, [] {
        struct state {
            env::atomic<bool> ready{false};
            env::atomic<int> work{0};
        };
        auto all = std::make_shared<state>();
        explore::thread([all] {
            while (!all->ready.load(env::acquire)) env::pause();
        });
        explore::thread([all] {
            while (!all->ready.load(env::acquire)) env::pause();
        });
        for (int i = 0; i < 3; ++i) all->work.fetch_add(1);
        all->ready.store(true, env::release);
    });
    EXPECT_TRUE(report.ok()) << report.text();
    EXPECT_TRUE(report.complete);
}

TEST(explorer, a_loop_without_end_is_told_by_the_bound_of_steps) {
    for (const bool pauses : {true, false}) {
        const explore::report report = explore::run({.max_steps = 500}, [pauses] {
            env::atomic<bool> never{false};
            while (!never.load())
                if (pauses) env::pause();
        });
        EXPECT_NE(report.failure.find("no end after 500 steps"), std::string::npos) << report.text();
    }
}

TEST(explorer, a_scenario_that_does_not_repeat_itself_is_told_so) {
    int runs = 0;
    const explore::report report = explore::run({}, [&runs] {
        auto word = std::make_shared<env::atomic<int>>(0);
        const int steps = ++runs;
        for (int i = 0; i < 2; ++i)
            explore::thread([word, steps] {
                for (int n = 0; n < steps % 3; ++n) word->fetch_add(1);
            });
    });
    EXPECT_NE(report.failure.find("does not repeat itself"), std::string::npos) << report.text();
}

TEST(explorer_death, a_crash_tells_the_schedule_that_led_to_it) {
    const auto scenario = [] {
        auto word = std::make_shared<env::atomic<int>>(0);
        explore::name(word.get(), "word");
        explore::thread([word] { word->store(1); });
        explore::thread([word] {
            if (word->load() == 1) std::abort();
        });
    };
    EXPECT_DEATH((void)explore::run({}, scenario), "store seq_cst to atomic 'word': 1");
    EXPECT_DEATH((void)explore::run({}, scenario), "in the schedule .\\.replay = ");
}

// --- Order ---

explore::report publish(std::memory_order store, std::memory_order load) {
    return explore::run({}, [store, load] {
        struct state {
            env::shared<int> data{0};
            env::atomic<bool> ready{false};
        };
        auto all = std::make_shared<state>();
        explore::name(&all->data, "data");
        explore::thread("writer", [all, store] {
            all->data.write() = 42;
            all->ready.store(true, store);
        });
        explore::thread("reader", [all, load] {
            if (all->ready.load(load)) explore::check(all->data.read() == 42, "the value is there");
        });
    });
}

TEST(explorer, a_release_publishes_to_an_acquire_and_nothing_less_does) {
    EXPECT_TRUE(publish(env::release, env::acquire).ok()) << publish(env::release, env::acquire).text();
    EXPECT_TRUE(publish(env::seq_cst, env::seq_cst).ok());
    for (const explore::report& report : {publish(env::relaxed, env::acquire), publish(env::release, env::relaxed)}) {
        EXPECT_NE(report.failure.find("data race on shared 'data': reader reads it"), std::string::npos)
            << report.text();
        EXPECT_NE(report.failure.find("writer wrote"), std::string::npos) << report.text();
    }
}

TEST(explorer, an_update_continues_a_release_sequence_and_a_relaxed_store_ends_it) {
    const auto through = [](bool update) {
        return explore::run({}, [update] {
            struct state {
                env::shared<int> data{0};
                env::atomic<int> word{0};
            };
            auto all = std::make_shared<state>();
            explore::thread([all] {
                all->data.write() = 1;
                all->word.store(1, env::release);
            });
            explore::thread([all, update] {
                if (update) all->word.fetch_add(1, env::relaxed);
                else if (all->word.load(env::relaxed) == 1) all->word.store(2, env::relaxed);
            });
            explore::thread([all] {
                if (all->word.load(env::acquire) == 2) (void)all->data.read();
            });
        });
    };
    EXPECT_TRUE(through(true).ok()) << through(true).text();
    EXPECT_NE(through(false).failure.find("data race"), std::string::npos);
}

TEST(explorer, locks_starts_and_joins_order_what_they_enclose) {
    const explore::report report = explore::run({}, [] {
        struct state {
            env::mutex lock;
            env::shared<int> data{0};
        };
        auto all = std::make_shared<state>();
        all->data.write() = 1;
        for (int i = 0; i < 2; ++i)
            explore::thread([all] {
                env::lock_guard held(all->lock);
                ++all->data.write();
            });
        explore::join_all();
        explore::check(all->data.read() == 3, "both have counted");
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

TEST(explorer, a_futex_orders_nothing) {
    const explore::report report = explore::run({}, [] {
        struct state {
            env::shared<int> data{0};
            env::atomic<std::uint32_t> word{0};
        };
        auto all = std::make_shared<state>();
        explore::thread([all] {
            env::futex_wait(all->word, 0);
            (void)all->data.read();
        });
        explore::thread([all] {
            all->data.write() = 1;
            all->word.store(1, env::release);
            env::futex_wake(all->word, 1);
        });
    });
    EXPECT_NE(report.failure.find("data race"), std::string::npos) << report.text();
}

TEST(explorer, reads_do_not_race_with_each_other) {
    const explore::report report = explore::run({}, [] {
        auto data = std::make_shared<env::shared<int>>(7);
        auto word = std::make_shared<env::atomic<int>>(0);
        for (int i = 0; i < 3; ++i)
            explore::thread([data, word] {
                word->load();
                (void)data->read();
            });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

// --- Stale loads ---

// What two threads return that run once each, over all schedules.
template <class Result, class State, class One, class Two>
std::set<Result> outcomes_of(const explore::options& how, One one, Two two) {
    std::set<Result> seen;
    const explore::report report = explore::run(how, [&seen, one, two] {
        auto all = std::make_shared<State>();
        explore::thread([all, one] { one(*all); });
        explore::thread([all, two] { two(*all); });
        explore::join_all();
        seen.insert({all->r1, all->r2});
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
    return seen;
}

struct two_words {
    env::atomic<int> x{0}, y{0};
    int r1 = -1, r2 = -1;
};
using pairs = std::set<std::pair<int, int>>;

pairs store_buffering(const explore::options& how, std::memory_order store, std::memory_order load) {
    return outcomes_of<std::pair<int, int>, two_words>(
        how, [=](two_words& it) { it.x.store(1, store), it.r1 = it.y.load(load); },
        [=](two_words& it) { it.y.store(1, store), it.r2 = it.x.load(load); });
}

TEST(explorer_stale, both_threads_may_miss_the_others_store_unless_all_is_seq_cst) {
    const pairs sequential = {{0, 1}, {1, 0}, {1, 1}};
    pairs all = sequential;
    all.insert({0, 0});
    EXPECT_EQ(store_buffering({.stale = 2}, env::seq_cst, env::seq_cst), sequential);
    EXPECT_EQ(store_buffering({.stale = 2}, env::release, env::acquire), all);
    EXPECT_EQ(store_buffering({.stale = 2}, env::relaxed, env::relaxed), all);
    EXPECT_EQ(store_buffering({.stale = 2}, env::seq_cst, env::acquire), all) << "half of it is not enough";
    EXPECT_EQ(store_buffering({.stale = 2}, env::release, env::seq_cst), all);
    EXPECT_EQ(store_buffering({}, env::relaxed, env::relaxed), sequential) << "only when asked for";
    EXPECT_EQ(store_buffering({.stale = 2, .reduce = true}, env::seq_cst, env::acquire), all);
    EXPECT_EQ(store_buffering({.stale = 2, .reduce = true}, env::seq_cst, env::seq_cst), sequential);
}

TEST(explorer_stale, updates_see_the_newest_value_whatever_their_order) {
    const auto add = [](two_words& it, int& mine) { mine = it.x.fetch_add(1, env::relaxed); };
    const auto seen = outcomes_of<std::pair<int, int>, two_words>(
        {.stale = 2}, [=](two_words& it) { add(it, it.r1); }, [=](two_words& it) { add(it, it.r2); });
    EXPECT_EQ(seen, (pairs{{0, 1}, {1, 0}}));
}

pairs message_passing(std::memory_order store, std::memory_order load) {
    return outcomes_of<std::pair<int, int>, two_words>(
        {.stale = 2}, [=](two_words& it) { it.x.store(1, env::relaxed), it.y.store(1, store); },
        [=](two_words& it) { it.r1 = it.y.load(load), it.r2 = it.x.load(env::relaxed); });
}

TEST(explorer_stale, who_sees_the_flag_may_miss_the_message_unless_release_meets_acquire) {
    const pairs right = {{0, 0}, {0, 1}, {1, 1}};
    pairs all = right;
    all.insert({1, 0});
    EXPECT_EQ(message_passing(env::release, env::acquire), right);
    EXPECT_EQ(message_passing(env::relaxed, env::acquire), all);
    EXPECT_EQ(message_passing(env::release, env::relaxed), all);
}

TEST(explorer_stale, a_message_passes_through_updates_of_the_flag_but_not_through_a_store) {
    const auto through = [](bool update) {
        return explore::run({.stale = 1}, [update] {
            auto all = std::make_shared<two_words>();
            explore::thread([all] {
                all->x.store(1, env::relaxed);
                all->y.store(1, env::release);
            });
            explore::thread([all, update] {
                if (update) all->y.fetch_add(1, env::relaxed);
                else if (all->y.load(env::relaxed) == 1) all->y.store(2, env::relaxed);
            });
            explore::thread([all] {
                if (all->y.load(env::acquire) == 2) explore::check(all->x.load(env::relaxed) == 1, "it is there");
            });
        });
    };
    EXPECT_TRUE(through(true).ok() && through(true).complete) << through(true).text();
    EXPECT_NE(through(false).failure.find("it is there"), std::string::npos) << through(false).text();
    EXPECT_NE(through(false).trace.find("stale: it holds 1"), std::string::npos) << through(false).text();
}

TEST(explorer_stale, no_thread_sees_a_value_and_then_an_older_one) {
    for (const auto order : {env::relaxed, env::seq_cst}) {
        const auto seen = outcomes_of<std::pair<int, int>, two_words>(
            {.stale = 4}, [=](two_words& it) { it.x.store(1, order), it.x.store(2, order); },
            [=](two_words& it) { it.r1 = it.x.load(env::relaxed), it.r2 = it.x.load(env::relaxed); });
        EXPECT_EQ(seen, (pairs{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}}));
    }
}

TEST(explorer_stale, what_one_thread_has_seen_bounds_what_the_next_sees_when_it_is_told) {
    const explore::report report = explore::run({.stale = 2}, [] {
        auto all = std::make_shared<two_words>();
        explore::thread([all] { all->x.store(1, env::relaxed); });
        explore::thread([all] {
            if (all->x.load(env::relaxed) == 1) all->y.store(1, env::release);
        });
        explore::thread([all] {
            if (all->y.load(env::acquire) == 1) explore::check(all->x.load(env::relaxed) == 1, "not older");
        });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

TEST(explorer_stale, a_thread_sees_its_own_stores_and_those_before_its_start_and_under_a_lock) {
    const explore::report report = explore::run({.stale = 3}, [] {
        struct state : two_words {
            env::mutex lock;
        };
        auto all = std::make_shared<state>();
        all->x.store(1, env::relaxed);
        for (int i = 0; i < 2; ++i)
            explore::thread([all] {
                explore::check(all->x.load(env::relaxed) == 1, "from before the start");
                env::lock_guard held(all->lock);
                const int before = all->y.load(env::relaxed);
                all->y.store(before + 1, env::relaxed);
                explore::check(all->y.load(env::relaxed) == before + 1, "its own");
            });
        explore::join_all();
        explore::check(all->y.load(env::relaxed) == 2, "what the lock enclosed");
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

TEST(explorer_stale, no_more_loads_are_stale_than_allowed) {
    const auto misses = [](int allowed) {
        int most = 0;
        const explore::report report = explore::run({.stale = allowed}, [&most] {
            auto all = std::make_shared<two_words>();
            explore::thread([all] { all->x.store(1, env::relaxed), all->y.fetch_add(1, env::relaxed); });
            explore::thread([all, &most] {
                while (all->y.fetch_add(0, env::relaxed) == 0) env::pause();
                int missed = 0;
                for (int i = 0; i < 3; ++i) missed += all->x.load(env::relaxed) == 0 ? 1 : 0;
                most = std::max(most, missed);
            });
        });
        EXPECT_TRUE(report.ok() && report.complete) << report.text();
        return most;
    };
    EXPECT_EQ(misses(0), 0);
    EXPECT_EQ(misses(1), 1);
    EXPECT_EQ(misses(2), 2);
}

TEST(explorer_stale, a_failure_is_replayed_with_the_bounds_that_its_report_names) {
    const auto scenario = [] {
        auto all = std::make_shared<two_words>();
        explore::thread([all] { all->x.store(1, env::relaxed), all->r1 = all->y.load(env::relaxed); });
        explore::thread([all] { all->y.store(1, env::relaxed), all->r2 = all->x.load(env::relaxed); });
        explore::join_all();
        explore::check(all->r1 + all->r2 != 0, "one has seen the other");
    };
    for (const unsigned depth : {0U, 2U}) {
        const explore::report first =
            explore::run({.random_schedules = 1'000, .pct_depth = depth, .stale = 2}, scenario);
        ASSERT_FALSE(first.ok());
        EXPECT_NE(first.text().find("{.stale = 2, .replay = \""), std::string::npos) << first.text();
        const explore::report again = explore::run({.stale = 2, .replay = first.replay}, scenario);
        EXPECT_EQ(again.failure, first.failure);
        EXPECT_EQ(again.trace, first.trace);
    }
}

// --- Priorities ---

// A fault that takes one thread in the middle of its many steps, and the other from its first to its last.
explore::report fall_in_between(const explore::options& how) {
    return explore::run(how, [] {
        struct state {
            env::atomic<int> from{0}, to{0};
        };
        auto all = std::make_shared<state>();
        for (int i = 0; i < 2; ++i)
            explore::thread([all] {
                for (int step = 0; step < 40; ++step) all->from.fetch_add(1, env::relaxed);
                for (int step = 0; step < 40; ++step) all->to.fetch_add(1, env::relaxed);
            });
        explore::thread([all] {
            const int from = all->from.load();
            for (int step = 0; step < 40; ++step) all->to.fetch_add(1, env::relaxed);
            explore::check(!(from == 40 && all->to.load() == 40), "all of this came between two steps of the others");
        });
    });
}

TEST(explorer, priorities_find_what_steps_drawn_one_by_one_do_not) {
    EXPECT_TRUE(fall_in_between({.random_schedules = 2'000}).ok());
    const explore::report found = fall_in_between({.random_schedules = 2'000, .pct_depth = 3});
    EXPECT_FALSE(found.ok());
    const explore::report again = fall_in_between({.replay = found.replay});
    EXPECT_EQ(again.failure, found.failure);
    EXPECT_EQ(again.trace, found.trace);
    const explore::report twin = fall_in_between({.random_schedules = 2'000, .pct_depth = 3});
    EXPECT_EQ(twin.failed_schedule, found.failed_schedule);
}

TEST(explorer, with_one_priority_for_each_thread_they_run_one_after_the_other_in_every_order) {
    std::set<std::string> seen;
    const explore::report report = explore::run({.random_schedules = 200, .pct_depth = 1}, [&seen] {
        auto turn = std::make_shared<env::atomic<int>>(0);
        auto order = std::make_shared<std::string>();
        for (const char who : {'a', 'b', 'c'})
            explore::thread([turn, order, who] {
                for (int i = 0; i < 2; ++i) {
                    turn->fetch_add(1);
                    *order += who;
                }
            });
        explore::join_all();
        seen.insert(*order);
    });
    EXPECT_TRUE(report.ok() && !report.complete) << report.text();
    seen.erase("");
    for (const char* const each : {"aabbcc", "aaccbb", "bbaacc", "bbccaa", "ccaabb", "ccbbaa"})
        EXPECT_EQ(seen.count(each), 1U) << each;
}

TEST(explorer, priorities_need_a_number_of_schedules) {
    EXPECT_THROW((void)explore::run({.pct_depth = 2}, [] {}), std::invalid_argument);
}

// --- Life ---

TEST(explorer, a_use_after_the_end_of_an_object_is_found_whichever_comes_first) {
    const explore::report report = explore::run({}, [] {
        auto word = std::make_shared<std::unique_ptr<env::atomic<int>>>(std::make_unique<env::atomic<int>>(0));
        auto raw = word->get();
        explore::thread([raw] { raw->fetch_add(1); });
        explore::thread([word] {
            env::atomic<int> step{0};
            step.load();
            word->reset();
        });
    });
    EXPECT_FALSE(report.ok());
    EXPECT_TRUE(report.failure.find("after its end") != std::string::npos ||
                report.failure.find("destroys it") != std::string::npos)
        << report.text();
}

explore::report count_references(std::memory_order order) {
    return explore::run({}, [order] {
        struct counted {
            env::atomic<int> references{2};
            env::shared<int> data{0};
        };
        auto* object = new counted;
        for (int i = 0; i < 2; ++i)
            explore::thread([object, order] {
                (void)object->data.read();
                if (object->references.fetch_sub(1, order) == 1) delete object;
            });
    });
}

TEST(explorer, the_last_of_two_owners_may_destroy_what_both_used_only_with_acquire_and_release) {
    const explore::report right = count_references(env::acq_rel);
    EXPECT_TRUE(right.ok() && right.complete) << right.text();
    for (const auto order : {env::relaxed, env::acquire, env::release}) {
        const explore::report wrong = count_references(order);
        EXPECT_NE(wrong.failure.find("data race"), std::string::npos) << wrong.text();
    }
}

// --- Time, the outside world ---

TEST(explorer, a_deadline_passes_only_when_nothing_else_can_happen) {
    const explore::report report = explore::run({}, [] {
        auto word = std::make_shared<env::atomic<std::uint32_t>>(0);
        explore::thread([word] {
            const leat::time_point deadline = env::now() + std::chrono::seconds(5);
            while (word->load() == 0) explore::check(env::futex_wait_until(*word, 0, deadline), "woken in time");
        });
        explore::thread([word] {
            word->store(1);
            env::futex_wake(*word, 1);
        });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
    const explore::report alone = explore::run({}, [] {
        env::atomic<std::uint32_t> word{0};
        const leat::time_point deadline = env::now() + std::chrono::seconds(5);
        explore::check(!env::futex_wait_until(word, 0, deadline), "nobody wakes it");
        explore::check(env::now() >= deadline, "the clock has moved");
        explore::check(!env::futex_wait_until(word, 0, deadline), "a deadline that is over does not wait");
    });
    EXPECT_TRUE(alone.ok()) << alone.text();
}

TEST(explorer, with_timeouts_a_deadline_may_pass_at_any_moment_as_often_as_allowed) {
    std::set<bool> woken;
    const explore::report report = explore::run({.timeouts = 1}, [&woken] {
        auto word = std::make_shared<env::atomic<std::uint32_t>>(0);
        explore::thread(
            [word, &woken] { woken.insert(env::futex_wait_until(*word, 0, env::now() + std::chrono::seconds(5))); });
        explore::thread([word] { env::futex_wake(*word, 1); });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
    EXPECT_EQ(woken, (std::set<bool>{false, true}));
}

TEST(explorer, sleepers_may_be_woken_for_nothing_as_often_as_allowed) {
    const auto wait_once = [] {
        auto word = std::make_shared<env::atomic<std::uint32_t>>(0);
        explore::thread([word] {
            if (word->load() == 0) env::futex_wait(*word, 0);
            explore::check(word->load() == 1, "one wait is enough");
        });
        explore::thread([word] {
            word->store(1);
            env::futex_wake(*word, 1);
        });
    };
    EXPECT_TRUE(explore::run({}, wait_once).ok());
    EXPECT_FALSE(explore::run({.spurious = 1}, wait_once).ok());
}

TEST(explorer, a_weak_compare_exchange_may_fail_as_often_as_allowed) {
    const auto set_once = [] {
        env::atomic<int> word{0};
        int expected = 0;
        explore::check(word.compare_exchange_weak(expected, 1), "at the first try");
    };
    EXPECT_TRUE(explore::run({}, set_once).ok());
    EXPECT_FALSE(explore::run({.spurious = 1}, set_once).ok());
}

TEST(explorer, each_choice_of_the_outside_world_has_its_schedules) {
    std::set<unsigned> seen;
    const explore::report report =
        explore::run({}, [&seen] { seen.insert(explore::choose(3) * 10 + explore::choose(2)); });
    EXPECT_EQ(report.schedules, 6U);
    EXPECT_EQ(seen, (std::set<unsigned>{0, 1, 10, 11, 20, 21}));
}

TEST(explorer, a_try_lock_meets_the_lock_held_and_free) {
    std::set<std::pair<int, bool>> seen;
    const explore::report report = explore::run({}, [&seen] {
        struct state {
            env::mutex lock;
            env::atomic<int> inside{0};
        };
        auto all = std::make_shared<state>();
        explore::thread([all] {
            env::lock_guard held(all->lock);
            all->inside.store(1);
        });
        explore::thread([all, &seen] {
            const int inside = all->inside.load();
            const bool got = all->lock.try_lock();
            if (got) all->lock.unlock();
            seen.insert({inside, got});
        });
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
    EXPECT_EQ(seen, (std::set<std::pair<int, bool>>{{0, false}, {0, true}, {1, false}, {1, true}}));
}

TEST(explorer, threads_of_the_library_run_in_the_scenario_with_slots_of_their_own) {
    const explore::report report = explore::run({}, [] {
        struct state {
            env::atomic<int> sum{0};
        } all;
        env::this_thread(env::slot::worker) = &all;
        const auto body = [](void* raw) {
            explore::check(env::this_thread(env::slot::worker) == nullptr, "a new thread has empty slots");
            env::this_thread(env::slot::worker) = raw;
            static_cast<state*>(raw)->sum.fetch_add(1, env::relaxed);
            explore::check(env::this_thread(env::slot::worker) == raw, "and keeps what it puts there");
        };
        env::thread one;
        env::thread two;
        explore::check(one.start("one", body, &all) && two.start("two", body, &all), "both start");
        one.join();
        two.join();
        explore::check(all.sum.load(env::relaxed) == 2, "both ran");
        explore::check(env::this_thread(env::slot::worker) == &all, "the starter keeps its own");
    });
    EXPECT_TRUE(report.ok() && report.complete) << report.text();
}

TEST(explorer, outside_a_scenario_operations_act_plainly) {
    env::atomic<int> word{1};
    EXPECT_EQ(word.fetch_add(2), 1);
    int expected = 4;
    EXPECT_FALSE(word.compare_exchange_strong(expected, 5));
    EXPECT_EQ(expected, 3);
    EXPECT_EQ(word++, 3);
    env::mutex lock;
    EXPECT_TRUE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock());
    lock.unlock();
    env::shared<int> data(3);
    data.write() = 4;
    EXPECT_EQ(data.read(), 4);
    env::thread none;
    EXPECT_FALSE(none.start("none", [](void*) {}, nullptr));
    static_assert(sizeof(env::atomic<char>) == sizeof(char), "an atomic has the size of its value");
}

}  // namespace
