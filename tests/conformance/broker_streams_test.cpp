// What broker.hpp promises of streams and what is published to them, asked of every kind of broker (broker_kinds.hpp).
#include <leat/cluster/broker.hpp>

#include <set>

#include <gmock/gmock.h>

#include <leat/task/when_all.hpp>

#include "broker_bench.hpp"

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace leat_test;  // NOLINT(google-build-using-namespace): with leat::cluster, what is tested here
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

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
        sent.payload = "zero \0 and \xff and\r\nlines"s;
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

}  // namespace
