// What memory_broker does beyond the contract, which tests/conformance/broker_*_test.cpp ask it for: the faults.
#include <leat/cluster/memory_broker.hpp>

#include <gtest/gtest.h>
#include <map>
#include <stdexcept>

#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::task;

void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error("failed: " + result.error().text);
    return std::move(*result);
}

// The problem of a result that has one.
template <class T>
std::optional<broker_problem> problem_of(const broker_result<T>& result) {
    if (result) return std::nullopt;
    return result.error().problem;
}

task<> make_work(broker& link, leat::duration ack_wait = 30s, unsigned replicas = 1) {
    stream_config config;
    config.name = "work";
    config.subjects = {"work.>"};
    config.replicas = replicas;
    auto made = co_await link.make_stream(config);
    (void)need(std::move(made));
    consumer_config consumer;
    consumer.stream = "work";
    consumer.name = "all";
    consumer.ack_wait = ack_wait;
    auto there = co_await link.make_consumer(consumer);
    (void)need(std::move(there));
}

message note(std::string id) {
    message one;
    one.subject = "work.a";
    one.payload = id;
    one.id = std::move(id);
    return one;
}

task<broker_result<receipt>> publish(broker& link, std::string id) {
    message one = note(std::move(id));
    return link.publish(std::move(one));
}

memory_faults only(unsigned memory_faults::* which, std::uint64_t most = 1) {
    memory_faults faults;
    faults.most = most;
    faults.*which = 1000;
    return faults;
}

void simulate(task<> (*program)(memory_engine&)) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        memory_engine engine;
        const leat::sim::result end = leat::sim::run({.seed = seed}, program, engine);
        ASSERT_TRUE(end.ok()) << end.report();
    }
}

TEST(memory_broker, a_lost_answer_is_timed_out_though_the_message_is_stored) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        engine.set_faults(only(&memory_faults::lost_answers));
        const auto first = co_await publish(*link, "1");
        expect(problem_of(first) == broker_problem::timed_out, "it was answered");
        const auto again = co_await publish(*link, "1");
        expect(again && again->duplicate, "it was not stored");
    });
}

TEST(memory_broker, a_lost_call_is_timed_out_and_nothing_is_stored) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        engine.set_faults(only(&memory_faults::lost_calls));
        const auto first = co_await publish(*link, "1");
        expect(problem_of(first) == broker_problem::timed_out, "it was answered");
        const auto again = co_await publish(*link, "1");
        expect(again && !again->duplicate, "it was stored");
    });
}

TEST(memory_broker, a_late_call_takes_effect_after_its_caller_gave_up) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        engine.set_faults(only(&memory_faults::late_calls));
        const auto first = co_await publish(*link, "1");
        expect(problem_of(first) == broker_problem::timed_out, "it was answered");
        // A fetch that waits hears of it though nobody calls.
        auto taken = co_await link->fetch("work", "all", 1, 1min);
        const auto now = need(std::move(taken));
        expect(now.size() == 1, "it never came");
        const auto again = co_await publish(*link, "1");
        expect(again && again->duplicate, "its id is not known");
    });
}

TEST(memory_broker, a_lost_delivery_comes_again_when_its_time_is_over) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        engine.set_faults(only(&memory_faults::lost_deliveries));
        auto stored = co_await publish(*link, "1");
        (void)need(std::move(stored));
        auto taken = co_await link->fetch("work", "all", 1, 10s);
        expect(need(std::move(taken)).empty(), "it came");
        auto again = co_await link->fetch("work", "all", 1, 1min);
        const auto found = need(std::move(again));
        expect(found.size() == 1 && found.front().deliveries == 2, "it did not come again");
    });
}

TEST(memory_broker, a_message_that_is_at_work_may_be_delivered_to_another) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        auto stored = co_await publish(*link, "1");
        (void)need(std::move(stored));
        auto taken = co_await link->fetch("work", "all", 1, 1s);
        expect(need(std::move(taken)).size() == 1, "it did not come");
        engine.set_faults(only(&memory_faults::early_redeliveries));
        auto again = co_await link->fetch("work", "all", 1, 1s);
        const auto found = need(std::move(again));
        expect(found.size() == 1 && found.front().deliveries == 2, "it did not come again");
    });
}

TEST(memory_broker, a_connection_that_is_cut_one_way_asks_and_hears_nothing) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        const auto other = engine.connect();
        co_await make_work(*link);
        link->cut(cut_way::from_server);
        auto first = co_await publish(*link, "1");
        expect(!first && first.error().is_passing(), "it heard");
        while (problem_of(first) != broker_problem::timed_out) first = co_await publish(*link, "1");
        auto state = co_await other->stream("work");
        expect(need(std::move(state)).messages == 1, "what it asked did not happen");
        link->heal();
        const auto again = co_await publish(*link, "1");
        expect(again && again->duplicate, "it was not healed");

        link->cut(cut_way::to_server);
        const auto second = co_await publish(*link, "2");
        expect(!second && second.error().is_passing(), "it was answered");
        state = co_await other->stream("work");
        expect(need(std::move(state)).messages == 1, "it came through");
    });
}

TEST(memory_broker, what_is_delivered_over_a_cut_connection_is_held_until_its_time_is_over) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        const auto other = engine.connect();
        co_await make_work(*other, 20s);
        auto stored = co_await publish(*other, "1");
        (void)need(std::move(stored));
        link->cut(cut_way::from_server);
        broker_problem last = broker_problem::closed;
        while (last != broker_problem::unavailable || engine.counts().deliveries == 0) {
            const auto taken = co_await link->fetch("work", "all", 1, 1s);
            expect(!taken, "it heard");
            last = taken.error().problem;
        }
        auto again = co_await other->fetch("work", "all", 1, 1min);
        const auto found = need(std::move(again));
        expect(found.size() == 1 && found.front().deliveries > 1, "it did not come again");
    });
}

TEST(memory_broker, a_restarted_server_of_one_replica_has_forgotten_the_ids_of_what_was_consumed) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        auto stored = co_await publish(*link, "1");
        (void)need(std::move(stored));
        auto taken = co_await link->fetch("work", "all", 1, 1s);
        auto confirmed = co_await link->ack(need(std::move(taken)).front());
        (void)need(std::move(confirmed));
        stored = co_await publish(*link, "2");
        (void)need(std::move(stored));
        engine.go_down();
        const auto away = co_await publish(*link, "3");
        expect(problem_of(away) == broker_problem::unavailable, "it is not down");
        engine.come_back();
        const auto first = co_await publish(*link, "1");
        expect(first && !first->duplicate, "the id of what was consumed is known");
        const auto second = co_await publish(*link, "2");
        expect(second && second->duplicate, "the id of what is stored is forgotten");
    });
}

TEST(memory_broker, a_server_of_three_replicas_forgets_nothing) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link, 30s, 3);
        auto stored = co_await publish(*link, "1");
        (void)need(std::move(stored));
        auto taken = co_await link->fetch("work", "all", 1, 1s);
        auto confirmed = co_await link->ack(need(std::move(taken)).front());
        (void)need(std::move(confirmed));
        engine.go_down();
        engine.come_back();
        const auto again = co_await publish(*link, "1");
        expect(again && again->duplicate, "it is forgotten");
    });
}

task<> go_down_later(memory_engine& engine) {
    co_await leat::sleep_for(1s);
    engine.go_down();
}

TEST(memory_broker, a_server_that_goes_down_ends_what_waits_there) {
    simulate([](memory_engine& engine) -> task<> {
        const auto link = engine.connect();
        co_await make_work(*link);
        leat::scope together(co_await leat::this_task::line());
        together.spawn(go_down_later, std::ref(engine));
        const auto taken = co_await link->fetch("work", "all", 1, 1h);
        expect(problem_of(taken) == broker_problem::unavailable, "it waited on");
        const leat::time_point now = co_await leat::this_task::now();
        expect(now < leat::time_point{} + 10s, "late");
        co_await together.join();
    });
}

TEST(memory_broker, a_call_that_is_under_way_when_its_connection_is_dropped_is_closed) {
    simulate([](memory_engine& engine) -> task<> {
        auto link = engine.connect();
        co_await make_work(*link);
        memory_faults slow;
        slow.longest_delay = 1h;
        engine.set_faults(slow);
        auto waiting = publish(*link, "1");
        link.reset();
        const auto ended = co_await std::move(waiting);
        expect(problem_of(ended) == broker_problem::closed, "it went on");
    });
}

// --- All of them at once ---

memory_faults all_faults(std::uint64_t seed) {
    memory_faults faults;
    faults.seed = seed;
    faults.refused_calls = faults.lost_calls = faults.late_calls = faults.lost_answers = 20;
    faults.lost_deliveries = faults.early_redeliveries = 50;
    faults.cuts = faults.restarts = 5;
    faults.reorders = true;
    faults.longest_delay = 200ms;
    return faults;
}

struct tally {
    int left;                         // to be published
    std::map<std::string, int> done;  // how often each was acknowledged
    bool is_over = false;
};

task<> publish_all(memory_engine& engine, tally& to) {
    const auto link = engine.connect();
    for (; to.left > 0; --to.left) {
        const std::string id = std::to_string(to.left);
        for (;;) {
            const auto stored = co_await publish(*link, id);
            if (stored) break;
            expect(stored.error().is_passing(), "a fault that no contract allows");
            co_await leat::sleep_for(100ms);
        }
    }
}

task<> work(memory_engine& engine, tally& to) {
    const auto link = engine.connect();
    while (!to.is_over) {
        auto taken = co_await link->fetch("work", "all", 1 + leat::sim::draw(10), 2s);
        if (!taken) {
            expect(taken.error().is_passing(), "a fault that no contract allows");
            co_await leat::sleep_for(100ms);
            continue;
        }
        for (delivery& each : *taken) {
            const std::string id = each.what.id;
            const auto confirmed = co_await link->ack(std::move(each));
            if (confirmed) ++to.done[id];
            else expect(confirmed.error().is_passing(), "a fault that no contract allows");
        }
    }
}

// Until the state of the server says that all is done, twice.
task<> wait_for_the_end(memory_engine& engine, tally& of) {
    const auto link = engine.connect();
    unsigned seen = 0;
    while (seen < 2) {
        co_await leat::sleep_for(1s);
        const auto state = co_await link->consumer("work", "all");
        const bool is_done = of.left == 0 && state && state->pending == 0 && state->unacked == 0;
        seen = is_done ? seen + 1 : 0;
    }
    of.is_over = true;
}

task<> under_faults(memory_engine& engine) {
    const auto link = engine.connect();
    co_await make_work(*link, 10s, 3);
    engine.set_faults(all_faults(leat::sim::draw(1000000)));
    tally of{60, {}};
    leat::scope together(co_await leat::this_task::line());
    together.spawn(publish_all, std::ref(engine), std::ref(of));
    for (int worker = 0; worker < 3; ++worker) together.spawn(work, std::ref(engine), std::ref(of));
    together.spawn(wait_for_the_end, std::ref(engine), std::ref(of));
    co_await together.join();
    engine.set_faults({});
    auto state = co_await link->stream("work");
    const stream_state end = need(std::move(state));
    expect(end.last_sequence == 60, "a message was stored twice, or never");
    expect(end.messages == 0, "a message was left");
    expect(engine.counts().acknowledged == 60, "each is acknowledged once");
}

TEST(memory_broker, under_all_faults_each_message_is_stored_once_and_acknowledged_once) {
    std::uint64_t faults = 0;
    std::uint64_t redelivered = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        memory_engine engine;
        const leat::sim::result end = leat::sim::run({.seed = seed}, under_faults, engine);
        ASSERT_TRUE(end.ok()) << end.report();
        faults += engine.counts().faults;
        redelivered += engine.counts().redelivered;
    }
    EXPECT_GT(faults, 300U * 5);
    EXPECT_GT(redelivered, 300U);
}

TEST(memory_broker, the_same_seed_gives_the_same_run) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        memory_engine one;
        memory_engine two;
        const leat::sim::result first = leat::sim::run({.seed = seed}, under_faults, one);
        const leat::sim::result second = leat::sim::run({.seed = seed}, under_faults, two);
        EXPECT_EQ(first.trace, second.trace);
        EXPECT_EQ(first.time, second.time);
        EXPECT_EQ(one.counts().faults, two.counts().faults);
    }
}

}  // namespace
