// What options accept and refuse, and how kinds are described.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <flow_kinds.hpp>

namespace {

using leat::option;
using leat::option_type;
using testing::HasSubstr;
using namespace std::chrono_literals;

TEST(option, durations_are_numbers_with_units_that_go_down) {
    const std::vector<std::pair<std::string, std::chrono::nanoseconds>> good = {
        {"20s", 20s},     {"200ms", 200ms}, {"10us", 10us}, {"5ns", 5ns},
        {"1h30m", 90min}, {"1.5s", 1500ms}, {"0s", 0s},     {"1d", 24h}};
    for (const auto& [text, value] : good) {
        const auto read = leat::parse_duration(text);
        ASSERT_TRUE(read) << text;
        EXPECT_EQ(*read, value) << text;
    }
    for (const std::string text :
         {"", "20", "-5s", "s", "5 s", "30m1h", "1h1h", "1e3s", "20sec", "1.2.3s", "99999999999d", ".s"})
        EXPECT_FALSE(leat::parse_duration(text)) << text;
}

TEST(option, sizes_are_whole_bytes_with_binary_and_decimal_units) {
    const std::vector<std::pair<std::string, std::uint64_t>> good = {
        {"0", 0},       {"4096", 4096}, {"64k", 65536}, {"64K", 65536}, {"16MiB", 16777216}, {"1GB", 1000000000},
        {"1.5k", 1536}, {"7B", 7}};
    for (const auto& [text, value] : good) {
        const auto read = leat::parse_size(text);
        ASSERT_TRUE(read) << text;
        EXPECT_EQ(*read, value) << text;
    }
    for (const std::string text : {"", "-1", "k", "16 MiB", "16mib", "1.5", "99999999TiB", "0x10", "1e3"})
        EXPECT_FALSE(leat::parse_size(text)) << text;
}

TEST(option, jobs_are_a_number_within_bounds_or_auto) {
    const option jobs("jobs", option_type::jobs, "");
    for (const std::string text : {"1", "4096", "auto"}) EXPECT_TRUE(leat::parse_option(jobs, text)) << text;
    for (const std::string text : {"0", "-1", "4097", "1000000000", "99999999999999999999", "many", "1.5", ""}) {
        const auto read = leat::parse_option(jobs, text);
        ASSERT_FALSE(read) << text;
        EXPECT_THAT(read.error(), HasSubstr("from 1 to 4096, \"auto\""));
    }
}

TEST(option, a_value_is_held_to_its_bounds_and_words) {
    const option level = option("level", option_type::integer, "").at_least(1).at_most(19);
    EXPECT_TRUE(leat::parse_option(level, "19"));
    const auto high = leat::parse_option(level, "20");
    ASSERT_FALSE(high);
    EXPECT_EQ(high.error(), "a whole number from 1 to 19");
    const option mode = option("mode", option_type::word, "").one_of({"a", "b", "c"});
    EXPECT_TRUE(leat::parse_option(mode, "b"));
    const auto other = leat::parse_option(mode, "d");
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error(), "\"a\", \"b\" or \"c\"");
    const option backoff("backoff", option_type::time_range, "");
    EXPECT_TRUE(leat::parse_option(backoff, "200ms..10s"));
    for (const std::string text : {"10s..200ms", "200ms", "..", "200ms...10s"})
        EXPECT_FALSE(leat::parse_option(backoff, text)) << text;
}

TEST(component, every_kind_has_help_and_defaults_that_pass_its_own_declaration) {
    for (const auto role : {leat::component_role::source, leat::component_role::stage, leat::component_role::sink}) {
        EXPECT_FALSE(leat_test::all_kinds().of(role).empty());
        for (const leat::component* kind : leat_test::all_kinds().of(role)) {
            EXPECT_FALSE(kind->summary.empty()) << kind->name;
            EXPECT_NE(kind->summary.back(), '.') << kind->name;
            const leat::option_values values = leat::default_values(kind->options);  // a bug, which aborts, otherwise
            for (const option& each : kind->options) {
                EXPECT_FALSE(each.help.empty()) << kind->name << "." << each.key;
                EXPECT_EQ(values.has(each.key), !each.default_text.empty()) << kind->name << "." << each.key;
            }
        }
    }
}

TEST(component, the_list_and_the_help_name_every_kind_and_option) {
    const std::string list = leat::list_kinds(leat_test::all_kinds());
    for (const std::string name : {"glob", "lines", "jsonl", "list", "read", "split", "filter", "replace", "dedup",
                                   "batch", "exec", "zstd", "write", "directory", "null"})
        EXPECT_THAT(list, HasSubstr("  " + name + " ")) << name;
    const leat::component* dedup = leat_test::all_kinds().find(leat::component_role::stage, "dedup");
    ASSERT_NE(dedup, nullptr);
    const std::string help = leat::describe_kind(*dedup);
    EXPECT_THAT(help, HasSubstr("dedup (stage): lets the first item of each key through"));
    EXPECT_THAT(help, HasSubstr("  key (text; default: content)"));
    EXPECT_THAT(help, HasSubstr("  filter.items (whole number; default: 10000000)"));
    EXPECT_THAT(help, HasSubstr("  retry.backoff (time..time; default: 200ms..10s)"));
}

// The page is generated: `LEAT_WRITE_DOCS=1 leat_flow_tests --gtest_filter=docs.*` writes it.
TEST(docs, the_page_of_kinds_is_what_the_declarations_say) {
    const std::string path = std::string(LEAT_SOURCE_DIR) + "/docs/kinds.md";
    const std::string page = leat::kinds_as_markdown(leat_test::all_kinds());
    if (std::getenv("LEAT_WRITE_DOCS") != nullptr) leat_test::put_file(path, page);
    EXPECT_EQ(leat_test::get_file(path), page) << "docs/kinds.md is old: LEAT_WRITE_DOCS=1 and this test write it anew";
}

}  // namespace
