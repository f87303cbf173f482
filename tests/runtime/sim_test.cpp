// The simulated runtime: what a seed decides, virtual time, how a failed run is told and ended, and what it refuses.
#include <leat/runtime/sim.hpp>

#include <core.hpp>
#include <cstdlib>
#include <gmock/gmock.h>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <leat/channel/channel.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/strand.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/task/resume_on.hpp>
#include <leat/task/run_in_fiber.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_any.hpp>

namespace {

using leat::task;
using leat::task_name;
using leat::sim::ending;
using leat::sim::result;
using leat::sim::schedule;
using namespace std::chrono_literals;
using testing::Test;

constexpr schedule both[] = {schedule::uniform, schedule::pct};

// LEAT_SIM_SEED while it lives.
class seed_in_environment {
public:
    explicit seed_in_environment(const std::string& seed) { ::setenv("LEAT_SIM_SEED", seed.c_str(), 1); }
    seed_in_environment(const seed_in_environment&) = delete;
    seed_in_environment& operator=(const seed_in_environment&) = delete;
    ~seed_in_environment() { ::unsetenv("LEAT_SIM_SEED"); }
};

// The planted mistake: what was read is stale after the yield.
task<> adds_one(int& count) {
    const int seen = count;
    co_await leat::this_task::yield();
    count = seen + 1;
}
task<> two_add_one_each() {
    int count = 0;
    leat::scope work;
    work.spawn(adds_one, std::ref(count));
    work.spawn(adds_one, std::ref(count));
    co_await work.join();
    if (count != 2) throw std::runtime_error("an addition was lost");
}

TEST(sim, finds_a_lost_update_and_replays_it_by_its_seed) {
    for (const schedule order : both) {
        const leat::sim::explored all = leat::sim::search({.seeds = 100, .run = {.order = order}}, two_add_one_each);
        ASSERT_TRUE(all.failed);
        EXPECT_EQ(all.failed->how, ending::failed);
        EXPECT_EQ(all.seeds, all.failed->seed);
        const result again = leat::sim::run({.seed = all.failed->seed, .order = order}, two_add_one_each);
        EXPECT_EQ(again.how, ending::failed);
        EXPECT_EQ(again.trace, all.failed->trace);
        EXPECT_EQ(again.steps, all.failed->steps);
    }
}

TEST(sim, not_every_order_loses_the_update) {
    int right = 0;
    for (std::uint64_t seed = 1; seed <= 100; ++seed)
        right += static_cast<int>(leat::sim::run({.seed = seed}, two_add_one_each).ok());
    EXPECT_GT(right, 5);
    EXPECT_LT(right, 95);
}

// Needs one line to stand still while another takes many turns.
TEST(sim, priorities_find_what_needs_a_line_to_stand_still_for_long) {
    const auto program = []() -> task<> {
        bool looked = false;
        int turns = 0;
        leat::scope work;
        work.spawn(
            [](bool& at, int& count) -> task<> {
                for (; count < 40; ++count) {
                    auto [out, in] = leat::channel<int>(1);
                    (void)co_await out.send(1);
                    co_await leat::this_task::yield();
                }
                if (!at) throw std::runtime_error("nobody has looked for forty turns");
            },
            std::ref(looked), std::ref(turns));
        work.spawn(
            [](bool& at) -> task<> {
                at = true;
                co_return;
            },
            std::ref(looked));
        co_await work.join();
    };
    EXPECT_FALSE(leat::sim::search({.seeds = 300, .run = {.order = schedule::uniform}}, program).failed);
    EXPECT_TRUE(leat::sim::search({.seeds = 3000, .run = {.order = schedule::pct}}, program).failed);
}

TEST(sim, explore_throws_a_report_that_says_how_to_replay) {
    try {
        leat::sim::explore({.seeds = 100}, two_add_one_each);
        FAIL() << "nothing was found";
    } catch (const leat::sim::failure& found) {
        const std::string seed = std::to_string(found.of().seed);
        EXPECT_THAT(found.what(), testing::StartsWith("seed " + seed + ": failed: an addition was lost (steps: "));
        EXPECT_THAT(found.what(), testing::HasSubstr("LEAT_SIM_SEED=" + seed));
    }
}

TEST(sim, the_seed_in_the_environment_is_the_only_one_that_is_run) {
    std::vector<int> runs;
    const auto program = [&]() -> task<> {
        runs.push_back(static_cast<int>(leat::sim::draw(1'000'000)));
        co_return;
    };
    leat::sim::explored all;
    {
        const seed_in_environment set("33");
        all = leat::sim::explore({.seeds = 100}, program);
    }
    EXPECT_EQ(all.seeds, 1U);
    (void)leat::sim::run({.seed = 33}, program);
    ASSERT_EQ(runs.size(), 2U);
    EXPECT_EQ(runs[0], runs[1]);
    const seed_in_environment wrong("33x");
    EXPECT_THROW((void)leat::sim::search({}, program), std::invalid_argument);
}

TEST(sim, time_is_virtual_and_exact) {
    leat::duration slept{};
    const auto program = [&]() -> task<> {
        const leat::time_point start = co_await leat::this_task::now();
        co_await leat::sleep_for(1h);
        co_await leat::sleep_for(24h);
        slept = co_await leat::this_task::now() - start;
    };
    const result ended = leat::sim::run({}, program);
    EXPECT_TRUE(ended.ok()) << ended.report();
    EXPECT_EQ(slept, 25h);
    EXPECT_EQ(ended.time, 25h);
}

TEST(sim, sleepers_wake_in_the_order_of_their_times_whatever_the_seed) {
    const auto program = []() -> task<> {
        std::vector<int> order;
        leat::scope work;
        for (const int hours : {3, 1, 2})
            work.spawn(
                [](std::vector<int>& woken, int at) -> task<> {
                    co_await leat::sleep_for(std::chrono::hours(at));
                    woken.push_back(at);
                },
                std::ref(order), hours);
        co_await work.join();
        if (order != std::vector{1, 2, 3}) throw std::runtime_error("out of order");
    };
    leat::sim::explore({.seeds = 200}, program);
}

TEST(sim, what_is_due_at_one_time_happens_in_any_order) {
    std::set<std::vector<int>> orders;
    const auto program = [&]() -> task<> {
        std::vector<int> order;
        leat::scope work;
        for (const int number : {1, 2, 3})
            work.spawn(
                [](std::vector<int>& woken, int mine) -> task<> {
                    co_await leat::sleep_for(1h);
                    woken.push_back(mine);
                },
                std::ref(order), number);
        co_await work.join();
        orders.insert(order);
    };
    leat::sim::explore({.seeds = 200}, program);
    EXPECT_EQ(orders.size(), 6U);
}

TEST(sim, a_task_that_yields_until_a_timer_fires_does_not_stop_the_clock) {
    for (const schedule order : both) {
        const auto program = []() -> task<> {
            bool fired = false;
            leat::scope work;
            work.spawn(
                [](bool& at) -> task<> {
                    co_await leat::sleep_for(2ms);
                    at = true;
                },
                std::ref(fired));
            while (!fired) co_await leat::this_task::yield();
            co_await work.join();
        };
        leat::sim::explore({.seeds = 20, .run = {.order = order}}, program);
    }
}

task<> holds_and_wants(leat::mutex& first, leat::mutex& second) {
    auto one = co_await first.lock();
    co_await leat::this_task::yield();
    auto two = co_await second.lock();
}
task<> locks_crosswise() {
    leat::mutex a;
    leat::mutex b;
    leat::scope work;
    work.spawn(task_name("left"), holds_and_wants, std::ref(a), std::ref(b));
    work.spawn(task_name("right"), holds_and_wants, std::ref(b), std::ref(a));
    co_await work.join();
}

TEST(sim, a_deadlock_is_told_with_the_names_of_those_who_wait_and_for_what) {
    const leat::sim::explored all = leat::sim::search({.seeds = 100}, locks_crosswise);
    ASSERT_TRUE(all.failed);
    EXPECT_EQ(all.failed->how, ending::deadlock);
    EXPECT_EQ(all.failed->waiting,
              "  main (line 1) waits for scope join\n"
              "    left (line 2) waits for a mutex, held by right (line 3)\n"
              "    right (line 3) waits for a mutex, held by left (line 2)");
    EXPECT_THAT(all.failed->report(), testing::HasSubstr("deadlock"));
}

TEST(sim, a_wait_for_ever_is_a_deadlock_and_not_a_timer) {
    const result ended = leat::sim::run({}, leat_test::until_stopped);
    EXPECT_EQ(ended.how, ending::deadlock);
    EXPECT_EQ(ended.waiting, "  main (line 1) waits for sleep");
    EXPECT_EQ(ended.time, 0s);
}

TEST(sim, a_failed_run_is_stopped_and_ends_in_good_order) {
    int alive = 0;
    const auto program = [&]() -> task<> {
        const leat_test::counted mine(alive);
        leat::scope work;
        for (int i = 0; i < 3; ++i)
            work.spawn([](leat_test::counted) -> task<> { co_await leat_test::until_stopped(); }, mine);
        co_await work.join();
    };
    EXPECT_EQ(leat::sim::run({}, program).how, ending::deadlock);
    EXPECT_EQ(alive, 0);
}

TEST(sim, a_program_that_spins_meets_the_bound_on_steps_and_is_abandoned) {
    const auto program = []() -> task<> {
        for (;;) co_await leat::this_task::yield();
    };
    const result ended = leat::sim::run({.max_steps = 5000}, program);
    EXPECT_EQ(ended.how, ending::too_many_steps);
    EXPECT_EQ(ended.steps, 5000U);
    EXPECT_EQ(ended.waiting, "  main (line 1) is ready");
}

TEST(sim, what_does_not_end_when_it_is_stopped_is_abandoned) {
    const auto program = []() -> task<> { co_await leat::shield(leat_test::until_stopped()); };
    const result ended = leat::sim::run({}, program);
    EXPECT_EQ(ended.how, ending::deadlock);
    EXPECT_EQ(ended.waiting, "  main (line 1) waits for shield");
}

TEST(sim, a_program_that_waits_too_long_meets_the_bound_on_time) {
    const auto program = []() -> task<> {
        for (;;) co_await leat::sleep_for(1h);
    };
    const result ended = leat::sim::run({.max_time = 100h}, program);
    EXPECT_EQ(ended.how, ending::too_late);
    EXPECT_EQ(ended.time, 100h);
}

TEST(sim, an_error_and_a_cancellation_come_out_as_such) {
    const result error = leat::sim::run({}, leat_test::failing, "broken", 3);
    EXPECT_EQ(error.how, ending::failed);
    EXPECT_THROW(std::rethrow_exception(error.error), std::runtime_error);
    const auto throws_an_int = []() -> task<> {
        throw 1;
        co_return;
    };
    EXPECT_THAT(leat::sim::run({}, throws_an_int).report(), testing::HasSubstr("no std::exception"));
    const auto has_no_task = []() -> task<> { throw std::runtime_error("no task"); };
    EXPECT_THAT(leat::sim::run({}, has_no_task).report(), testing::HasSubstr("failed: no task"));
    const auto gives_up = []() -> task<> {
        throw leat::cancelled{};
        co_return;
    };
    EXPECT_EQ(leat::sim::run({}, gives_up).how, ending::cancelled);
}

// A bit of everything, with an end that depends on the order.
task<> mixture() {
    auto [out, in] = leat::channel<int>(2);
    leat::scope work;
    for (int producer = 0; producer < 3; ++producer)
        work.spawn(
            [](leat::sender<int> mine, int from) -> task<> {
                for (int i = from; i < from + 20; ++i) {
                    if (leat::sim::chance(20)) co_await leat::sleep_for(1ms);
                    if (!co_await mine.send(i)) co_return;
                }
            },
            out, producer * 20);
    out.reset();
    std::set<int> got;
    for (;;) {
        auto receiving = in.recv();
        bool timed_out = false;
        try {
            const auto item = co_await leat::timeout(std::move(receiving), 500us);
            if (!item) break;
            if (!got.insert(*item).second) throw std::runtime_error("twice");
        } catch (const leat::timed_out&) {
            timed_out = true;
        }
        if (timed_out && leat::sim::chance(50)) {
            const auto first = co_await leat::when_any(leat_test::until_stopped(), leat_test::giving(1, 3));
            EXPECT_EQ(first.index(), 1U);
        }
    }
    auto call = leat::blocking([&] { return got.size(); });
    const std::size_t count = co_await std::move(call);
    co_await work.join();
    if (count != 60) throw std::runtime_error("lost");
}

TEST(sim, channels_timeouts_and_races_hold_under_a_thousand_seeds) {
    const leat::sim::explored all = leat::sim::explore({.seeds = 1000}, mixture);
    EXPECT_EQ(all.seeds, 1000U);
    EXPECT_GT(all.schedules, 990U);
}

TEST(sim, they_hold_on_a_machine_that_is_late_and_stalls) {
    leat::sim::explore({.seeds = 300, .run = {.lateness = 700us, .stall_percent = 5}}, mixture);
}

TEST(sim, the_same_seed_gives_the_same_trace) {
    for (const schedule order : both) {
        std::set<std::uint64_t> traces;
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            const result ended = leat::sim::run({.seed = seed, .order = order}, mixture);
            EXPECT_EQ(leat::sim::run({.seed = seed, .order = order}, mixture).trace, ended.trace);
            traces.insert(ended.trace);
        }
        EXPECT_EQ(traces.size(), 20U);
    }
}

TEST(sim, fibers_and_strands_run_under_seeds_too) {
    const auto program = []() -> task<> {
        leat::context& line = co_await leat::this_task::line();
        leat::strand alone(line.where());
        int count = 0;
        leat::scope work;
        for (int i = 0; i < 4; ++i)
            work.spawn(
                [](leat::strand& on, int& sum) -> task<> {
                    const auto adds = [](int& all) -> task<> {
                        for (int turn = 0; turn < 3; ++turn) {
                            ++all;
                            co_await leat::this_task::yield();
                        }
                    };
                    co_await leat::on(on, adds(sum));
                },
                std::ref(alone), std::ref(count));
        const int woken = co_await leat::run_in_fiber([] {
            int naps = 0;
            for (; naps < 5; ++naps) leat::await(leat::sleep_for(1h));
            return naps;
        });
        co_await work.join();
        if (count != 12 || woken != 5) throw std::runtime_error("not all have run");
    };
    const leat::sim::explored all = leat::sim::explore({.seeds = 200}, program);
    EXPECT_GT(all.schedules, 100U);
    EXPECT_EQ(leat::sim::run({.seed = 9}, program).trace, leat::sim::run({.seed = 9}, program).trace);
}

// Told in literals, so that all compilers and builds agree. Of the simplest steps, so that they change with the simulation
// alone: what seeds of old mean is then lost.
TEST(sim, a_seed_means_the_same_in_every_build) {
    std::string order;
    const auto program = [&]() -> task<> {
        leat::scope work;
        for (const char letter : {'a', 'b', 'c'})
            work.spawn(
                [](std::string& text, char mine) -> task<> {
                    for (int i = 0; i < 4; ++i) {
                        text += mine;
                        if (leat::sim::chance(25)) co_await leat::sleep_for(1ms);
                        else co_await leat::this_task::yield();
                    }
                },
                std::ref(order), letter);
        co_await work.join();
    };
    const result uniform = leat::sim::run({.seed = 5, .order = schedule::uniform}, program);
    EXPECT_EQ(std::exchange(order, ""), "cabbbbacacac");
    EXPECT_EQ(uniform.trace, 16251066975356176834U);
    const result pct = leat::sim::run({.seed = 5, .order = schedule::pct}, program);
    EXPECT_EQ(order, "baaaabccccbb");
    EXPECT_EQ(pct.trace, 11367883483700486370U);
}

task<int> depth(int left) {
    if (left == 0) co_return 0;
    co_return 1 + co_await depth(left - 1);
}
TEST(sim, deep_awaits_are_no_steps_of_their_own) {  // though some builds go through the run queue on the way
    const auto program = []() -> task<> {
        const int found = co_await depth(5000);
        EXPECT_EQ(found, 5000);
    };
    const result ended = leat::sim::run({}, program);
    EXPECT_TRUE(ended.ok());
    EXPECT_EQ(ended.steps, 1U);
}

TEST(sim, a_blocking_call_is_a_step_that_others_may_come_before) {
    std::set<std::string> orders;
    const auto program = [&]() -> task<> {
        std::string order;
        const std::thread::id here = std::this_thread::get_id();
        leat::scope work;
        work.spawn(
            [](std::string& text, std::thread::id mine) -> task<> {
                auto call = leat::blocking([&] {
                    EXPECT_EQ(std::this_thread::get_id(), mine);
                    text += 'b';
                });
                co_await std::move(call);
            },
            std::ref(order), here);
        work.spawn(
            [](std::string& text) -> task<> {
                text += '1';
                co_await leat::this_task::yield();
                text += '2';
            },
            std::ref(order));
        co_await work.join();
        orders.insert(order);
    };
    leat::sim::explore({.seeds = 200}, program);
    EXPECT_EQ(orders, (std::set<std::string>{"b12", "1b2", "12b"}));
}

TEST(sim, chance_and_draw_come_from_the_seed_and_are_nothing_outside) {
    EXPECT_FALSE(leat::sim::chance(100));
    EXPECT_EQ(leat::sim::draw(1000), 0U);
    int hits = 0;
    const auto program = [&]() -> task<> {
        for (int i = 0; i < 1000; ++i) hits += static_cast<int>(leat::sim::chance(30));
        EXPECT_TRUE(leat::sim::chance(100));
        EXPECT_FALSE(leat::sim::chance(0));
        EXPECT_LT(leat::sim::draw(7), 7U);
        co_return;
    };
    (void)leat::sim::run({.seed = 1}, program);
    const int before = std::exchange(hits, 0);
    (void)leat::sim::run({.seed = 1}, program);
    EXPECT_EQ(hits, before);
    EXPECT_GT(hits, 200);
    EXPECT_LT(hits, 400);
}

TEST(sim, on_step_sees_each_step_and_who_takes_it) {
    std::vector<std::string> seen;
    const auto program = []() -> task<> {
        co_await leat::sleep_for(1s);
        auto call = leat::blocking([] {});
        co_await std::move(call);
    };
    leat::sim::options how;
    how.on_step = [&](const leat::sim::step& each) {
        EXPECT_EQ(each.number, seen.size() + 1);
        seen.emplace_back(each.what);
    };
    const result ended = leat::sim::run(how, program);
    EXPECT_EQ(seen, (std::vector<std::string>{"main", "(timer)", "main", "(call)", "main"}));
    EXPECT_EQ(ended.steps, seen.size());
}

TEST(sim, arguments_live_as_long_as_the_run) {
    const auto program = [](const std::string& text, int number) -> task<> {
        co_await leat::sleep_for(1s);
        EXPECT_EQ(text, "a literal that becomes a string");
        EXPECT_EQ(number, 7);
    };
    EXPECT_TRUE(leat::sim::run({}, program, "a literal that becomes a string", 7).ok());
}

TEST(sim, a_simulation_as_a_runtime_throws_what_is_wrong_with_the_run) {
    leat::sim::simulation where({.seed = 3});
    EXPECT_EQ(where.run(leat_test::giving(5, 3)), 5);
    EXPECT_THROW(where.run(leat_test::until_stopped()), leat::sim::failure);
    EXPECT_EQ(where.run(leat_test::giving(6)), 6);
}

using sim_death = Test;

TEST(sim_death, a_run_inside_a_task_is_a_bug) {
    const auto inner = []() -> task<> { co_return; };
    const auto program = [&]() -> task<> {
        (void)leat::sim::run({}, inner);
        co_return;
    };
    EXPECT_DEATH((void)leat::sim::run({}, program), "run was called inside a task");
}

TEST(sim_death, a_post_from_another_thread_is_a_bug) {
    struct nothing : leat::work_item {
        nothing() : work_item([](work_item&) noexcept {}) {}
    };
    const auto posts = [] {
        leat::sim::simulation where({});
        nothing item;
        std::thread([&] { where.post(item); }).join();
    };
    EXPECT_DEATH(posts(), "another thread");
}

TEST(sim_death, real_events_are_refused) {
    struct nothing final : leat::poller {
        void wait(leat::time_point) noexcept override {}
        bool poll() noexcept override { return false; }
        void interrupt() noexcept override {}
    };
    nothing events;
    EXPECT_DEATH(leat::sim::simulation({}).use(events), "a simulation has no I/O");
}

}  // namespace
