// `leat each --pipe`: where the input is cut, and what a block goes through. What is expected was taken from GNU parallel
// 20221122 where nothing else is said.
#include "leat_process.hpp"

#include <child_output.hpp>
#include <gmock/gmock.h>
#include <soak.hpp>

namespace {

using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::HasSubstr;
using words = std::vector<std::string>;

std::string numbers(int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

// What comes out when each block is put between brackets.
std::string blocks(words options, const std::string& input) {
    options.insert(options.begin(), {"each", "-k", "--pipe"});
    options.insert(options.end(), {"--", "sh", "-c", "printf '['; cat; printf ']'"});
    const leat_end end = run_leat(options, input);
    EXPECT_EQ(end.code, 0) << end.err;
    return end.out;
}

TEST(pipe, cuts_its_input_at_the_ends_of_lines) {
    EXPECT_EQ(blocks({"--block", "8"}, numbers(10)), "[1\n2\n3\n4\n][5\n6\n7\n8\n][9\n10\n]");
    EXPECT_EQ(blocks({"-N", "3"}, numbers(7)), "[1\n2\n3\n][4\n5\n6\n][7\n]");
    EXPECT_EQ(blocks({}, numbers(3)), "[1\n2\n3\n]");
    EXPECT_EQ(blocks({"-n", "1"}, "a\nb"), "[a\n][b]");
    EXPECT_EQ(blocks({}, ""), "") << "nothing is no block";
    EXPECT_EQ(blocks({"--block", "4"}, "a\nbbbbbbbb\nc\n"), "[a\n][bbbbbbbb\n][c\n]")
        << "a long record makes a long block";
}

TEST(pipe, records_may_end_and_start_with_any_text) {
    EXPECT_EQ(blocks({"--recend", "", "--block", "3"}, "abcdefgh"), "[abc][def][gh]");
    EXPECT_EQ(blocks({"--recend", "", "-N", "3"}, "abcdefgh"), "[abc][def][gh]");
    EXPECT_EQ(blocks({"--recstart", "x", "-N", "1"}, "xaxbxc"), "[xa][xb][xc]");
    EXPECT_EQ(blocks({"--recstart", ">", "--block", "9"}, ">1\nab\n>2\n>3\ncd\n"), "[>1\nab\n>2\n][>3\ncd\n]");
    EXPECT_EQ(blocks({"--recend", "\\n", "--recstart", ">", "-N", "1"}, ">a>b\n>c"), "[>a>b\n][>c]");
    EXPECT_EQ(blocks({"--recend", "--\\n", "--block", "1"}, "a\n--\nb\n--\n"), "[a\n--\n][b\n--\n]");
    EXPECT_EQ(blocks({"-0", "-N", "1"}, std::string("a\0b\0c", 5)), std::string("[a\0][b\0][c]", 11))
        << "not in parallel";
}

TEST(pipe, files_are_read_one_behind_the_other) {
    const scratch place;
    const std::string first = place.write("first", "1\n2"), second = place.write("second", "3\n4\n");
    EXPECT_EQ(blocks({"-a", first, "-a", second, "-N", "1"}, ""), "[1\n][23\n][4\n]");
}

TEST(pipe_soak, blocks_are_the_input_cut_between_records_and_no_larger_than_asked_for) {
    for (leat_test::soak rounds(3); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        std::string input;
        for (unsigned lines = random(400); lines > 0; --lines) input.append(random(30), 'x').append("\n");
        if (random(2) == 0) input += "no end";
        const std::size_t most = 1 + random(200);
        const std::string out = blocks({"--block", std::to_string(most)}, input);
        std::string joined;
        for (std::size_t at = 0; at < out.size();) {
            ASSERT_EQ(out[at], '[');
            const std::size_t end = out.find(']', at);
            ASSERT_NE(end, std::string::npos);
            const std::string block = out.substr(at + 1, end - at - 1);
            EXPECT_TRUE(block.size() <= most || block.find('\n') >= block.size() - 1) << block;
            EXPECT_TRUE(block.ends_with('\n') || end + 1 == out.size());
            joined += block;
            at = end + 1;
        }
        EXPECT_EQ(joined, input);
    }
}

TEST(pipe, a_block_is_kept_until_it_is_done) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "--pipe", "--block", "100", "--retries", "3", "--", "sh", "-c",
                                   "cat; test -e \"$1$0\" || { touch \"$1$0\"; exit 1; }", "{#}", place.file("tried")},
                                  numbers(300));
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, numbers(300));
}

TEST(pipe, outputs_are_tagged_logged_and_kept_by_the_number_of_the_block) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "--pipe", "-N", "2", "--tag", "--joblog", place.file("log"),
                                   "--results", place.file("kept"), "--", "sh", "-c", "cat; exit $(($0 == 2))", "{#}"},
                                  numbers(5));
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "\t1\n\t2\n\t3\n\t4\n\t5\n");
    EXPECT_THAT(end.err, HasSubstr("leat: item 'block 2': exited with 1"));
    EXPECT_EQ(place.read("kept/3/stdout"), "5\n");
    EXPECT_THAT(place.read("log"), testing::ContainsRegex("\t4\t4\t1\t0\tsh -c "));
    const leat_end again = run_leat({"each", "-k", "--pipe", "-N", "2", "--joblog", place.file("log"),
                                     "--resume-failed", "--", "sh", "-c", "cat; exit $(($0 == 2))", "{#}"},
                                    numbers(7));
    EXPECT_EQ(again.out, "3\n4\n7\n") << "the third block had another end, and is done";
}

TEST(pipe, a_command_that_reads_nothing_or_too_long_costs_no_other) {
    const leat_end cut = run_leat({"each", "-k", "--pipe", "--recend", "", "--block", "100k", "--timeout", "300ms",
                                   "--", "sh", "-c", "case $0 in 1) ;; 2) exec sleep 100;; *) wc -c;; esac", "{#}"},
                                  std::string(300'000, 'x'));
    EXPECT_EQ(cut.code, 1);
    EXPECT_EQ(cut.out, "100000\n");
    EXPECT_THAT(cut.err, HasSubstr("item 'block 2': timed out"));
}

TEST(pipe, what_does_not_go_with_it_is_refused) {
    for (const words& wrong :
         {words{"--pipe", "--persistent"}, words{"--pipe", "--shuf"}, words{"--pipe", "--link"},
          words{"--pipe", "--colsep", ","}, words{"--pipe", "--block", "0"}, words{"--pipe", "--block", "1x"},
          words{"--pipe", "--block", "9999999999P"}, words{"--block", "1M"}, words{"--recend", "x"}}) {
        words all{"each"};
        all.insert(all.end(), wrong.begin(), wrong.end());
        all.insert(all.end(), {"--", "cat"});
        const leat_end end = run_leat(all, "a\n");
        EXPECT_EQ(end.code, 2) << testing::PrintToString(wrong);
        EXPECT_EQ(end.out, "");
    }
    EXPECT_THAT(run_leat({"each", "--pipe", "--", "cat", ":::", "a"}).err, HasSubstr("`:::`"));
}

}  // namespace
