// `leat each --dead-letters`: what is kept of items that failed for good.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace {

using leat_test::leat_end;
using leat_test::run_leat;
using leat_test::scratch;
using testing::HasSubstr;

std::vector<boost::json::object> letters_in(const scratch& place) {
    std::vector<boost::json::object> letters;
    std::istringstream in(place.read("dead.jsonl"));
    for (std::string line; std::getline(in, line);) letters.push_back(boost::json::parse(line).as_object());
    return letters;
}

std::string text_of(const boost::json::object& letter, const char* key) {
    return std::string(letter.at(key).as_string());
}
std::string attribute(const boost::json::object& letter, const char* key) {
    return std::string(letter.at("attributes").as_object().at(key).as_string());
}

TEST(dead_letters, hold_the_item_how_it_ended_its_attempts_and_its_last_words) {
    const scratch place;
    const leat_end end =
        run_leat({"each", "-k", "--retries", "3", "--dead-letters", place.file("dead.jsonl"), "--report",
                  place.file("report.json"), "--", "sh", "-c",
                  "echo out; echo \"oh $0\" >&2; case $0 in b) exit 7;; c) kill -9 $$;; esac", ":::", "a", "b", "c"});
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "out\nout\nout\n");
    EXPECT_THAT(end.err, HasSubstr("leat: item 'b': exited with 7\n"));
    EXPECT_THAT(end.err, HasSubstr("leat: 2 of 3 items failed\n"));
    auto letters = letters_in(place);
    ASSERT_EQ(letters.size(), 2U);
    if (text_of(letters[0], "text") == "c") std::swap(letters[0], letters[1]);
    EXPECT_EQ(text_of(letters[0], "text"), "b");
    EXPECT_EQ(text_of(letters[0], "error"), "exited with 7");
    EXPECT_EQ(text_of(letters[0], "flow"), "each");
    EXPECT_EQ(letters[0].at("attempts").to_number<int>(), 3);
    EXPECT_EQ(letters[0].at("sequence").to_number<int>(), 1);
    EXPECT_EQ(attribute(letters[0], "exit_value"), "7");
    EXPECT_EQ(attribute(letters[0], "stderr"), "oh b\n");
    EXPECT_EQ(text_of(letters[1], "text"), "c");
    EXPECT_EQ(attribute(letters[1], "signal"), "9");
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("dead").to_number<int>(), 2);
    EXPECT_EQ(report.at("out").to_number<int>(), 1);
}

TEST(dead_letters, an_item_that_kills_persistent_workers_becomes_one_with_the_end_of_their_standard_error) {
    const scratch place;
    const leat_end end =
        run_leat({"each", "-k", "-j", "2", "--dead-letters", place.file("dead.jsonl"), "--persistent", "--", "sh", "-c",
                  "while read x; do test $x = poison && { echo last words >&2; kill -SEGV $$; }; echo $x; done"},
                 "1\n2\npoison\n3\n4\n");
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "1\n2\n3\n4\n");
    const auto letters = letters_in(place);
    ASSERT_EQ(letters.size(), 1U);
    EXPECT_EQ(text_of(letters[0], "text"), "poison");
    EXPECT_EQ(letters[0].at("attempts").to_number<int>(), 2);
    EXPECT_EQ(attribute(letters[0], "signal"), "11");
    EXPECT_EQ(attribute(letters[0], "stderr"), "last words\n");
}

TEST(dead_letters, of_parts_and_of_blocks_are_whole) {
    const scratch place;
    const std::string file = place.file("dead.jsonl");
    EXPECT_EQ(run_leat({"each", "--dead-letters", file, "--", "false", ":::", "a b", ":::", "c"}).code, 1);
    EXPECT_EQ(run_leat({"each", "--dead-letters", file, "--pipe", "-N", "2", "--", "sh", "-c", "cat; exit $(($0 == 2))",
                        "{#}"},
                       "1\n2\n3\n4\n5\n")
                  .code,
              1);
    const auto letters = letters_in(place);
    ASSERT_EQ(letters.size(), 2U) << "those of earlier runs stay";
    EXPECT_EQ(text_of(letters[0], "text"), "a b c");
    EXPECT_EQ(attribute(letters[0], "1"), "a b");
    EXPECT_EQ(attribute(letters[0], "2"), "c");
    EXPECT_EQ(text_of(letters[1], "text"), "3\n4\n");
    EXPECT_EQ(text_of(letters[1], "key"), "block 2");
}

TEST(dead_letters, that_cannot_be_kept_are_told_before_anything_runs_or_end_the_run) {
    const scratch place;
    const leat_end refused =
        run_leat({"each", "--dead-letters", "/proc/none/x", "--", "touch", place.file("ran"), ":::", "a"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_FALSE(std::filesystem::exists(place.file("ran")));
    const leat_end full = run_leat({"each", "--dead-letters", "/dev/full", "--", "false", ":::", "a"});
    EXPECT_EQ(full.code, 1);
    EXPECT_THAT(full.err, HasSubstr("No space left"));
    EXPECT_EQ(run_leat({"each", "--dead-letters", "x", "--dry-run", "--", "false", ":::", "a"}).code, 2);
}

}  // namespace
