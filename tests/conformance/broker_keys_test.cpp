// What broker.hpp promises of keys and values, asked of every kind of broker (broker_kinds.hpp).
#include <leat/cluster/broker.hpp>

#include <algorithm>

#include <gmock/gmock.h>

#include <leat/task/when_all.hpp>

#include "broker_bench.hpp"

namespace {

using namespace std::chrono_literals;
using namespace leat_test;  // NOLINT(google-build-using-namespace): with leat::cluster, what is tested here
using testing::IsEmpty;
using testing::UnorderedElementsAre;

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

}  // namespace
