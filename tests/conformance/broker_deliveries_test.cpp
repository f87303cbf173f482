// What broker.hpp promises of consumers, what becomes of deliveries, and how they end, asked of every kind of broker (broker_kinds.hpp).
#include <leat/cluster/broker.hpp>

#include <set>

#include <gmock/gmock.h>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

#include "broker_bench.hpp"

namespace {

using namespace std::chrono_literals;
using namespace leat_test;  // NOLINT(google-build-using-namespace): with leat::cluster, what is tested here
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// --- Consumers ---

TEST_P(broker_conformance, a_consumer_that_is_there_otherwise_is_a_mismatch_that_says_in_what) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        auto again = co_await of.link->make_consumer(of.consumer);
        (void)need(std::move(again));
        consumer_config other = of.consumer;
        other.most_unacked = 77;
        const auto made = co_await of.link->make_consumer(other);
        EXPECT_THAT(expect_problem(broker_problem::mismatch, made).text, HasSubstr("77"));
    });
}

TEST_P(broker_conformance, a_consumer_that_is_not_there_is_not_found) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const auto state = co_await of.link->consumer(of.config.name, "nobody");
        expect_problem(broker_problem::not_found, state);
        const auto fetched = co_await of.link->fetch(of.config.name, "nobody", 1, of.beat);
        expect_problem(broker_problem::not_found, fetched);
    });
}

TEST_P(broker_conformance, a_fetch_gives_what_is_there_and_does_not_wait_for_more) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        for (const char* const each : {"1", "2", "3"}) (void)co_await of.publish(each);
        const leat::time_point before = co_await leat::this_task::now();
        const auto taken = co_await of.fetch(10, 100);
        const leat::time_point after = co_await leat::this_task::now();
        EXPECT_THAT(payloads(taken), ElementsAre("1", "2", "3"));
        EXPECT_LT(after - before, at.beat * 90);
    });
}

TEST_P(broker_conformance, a_fetch_gives_at_most_what_was_asked_for) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        for (const char* const each : {"1", "2", "3"}) (void)co_await of.publish(each);
        const auto two = co_await of.fetch(2);
        EXPECT_THAT(payloads(two), ElementsAre("1", "2"));
        const auto one = co_await of.fetch(2);
        EXPECT_THAT(payloads(one), ElementsAre("3"));
    });
}

TEST_P(broker_conformance, a_fetch_of_nothing_is_an_empty_list_when_its_time_is_over) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const leat::time_point before = co_await leat::this_task::now();
        const auto taken = co_await of.fetch(10, 2);
        const leat::time_point after = co_await leat::this_task::now();
        EXPECT_THAT(taken, IsEmpty());
        EXPECT_GE(after - before, at.beat);
    });
}

task<> publish_later(bench_stream& of, broker& link) {
    co_await leat::sleep_for(of.beat);
    message one = note(of.subject("a"), "at last");
    auto stored = co_await link.publish(std::move(one));
    (void)need(std::move(stored));
}

TEST_P(broker_conformance, a_fetch_waits_for_a_message_that_another_connection_sends) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const auto other = co_await at.connect();
        leat::scope together(co_await leat::this_task::line());
        together.spawn(publish_later, std::ref(of), std::ref(*other));
        const auto taken = co_await of.fetch(10, 100);
        EXPECT_THAT(payloads(taken), ElementsAre("at last"));
        co_await together.join();
    });
}

TEST_P(broker_conformance, who_fetches_from_one_consumer_shares_its_messages) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const auto other = co_await at.connect();
        for (int number = 0; number < 40; ++number) (void)co_await of.publish(std::to_string(number));
        std::set<std::string> seen;
        std::size_t count = 0;
        for (int turn = 0; turn < 4; ++turn) {
            auto here = co_await of.fetch(5);
            auto there = co_await other->fetch(of.config.name, of.consumer.name, 5, of.beat * 2);
            for (const delivery& each : here) seen.insert(each.what.payload);
            count += here.size();
            const auto more = need(std::move(there));
            for (const delivery& each : more) seen.insert(each.what.payload);
            count += more.size();
        }
        EXPECT_EQ(count, 40U);
        EXPECT_EQ(seen.size(), 40U);
    });
}

TEST_P(broker_conformance, consumers_of_a_stream_that_keeps_get_all_of_it_each) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config& config, consumer_config&, leat::duration) { config.is_work_queue = false; });
        (void)co_await of.publish("1");
        (void)co_await of.publish("2");
        // One that is made later begins at the first message that is there.
        consumer_config second = of.consumer;
        second.name = "others";
        auto made = co_await of.link->make_consumer(second);
        (void)need(std::move(made));
        const auto mine = co_await of.fetch(10);
        EXPECT_THAT(payloads(mine), ElementsAre("1", "2"));
        auto taken = co_await of.link->fetch(of.config.name, "others", 10, of.beat * 2);
        EXPECT_THAT(payloads(need(std::move(taken))), ElementsAre("1", "2"));
    });
}

TEST_P(broker_conformance, a_consumer_of_a_subject_gets_those_alone) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at, [](stream_config& config, consumer_config& consumer, leat::duration) {
            consumer.subject = config.name + ".k0";
        });
        consumer_config second = of.consumer;
        second.name = "k1";
        second.subject = of.subject("k1");
        auto made = co_await of.link->make_consumer(second);
        (void)need(std::move(made));
        for (const char* const last : {"k0", "k1", "k0", "k1", "k1"}) {
            message one = note(of.subject(last), last);
            auto stored = co_await of.link->publish(std::move(one));
            (void)need(std::move(stored));
        }
        const auto zero = co_await of.fetch(10);
        EXPECT_THAT(payloads(zero), ElementsAre("k0", "k0"));
        auto one = co_await of.link->fetch(of.config.name, "k1", 10, of.beat * 2);
        EXPECT_THAT(payloads(need(std::move(one))), ElementsAre("k1", "k1", "k1"));
    });
}

TEST_P(broker_conformance, a_message_of_a_work_queue_has_one_consumer) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        consumer_config second = of.consumer;
        second.name = "others";
        const auto made = co_await of.link->make_consumer(second);
        expect_problem(broker_problem::mismatch, made);
    });
}

TEST_P(broker_conformance, no_more_than_most_unacked_are_out_over_all_who_fetch) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config&, consumer_config& consumer, leat::duration) { consumer.most_unacked = 3; });
        const auto other = co_await at.connect();
        for (const char* const each : {"1", "2", "3", "4", "5"}) (void)co_await of.publish(each);
        auto two = co_await of.fetch(2);
        auto third = co_await other->fetch(of.config.name, of.consumer.name, 10, of.beat * 2);
        EXPECT_THAT(payloads(need(std::move(third))), ElementsAre("3"));
        const auto none = co_await of.fetch(10);
        EXPECT_THAT(none, IsEmpty());
        if (two.size() == 2) co_await of.acknowledge(std::move(two[0]));
        const auto fourth = co_await of.fetch(10);
        EXPECT_THAT(payloads(fourth), ElementsAre("4"));
    });
}

// --- What becomes of deliveries ---

TEST_P(broker_conformance, what_was_acknowledged_is_gone_from_a_work_queue_and_stays_in_a_stream_that_keeps) {
    check([](broker_bench& at) -> task<> {
        for (const bool is_work_queue : {true, false}) {
            bench_stream of =
                co_await make_bench(at, is_work_queue ? shaper([](stream_config&, consumer_config&, leat::duration) {})
                                                      : shaper([](stream_config& config, consumer_config&,
                                                                  leat::duration) { config.is_work_queue = false; }));
            (void)co_await of.publish("1");
            delivery one = co_await of.fetch_one();
            auto before = co_await of.link->read(of.config.name, 1);
            EXPECT_EQ(need(std::move(before)).what.payload, "1");
            co_await of.acknowledge(std::move(one));
            const stream_state state = co_await of.state();
            EXPECT_EQ(state.messages, is_work_queue ? 0U : 1U);
            EXPECT_EQ(state.last_sequence, 1U);
            auto after = co_await of.link->read(of.config.name, 1);
            if (is_work_queue) expect_problem(broker_problem::not_found, after);
            else EXPECT_EQ(need(std::move(after)).what.payload, "1");
        }
    });
}

TEST_P(broker_conformance, what_is_not_acknowledged_in_time_is_delivered_again_and_counted) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config&, consumer_config& consumer, leat::duration beat) { consumer.ack_wait = beat * 2; });
        (void)co_await of.publish("1");
        const delivery first = co_await of.fetch_one();
        EXPECT_EQ(first.deliveries, 1U);
        const delivery second = co_await of.fetch_one();
        EXPECT_EQ(second.sequence, first.sequence);
        EXPECT_EQ(second.what.payload, "1");
        EXPECT_EQ(second.deliveries, 2U);
        const consumer_state state = co_await of.consumed();
        EXPECT_EQ(state.unacked, 1U);
        EXPECT_EQ(state.redelivered, 1U);
        delivery third = co_await of.fetch_one();
        EXPECT_EQ(third.deliveries, 3U);
        co_await of.acknowledge(std::move(third));
        const auto none = co_await of.fetch(10, 5);
        EXPECT_THAT(none, IsEmpty());
    });
}

TEST_P(broker_conformance, an_acknowledgement_counts_whichever_delivery_it_is_of_and_may_come_twice) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config&, consumer_config& consumer, leat::duration beat) { consumer.ack_wait = beat * 2; });
        (void)co_await of.publish("1");
        delivery first = co_await of.fetch_one();
        delivery second = co_await of.fetch_one();
        EXPECT_EQ(second.deliveries, 2U);
        co_await of.acknowledge(first);
        const stream_state state = co_await of.state();
        EXPECT_EQ(state.messages, 0U);
        co_await of.acknowledge(std::move(second));
        co_await of.acknowledge(std::move(first));
        const consumer_state consumed = co_await of.consumed();
        EXPECT_EQ(consumed.unacked, 0U);
    });
}

TEST_P(broker_conformance, what_is_handed_back_is_delivered_again_at_once_or_after_the_delay) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        (void)co_await of.publish("1");
        delivery first = co_await of.fetch_one();
        auto told = co_await of.link->nack(std::move(first), 0s);
        (void)need(std::move(told));
        delivery second = co_await of.fetch_one();
        EXPECT_EQ(second.deliveries, 2U);
        const leat::time_point before = co_await leat::this_task::now();
        told = co_await of.link->nack(std::move(second), at.beat * 3);
        (void)need(std::move(told));
        const delivery third = co_await of.fetch_one();
        const leat::time_point after = co_await leat::this_task::now();
        EXPECT_EQ(third.deliveries, 3U);
        EXPECT_GE(after - before, at.beat * 2);
    });
}

TEST_P(broker_conformance, progress_begins_the_wait_for_an_acknowledgement_anew) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config&, consumer_config& consumer, leat::duration beat) { consumer.ack_wait = beat * 8; });
        (void)co_await of.publish("1");
        delivery one = co_await of.fetch_one();
        for (int turn = 0; turn < 6; ++turn) {
            co_await leat::sleep_for(at.beat * 2);
            auto told = co_await of.link->progress(one);
            (void)need(std::move(told));
        }
        const auto none = co_await of.fetch(1, 1);  // after 12 beats and more
        EXPECT_THAT(none, IsEmpty());
        const delivery again = co_await of.fetch_one();
        EXPECT_EQ(again.deliveries, 2U);
    });
}

TEST_P(broker_conformance, what_was_given_up_is_not_delivered_again) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config&, consumer_config& consumer, leat::duration beat) { consumer.ack_wait = beat * 2; });
        (void)co_await of.publish("poison");
        (void)co_await of.publish("good");
        delivery one = co_await of.fetch_one();
        auto ended = co_await of.link->terminate(std::move(one));
        (void)need(std::move(ended));
        delivery good = co_await of.fetch_one();
        EXPECT_EQ(good.what.payload, "good");
        co_await of.acknowledge(std::move(good));
        const auto none = co_await of.fetch(10, 5);
        EXPECT_THAT(none, IsEmpty());
        const stream_state state = co_await of.state();
        EXPECT_EQ(state.messages, 0U);
        const consumer_state consumed = co_await of.consumed();
        EXPECT_EQ(consumed.unacked, 0U);
    });
}

TEST_P(broker_conformance, the_state_of_a_consumer_tells_when_all_is_done) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        for (const char* const each : {"1", "2", "3", "4"}) (void)co_await of.publish(each);
        consumer_state state = co_await of.consumed();
        EXPECT_EQ(state.pending, 4U);
        EXPECT_EQ(state.unacked, 0U);
        EXPECT_EQ(state.ack_floor, 0U);
        EXPECT_EQ(state.delivered, 0U);
        auto taken = co_await of.fetch(3);
        EXPECT_EQ(taken.size(), 3U);
        state = co_await of.consumed();
        EXPECT_EQ(state.pending, 1U);
        EXPECT_EQ(state.unacked, 3U);
        EXPECT_EQ(state.ack_floor, 0U);
        EXPECT_EQ(state.delivered, 3U);
        // The floor is below the first that is not acknowledged.
        co_await of.acknowledge(taken.at(1));
        state = co_await of.consumed();
        EXPECT_EQ(state.unacked, 2U);
        EXPECT_EQ(state.ack_floor, 0U);
        co_await of.acknowledge(taken.at(0));
        state = co_await of.consumed();
        EXPECT_EQ(state.ack_floor, 2U);
        co_await of.acknowledge(taken.at(2));
        delivery last = co_await of.fetch_one();
        co_await of.acknowledge(std::move(last));
        state = co_await of.consumed();
        EXPECT_EQ(state.pending, 0U);
        EXPECT_EQ(state.unacked, 0U);
        EXPECT_EQ(state.ack_floor, 4U);
        EXPECT_EQ(state.delivered, 4U);
        EXPECT_EQ(state.redelivered, 0U);
    });
}

TEST_P(broker_conformance, what_is_stored_can_be_read_whoever_has_it) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        message sent = note(of.subject("a"), "1", "id 1");
        sent.headers = {{"x", "y"}};
        auto stored = co_await of.link->publish(sent);
        (void)need(std::move(stored));
        (void)co_await of.publish("2");
        const auto out = co_await of.fetch(1);
        EXPECT_EQ(out.size(), 1U);
        auto first = co_await of.link->read(of.config.name, 1);
        const delivery found = need(std::move(first));
        EXPECT_EQ(found.sequence, 1U);
        EXPECT_EQ(found.what.subject, sent.subject);
        EXPECT_EQ(found.what.id, sent.id);
        EXPECT_EQ(found.what.headers, sent.headers);
        EXPECT_EQ(found.what.payload, "1");
        auto second = co_await of.link->read(of.config.name, 2);
        EXPECT_EQ(need(std::move(second)).what.payload, "2");
        const auto third = co_await of.link->read(of.config.name, 3);
        expect_problem(broker_problem::not_found, third);
    });
}

// --- Ends ---

task<> close_later(broker& link, leat::duration time) {
    co_await leat::sleep_for(time);
    co_await link.close();
}

TEST_P(broker_conformance, closing_ends_what_is_under_way_and_all_that_comes_later) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const auto other = co_await at.connect();
        leat::scope together(co_await leat::this_task::line());
        together.spawn(close_later, std::ref(*of.link), at.beat);
        const auto taken = co_await of.link->fetch(of.config.name, of.consumer.name, 1, at.beat * 1000);
        expect_problem(broker_problem::closed, taken);
        co_await together.join();
        message one = note(of.subject("a"), "x");
        const auto stored = co_await of.link->publish(std::move(one));
        expect_problem(broker_problem::closed, stored);
        const auto state = co_await of.link->stream(of.config.name);
        expect_problem(broker_problem::closed, state);
        co_await of.link->close();  // once more is nothing
        // Others have their own.
        const auto theirs = co_await other->stream(of.config.name);
        EXPECT_TRUE(theirs);
    });
}

TEST_P(broker_conformance, a_stop_ends_a_wait_for_messages) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        bool in_time = true;
        try {
            auto waiting = of.link->fetch(of.config.name, of.consumer.name, 1, at.beat * 1000);
            (void)co_await leat::timeout(std::move(waiting), at.beat);
        } catch (const leat::timed_out&) {
            in_time = false;
        }
        EXPECT_FALSE(in_time);
        // What it waited for goes to the next.
        (void)co_await of.publish("1");
        const delivery one = co_await of.fetch_one();
        EXPECT_EQ(one.what.payload, "1");
    });
}

}  // namespace
