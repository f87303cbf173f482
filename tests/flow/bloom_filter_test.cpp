#include <leat/flow/bloom_filter.hpp>

#include <cstring>
#include <limits>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <flow/bloom_block.hpp>
#include <flow_kinds.hpp>

namespace {

using leat::bloom_filter;
using leat_test::get_file;
using leat_test::put_file;
using leat_test::scratch_folder;
using testing::HasSubstr;
using testing::StartsWith;

TEST(bloom_filter, what_was_inserted_is_found) {
    for (const double rate : {0.5, 1e-2, 1e-4, 1e-6, 1e-12}) {
        bloom_filter filter(1000, rate);
        for (std::uint64_t key = 0; key < 3000; ++key) filter.insert(key * 977);  // also beyond what it was made for
        for (std::uint64_t key = 0; key < 3000; ++key) ASSERT_TRUE(filter.contains(key * 977)) << rate;
        filter.clear();
        EXPECT_FALSE(filter.contains(977));
        EXPECT_EQ(filter.keys(), 0U);
    }
}

TEST(bloom_filter, insert_if_new_says_yes_once_for_each_key) {
    bloom_filter filter(100'000, 1e-6);
    std::uint64_t fresh = 0;
    for (std::uint64_t key = 0; key < 100'000; ++key) {
        EXPECT_FALSE(filter.contains(key) && filter.insert_if_new(key));
        fresh += filter.insert_if_new(key) ? 1U : 0U;
        ASSERT_FALSE(filter.insert_if_new(key));
    }
    EXPECT_GE(fresh, 99'995U);
    EXPECT_EQ(filter.keys(), fresh);
}

// Numbers in a row, numbers with the same low bits, and texts: each a different way to be unlike random.
TEST(bloom_filter, false_positives_come_at_the_rate_that_it_was_made_for) {
    constexpr std::uint64_t items = 400'000;
    for (const double rate : {0.1, 1e-2, 1e-3}) {
        const auto asked = static_cast<std::uint64_t>(2000 / rate);
        for (const int kind : {0, 1, 2}) {
            const auto key = [kind](std::uint64_t i) {
                if (kind == 0) return i;
                if (kind == 1) return i << 40U;
                return bloom_filter::key_of("key " + std::to_string(i));
            };
            bloom_filter filter(items, rate);
            for (std::uint64_t i = 0; i < items; ++i) filter.insert(key(i));
            std::uint64_t wrong = 0;
            for (std::uint64_t i = items; i < items + asked; ++i) wrong += filter.contains(key(i)) ? 1U : 0U;
            EXPECT_NEAR(static_cast<double>(wrong), 2000, 200) << rate << " kind " << kind;
            EXPECT_NEAR(filter.expected_false_positives() / rate, 1, 0.1);
        }
    }
}

TEST(bloom_filter, is_as_large_as_the_formula_says) {
    const auto bits_a_key = [](double rate) {
        return static_cast<double>(bloom_filter(1'000'000, rate).bytes()) * 8e-6;
    };
    EXPECT_NEAR(bits_a_key(1e-2), 10.1, 0.1);
    EXPECT_NEAR(bits_a_key(1e-4), 23.0, 0.1);
    EXPECT_NEAR(bits_a_key(1e-6), 39.2, 0.1);
    EXPECT_EQ(bloom_filter(1, 0.5).bytes(), 64U);
}

TEST(bloom_filter, vector_and_plain_code_set_and_ask_the_same_bits) {
    for (const unsigned lanes : {8U, 16U}) {
        const leat::detail::bloom_operations& plain = leat::detail::plain_bloom_operations(lanes);
        const leat::detail::bloom_operations* const vector = leat::detail::vector_bloom_operations(lanes);
        if (vector == nullptr) GTEST_SKIP() << "this machine has no vector instructions that we know";
        struct alignas(64) block {
            std::byte bytes[64] = {};
        };
        std::uint64_t bits = 1;
        for (int round = 0; round < 2000; ++round) {
            block a;
            block b;
            for (int key = 0; key < 60; ++key) {
                bits = bits * 6364136223846793005U + 1442695040888963407U;
                const std::uint64_t drawn = bits ^ (bits >> 29U);
                ASSERT_EQ(plain.contains(a.bytes, drawn), vector->contains(b.bytes, drawn));
                ASSERT_EQ(plain.insert(a.bytes, drawn), vector->insert(b.bytes, drawn));
                ASSERT_EQ(std::memcmp(a.bytes, b.bytes, sizeof a.bytes), 0);
                ASSERT_TRUE(plain.contains(a.bytes, drawn) && vector->contains(b.bytes, drawn));
            }
        }
    }
}

TEST(bloom_filter, figures_that_make_no_sense_are_refused) {
    EXPECT_THROW(bloom_filter(0, 0.1), std::invalid_argument);
    EXPECT_THROW(bloom_filter(bloom_filter::most_items + 1, 0.1), std::invalid_argument);
    EXPECT_THROW(bloom_filter(1, 0), std::invalid_argument);
    EXPECT_THROW(bloom_filter(1, 0.6), std::invalid_argument);
    EXPECT_THROW(bloom_filter(1, -1), std::invalid_argument);
    EXPECT_THROW(bloom_filter(1, std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

TEST(bloom_filter, a_merged_one_has_what_both_had) {
    bloom_filter odd(2000, 1e-4);
    bloom_filter even(2000, 1e-4);
    bloom_filter all(2000, 1e-4);
    for (std::uint64_t key = 0; key < 2000; ++key) {
        (key % 2 == 0 ? even : odd).insert(key);
        all.insert(key);
    }
    odd.merge(even);
    EXPECT_TRUE(odd == all);
    EXPECT_NEAR(static_cast<double>(odd.keys()), 2000, 2);
    bloom_filter larger(4000, 1e-4);
    EXPECT_THROW(larger.merge(all), std::invalid_argument);
    bloom_filter finer(2000, 1e-5);
    EXPECT_THROW(finer.merge(all), std::invalid_argument);
}

class saved_bloom_filter : public testing::Test {
protected:
    saved_bloom_filter() {
        for (std::uint64_t key = 0; key < 500; ++key) filter_.insert(key);
        filter_.save(path_, 42);
        whole_ = get_file(path_);
    }
    std::string error_of(const std::string& content) {
        put_file(path_, content);
        const auto loaded = bloom_filter::load(path_);
        return loaded ? std::string() : loaded.error();
    }
    scratch_folder folder_;
    std::string path_ = folder_ / "filter";
    bloom_filter filter_{1000, 1e-3};
    std::string whole_;
};

TEST_F(saved_bloom_filter, is_loaded_as_it_was) {
    const auto loaded = bloom_filter::load(path_);
    ASSERT_TRUE(loaded) << loaded.error();
    EXPECT_TRUE(loaded->filter == filter_);
    EXPECT_EQ(loaded->mark, 42U);
    EXPECT_EQ(loaded->filter.keys(), filter_.keys());
    EXPECT_EQ(loaded->filter.items(), 1000U);
    EXPECT_EQ(loaded->filter.false_positives(), 1e-3);
    EXPECT_TRUE(loaded->filter.contains(499));
}

TEST_F(saved_bloom_filter, that_is_cut_off_anywhere_is_refused) {
    for (std::size_t length = 0; length < whole_.size(); length += length < 80 ? 1 : 61) {
        const std::string error = error_of(whole_.substr(0, length));
        EXPECT_THAT(error, HasSubstr(length < 8 ? "is no saved Bloom filter" : "is truncated")) << length;
        EXPECT_THAT(error, StartsWith(path_ + ": "));
    }
    EXPECT_THAT(error_of(whole_.substr(0, whole_.size() - 1)), HasSubstr("is truncated"));
    EXPECT_THAT(error_of(whole_ + "x"), HasSubstr("is damaged"));
}

TEST_F(saved_bloom_filter, with_any_bit_changed_is_refused) {
    for (std::size_t at = 0; at < whole_.size(); at += at < 80 ? 1 : 37) {
        std::string changed = whole_;
        changed[at] = static_cast<char>(changed[at] ^ 4);
        EXPECT_NE(error_of(changed), "") << at;
    }
}

TEST_F(saved_bloom_filter, of_a_newer_version_or_something_else_is_refused_by_name) {
    std::string newer = whole_;
    newer[8] = 2;
    EXPECT_THAT(error_of(newer), HasSubstr("is a Bloom filter of version 2; this program reads versions up to 1"));
    EXPECT_THAT(error_of("SQLite format 3"), HasSubstr("is no saved Bloom filter"));
    EXPECT_THAT(bloom_filter::load(folder_ / "none").error(), HasSubstr("there is no such file"));
    EXPECT_THAT(bloom_filter::load(folder_.path()).error(), HasSubstr("is no file"));
}

TEST_F(saved_bloom_filter, that_claims_to_be_huge_allocates_nothing) {
    std::string huge = whole_;
    for (std::size_t at = 16; at < 24; ++at) huge[at] = '\xff';  // blocks
    EXPECT_THAT(error_of(huge), HasSubstr("is truncated"));
}

TEST_F(saved_bloom_filter, is_left_alone_when_a_new_one_cannot_be_written) {
    EXPECT_THROW(filter_.save(folder_ / "no/such/folder", 1), std::system_error);
    std::filesystem::create_directory(folder_ / "taken");
    EXPECT_THROW(filter_.save(folder_ / "taken", 1), std::system_error);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "taken.part"));
}

TEST(bloom_filter, a_filter_in_a_message_is_the_same_filter) {
    leat::bloom_filter made(1000, 1e-3);
    for (std::uint64_t key = 0; key < 500; ++key) made.insert(key);
    const std::string bytes = made.to_bytes(7);
    const auto again = leat::bloom_filter::from_bytes(bytes);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->mark, 7U);
    EXPECT_TRUE(again->filter == made);
    EXPECT_EQ(again->filter.keys(), 500U);
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(leat::bloom_filter::from_bytes(std::string_view(bytes).substr(0, size)));
    std::string bent = bytes;
    bent[bent.size() / 2] = static_cast<char>(bent[bent.size() / 2] ^ 1);
    const auto damaged = leat::bloom_filter::from_bytes(bent);
    ASSERT_FALSE(damaged);
    EXPECT_NE(damaged.error().find("damaged"), std::string::npos);
}

}  // namespace
