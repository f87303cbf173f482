// What broker.hpp promises, asked of every kind of broker (broker_kinds.hpp).
#include <leat/cluster/broker.hpp>

#include <algorithm>
#include <gmock/gmock.h>
#include <set>
#include <stdexcept>

#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>

#include "broker_kinds.hpp"

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::task;
using leat_test::broker_bench;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// The value, or an error that ends the test.
template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error("failed: " + result.error().text);
    return std::move(*result);
}

template <class T>
broker_error expect_problem(broker_problem problem, const broker_result<T>& result) {
    if (result) {
        ADD_FAILURE() << "it succeeded";
        return {};
    }
    EXPECT_EQ(static_cast<int>(result.error().problem), static_cast<int>(problem)) << result.error().text;
    EXPECT_FALSE(result.error().text.empty());
    return result.error();
}

message note(std::string subject, std::string payload, std::string id = {}) {
    message one;
    one.subject = std::move(subject);
    one.payload = std::move(payload);
    one.id = std::move(id);
    return one;
}

// A connection, a stream with the subjects NAME.> and a consumer of all of it.
struct bench_stream {
    std::unique_ptr<broker> link;
    stream_config config;
    consumer_config consumer;
    leat::duration beat{};

    [[nodiscard]] std::string subject(const std::string& last) const { return config.name + "." + last; }
    task<receipt> publish(std::string payload, std::string id = {}) {
        message one = note(subject("a"), std::move(payload), std::move(id));
        auto stored = co_await link->publish(std::move(one));
        co_return need(std::move(stored));
    }
    // What is there within two beats.
    task<std::vector<delivery>> fetch(std::size_t most, unsigned beats = 2) {
        auto taken = co_await link->fetch(config.name, consumer.name, most, beat * beats);
        co_return need(std::move(taken));
    }
    // One; an error when there is none within many beats.
    task<delivery> fetch_one() {
        auto taken = co_await fetch(1, 40);
        if (taken.empty()) throw std::runtime_error("nothing came");
        co_return std::move(taken.front());
    }
    task<stream_state> state() {
        auto found = co_await link->stream(config.name);
        co_return need(std::move(found));
    }
    task<consumer_state> consumed() {
        auto found = co_await link->consumer(config.name, consumer.name);
        co_return need(std::move(found));
    }
    task<> acknowledge(delivery what) {
        auto confirmed = co_await link->ack(std::move(what));
        (void)need(std::move(confirmed));
    }
};

using shaper = void (*)(stream_config&, consumer_config&, leat::duration beat);

task<bench_stream> make_bench(broker_bench& at, shaper shape = nullptr) {
    bench_stream made;
    made.beat = at.beat;
    made.link = co_await at.connect();
    made.config.name = broker_bench::name("stream");
    made.config.subjects = {made.config.name + ".>"};
    made.consumer.stream = made.config.name;
    made.consumer.name = "workers";
    if (shape != nullptr) shape(made.config, made.consumer, at.beat);
    auto stream = co_await made.link->make_stream(made.config);
    (void)need(std::move(stream));
    auto consumer = co_await made.link->make_consumer(made.consumer);
    (void)need(std::move(consumer));
    co_return made;
}

task<std::string> make_test_bucket(broker& link, leat::duration age = leat::duration::zero()) {
    std::string name = broker_bench::name("bucket");
    auto made = co_await link.make_bucket(name, age, 1);
    (void)need(std::move(made));
    co_return name;
}

std::vector<std::string> payloads(const std::vector<delivery>& of) {
    std::vector<std::string> all;
    all.reserve(of.size());
    for (const delivery& each : of) all.push_back(each.what.payload);
    return all;
}

class broker_conformance : public testing::TestWithParam<leat_test::broker_kind> {
protected:
    static void check(task<> (*program)(broker_bench&)) { GetParam().run(program); }
};

std::string kind_name(const testing::TestParamInfo<leat_test::broker_kind>& of) { return of.param.name; }
INSTANTIATE_TEST_SUITE_P(each, broker_conformance, testing::ValuesIn(leat_test::broker_kinds()), kind_name);

// --- Streams ---

TEST_P(broker_conformance, a_stream_is_made_and_found_again_with_all_that_it_was_made_with) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at, [](stream_config& config, consumer_config&, leat::duration beat) {
            config.is_work_queue = false;
            config.in_memory = true;
            config.most_messages = 500;
            config.most_bytes = 1 << 20;
            config.duplicate_window = beat * 3;
            config.about = {{"made-by", "a test"}, {"run", "17"}};
        });
        const stream_state found = co_await of.state();
        EXPECT_EQ(found.config.name, of.config.name);
        EXPECT_EQ(found.config.subjects, of.config.subjects);
        EXPECT_FALSE(found.config.is_work_queue);
        EXPECT_TRUE(found.config.in_memory);
        EXPECT_EQ(found.config.replicas, 1U);
        EXPECT_EQ(found.config.most_messages, 500U);
        EXPECT_EQ(found.config.most_bytes, std::uint64_t{1} << 20U);
        EXPECT_EQ(found.config.duplicate_window, of.config.duplicate_window);
        EXPECT_EQ(found.config.about, of.config.about);
        EXPECT_EQ(found.messages, 0U);
        auto again = co_await of.link->make_stream(of.config);
        EXPECT_TRUE(again) << again.error().text;
    });
}

TEST_P(broker_conformance, a_stream_that_is_there_with_another_configuration_is_a_mismatch_that_says_in_what) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        stream_config other = of.config;
        other.most_messages = 77;
        const auto limited = co_await of.link->make_stream(other);
        EXPECT_THAT(expect_problem(broker_problem::mismatch, limited).text, HasSubstr("77"));
        other = of.config;
        other.is_work_queue = false;
        const auto kept = co_await of.link->make_stream(other);
        expect_problem(broker_problem::mismatch, kept);
        const stream_state found = co_await of.state();
        EXPECT_EQ(found.config.most_messages, 0U);
    });
}

TEST_P(broker_conformance, streams_do_not_share_subjects) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        stream_config other = of.config;
        other.name = broker_bench::name("other");
        other.subjects = {of.subject("*.x")};
        const auto made = co_await of.link->make_stream(other);
        expect_problem(broker_problem::mismatch, made);
    });
}

TEST_P(broker_conformance, a_name_with_other_characters_makes_no_stream) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        for (const char* const bad : {"", "a.b", "a b", "a*", "a/b"}) {
            stream_config config;
            config.name = bad;
            config.subjects = {broker_bench::name("subject")};
            const auto made = co_await link->make_stream(config);
            EXPECT_FALSE(made) << bad;
        }
    });
}

TEST_P(broker_conformance, streams_are_listed_by_the_beginning_of_their_names) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string prefix = broker_bench::name("list");
        for (const char* const last : {"-b", "-a", "-c"}) {
            stream_config config;
            config.name = prefix + last;
            config.subjects = {config.name};
            auto made = co_await link->make_stream(config);
            (void)need(std::move(made));
        }
        auto listed = co_await link->streams(prefix);
        EXPECT_THAT(need(std::move(listed)), UnorderedElementsAre(prefix + "-a", prefix + "-b", prefix + "-c"));
        auto one = co_await link->streams(prefix + "-b");
        EXPECT_THAT(need(std::move(one)), ElementsAre(prefix + "-b"));
        auto none = co_await link->streams(prefix + "x");
        EXPECT_THAT(need(std::move(none)), IsEmpty());
    });
}

TEST_P(broker_conformance, a_stream_that_was_removed_is_not_found) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        (void)co_await of.publish("one");
        auto removed = co_await of.link->remove_stream(of.config.name);
        (void)need(std::move(removed));
        const auto state = co_await of.link->stream(of.config.name);
        expect_problem(broker_problem::not_found, state);
        const auto again = co_await of.link->remove_stream(of.config.name);
        expect_problem(broker_problem::not_found, again);
        const auto purged = co_await of.link->purge(of.config.name, 0);
        expect_problem(broker_problem::not_found, purged);
        const auto read = co_await of.link->read(of.config.name, 1);
        expect_problem(broker_problem::not_found, read);
        const auto consumer = co_await of.link->consumer(of.config.name, of.consumer.name);
        expect_problem(broker_problem::not_found, consumer);
        const auto made = co_await of.link->make_consumer(of.consumer);
        expect_problem(broker_problem::not_found, made);
        const auto fetched = co_await of.link->fetch(of.config.name, of.consumer.name, 1, of.beat);
        EXPECT_FALSE(fetched);
        // Made again it is another one, which begins at 1.
        auto anew = co_await of.link->make_stream(of.config);
        (void)need(std::move(anew));
        const receipt first = co_await of.publish("first");
        EXPECT_EQ(first.sequence, 1U);
    });
}

TEST_P(broker_conformance, a_purge_drops_what_is_below_a_sequence_or_all) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        for (int number = 1; number <= 6; ++number) (void)co_await of.publish(std::to_string(number));
        auto some = co_await of.link->purge(of.config.name, 4);
        (void)need(std::move(some));
        stream_state state = co_await of.state();
        EXPECT_EQ(state.messages, 3U);
        EXPECT_EQ(state.first_sequence, 4U);
        EXPECT_EQ(state.last_sequence, 6U);
        const auto left = co_await of.fetch(1);
        EXPECT_THAT(payloads(left), ElementsAre("4"));
        auto all = co_await of.link->purge(of.config.name, 0);
        (void)need(std::move(all));
        state = co_await of.state();
        EXPECT_EQ(state.messages, 0U);
        EXPECT_EQ(state.last_sequence, 6U);
        const auto none = co_await of.fetch(10);
        EXPECT_THAT(none, IsEmpty());
        const receipt next = co_await of.publish("7");
        EXPECT_EQ(next.sequence, 7U);
        const auto last = co_await of.fetch(10);
        EXPECT_THAT(payloads(last), ElementsAre("7"));
    });
}

TEST_P(broker_conformance, a_star_is_one_token_of_a_subject_and_the_arrow_all_that_follow) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string root = broker_bench::name("tokens");
        stream_config config;
        config.name = broker_bench::name("stream");
        config.subjects = {root + ".one.*.x", root + ".all.>"};
        auto made = co_await link->make_stream(config);
        (void)need(std::move(made));
        for (const char* const taken : {".one.a.x", ".one.b.x", ".all.a", ".all.a.b.c"}) {
            message one = note(root + taken, "");
            const auto stored = co_await link->publish(std::move(one));
            EXPECT_TRUE(stored) << taken;
        }
        for (const char* const left : {".one.a.y", ".one.a.b.x", ".one.x", ".all"}) {
            message one = note(root + left, "");
            const auto stored = co_await link->publish(std::move(one));
            expect_problem(broker_problem::unavailable, stored);
        }
    });
}

// --- Publishing ---

TEST_P(broker_conformance, messages_of_one_task_are_stored_in_its_order_and_numbered_from_one) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        for (std::uint64_t number = 1; number <= 20; ++number) {
            const receipt stored = co_await of.publish(std::to_string(number));
            EXPECT_EQ(stored.sequence, number);
            EXPECT_FALSE(stored.duplicate);
        }
        const stream_state state = co_await of.state();
        EXPECT_EQ(state.messages, 20U);
        EXPECT_EQ(state.first_sequence, 1U);
        EXPECT_EQ(state.last_sequence, 20U);
        EXPECT_GT(state.bytes, 20U);
        const auto taken = co_await of.fetch(20);
        EXPECT_EQ(taken.size(), 20U);
        for (std::size_t place = 0; place < taken.size(); ++place) {
            EXPECT_EQ(taken[place].sequence, place + 1);
            EXPECT_EQ(taken[place].what.payload, std::to_string(place + 1));
        }
    });
}

TEST_P(broker_conformance, a_message_arrives_as_it_was_sent) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        message sent;
        sent.subject = of.subject("a.b");
        sent.id = "stage:17/3";
        sent.headers = {{"leat-lineage", "r1:17/3"}, {"leat-count", "3"}};
        sent.payload = std::string("zero \0 and \xff and\r\nlines", 25);
        auto stored = co_await of.link->publish(sent);
        (void)need(std::move(stored));
        (void)co_await of.publish("");  // empty, without headers
        const auto taken = co_await of.fetch(2);
        EXPECT_EQ(taken.size(), 2U);
        if (taken.size() == 2) {
            EXPECT_EQ(taken[0].what.subject, sent.subject);
            EXPECT_EQ(taken[0].what.id, sent.id);
            EXPECT_EQ(taken[0].what.headers, sent.headers);
            EXPECT_EQ(taken[0].what.payload, sent.payload);
            EXPECT_EQ(taken[0].deliveries, 1U);
            EXPECT_EQ(taken[1].what.id, "");
            EXPECT_EQ(taken[1].what.payload, "");
            EXPECT_THAT(taken[1].what.headers, IsEmpty());
        }
    });
}

TEST_P(broker_conformance, a_second_message_with_an_id_of_the_window_is_not_stored) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const receipt first = co_await of.publish("one", "the id");
        (void)co_await of.publish("two", "another");
        const receipt second = co_await of.publish("one", "the id");
        EXPECT_TRUE(second.duplicate);
        EXPECT_EQ(second.sequence, first.sequence);
        // Also when it was consumed meanwhile.
        auto taken = co_await of.fetch(2);
        for (delivery& each : taken) co_await of.acknowledge(std::move(each));
        const receipt third = co_await of.publish("one", "the id");
        EXPECT_TRUE(third.duplicate);
        const stream_state state = co_await of.state();
        EXPECT_EQ(state.last_sequence, 2U);
        EXPECT_EQ(state.messages, 0U);
    });
}

TEST_P(broker_conformance, without_an_id_equal_messages_are_both_stored) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        (void)co_await of.publish("same");
        const receipt second = co_await of.publish("same");
        EXPECT_FALSE(second.duplicate);
        EXPECT_EQ(second.sequence, 2U);
    });
}

TEST_P(broker_conformance, an_id_that_is_older_than_the_window_is_forgotten) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config& config, consumer_config&, leat::duration beat) { config.duplicate_window = beat; });
        (void)co_await of.publish("one", "the id");
        co_await leat::sleep_for(at.beat * 4);
        const receipt again = co_await of.publish("one", "the id");
        EXPECT_FALSE(again.duplicate);
        EXPECT_EQ(again.sequence, 2U);
    });
}

TEST_P(broker_conformance, a_full_stream_takes_no_more_until_there_is_room) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config& config, consumer_config&, leat::duration) { config.most_messages = 3; });
        for (const char* const id : {"1", "2", "3"}) (void)co_await of.publish(id, id);
        message fourth = note(of.subject("a"), "4", "4");
        const auto full = co_await of.link->publish(fourth);
        EXPECT_TRUE(expect_problem(broker_problem::full, full).is_passing());
        delivery first = co_await of.fetch_one();
        co_await of.acknowledge(std::move(first));
        // It was not stored, so its id is not one that is known.
        auto stored = co_await of.link->publish(fourth);
        const receipt now = need(std::move(stored));
        EXPECT_FALSE(now.duplicate);
        EXPECT_EQ(now.sequence, 4U);
    });
}

TEST_P(broker_conformance, a_stream_is_full_in_bytes_too) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(
            at, [](stream_config& config, consumer_config&, leat::duration) { config.most_bytes = 5000; });
        (void)co_await of.publish(std::string(3000, 'x'));
        message second = note(of.subject("a"), std::string(3000, 'y'));
        const auto full = co_await of.link->publish(std::move(second));
        expect_problem(broker_problem::full, full);
        const receipt small = co_await of.publish("small");
        EXPECT_EQ(small.sequence, 2U);
    });
}

TEST_P(broker_conformance, a_message_above_the_largest_payload_is_too_large) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        const broker_limits limits = of.link->limits();
        EXPECT_GE(limits.largest_payload, 64U * 1024);
        EXPECT_FALSE(limits.server.empty());
        EXPECT_FALSE(limits.durability.empty());
        message one = note(of.subject("a"), std::string(limits.largest_payload + 1, 'x'));
        const auto stored = co_await of.link->publish(std::move(one));
        EXPECT_FALSE(expect_problem(broker_problem::too_large, stored).is_passing());
        const receipt half = co_await of.publish(std::string(limits.largest_payload / 2, 'x'));
        EXPECT_EQ(half.sequence, 1U);
        const delivery back = co_await of.fetch_one();
        EXPECT_EQ(back.what.payload.size(), limits.largest_payload / 2);
    });
}

TEST_P(broker_conformance, many_tasks_publish_through_one_connection) {
    check([](broker_bench& at) -> task<> {
        bench_stream of = co_await make_bench(at);
        std::vector<task<receipt>> calls;
        for (int number = 0; number < 100; ++number) calls.push_back(of.publish(std::to_string(number)));
        const std::vector<receipt> stored = co_await leat::when_all(std::move(calls));
        std::set<std::uint64_t> sequences;
        for (const receipt& each : stored) sequences.insert(each.sequence);
        EXPECT_EQ(sequences.size(), 100U);
        EXPECT_EQ(*sequences.rbegin(), 100U);
    });
}

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

// --- Buckets ---

TEST_P(broker_conformance, a_bucket_keeps_the_last_value_of_a_key) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        auto again = co_await link->make_bucket(bucket, 0s, 1);
        (void)need(std::move(again));
        const auto none = co_await link->get(bucket, "key");
        expect_problem(broker_problem::not_found, none);
        auto first = co_await link->put(bucket, "key", "one");
        auto second = co_await link->put(bucket, "key", std::string("t\0wo", 4));
        const std::uint64_t revision = need(std::move(second));
        EXPECT_GT(revision, need(std::move(first)));
        auto found = co_await link->get(bucket, "key");
        const entry value = need(std::move(found));
        EXPECT_EQ(value.key, "key");
        EXPECT_EQ(value.value, std::string("t\0wo", 4));
        EXPECT_EQ(value.revision, revision);
    });
}

TEST_P(broker_conformance, keys_may_have_the_characters_that_they_may_have) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        const std::string odd = "a-b_c=d/e.F9";
        auto stored = co_await link->put(bucket, odd, "");
        (void)need(std::move(stored));
        auto found = co_await link->get(bucket, odd);
        EXPECT_EQ(need(std::move(found)).value, "");
        for (const char* const bad : {"", "a b", "a*", ">", ".a", "a."}) {
            const auto refused = co_await link->put(bucket, bad, "x");
            EXPECT_FALSE(refused) << bad;
        }
    });
}

TEST_P(broker_conformance, a_key_is_updated_only_at_the_revision_given) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        auto made = co_await link->update(bucket, "key", "one", 0);
        const std::uint64_t first = need(std::move(made));
        const auto twice = co_await link->update(bucket, "key", "two", 0);
        expect_problem(broker_problem::conflict, twice);
        auto changed = co_await link->update(bucket, "key", "two", first);
        const std::uint64_t second = need(std::move(changed));
        EXPECT_GT(second, first);
        const auto late = co_await link->update(bucket, "key", "three", first);
        EXPECT_FALSE(expect_problem(broker_problem::conflict, late).is_passing());
        auto found = co_await link->get(bucket, "key");
        EXPECT_EQ(need(std::move(found)).value, "two");
        // Another key is another line of revisions.
        auto other = co_await link->update(bucket, "other", "x", 0);
        (void)need(std::move(other));
        auto more = co_await link->update(bucket, "key", "three", second);
        (void)need(std::move(more));
    });
}

task<bool> try_to_create(broker& link, std::string bucket, int number) {
    auto made = co_await link.update(bucket, "one", std::to_string(number), 0);
    if (!made) expect_problem(broker_problem::conflict, made);
    co_return bool(made);
}

TEST_P(broker_conformance, of_many_who_create_a_key_one_does) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const auto other = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        std::vector<task<bool>> calls;
        for (int number = 0; number < 10; ++number)
            calls.push_back(try_to_create(number % 2 == 0 ? *link : *other, bucket, number));
        const std::vector<bool> made = co_await leat::when_all(std::move(calls));
        EXPECT_EQ(std::count(made.begin(), made.end(), true), 1);
    });
}

TEST_P(broker_conformance, a_key_that_was_erased_is_not_there_and_can_be_made_again) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        auto made = co_await link->put(bucket, "key", "one");
        const std::uint64_t first = need(std::move(made));
        auto erased = co_await link->erase(bucket, "key");
        (void)need(std::move(erased));
        const auto none = co_await link->get(bucket, "key");
        expect_problem(broker_problem::not_found, none);
        const auto late = co_await link->update(bucket, "key", "two", first);
        expect_problem(broker_problem::conflict, late);
        auto again = co_await link->update(bucket, "key", "two", 0);
        EXPECT_GT(need(std::move(again)), first);
        auto nothing = co_await link->erase(bucket, "never-there");
        EXPECT_TRUE(nothing) << nothing.error().text;
    });
}

TEST_P(broker_conformance, keys_are_listed_by_their_beginning) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        auto empty = co_await link->keys(bucket, "");
        EXPECT_THAT(need(std::move(empty)), IsEmpty());
        for (const char* const key : {"lease.a", "lease.b", "leaser", "closed"}) {
            auto stored = co_await link->put(bucket, key, "x");
            (void)need(std::move(stored));
        }
        auto erased = co_await link->erase(bucket, "lease.b");
        (void)need(std::move(erased));
        auto some = co_await link->keys(bucket, "lease");
        EXPECT_THAT(need(std::move(some)), UnorderedElementsAre("lease.a", "leaser"));
        auto all = co_await link->keys(bucket, "");
        EXPECT_THAT(need(std::move(all)), UnorderedElementsAre("closed", "lease.a", "leaser"));
    });
}

TEST_P(broker_conformance, a_value_that_is_older_than_the_age_of_its_bucket_is_gone) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link, at.beat);
        auto made = co_await link->put(bucket, "key", "one");
        (void)need(std::move(made));
        bool is_gone = false;
        for (int turn = 0; turn < 40 && !is_gone; ++turn) {
            co_await leat::sleep_for(at.beat);
            const auto found = co_await link->get(bucket, "key");
            is_gone = !found && found.error().problem == broker_problem::not_found;
        }
        EXPECT_TRUE(is_gone);
        auto all = co_await link->keys(bucket, "");
        EXPECT_THAT(need(std::move(all)), IsEmpty());
        auto again = co_await link->update(bucket, "key", "two", 0);
        EXPECT_TRUE(again) << again.error().text;
    });
}

TEST_P(broker_conformance, a_bucket_that_is_not_there_is_not_found) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        auto removed = co_await link->remove_bucket(bucket);
        (void)need(std::move(removed));
        const auto again = co_await link->remove_bucket(bucket);
        expect_problem(broker_problem::not_found, again);
        const auto value = co_await link->get(bucket, "key");
        expect_problem(broker_problem::not_found, value);
        const auto stored = co_await link->put(bucket, "key", "x");
        expect_problem(broker_problem::not_found, stored);
        const auto updated = co_await link->update(bucket, "key", "x", 0);
        expect_problem(broker_problem::not_found, updated);
        const auto listed = co_await link->keys(bucket, "");
        expect_problem(broker_problem::not_found, listed);
    });
}

TEST_P(broker_conformance, a_bucket_that_is_there_otherwise_is_a_mismatch) {
    check([](broker_bench& at) -> task<> {
        const auto link = co_await at.connect();
        const std::string bucket = co_await make_test_bucket(*link);
        const auto other = co_await link->make_bucket(bucket, 1h, 1);
        expect_problem(broker_problem::mismatch, other);
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
