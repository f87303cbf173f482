// Branches that put on disk what they have no room for: nobody is held up, nothing is lost, the order stays.
#include <flow/spill.hpp>
#include <flow_kinds.hpp>
#include <leat/flow/flow.hpp>
#include <leat/flow/flow_file.hpp>
#include <leat/leat.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <ranges>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/runtime/sim.hpp>

namespace {

using namespace std::chrono_literals;
using leat::flow_end;
using leat::item;
using leat::report;
using leat::task;
using testing::ElementsAre;
using testing::HasSubstr;

// Counts what becomes of plain items.
class counting_ledger final : public leat::ack_ledger {
public:
    void settle(leat::fate how, std::uint64_t items) noexcept override { ends[how] += items; }
    void abandon(const std::string& name) noexcept override {
        ends[leat::fate::abandoned] += 1;
        if (!name.empty()) names.push_back(name);
    }
    leat::ack_node* open() override { throw std::logic_error("nobody forks"); }
    std::map<leat::fate, std::uint64_t> ends;
    std::vector<std::string> names;
};

class spill : public testing::Test {
protected:
    std::vector<item> items(int from, int count) {
        std::vector<item> made;
        for (int i = 0; i < count; ++i) {
            item& each = made.emplace_back(leat::payload(std::to_string(from + i)), leat::ack_ref::plain(ledger));
            each.key = static_cast<std::uint32_t>(from + i);
        }
        return made;
    }
    static void put_all(leat::spill& into, std::vector<item>& what) {
        while (!what.empty()) {
            ASSERT_TRUE(into.has_room());
            const auto packed = into.pack(what);
            into.put(packed, what);
        }
    }
    // What comes out, and whether each has the key that it was given.
    std::vector<int> taken(leat::spill& from, std::size_t most) {
        std::vector<item> out;
        from.take(out, most);
        std::vector<int> all;
        for (item& each : out) {
            all.push_back(std::stoi(each.value.as<std::string>()));
            EXPECT_EQ(each.key, static_cast<std::uint32_t>(all.back()));
            each.ack.commit();
        }
        return all;
    }
    counting_ledger ledger;
};

TEST_F(spill, gives_back_what_was_put_down_first_in_first_out) {
    leat::spill here(leat::codec_of<std::string>(), 1000, 1 << 20);
    auto some = items(0, 5);
    put_all(here, some);
    EXPECT_EQ(here.size(), 5U);
    EXPECT_THAT(taken(here, 2), ElementsAre(0, 1));
    some = items(5, 2);
    put_all(here, some);
    EXPECT_THAT(taken(here, 100), ElementsAre(2, 3, 4, 5, 6));
    EXPECT_TRUE(here.empty());
    EXPECT_EQ(ledger.ends[leat::fate::committed], 7U);
    EXPECT_EQ(ledger.ends[leat::fate::abandoned], 0U);
}

TEST_F(spill, takes_no_more_than_its_bounds) {
    leat::spill few(leat::codec_of<std::string>(), 3, 1 << 20);
    auto some = items(0, 5);
    few.put(few.pack(some), some);
    EXPECT_EQ(few.size(), 3U);
    EXPECT_EQ(some.size(), 2U);
    EXPECT_FALSE(few.has_room());
    EXPECT_THAT(taken(few, 1), ElementsAre(0));
    EXPECT_TRUE(few.has_room());

    leat::spill small(leat::codec_of<std::string>(), 1000, 1);  // an item is larger, and goes in alone
    small.put(small.pack(some), some);
    EXPECT_EQ(small.size(), 1U);
    EXPECT_FALSE(small.has_room());
    for (item& each : some) each.ack.skip();
    EXPECT_THAT(taken(small, 9), ElementsAre(3));
}

TEST_F(spill, what_is_left_is_abandoned_by_name) {
    {
        leat::spill here(leat::codec_of<std::string>(), 1000, 1 << 20);
        auto some = items(10, 3);
        put_all(here, some);
    }
    EXPECT_EQ(ledger.ends[leat::fate::abandoned], 3U);
    EXPECT_THAT(ledger.names, ElementsAre("10", "11", "12"));
}

TEST_F(spill, a_full_disk_takes_nothing_and_keeps_what_was_there) {
    leat::spill here(leat::codec_of<std::string>(), 1000, std::size_t{1} << 30U);
    auto some = items(0, 3);
    put_all(here, some);
    ::setenv("TMPDIR", "/nonexistent/folder", 1);
    std::vector<item> large;
    large.emplace_back(leat::payload(std::string(1 << 20, 'x')), leat::ack_ref::plain(ledger));
    const auto packed = here.pack(large);
    EXPECT_FALSE(here.stays_in_memory(packed));
    EXPECT_THROW(here.put(packed, large), leat::spool_error);
    ::unsetenv("TMPDIR");
    ASSERT_EQ(large.size(), 1U);
    EXPECT_EQ(large.front().value.as<std::string>().size(), 1U << 20U);
    large.front().ack.skip();
    EXPECT_THAT(taken(here, 100), ElementsAre(0, 1, 2));
}

TEST_F(spill, many_bytes_go_through_several_files_and_come_back_as_they_were) {
    leat::spill here(leat::codec_of<std::string>(), 100'000, std::uint64_t{64} << 20U);  // files of 1 MiB
    const auto value = [](int i) { return std::string(300'000 + static_cast<std::size_t>(i), char('a' + i % 26)); };
    int put = 0;
    int got = 0;
    for (int round = 0; round < 20; ++round) {
        std::vector<item> some;
        for (int i = 0; i < 9; ++i) some.emplace_back(leat::payload(value(put++)), leat::ack_ref::plain(ledger));
        put_all(here, some);
        std::vector<item> out;
        here.take(out, 4);
        for (item& each : out) {
            EXPECT_EQ(each.value.as<std::string>(), value(got++));
            each.ack.commit();
        }
    }
    while (!here.empty()) {
        std::vector<item> out;
        here.take(out, 64);
        ASSERT_FALSE(out.empty());
        for (item& each : out) {
            EXPECT_EQ(each.value.as<std::string>(), value(got++));
            each.ack.commit();
        }
    }
    EXPECT_EQ(got, put);
}

// --- In a flow ---

class spilling_flow : public testing::TestWithParam<unsigned> {
protected:
    report run(leat::flow_graph graph, const leat::flow_options& options = {}) const {
        report done = leat::run(leat::run_options(GetParam()), leat::run_flow, std::move(graph), options);
        EXPECT_TRUE(done.adds_up()) << done.to_text();
        return done;
    }
};
INSTANTIATE_TEST_SUITE_P(threads, spilling_flow, testing::Values(1U, 3U));

std::vector<int> numbers(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
}
const leat::stage_report& stage_of(const report& done, const std::string& name) {
    return *std::find_if(done.stages.begin(), done.stages.end(), [&](const auto& each) { return each.name == name; });
}

TEST_P(spilling_flow, a_slow_branch_holds_up_nobody_and_loses_nothing) {
    leat::event ended;
    std::vector<int> slow;
    auto all = leat::from(numbers(20'000));
    all | leat::for_each("slow",
                         [&](int v) -> task<> {
                             slow.push_back(v);
                             co_await ended.wait();  // the other has had everything
                         })
              .buffer(10)
              .spill(leat::codec_of<int>());
    std::atomic<int> quick = 0;
    const report done = run(all | leat::for_each("quick", [&](int) {
                                if (++quick == 20'000) ended.set();
                            }));
    EXPECT_EQ(done.end, flow_end::complete) << done.to_text();
    EXPECT_EQ(slow, numbers(20'000));
    EXPECT_EQ(done.out, 20'000U);
    EXPECT_GT(stage_of(done, "slow").spilled, 19'000U);
    EXPECT_EQ(stage_of(done, "quick").spilled, 0U);
    EXPECT_THAT(done.to_text(), HasSubstr("items for 'slow' were put aside until it had room"));
}

TEST_P(spilling_flow, items_of_a_key_keep_their_order) {
    leat::event ended;
    std::mutex lock;
    std::map<int, std::vector<int>> by_key;
    auto all = leat::from(numbers(6000));
    all | leat::key_by("key", [](const int& v) { return v % 7; }) |
        leat::for_each("slow",
                       [&](int v) -> task<> {
                           co_await ended.wait();
                           const std::scoped_lock held(lock);
                           by_key[v % 7].push_back(v);
                       })
            .concurrency(4)
            .order(leat::order::key)
            .buffer(8)
            .spill(leat::codec_of<int>());
    std::atomic<int> quick = 0;
    const report done = run(all | leat::for_each("quick", [&](int) {
                                if (++quick == 6000) ended.set();
                            }));
    EXPECT_EQ(done.out, 6000U);
    std::size_t count = 0;
    for (const auto& [key, values] : by_key) {
        EXPECT_TRUE(std::is_sorted(values.begin(), values.end())) << key;
        count += values.size();
    }
    EXPECT_EQ(count, 6000U);
}

TEST_P(spilling_flow, what_it_may_hold_is_bounded) {
    std::atomic<int> given = 0;
    std::atomic<int> stored = 0;
    std::atomic<int> most = 0;
    const report done = run(leat::from(numbers(3000)) |
                            leat::map("give",
                                      [&](int v) {
                                          const int ahead = ++given - stored;
                                          int seen = most;
                                          while (ahead > seen && !most.compare_exchange_weak(seen, ahead)) {
                                          }
                                          return std::string(1000, char('a' + v % 26));
                                      })
                                .concurrency(1) |
                            leat::for_each("store",
                                           [&](const std::string&) -> task<> {
                                               ++stored;
                                               if (stored % 100 == 0) co_await leat::sleep_for(1ms);
                                           })
                                .buffer(4)
                                .spill(leat::codec_of<std::string>(), 100'000));
    EXPECT_EQ(done.out, 3000U);
    EXPECT_LT(most, 100 + 4 + 3 * 64 + 64);
}

TEST_P(spilling_flow, a_disk_that_takes_nothing_makes_it_wait_and_is_told_of) {
    ::setenv("TMPDIR", "/nonexistent/folder", 1);
    std::vector<std::size_t> slow;
    auto all = leat::from(numbers(20)) |
               leat::map("large", [](int v) { return std::string(300'000 + static_cast<std::size_t>(v), 'x'); });
    all | leat::for_each("slow",
                         [&](const std::string& v) -> task<> {
                             slow.push_back(v.size() - 300'000);
                             co_await leat::sleep_for(5ms);
                         })
              .buffer(1)
              .spill(leat::codec_of<std::string>());
    const report done = run(all | leat::for_each("quick", [](const std::string&) {}));
    ::unsetenv("TMPDIR");
    EXPECT_EQ(done.out, 20U);
    ASSERT_EQ(slow.size(), 20U);
    EXPECT_TRUE(std::is_sorted(slow.begin(), slow.end()));
    EXPECT_THAT(done.to_text(), HasSubstr("'slow' held up what gives to it, since what waits for it could not be put "
                                          "aside: cannot make a temporary file in /nonexistent/folder"));
}

TEST_P(spilling_flow, a_stop_leaves_what_waits_on_disk_unfinished_by_name) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    leat::event never;
    auto all = leat::from(numbers(5000));
    all | leat::for_each("slow", [&](int) -> task<> { co_await never.wait(); }).buffer(10).spill(leat::codec_of<int>());
    std::atomic<int> quick = 0;
    const report done = run(all | leat::for_each("quick",
                                                 [&](int) {
                                                     if (++quick == 5000) control.stop();
                                                 }),
                            options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(done.unfinished, 5000U);
    ASSERT_GE(done.unfinished_names.size(), 200U);
    for (const std::string& each : done.unfinished_names) EXPECT_THAT(each, testing::MatchesRegex("[0-9]+"));
}

TEST_P(spilling_flow, a_drain_brings_back_what_waits_on_disk) {
    leat::flow_control control;
    leat::flow_options options;
    options.control = &control;
    leat::event go;
    std::atomic<int> slow = 0;
    auto all = leat::from(std::views::iota(0));  // without end
    all | leat::for_each("slow",
                         [&](int) -> task<> {
                             co_await go.wait();
                             ++slow;
                         })
              .buffer(10)
              .spill(leat::codec_of<int>());
    std::atomic<int> quick = 0;
    const report done = run(all | leat::for_each("quick",
                                                 [&](int) {
                                                     if (++quick == 3000) control.drain(), go.set();
                                                 }),
                            options);
    EXPECT_EQ(done.end, flow_end::interrupted);
    EXPECT_EQ(done.unfinished, 0U);
    EXPECT_EQ(slow, quick);
    EXPECT_GE(done.out, 3000U);
}

TEST_P(spilling_flow, what_cannot_be_put_aside_waits_and_is_told_of) {
    std::vector<int> stored;
    const report done = run(leat::from(numbers(3000)) | leat::for_each("store",
                                                                       [&](int v) -> task<> {
                                                                           stored.push_back(v);
                                                                           co_await leat::sleep_for(1us);
                                                                       })
                                                            .buffer(1)
                                                            .spill(leat::codec_of<std::string>()));
    EXPECT_EQ(done.end, flow_end::complete);
    EXPECT_EQ(stored, numbers(3000));
    EXPECT_EQ(done.stages.front().spilled, 0U);
    EXPECT_THAT(done.to_text(), HasSubstr("'store' held up what gives to it, since what waits for it could not be put "
                                          "aside: an item is not of the type that was said"));
}

TEST_P(spilling_flow, a_parallel_stage_keeps_the_order) {
    for (const bool spills : {true, false}) {
        std::vector<int> stored;
        auto all = leat::from(numbers(20'000));
        auto work = leat::map("work", [](int v) -> task<int> { co_return v; }).concurrency(4).buffer(8);
        if (spills) work = std::move(work).spill(leat::codec_of<int>());
        all | std::move(work) | leat::for_each("store", [&](int v) { stored.push_back(v); });
        const report done = run(all | leat::for_each("quick", [](int) {}));
        EXPECT_EQ(done.out, 20'000U);
        EXPECT_EQ(stored, numbers(20'000)) << (spills ? "spills" : "waits");
    }
}

TEST(spill_setting, needs_a_codec_and_room) {
    const auto sink = [] { return leat::for_each("store", [](int) {}); };
    EXPECT_THROW((void)sink().overflow(leat::when_full::spill), std::invalid_argument);
    EXPECT_THROW((void)sink().spill(leat::codec_of<int>(), 0), std::invalid_argument);
}

// Two branches of a parallel stage, in every order of their steps; the slow one mostly lies on disk.
std::atomic<std::uint64_t> spilled_in_all = 0;

task<> two_branches() {
    std::vector<int> slow;
    std::vector<int> quick;
    auto all = leat::from(numbers(150)) | leat::map("look up", [](int v) -> task<int> {
                                              if (leat::sim::chance(20))
                                                  co_await leat::sleep_for(1ms * leat::sim::draw(20));
                                              co_return v;
                                          }).concurrency(4);
    all | leat::map("large", [](int v) { return std::string(20'000, char('a' + v % 26)) + std::to_string(v); }) |
        leat::for_each("slow",
                       [&](const std::string& v) -> task<> {
                           co_await leat::sleep_for(1ms * leat::sim::draw(5));
                           slow.push_back(std::stoi(v.substr(20'000)));
                       })
            .buffer(2)
            .spill(leat::codec_of<std::string>());
    const report done = co_await leat::run_flow(all | leat::for_each("quick", [&](int v) { quick.push_back(v); }));
    spilled_in_all += stage_of(done, "slow").spilled;
    if (done.out != 150 || !done.adds_up()) throw std::runtime_error("the account does not add up");
    if (slow != numbers(150) || quick != numbers(150)) throw std::runtime_error("lost, twice or out of order");
}

TEST(simulated_spill, loses_nothing_and_keeps_the_order_under_every_seed) {
    const leat::sim::explored all = leat::sim::explore({.seeds = 200, .run = {.stall_percent = 1}}, two_branches);
    EXPECT_GT(all.schedules, 190U);
    EXPECT_GT(spilled_in_all, 200U * 50U);
}

// --- In a flow file ---

leat::flow_file loaded(const std::string& sinks) {
    auto file = leat::parse_flow_file(
        "[source]\ntype = 'lines'\npath = '-'\n[[stage]]\ntype = 'filter'\npattern = ''\n" + sinks, "f.toml",
        leat_test::all_kinds());
    EXPECT_TRUE(file.has_value()) << file.error().to_text();
    return std::move(*file);
}
const std::string sink = "[[sink]]\ntype = 'write'\npath = ";

TEST(spill_in_a_flow_file, branches_spill_unless_they_are_told_otherwise) {
    const auto alone = loaded(sink + "\"a\"\n");
    EXPECT_EQ(alone.graph.stages.back().policy.full, leat::when_full::wait);

    const auto two = loaded(sink + "\"a\"\nbuffer = { disk = \"5MiB\" }\n" + sink + "\"b\"\noverflow = \"wait\"\n" +
                            sink + "\"c\"\noverflow = \"drop-oldest\"\n");
    const auto& stages = two.graph.stages;
    ASSERT_EQ(stages.size(), 4U);
    EXPECT_EQ(stages[1].policy.full, leat::when_full::spill);
    EXPECT_EQ(stages[1].policy.spill_bytes, std::size_t{5} << 20U);
    EXPECT_EQ(stages[1].policy.spilled_as, &leat::record_codec());
    EXPECT_EQ(stages[2].policy.full, leat::when_full::wait);
    EXPECT_EQ(stages[3].policy.full, leat::when_full::drop_oldest);
}

TEST(spill_in_a_flow_file, a_single_way_spills_where_it_is_asked_to) {
    const auto file = loaded(sink + "\"a\"\noverflow = \"spill\"\n");
    EXPECT_EQ(file.graph.stages.back().policy.full, leat::when_full::spill);
    EXPECT_NE(file.graph.stages.back().policy.spilled_as, nullptr);
}

}  // namespace
