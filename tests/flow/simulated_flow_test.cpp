// Flows under seeds: the account adds up in every order, with stages that fail and are slow as the seed has it.
#include <leat/flow/flow.hpp>

#include <gtest/gtest.h>
#include <ranges>

#include <leat/runtime/sim.hpp>
#include <leat/task/this_task.hpp>

namespace {

using leat::task;
using namespace std::chrono_literals;

task<int> look_up(int number) {
    if (leat::sim::chance(50)) co_await leat::sleep_for(1ms * leat::sim::draw(100));
    if (leat::sim::chance(10)) throw std::runtime_error("fails now and then");
    if (number % 10 == 7) throw leat::permanent_error("fails for good");
    co_return number;
}

task<> program() {
    int kept = 0;
    int before = -1;
    bool in_order = true;
    auto graph = leat::from(std::views::iota(0, 60)) |
                 leat::map("look up", look_up).concurrency(8).retry(8, 10ms).on_error(leat::on_error::skip) |
                 leat::filter("even", [](const int& number) { return number % 2 == 0; }) |
                 leat::for_each("keep", [&](int number) {
                     in_order = in_order && std::exchange(before, number) < number;
                     ++kept;
                 });
    const leat::report done = co_await leat::run_flow(std::move(graph));
    if (done.in != 60 || done.out + done.skipped != 60) throw std::runtime_error("the account does not add up");
    if (static_cast<int>(done.out) != kept) throw std::runtime_error("not what came out");
    if (!in_order) throw std::runtime_error("out of order");
}

TEST(simulated_flow, the_account_adds_up_and_order_is_kept_under_every_seed) {
    const leat::sim::explored all = leat::sim::explore({.seeds = 300, .run = {.stall_percent = 1}}, program);
    EXPECT_GT(all.schedules, 290U);
}

TEST(simulated_flow, the_same_seed_gives_the_same_trace) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        EXPECT_EQ(leat::sim::run({.seed = seed}, program).trace, leat::sim::run({.seed = seed}, program).trace);
}

}  // namespace
