// Task graphs: who runs when and with what, what a failure cuts, what is refused, the account; and all of it under seeds.
#include <leat/flow/graph.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <memory>
#include <ostream>
#include <rapidcheck.h>
#include <set>
#include <soak.hpp>
#include <sstream>

#include <leat/leat.hpp>
#include <leat/runtime/sim.hpp>

namespace {

using namespace std::chrono_literals;
using leat::graph_node;
using leat::graph_node_end;
using leat::graph_options;
using leat::graph_report;
using leat::task;
using testing::ElementsAre;
using testing::HasSubstr;

// Every test runs on one thread and on several.
class graph : public testing::TestWithParam<unsigned> {
protected:
    graph_report run(leat::graph& work, graph_options options = graph_options(8)) const {
        return leat::run(leat::run_options(GetParam()), [&]() -> task<graph_report> { return work.run(options); });
    }
};
INSTANTIATE_TEST_SUITE_P(threads, graph, testing::Values(1U, 4U));

const leat::graph_node_report& node_of(const graph_report& told, const std::string& name) {
    const auto found = std::ranges::find(told.nodes, name, &leat::graph_node_report::name);
    EXPECT_NE(found, told.nodes.end()) << name;
    return *found;
}

TEST_P(graph, results_are_passed_on_to_those_that_take_them) {
    leat::graph work;
    auto text = work.add("text", []() -> task<std::string> {
        co_await leat::sleep_for(1ms);
        co_return "a b c";
    });
    auto number = work.add("number", [] { return 3; });
    auto only_first = work.add("void", [] {}).after(text);
    auto both = work.add("both", [](const std::string& t, int n) { return t + std::to_string(n); })
                    .after(text, only_first, number);
    auto task_too = work.add("task", [](const std::string& t) -> task<std::size_t> { co_return t.size(); }, both);
    auto nothing = work.add("nothing", [] { return 1.5; }, text, number);
    const graph_report told = run(work);
    EXPECT_TRUE(told.ok()) << told.to_text();
    EXPECT_EQ(both.get(), "a b c3");
    EXPECT_EQ(task_too.get(), 6U);
    EXPECT_EQ(nothing.get(), 1.5);
    only_first.get();
    EXPECT_THAT(node_of(told, "both").after, ElementsAre(0, 2, 1));
    static_assert(std::is_same_v<decltype(both), graph_node<std::string>>);
    static_assert(std::is_same_v<decltype(only_first), graph_node<void>>);
    static_assert(std::is_same_v<decltype(task_too), graph_node<std::size_t>>);
}

TEST_P(graph, a_result_that_cannot_be_copied_is_passed_by_reference) {
    leat::graph work;
    auto made = work.add("made", [] { return std::make_unique<int>(7); });
    auto first = work.add("first", [](const std::unique_ptr<int>& it) { return it.get(); }, made);
    auto second = work.add(
        "second", [held = std::make_unique<int>(1)](const std::unique_ptr<int>& it) { return it.get() + 0 * *held; },
        made);
    EXPECT_TRUE(run(work).ok());
    EXPECT_EQ(first.get(), made.get().get());
    EXPECT_EQ(second.get(), made.get().get());
}

TEST_P(graph, a_failure_cuts_what_depends_on_it_and_nothing_else) {
    leat::graph work;
    auto good = work.add("good", [] { return 1; });
    auto bad = work.add("bad", []() -> int { throw std::runtime_error("no such file"); }).after(good);
    auto below = work.add("below", [](int) { return 2; }, bad);
    auto lower = work.add("lower", [](int, int) { return 3; }, good, below);
    auto beside = work.add("beside", [](int n) { return n + 1; }, good);
    const graph_report told = run(work);
    EXPECT_FALSE(told.ok());
    EXPECT_EQ(beside.get(), 2);
    EXPECT_EQ(bad.end(), graph_node_end::failed);
    EXPECT_EQ(node_of(told, "bad").why, "no such file");
    for (const char* name : {"below", "lower"}) {
        EXPECT_EQ(node_of(told, name).end, graph_node_end::not_run);
        EXPECT_EQ(node_of(told, name).why, "because of 'bad', which has failed");
        EXPECT_FALSE(node_of(told, name).began);
    }
    EXPECT_THROW(bad.get(), std::runtime_error);
    try {
        lower.get();
        ADD_FAILURE();
    } catch (const leat::graph_error& error) {
        EXPECT_STREQ(error.what(), "'lower' has no result: it is not run, because of 'bad', which has failed");
    }
    EXPECT_THAT(told.to_text(), HasSubstr("5 nodes, 2 done, 1 failed, 2 not run"));
}

TEST_P(graph, nodes_are_added_from_inside_and_get_results_of_those_that_are_done) {
    leat::graph work;
    std::atomic<int> sum{0};
    auto base = work.add("base", [] { return 100; });
    work.add("list",
             [&](int) {
                 for (int i = 0; i < 20; ++i) {
                     auto part = work.add("part", [i](int b) { return b + i; }, base);
                     work.add("add", [&](int n) { sum += n; }, part);
                 }
             })
        .after(base);
    const graph_report told = run(work);
    EXPECT_TRUE(told.ok());
    EXPECT_EQ(told.nodes.size(), 42U);
    EXPECT_EQ(sum, 2000 + 190);
}

TEST_P(graph, a_node_may_add_what_continues_it) {
    leat::graph work;
    std::vector<int> seen;
    std::function<void(int)> step = [&](int at) {
        seen.push_back(at);
        if (at < 2000) work.add("step", [&, at] { step(at + 1); });
    };
    work.add("step", [&] { step(1); });
    EXPECT_TRUE(run(work).ok());
    EXPECT_EQ(seen.size(), 2000U);
}

TEST_P(graph, what_is_added_after_a_failed_node_is_not_run) {
    leat::graph work;
    auto bad = work.add("bad", [] { throw std::runtime_error("broken"); });
    graph_node_end seen = graph_node_end::waiting;
    std::atomic<bool> ran = false;
    work.add("later", [&]() -> task<> {
        while (bad.end() != graph_node_end::failed) co_await leat::this_task::yield();
        seen = work.add("child", [&] { ran = true; }, bad).end();
    });
    const graph_report told = run(work);
    EXPECT_EQ(seen, graph_node_end::not_run);
    EXPECT_FALSE(ran);
    EXPECT_EQ(node_of(told, "child").why, "because of 'bad', which has failed");
}

TEST_P(graph, no_more_run_at_a_time_than_the_limit_says) {
    leat::graph work;
    std::atomic<int> running{0};
    std::atomic<int> most{0};
    for (int i = 0; i < 30; ++i)
        work.add("one", [&]() -> task<> {
            const int now = ++running;
            for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
            }
            for (int turn = 0; turn < 5; ++turn) co_await leat::this_task::yield();
            --running;
        });
    const graph_report told = run(work, graph_options(3));
    EXPECT_TRUE(told.ok());
    EXPECT_EQ(told.limit, 3U);
    EXPECT_LE(most, 3);
}

TEST_P(graph, a_stop_ends_what_runs_and_begins_no_more) {
    leat::graph work;
    auto waits = work.add("waits", []() -> task<> { co_await leat::sleep_for(1h); });
    work.add("stops", [&] { work.stop(); });
    auto after = work.add("after", [] {}, waits);
    const graph_report told = run(work);
    EXPECT_TRUE(told.stopped);
    EXPECT_NE(waits.end(), graph_node_end::done);
    EXPECT_EQ(after.end(), graph_node_end::not_run);
    EXPECT_EQ(node_of(told, "after").why, "the graph was stopped");
}

TEST_P(graph, a_stop_from_above_ends_the_nodes_before_run_ends) {
    leat::graph work;
    std::atomic<int> left = 0;
    leat::event begun;
    work.add("waits", [&]() -> task<> {
        const auto at_end = [&left](void*) { ++left; };
        const std::unique_ptr<int, decltype(at_end)> guard(nullptr, at_end);
        int here = 0;
        const std::unique_ptr<int, decltype(at_end)> counted(&here, at_end);
        begun.set();
        co_await leat::sleep_for(1h);
    });
    work.add("below", [] {}).after(work.add("other", []() -> task<> { co_await leat::sleep_for(1h); }));
    leat::run(leat::run_options(GetParam()), [&]() -> task<> {
        leat::scope here;
        here.spawn([&]() -> task<> {
            (void)co_await work.run(graph_options(4));
            ADD_FAILURE() << "it was stopped";
        });
        co_await begun.wait();
        here.stop();
        co_await here.join();
        EXPECT_EQ(left, 1);
    });
    const graph_report told = work.report();
    EXPECT_TRUE(told.stopped);
    EXPECT_EQ(told.count(graph_node_end::running), 0U);
    EXPECT_EQ(node_of(told, "below").why, "the graph was stopped");
}

TEST_P(graph, a_node_that_ends_as_cancelled_by_itself_cuts_what_comes_after_it) {
    leat::graph work;
    auto gone = work.add("gone", []() -> task<int> { throw leat::cancelled{}; });
    work.add("after", [](int) {}, gone);
    auto beside = work.add("beside", [] {});
    const graph_report told = run(work);
    EXPECT_FALSE(told.stopped);
    EXPECT_EQ(gone.end(), graph_node_end::cancelled);
    EXPECT_EQ(node_of(told, "after").why, "because of 'gone', which was cancelled");
    EXPECT_EQ(beside.end(), graph_node_end::done);
}

TEST_P(graph, nodes_are_added_from_another_task_while_it_runs) {
    leat::graph work;
    leat::event all_there;
    work.add("holds it open", [&]() -> task<> { co_await all_there.wait(); });
    std::atomic<int> ran = 0;
    leat::run(leat::run_options(GetParam()), [&]() -> task<> {
        leat::scope here;
        here.spawn([&]() -> task<> {
            for (int i = 0; i < 50; ++i) {
                work.add("late", [&ran] { ++ran; });
                co_await leat::this_task::yield();
            }
            all_there.set();
        });
        const graph_report told = co_await work.run(graph_options(2));
        EXPECT_TRUE(told.ok());
        EXPECT_EQ(told.nodes.size(), 51U);
        co_await here.join();
    });
    EXPECT_EQ(ran, 50);
}

TEST(graph_edges, a_cycle_is_refused_with_its_path_and_changes_nothing) {
    leat::graph work;
    auto a = work.add("a", [] { return 1; });
    auto b = work.add("b", [](int n) { return n; }).after(a);
    auto c = work.add("c", [](int n) { return n; }, b);
    auto d = work.add("d", [] {});
    try {
        a.after(d, c);
        ADD_FAILURE();
    } catch (const leat::graph_cycle& refused) {
        EXPECT_STREQ(refused.what(), "a cycle: a → b → c → a");
        EXPECT_THAT(refused.path(), ElementsAre("a", "b", "c", "a"));
    }
    EXPECT_THROW(a.after(a), leat::graph_cycle);
    a.after(d);
    EXPECT_THROW(d.after(c), leat::graph_cycle);
    const graph_report told = leat::run([&]() -> task<graph_report> { return work.run(); });
    EXPECT_TRUE(told.ok()) << told.to_text();
    EXPECT_THAT(node_of(told, "a").after, ElementsAre(3));
}

TEST(graph_edges, what_cannot_be_is_refused) {
    leat::graph work;
    leat::graph other;
    auto foreign = other.add("foreign", [] { return 1; });
    auto mine = work.add("mine", [] { return 1; });
    EXPECT_THROW(work.add("x", [](int) {}, foreign), leat::graph_error);
    EXPECT_THROW(mine.after(foreign), leat::graph_error);
    EXPECT_THROW(mine.get(), leat::graph_error);
    auto second = work.add("second", [&] { EXPECT_THROW(mine.after(foreign), leat::graph_error); }, mine);
    work.add("third", [&] { EXPECT_THROW(mine.after(second), leat::graph_error) << "it has ended"; }, second);
    leat::run([&]() -> task<> {
        const graph_report told = co_await work.run();
        EXPECT_EQ(told.nodes.size(), 3U);
        EXPECT_TRUE(told.ok());
        try {
            (void)co_await work.run();
            ADD_FAILURE() << "a graph runs once";
        } catch (const leat::graph_error&) {
        }
    });
    EXPECT_THROW(work.add("late", [] {}), leat::graph_error);
}

TEST(graph_edges, an_empty_graph_ends_at_once) {
    leat::graph work;
    EXPECT_TRUE(leat::run([&]() -> task<graph_report> { return work.run(); }).ok());
}

TEST(graph_edges, a_function_is_gone_when_its_node_has_ended) {
    leat::graph work;
    const auto held = std::make_shared<int>(1);
    auto first = work.add("first", [held] { return *held; });
    work.add("second", [&](int) { EXPECT_EQ(held.use_count(), 1); }, first);
    EXPECT_TRUE(leat::run([&]() -> task<graph_report> { return work.run(); }).ok());
}

// Virtual time makes the figures exact.
TEST(graph_report, tells_times_and_the_critical_path) {
    graph_report told;
    const auto program = [&]() -> task<> {
        leat::graph work;
        const auto sleeps = [](std::chrono::seconds time) {
            return [time]() -> task<> { co_await leat::sleep_for(time); };
        };
        auto a = work.add("a", sleeps(2s));
        auto b = work.add("b", sleeps(3s), a);
        auto c = work.add("c", sleeps(1s), a);
        work.add("d", sleeps(1s), b, c);
        work.add("e", sleeps(4s));
        told = co_await work.run(graph_options(4));
    };
    leat::sim::explore({.seeds = 20}, program);
    EXPECT_DOUBLE_EQ(told.seconds, 6);
    EXPECT_THAT(told.critical_path, ElementsAre(0, 1, 3));
    EXPECT_DOUBLE_EQ(told.critical_s, 6);
    EXPECT_DOUBLE_EQ(told.critical_share, 1);
    EXPECT_DOUBLE_EQ(told.nodes[2].start_s, 2);
    EXPECT_DOUBLE_EQ(told.nodes[2].end_s, 3);
    EXPECT_THAT(told.to_text(), HasSubstr("critical path: a → b → d (6.00 s, 100% of the time)"));
    const auto json = boost::json::parse(told.to_json()).as_object();
    EXPECT_EQ(json.at("nodes").as_array().size(), 5U);
    EXPECT_EQ(json.at("critical_path"), boost::json::parse("[0, 1, 3]"));
    EXPECT_EQ(json.at("nodes").at(3).at("after"), boost::json::parse("[1, 2]"));
}

// --- Random graphs ---

struct shape {
    struct node {
        std::vector<unsigned> after;  // earlier nodes
        bool fails = false;
        unsigned parent = 0;  // adds it while it runs, when above 0: by number + 1, an earlier node
    };
    std::vector<node> nodes;
    unsigned limit = 1;
};

std::ostream& operator<<(std::ostream& out, const shape& of) {
    out << "limit " << of.limit;
    for (const shape::node& each : of.nodes) {
        out << "; after";
        for (const unsigned before : each.after) out << ' ' << before;
        if (each.fails) out << " fails";
        if (each.parent > 0) out << " added by " << each.parent - 1;
    }
    return out;
}

// Builds and runs it; says what was wrong, or nothing. Nodes yield and sleep as the seed has it.
class random_run {
public:
    explicit random_run(const shape& of) : of_(of), nodes_(of.nodes.size()), times_(of.nodes.size()) {}

    task<> live() {
        for (unsigned at = 0; at < of_.nodes.size(); ++at)
            if (of_.nodes[at].parent == 0) add(at);
        const graph_report told = co_await work_.run(graph_options(of_.limit));
        check(told);
    }

private:
    using handle = graph_node<unsigned>;

    void add(unsigned at) {
        std::vector<handle> before;
        bool missing = false;
        for (const unsigned each : of_.nodes[at].after) {
            if (nodes_[each]) before.push_back(*nodes_[each]);
            else missing = true;
        }
        if (missing) return;  // it comes after one that was never added
        const auto body = [this, at]() -> task<unsigned> { return run_one(at); };
        // One by one and together: through each way of adding.
        if (before.empty()) nodes_[at] = work_.add(std::to_string(at), body);
        else if (before.size() == 1)
            nodes_[at] = work_.add(std::to_string(at), [this, at](unsigned) { return run_one(at); }, before[0]);
        else if (before.size() == 2)
            nodes_[at] = work_.add(
                std::to_string(at), [this, at](unsigned, unsigned) { return run_one(at); }, before[0], before[1]);
        else nodes_[at] = work_.add(std::to_string(at), body, before[0], before[1], before[2]);
    }

    task<unsigned> run_one(unsigned at) {
        if (++running_ > of_.limit) throw std::logic_error("more than the limit");
        ++times_[at];
        for (const unsigned each : of_.nodes[at].after)
            if (nodes_[each]->get() != each) throw std::logic_error("not its result");
        if (leat::sim::chance(60)) co_await leat::sleep_for(1ms * leat::sim::draw(20));
        if (leat::sim::chance(40)) co_await leat::this_task::yield();
        for (unsigned child = 0; child < of_.nodes.size(); ++child)
            if (of_.nodes[child].parent == at + 1) add(child);
        if (leat::sim::chance(40)) co_await leat::this_task::yield();
        --running_;
        if (of_.nodes[at].fails) throw std::runtime_error("fails");
        co_return at;
    }

    void check(const graph_report& told) {
        std::vector<bool> cut(of_.nodes.size(), false);
        std::size_t there = 0;
        for (unsigned at = 0; at < of_.nodes.size(); ++at) {
            const shape::node& node = of_.nodes[at];
            for (const unsigned each : node.after) cut[at] = cut[at] || cut[each] || of_.nodes[each].fails;
            if (!nodes_[at]) {
                if (times_[at] != 0) throw std::logic_error("it was never added, and ran");
                // Who would have added it, or what it comes after, was not there or did not run.
                cut[at] = true;
                continue;
            }
            ++there;
            const graph_node_end end = nodes_[at]->end();
            const graph_node_end should = cut[at]      ? graph_node_end::not_run
                                          : node.fails ? graph_node_end::failed
                                                       : graph_node_end::done;
            if (end != should) throw std::logic_error("node " + std::to_string(at) + " has ended wrongly");
            if (times_[at] != (cut[at] ? 0U : 1U)) throw std::logic_error("not run once");
        }
        if (told.nodes.size() != there) throw std::logic_error("not all nodes are in the report");
        for (const leat::graph_node_report& each : told.nodes)
            for (const std::size_t before : each.after)
                if (each.began && each.start_s < told.nodes[before].end_s) throw std::logic_error("it began too early");
        if (running_ != 0) throw std::logic_error("something still runs");
        if (told.critical_s > told.seconds * 1.000001)
            throw std::logic_error("the critical path is longer than the run");
    }

    const shape& of_;
    leat::graph work_;
    std::vector<std::optional<handle>> nodes_;
    std::vector<unsigned> times_;
    unsigned running_ = 0;
};

rc::Gen<shape> shapes() {
    return rc::gen::exec([] {
        shape made;
        made.limit = *rc::gen::inRange(1U, 6U);
        const unsigned count = *rc::gen::inRange(1U, 25U);
        for (unsigned at = 0; at < count; ++at) {
            shape::node one;
            std::set<unsigned> before;
            if (at > 0)
                for (unsigned edges = *rc::gen::inRange(0U, 4U); edges > 0; --edges)
                    before.insert(*rc::gen::inRange(0U, at));
            one.after.assign(before.begin(), before.end());
            one.fails = *rc::gen::inRange(0, 12) == 11;
            if (at > 0 && *rc::gen::inRange(0, 5) == 4) one.parent = *rc::gen::inRange(0U, at) + 1;
            made.nodes.push_back(std::move(one));
        }
        return made;
    });
}

// A hundred graphs a round, which grow larger.
TEST(simulated_graph, soak_each_node_runs_once_after_all_before_it_and_failures_cut_exactly_what_follows) {
    for (leat_test::soak rounds(20); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        rc::detail::TestParams how;
        how.seed = rounds.seed();
        const auto property = [] {
            const shape of = *shapes();
            const unsigned seed = *rc::gen::inRange(1U, 1'000'000U);
            const auto program = [&of]() -> task<> {
                random_run one(of);
                co_await one.live();
            };
            const leat::sim::result end = leat::sim::run({.seed = seed}, program);
            if (!end.ok()) RC_FAIL(end.report());
        };
        const auto result = rc::detail::checkTestable(property, rc::detail::TestMetadata(), how);
        if (result.is<rc::detail::SuccessResult>()) continue;
        std::ostringstream text;
        rc::detail::printResultMessage(result, text);
        ADD_FAILURE() << text.str();
    }
}

task<> sleep_a_while() { co_await leat::sleep_for(1ms * leat::sim::draw(10)); }

TEST(simulated_graph, a_stop_at_any_time_leaves_nothing_behind) {
    const auto program = []() -> task<> {
        leat::graph work;
        std::vector<graph_node<void>> nodes;
        unsigned running = 0;
        for (unsigned at = 0; at < 12; ++at) {
            const auto body = [&]() -> task<> {
                ++running;
                leat::outcome<void> slept = co_await sleep_a_while().as_outcome();
                --running;
                std::move(slept).get();
            };
            auto made = work.add(std::to_string(at), body);
            if (at > 2) made.after(nodes[leat::sim::draw(at)]);
            nodes.push_back(made);
        }
        const bool from_above = leat::sim::chance(50);
        leat::scope here;
        here.spawn([&]() -> task<> { (void)co_await work.run(graph_options(3)); });
        co_await leat::sleep_for(1ms * leat::sim::draw(30));
        if (from_above) here.stop();
        else work.stop();
        (void)co_await here.join_quietly();
        if (running != 0) throw std::logic_error("something still runs");
        const graph_report told = work.report();
        for (const leat::graph_node_report& each : told.nodes)
            if (each.end <= graph_node_end::running || each.end == graph_node_end::failed)
                throw std::logic_error(each.name + " has not ended as it should: " + each.why);
    };
    const auto all = leat::sim::explore({.seeds = 500}, program);
    EXPECT_GT(all.schedules, 400U);
}

}  // namespace
