#include <leat/cluster/blob_store.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <leat/cluster/memory_broker.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/sim.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/this_task.hpp>

#include "../support/soak.hpp"

namespace {

using leat::task;
using leat::cluster::blob_options;
using leat::cluster::blob_ref;
using leat::cluster::blob_store;
using leat::cluster::broker_problem;
using leat::cluster::memory_engine;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t chunk = 100;

blob_options small_chunks() {
    blob_options options;
    options.bucket = "blobs";
    options.chunk = chunk;
    options.bound = 300;
    return options;
}

std::string text_of(std::size_t size, unsigned salt = 0) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 31 + i / 7 + salt) & 0xffU);
    return text;
}

// In a simulation, on an engine without faults.
template <class Body>
void simulate(Body body, std::uint64_t seed = 1) {
    const leat::sim::result told = leat::sim::run({.seed = seed}, [&]() -> task<> {
        memory_engine engine;
        const auto link = engine.connect();
        blob_store store(*link, small_chunks());
        const auto opened = co_await store.open();
        EXPECT_TRUE(opened);
        co_await body(store, *link);
    });
    EXPECT_TRUE(told.ok()) << told.report();
}

task<std::vector<std::string>> all_keys(leat::cluster::broker& link) {
    auto keys = co_await link.keys("blobs", "");
    co_return std::move(keys).value_or(std::vector<std::string>());
}

TEST(blob_store, a_blob_comes_back_as_it_was_whatever_its_size) {
    simulate([](blob_store& store, leat::cluster::broker& link) -> task<> {
        for (const std::size_t size : {0UL, 1UL, chunk - 1, chunk, chunk + 1, 17 * chunk, 1234UL}) {
            auto made = co_await store.put(text_of(size));
            EXPECT_TRUE(made);
            auto again = co_await store.get(*made);
            EXPECT_TRUE(again);
            EXPECT_EQ(*again, text_of(size)) << size;
            const auto gone = co_await store.remove(*made);
            EXPECT_TRUE(gone);
        }
        const auto left = co_await all_keys(link);
        EXPECT_THAT(left, IsEmpty());
        EXPECT_EQ(store.counts().written, 7U);
        EXPECT_EQ(store.counts().removed, 7U);
    });
}

TEST(blob_store, only_what_is_above_the_bound_is_large) {
    simulate([](blob_store& store, leat::cluster::broker&) -> task<> {
        EXPECT_FALSE(store.is_large(300));
        EXPECT_TRUE(store.is_large(301));
        co_return;
    });
}

TEST(blob_store, a_blob_that_was_removed_is_not_found_and_the_error_says_what_is_missing) {
    simulate([](blob_store& store, leat::cluster::broker&) -> task<> {
        const auto made = co_await store.put(text_of(250));
        (void)co_await store.remove(*made);
        (void)co_await store.remove(*made);  // again: no error
        const auto found = co_await store.get(*made);
        EXPECT_FALSE(found);
        EXPECT_EQ(found.error().problem, broker_problem::not_found);
        EXPECT_THAT(found.error().text, HasSubstr(made->id));
        EXPECT_THAT(found.error().text, HasSubstr("of 3 is not there"));
    });
}

TEST(blob_store, a_torn_blob_is_malformed) {
    simulate([](blob_store& store, leat::cluster::broker& link) -> task<> {
        const auto made = co_await store.put(text_of(250));
        const std::string first = made->id + "/0";
        const std::string second = made->id + "/1";
        const auto before = co_await link.get("blobs", first);
        std::string bent = before->value;
        bent.back() = static_cast<char>(bent.back() ^ 1);
        const auto other = co_await link.get("blobs", second);
        for (const std::string& each : {bent, other->value, std::string("short"), std::string()}) {
            (void)co_await link.put("blobs", first, each);
            const auto found = co_await store.get(*made);
            EXPECT_FALSE(found);
            EXPECT_EQ(found.error().problem, broker_problem::malformed) << found.error().text;
            EXPECT_THAT(found.error().text, HasSubstr("torn"));
        }
        (void)co_await link.put("blobs", first, before->value);
        const auto whole = co_await store.get(*made);
        EXPECT_TRUE(whole);
        blob_ref wrong = *made;
        wrong.checksum ^= 1U;
        const auto refused = co_await store.get(wrong);
        EXPECT_EQ(refused.error().problem, broker_problem::malformed);
    });
}

TEST(blob_store, a_reference_that_makes_no_sense_is_refused_before_anything_is_allocated) {
    simulate([](blob_store& store, leat::cluster::broker&) -> task<> {
        blob_ref strange;
        strange.id = "../../etc";
        strange.size = 10;
        strange.chunk_bytes = 10;
        auto found = co_await store.get(strange);
        EXPECT_EQ(found.error().problem, broker_problem::malformed);
        strange.id = "ab";
        strange.size = std::uint64_t{1} << 60U;
        found = co_await store.get(strange);
        EXPECT_EQ(found.error().problem, broker_problem::too_large);
        strange.size = 10;
        strange.chunk_bytes = 0;
        found = co_await store.get(strange);
        EXPECT_EQ(found.error().problem, broker_problem::malformed);
    });
}

TEST(blob_store, what_a_dead_writer_has_left_goes_by_age) {
    simulate([](blob_store& store, leat::cluster::broker& link) -> task<> {
        {
            leat::cluster::blob_writer writer(store);
            const std::string part = text_of(950);
            const auto stored = co_await writer.write(part);
            EXPECT_TRUE(stored);
        }
        auto left = co_await all_keys(link);
        EXPECT_EQ(left.size(), 9U);
        co_await leat::sleep_for(store.options().age + 1s);
        left = co_await all_keys(link);
        EXPECT_THAT(left, IsEmpty());
    });
}

TEST(blob_store, pieces_in_and_chunks_out_are_the_same_blob) {
    simulate([](blob_store& store, leat::cluster::broker&) -> task<> {
        const std::string whole = text_of(1111);
        leat::cluster::blob_writer writer(store);
        std::string_view rest = whole;
        for (const std::size_t part : {0UL, 1UL, 150UL, 49UL, 700UL, 500UL}) {
            (void)co_await writer.write(rest.substr(0, part));
            rest.remove_prefix(std::min(part, rest.size()));
        }
        EXPECT_TRUE(rest.empty());
        const auto made = co_await writer.finish();
        EXPECT_TRUE(made);
        const auto at_once = co_await store.get(*made);
        EXPECT_EQ(*at_once, whole);
        leat::cluster::blob_reader reader(store, *made);
        std::string pieces;
        for (;;) {
            const auto piece = co_await reader.next();
            EXPECT_TRUE(piece);
            if (!piece || piece->empty()) break;
            EXPECT_LE(piece->size(), chunk);
            pieces += *piece;
        }
        EXPECT_EQ(pieces, whole);
    });
}

TEST(blob_store, soak_under_faults_a_reader_gets_what_was_written_or_an_error) {
    std::uint64_t right = 0;
    for (leat_test::soak rounds(60); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat::cluster::memory_options how;
        how.faults.seed = rounds.seed();
        how.faults.refused_calls = 60;
        how.faults.lost_calls = 40;
        how.faults.late_calls = 40;
        how.faults.lost_answers = 40;
        how.faults.restarts = 2;
        const leat::sim::result told = leat::sim::run({.seed = rounds.seed()}, [&]() -> task<> {
            memory_engine engine(how);
            const auto link = engine.connect();
            blob_store store(*link, small_chunks());
            const auto opened = co_await store.open();
            if (!opened) throw std::runtime_error(opened.error().text);
            const auto one = [&store, &right](unsigned which) -> task<> {
                const std::string text = text_of(which * 97, which);
                const auto made = co_await store.put(text);
                if (!made) co_return;
                const auto again = co_await store.get(*made);
                if (!again) co_return;
                if (*again != text) throw std::runtime_error("another blob came back");
                ++right;
                (void)co_await store.remove(*made);
                const auto gone = co_await store.get(*made);
                if (gone && !text.empty() && *gone != text) throw std::runtime_error("a blob was torn unseen");
            };
            leat::scope work;
            for (unsigned each = 0; each < 12; ++each) work.spawn(one, each);
            co_await work.join();
        });
        EXPECT_TRUE(told.ok()) << told.report();
    }
    EXPECT_GT(right, 0U);
}

TEST(blob_store, many_readers_and_writers_on_threads) {
    memory_engine engine;
    leat::run(leat::run_options(4), [&]() -> task<> {
        const auto link = engine.connect();
        blob_options options = small_chunks();
        options.most_bytes = 500;
        blob_store store(*link, options);
        (void)co_await store.open();
        const auto one = [&store](unsigned which) -> task<> {
            const std::string text = text_of(1000 + which, which);
            const auto made = co_await store.put(text);
            if (!made) throw std::runtime_error(made.error().text);
            const auto again = co_await store.get(*made);
            if (!again || *again != text) throw std::runtime_error("another blob came back");
            (void)co_await store.remove(*made);
        };
        leat::scope work;
        for (unsigned each = 0; each < 40; ++each) work.spawn(one, each);
        co_await work.join();
        const auto left = co_await all_keys(*link);
        EXPECT_THAT(left, IsEmpty());
    });
}

}  // namespace
