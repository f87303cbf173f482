// Flows that branch and join: who gets which items, what the account says of them, and the policies of a branch.
#include <leat/flow/flow.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <ranges>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/runtime/sim.hpp>

namespace {

using namespace std::chrono_literals;
using leat::flow_end;
using leat::report;
using leat::task;
using testing::ElementsAre;
using testing::HasSubstr;

class flow_graph : public testing::TestWithParam<unsigned> {
protected:
    report run(leat::flow_graph graph, const leat::flow_options& options = {}) const {
        report done = leat::run(leat::run_options(GetParam()), leat::run_flow, std::move(graph), options);
        EXPECT_TRUE(done.adds_up()) << done.to_text();
        return done;
    }
};
INSTANTIATE_TEST_SUITE_P(threads, flow_graph, testing::Values(1U, 3U));

std::vector<int> numbers(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}
std::vector<int> sorted(std::vector<int> all) {
    std::sort(all.begin(), all.end());
    return all;
}
const leat::stage_report& stage_of(const report& done, const std::string& name) {
    return *std::find_if(done.stages.begin(), done.stages.end(), [&](const auto& each) { return each.name == name; });
}
template <class Function>
std::string refusal_of(Function run) {
    try {
        run();
    } catch (const std::invalid_argument& why) {
        return why.what();
    }
    return "(accepted)";
}

TEST_P(flow_graph, a_pipeline_used_twice_gives_all_its_items_both_ways) {
    std::vector<int> left, right;
    auto all = leat::from(numbers(3000)) | leat::map("same", [](int v) { return v; }).concurrency(2);
    all | leat::for_each("left", [&](int v) { left.push_back(v); });
    const report done = run(all | leat::filter("even", [](const int& v) { return v % 2 == 0; }) |
                            leat::for_each("right", [&](int v) { right.push_back(v); }));
    EXPECT_EQ(left, numbers(3000));
    EXPECT_EQ(right.size(), 1500U);
    EXPECT_EQ(done.end, flow_end::complete);
    EXPECT_EQ(done.in, 3000U);
    EXPECT_EQ(done.out, 3000U) << "an item that one branch has left out is committed by the other";
}

TEST_P(flow_graph, an_item_that_fails_on_one_way_has_failed_though_the_other_commits_it) {
    std::atomic<int> stored = 0;
    auto all = leat::from(numbers(100));
    all | leat::for_each("store", [&](int) { ++stored; });
    const report done = run(all |
                            leat::map("picky",
                                      [](int v) {
                                          if (v % 10 == 3) throw std::runtime_error("no");
                                          return v;
                                      })
                                .on_error(leat::on_error::keep_going) |
                            leat::for_each("other", [](int) {}));
    EXPECT_EQ(stored, 100);
    EXPECT_EQ(done.failed, 10U);
    EXPECT_EQ(done.out, 90U);
}

TEST_P(flow_graph, split_sends_each_item_one_way_in_its_order) {
    std::vector<int> even, odd;
    auto [yes, no] =
        leat::from(numbers(1000)) | leat::split("even", [](const int& v) { return v % 2 == 0; }).concurrency(3);
    no | leat::for_each("odd", [&](int v) { odd.push_back(v); });
    const report done = run(yes | leat::for_each("even", [&](int v) { even.push_back(v); }));
    EXPECT_EQ(even.size(), 500U);
    EXPECT_EQ(odd.size(), 500U);
    EXPECT_TRUE(std::is_sorted(even.begin(), even.end()));
    EXPECT_TRUE(std::is_sorted(odd.begin(), odd.end()));
    EXPECT_TRUE(std::all_of(odd.begin(), odd.end(), [](int v) { return v % 2 == 1; }));
    EXPECT_EQ(done.out, 1000U);
}

TEST_P(flow_graph, partition_keeps_equal_keys_together) {
    std::vector<std::vector<int>> got(4);
    auto parts = leat::from(numbers(1000)) | leat::partition("by ten", 4, [](const int& v) { return v % 10; });
    ASSERT_EQ(parts.size(), 4U);
    leat::flow_graph whole;
    for (std::size_t i = 0; i < parts.size(); ++i)
        whole = parts[i] | leat::for_each("part", [&got, i](int v) { got[i].push_back(v); });
    const report done = run(std::move(whole));
    EXPECT_EQ(done.out, 1000U);
    std::map<int, std::size_t> part_of;
    for (std::size_t i = 0; i < got.size(); ++i)
        for (const int v : got[i]) EXPECT_EQ(part_of.try_emplace(v % 10, i).first->second, i) << v;
}

TEST_P(flow_graph, a_way_that_is_not_there_fails_the_item) {
    auto ways = leat::from(numbers(10)) | leat::route("route", 2, [](const int& v) {
                                              return v == 7 ? 2U : v % 2U;
                                          }).on_error(leat::on_error::keep_going);
    ways[1] | leat::for_each("odd", [](int) {});
    const report done = run(ways[0] | leat::for_each("even", [](int) {}));
    EXPECT_EQ(done.failed, 1U);
    EXPECT_EQ(done.out, 9U);
}

TEST_P(flow_graph, merge_joins_pipelines_of_one_flow_and_of_several) {
    std::vector<int> got;
    auto [small, large] = leat::from(numbers(100)) | leat::split("small", [](const int& v) { return v < 50; });
    auto more = leat::from(std::vector<int>{1000, 1001, 1002}) | leat::map("next", [](int v) { return v + 1; });
    auto all = leat::merge(small | leat::map("minus", [](int v) { return -v - 1; }), large, more);
    const report done = run(all | leat::map("same", [](int v) { return v; }).concurrency(4) |
                            leat::for_each("store", [&](int v) { got.push_back(v); }));
    EXPECT_EQ(done.in, 103U);
    EXPECT_EQ(done.out, 103U);
    std::vector<int> expected;
    for (int i = 0; i < 50; ++i) expected.push_back(-i - 1);
    for (int i = 50; i < 100; ++i) expected.push_back(i);
    for (int i = 1001; i < 1004; ++i) expected.push_back(i);
    EXPECT_EQ(sorted(got), sorted(expected));
    // A handle from before the join stands where it stood.
    EXPECT_EQ(more.graph().sources.size(), 2U);
}

TEST_P(flow_graph, order_by_key_keeps_each_keys_items_in_order_and_lets_others_pass) {
    std::map<int, std::vector<int>> got;
    const report done = run(
        leat::from(numbers(2000)) | leat::key_by("by seven", [](const int& v) { return v % 7; }) |
        leat::map("slow",
                  [](int v) -> task<int> {
                      for (int i = v % 7; i > 0; --i) co_await leat::this_task::yield();
                      co_return v;
                  })
            .concurrency(4)
            .order(leat::order::key) |
        leat::flat_map("twice", [](int v) { return std::vector<int>{v, v}; }).concurrency(4).order(leat::order::key) |
        leat::for_each("store", [&](int v) { got[v % 7].push_back(v); }));
    EXPECT_EQ(done.out, 2000U);
    std::size_t all = 0;
    for (const auto& [key, values] : got) {
        EXPECT_TRUE(std::is_sorted(values.begin(), values.end())) << "key " << key;
        all += values.size();
    }
    EXPECT_EQ(all, 4000U);
}

TEST_P(flow_graph, a_fold_commits_what_went_into_it_with_its_state) {
    std::vector<long> got;
    const report done = run(leat::from(numbers(10'000)) | leat::map("same", [](int v) { return v; }).concurrency(3) |
                            leat::fold("sum", 0L, [](long& sum, int v) { sum += v; }) |
                            leat::for_each("store", [&](long sum) { got.push_back(sum); }));
    EXPECT_THAT(got, ElementsAre(10'000L * 9'999 / 2));
    EXPECT_EQ(done.out, 10'000U);
    // What fails with the state fails with all of it.
    const report failed = run(leat::from(numbers(10)) | leat::fold("sum", 0L, [](long& sum, int v) { sum += v; }) |
                              leat::for_each("store", [](long) { throw std::runtime_error("full"); }));
    EXPECT_EQ(failed.failed, 10U);
    EXPECT_EQ(failed.end, flow_end::failed);
}

TEST_P(flow_graph, a_fold_whose_state_outgrows_its_bound_fails_the_flow) {
    const auto append = [](std::string& all, int v) { all += std::to_string(v); };
    const report done = run(leat::from(numbers(10'000)) | leat::fold("join", std::string(), append).bound(1000) |
                            leat::for_each("store", [](const std::string&) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("more than its bound of 1000"));
    EXPECT_EQ(done.out, 0U);
}

TEST_P(flow_graph, a_branch_that_drops_does_not_hold_up_the_others) {
    leat::event ended;
    std::atomic<int> quick = 0, slow = 0;
    auto all = leat::from(numbers(5000));
    all | leat::for_each("slow",
                         [&](int) -> task<> {
                             ++slow;
                             co_await ended.wait();
                         })
              .buffer(10)
              .overflow(leat::when_full::drop_newest);
    const report done = run(all | leat::for_each("quick", [&](int) {
                                if (++quick == 5000) ended.set();
                            }));
    EXPECT_EQ(quick, 5000);
    EXPECT_LT(slow, 5000);
    EXPECT_EQ(done.out, 5000U);
    EXPECT_EQ(stage_of(done, "slow").skipped + static_cast<std::uint64_t>(slow.load()), 5000U);
}

TEST_P(flow_graph, a_drain_gives_all_branches_what_one_of_them_has) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    std::atomic<int> slow = 0, quick = 0;
    auto all = leat::from(std::views::iota(0));  // without end
    all | leat::for_each("slow", [&](int) -> task<> {
              if (++slow == 50) control.drain();
              co_await leat::sleep_for(200us);  // so that the source waits, having given this branch a part
          }).buffer(1);
    const report done = run(all | leat::for_each("quick", [&](int) { ++quick; }), options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(done.unfinished, 0U);
    EXPECT_EQ(slow, quick);
}

TEST_P(flow_graph, a_stop_ends_a_source_that_waits_for_a_branch) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    leat::event never;
    std::atomic<int> slow = 0;
    auto all = leat::from(std::views::iota(0));
    all | leat::for_each("slow", [&](int) -> task<> {
              ++slow;
              control.stop();
              co_await never.wait();
          }).buffer(1);
    const report done = run(all | leat::for_each("quick", [](int) {}), options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(slow, 1);
    EXPECT_GT(done.unfinished, 0U);
}

TEST_P(flow_graph, drop_oldest_keeps_the_newest) {
    leat::event ended;
    std::vector<int> kept;
    auto all = leat::from(numbers(1000));
    all | leat::for_each("slow",
                         [&](int v) -> task<> {
                             kept.push_back(v);
                             co_await ended.wait();
                         })
              .buffer(4)
              .overflow(leat::when_full::drop_oldest);
    std::atomic<int> quick = 0;
    const report done = run(all | leat::for_each("quick", [&](int) {
                                if (++quick == 1000) ended.set();
                            }));
    EXPECT_EQ(done.out, 1000U);
    EXPECT_EQ(kept.back(), 999);
    EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
}

TEST_P(flow_graph, one_that_has_ended_runs_again_from_the_beginning) {
    int sum = 0;
    const leat::flow_graph graph = leat::from(numbers(100)) | leat::map("same", [](int v) { return v; }) |
                                   leat::for_each("add", [&](int v) { sum += v; });
    for (int round = 1; round <= 3; ++round) {
        EXPECT_EQ(run(graph).out, 100U);
        EXPECT_EQ(sum, 4950 * round);
    }
}

TEST_P(flow_graph, one_that_was_drained_runs_again_from_the_beginning) {
    for (const unsigned jobs : {1U, 4U}) {
        leat::flow_control control;
        leat::flow_options options;
        options.control = &control;
        std::atomic<int> seen = 0;
        const leat::flow_graph graph = leat::from(numbers(1000)) |
                                       leat::map("same",
                                                 [&](int v) {
                                                     if (++seen == 50) control.drain();
                                                     return v;
                                                 })
                                           .concurrency(jobs) |
                                       leat::for_each("store", [](int) {});
        EXPECT_EQ(run(graph, options).end, flow_end::interrupted);
        EXPECT_EQ(run(graph).out, 1000U) << jobs;
    }
}

TEST_P(flow_graph, what_took_a_way_may_go_several_ways_later) {
    std::vector<int> left, right;
    auto ways = leat::from(numbers(100)) | leat::route("way", 2, [](const int& v) { return v % 2; });
    ways[0] | leat::for_each("even", [](int) {});
    auto odd = ways[1] | leat::map("next", [](int v) { return v + 1; }).concurrency(2);
    odd | leat::for_each("left", [&](int v) { left.push_back(v); });
    const report done = run(odd | leat::for_each("right", [&](int v) { right.push_back(v); }));
    EXPECT_EQ(done.out, 100U);
    EXPECT_EQ(left.size(), 50U);
    EXPECT_EQ(sorted(left), sorted(right));
}

TEST_P(flow_graph, in_a_merge_each_source_keeps_its_order) {
    std::vector<int> stored;
    std::vector<int> others(5000);
    std::iota(others.begin(), others.end(), 100'000);
    const report done = run(leat::merge(leat::from(numbers(5000)), leat::from(others)) |
                            leat::map("work", [](int v) -> task<int> { co_return v; }).concurrency(4).buffer(8) |
                            leat::for_each("store", [&](int v) { stored.push_back(v); }));
    EXPECT_EQ(done.out, 10'000U);
    for (const bool of_others : {false, true}) {
        std::vector<int> mine;
        for (const int each : stored)
            if ((each >= 100'000) == of_others) mine.push_back(each);
        EXPECT_EQ(mine, of_others ? others : numbers(5000));
    }
}

TEST_P(flow_graph, what_cannot_run_is_refused_with_a_reason) {
    const auto nothing = [](int) {};
    EXPECT_THAT(refusal_of([&] {
                    auto [yes, no] = leat::from(numbers(1)) | leat::split("even", [](const int&) { return true; });
                    run(yes | leat::for_each("store", nothing));
                }),
                HasSubstr("nobody takes what 'even' gives at its port 1"));
    EXPECT_THAT(refusal_of([&] {
                    auto all = leat::from(numbers(1));
                    leat::flow_graph whole = all | leat::for_each("store", nothing);
                    whole.stages.front().from = {{false, 0, 0}};
                    run(std::move(whole));
                }),
                HasSubstr("'store' takes from 'store', which does not come before it: a flow has no cycles"));
    EXPECT_THAT(refusal_of([&] {
                    leat::flow_graph whole = leat::from(numbers(1)) |
                                             leat::map("rare", [](int v) { return v; }).pool("gpu") |
                                             leat::for_each("store", nothing);
                    run(std::move(whole));
                }),
                HasSubstr("no concurrency pool 'gpu'"));
}

TEST_P(flow_graph, what_cannot_be_copied_does_not_go_two_ways) {
    auto all = leat::from(numbers(10)) | leat::map("own", [](int v) { return std::make_unique<int>(v); });
    all | leat::for_each("one", [](const std::unique_ptr<int>&) {});
    const report done = run(all | leat::for_each("two", [](const std::unique_ptr<int>&) {}));
    EXPECT_EQ(done.end, flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("cannot be copied"));
}

TEST_P(flow_graph, a_pool_bounds_the_attempts_of_all_stages_that_name_it) {
    std::atomic<int> now = 0, most = 0;
    const auto busy = [&](int v) -> task<int> {
        const int here = ++now;
        int before = most;
        while (before < here && !most.compare_exchange_weak(before, here)) {
        }
        co_await leat::this_task::yield();
        --now;
        co_return v;
    };
    leat::flow_options options;
    options.pools.emplace_back("gpu", std::make_shared<leat::semaphore>(2));
    const report done = run(leat::from(numbers(200)) | leat::map("one", busy).concurrency(5).pool("gpu") |
                                leat::map("two", busy).concurrency(5).pool("gpu") | leat::for_each("store", [](int) {}),
                            options);
    EXPECT_EQ(done.out, 200U);
    EXPECT_LE(most, 2);
}

TEST_P(flow_graph, a_rate_is_kept_by_all_workers_together) {
    const report done =
        run(leat::from(numbers(60)) | leat::map("polite", [](int v) { return v; }).concurrency(4).rate(1000) |
            leat::for_each("store", [](int) {}));
    EXPECT_EQ(done.out, 60U);
    EXPECT_GE(done.seconds, 0.045) << "ten at once, then one each millisecond";
}

TEST_P(flow_graph, a_budget_ends_retries_that_mend_nothing) {
    std::atomic<int> calls = 0;
    leat::flow_options options;
    options.retry_share = 0.1;
    const report done = run(leat::from(numbers(200)) |
                                leat::map("down",
                                          [&](int v) -> int {
                                              ++calls;
                                              (void)v;
                                              throw std::runtime_error("down");
                                          })
                                    .retry(5, 0ns)
                                    .on_error(leat::on_error::skip) |
                                leat::for_each("store", [](int) {}),
                            options);
    EXPECT_EQ(done.skipped, 200U);
    EXPECT_GE(calls, 210);
    EXPECT_LE(calls, 200 + 10 + 20 + 1);
}

TEST_P(flow_graph, a_stop_while_a_source_gives_two_ways_leaves_an_account_that_adds_up) {
    for (int after = 1; after < 200; after += 7) {
        leat::flow_control control;
        leat::flow_options options;
        options.control = &control;
        std::vector<std::string> names;
        for (int i = 0; i < 2000; ++i) names.push_back("an item with a name of its own " + std::to_string(i));
        auto all = leat::from(std::move(names));
        std::atomic<int> seen = 0;
        all | leat::for_each("one", [&](const std::string&) -> task<> {
                  if (++seen == after) control.stop();
                  co_await leat::this_task::yield();
              }).buffer(4);
        const report done =
            run(all | leat::for_each("other", [](const std::string&) -> task<> { co_await leat::this_task::yield(); })
                          .buffer(2),
                options);
        EXPECT_EQ(done.end, flow_end::interrupted);
    }
}

TEST_P(flow_graph, a_drain_that_takes_too_long_becomes_a_stop) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    options.drain_timeout = 20ms;
    const report done = run(leat::from(numbers(10)) | leat::for_each("hangs",
                                                                     [&](int) -> task<> {
                                                                         control.drain();
                                                                         co_await leat::sleep_for(1h);
                                                                     }),
                            options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_GT(done.unfinished, 0U);
    EXPECT_FALSE(done.unfinished_names.empty());
}

TEST_P(flow_graph, a_stage_with_a_range_of_jobs_grows_to_what_its_items_need) {
    std::atomic<int> now = 0, most = 0;
    leat::flow_options options;
    options.sizing_interval = 5ms;
    std::vector<int> got;
    const report done = run(leat::from(numbers(1500)) |
                                leat::map("wait",
                                          [&](int v) -> task<int> {
                                              const int here = ++now;
                                              int before = most;
                                              while (before < here && !most.compare_exchange_weak(before, here)) {
                                              }
                                              co_await leat::sleep_for(1ms);
                                              --now;
                                              co_return v;
                                          })
                                    .concurrency(1, 16) |
                                leat::for_each("store", [&](int v) { got.push_back(v); }),
                            options);
    EXPECT_EQ(done.end, flow_end::complete);
    EXPECT_EQ(got, numbers(1500));
    EXPECT_LE(most, 16);
    // Whether it may grow depends on how busy the machine is; each decision is told.
    EXPECT_EQ(done.sizing.empty(), most == 1);
    if (!done.sizing.empty()) {
        EXPECT_THAT(done.sizing.front(), HasSubstr("wait 1 → 2"));
    }
}

// --- Graphs drawn at random, in the simulator: each item reaches each sink as often as the drawing says ---

struct drawn_graph {
    leat::flow_graph graph;
    std::map<int, std::uint64_t> expected;  // by sink: items that must come
    std::map<int, std::uint64_t> came;
    bool skips = false;
};

task<> drawn_program() {
    constexpr int count = 40;
    auto drawn = std::make_shared<drawn_graph>();
    struct open_end {
        leat::pipeline<int> at;
        std::vector<int> items;  // that come here
    };
    std::vector<open_end> ends;
    for (std::uint64_t i = 1 + leat::sim::draw(2); i > 0; --i)
        ends.push_back({leat::from(numbers(count)), numbers(count)});
    const std::uint64_t sources = ends.size();
    const auto slow = [](int v) -> task<int> {
        if (leat::sim::chance(20)) co_await leat::sleep_for(1ms * leat::sim::draw(5));
        co_return v;
    };
    for (std::uint64_t i = leat::sim::draw(6); i > 0; --i) {
        const std::size_t which = leat::sim::draw(static_cast<std::uint32_t>(ends.size()));
        open_end& end = ends[which];
        const auto jobs = static_cast<unsigned>(1 + leat::sim::draw(3));
        switch (leat::sim::draw(6)) {
            case 0:
                end.at = end.at | leat::map("slow", slow).concurrency(jobs);
                break;
            case 1:
                end.at = end.at | leat::filter("third", [](const int& v) { return v % 3 != 0; }).concurrency(jobs);
                std::erase_if(end.items, [](int v) { return v % 3 == 0; });
                break;
            case 2: {
                end.at =
                    end.at | leat::flat_map("twice", [](int v) { return std::vector<int>{v, v}; }).concurrency(jobs);
                const std::vector<int> once = end.items;
                end.items.insert(end.items.end(), once.begin(), once.end());
                break;
            }
            case 3:
                ends.push_back(end);  // both ways
                break;
            case 4: {
                auto [odd, even] =
                    end.at | leat::split("odd", [](const int& v) { return v % 2 == 1; }).concurrency(jobs);
                open_end other{even, end.items};
                end.at = odd;
                std::erase_if(end.items, [](int v) { return v % 2 == 0; });
                std::erase_if(other.items, [](int v) { return v % 2 == 1; });
                ends.push_back(std::move(other));
                break;
            }
            default:
                if (ends.size() < 2) break;
                open_end last = std::move(ends.back());
                ends.pop_back();
                open_end& into = ends[which % ends.size()];
                into.at = leat::merge(into.at, last.at);
                into.items.insert(into.items.end(), last.items.begin(), last.items.end());
        }
    }
    while (ends.size() > 1 && sources > 1) {  // one flow
        ends.front().at = leat::merge(ends.front().at, ends.back().at);
        ends.front().items.insert(ends.front().items.end(), ends.back().items.begin(), ends.back().items.end());
        ends.pop_back();
    }
    int number = 0;
    for (open_end& each : ends) {
        drawn->expected[number] = each.items.size();
        leat::flow_graph whole = each.at | leat::for_each("sink", [drawn, number](int) { ++drawn->came[number]; });
        drawn->graph = std::move(whole);
        ++number;
    }
    leat::flow_graph graph = std::move(drawn->graph);
    leat::flow_options options;
    options.window = leat::sim::chance(30) ? 1 + leat::sim::draw(3) : 0;
    const report done = co_await leat::run_flow(std::move(graph), options);
    if (!done.adds_up() || done.end != flow_end::complete)
        throw std::runtime_error("no end, or no account: " + done.to_text());
    if (done.in != sources * count) throw std::runtime_error("not all came in");
    for (const auto& [sink, expected] : drawn->expected)
        if (drawn->came[sink] != expected)
            throw std::runtime_error("sink " + std::to_string(sink) + " got " + std::to_string(drawn->came[sink]) +
                                     " items instead of " + std::to_string(expected));
}

TEST(simulated_graph, each_item_reaches_each_sink_as_often_as_the_graph_says) {
    const leat::sim::explored all = leat::sim::explore({.seeds = 400, .run = {.stall_percent = 1}}, drawn_program);
    EXPECT_GT(all.schedules, 250U) << "some graphs are drawn more than once";
}

}  // namespace
