// `leat each --line-buffer` and `--ungroup`: outputs that are printed while their jobs run.
#include "leat_process.hpp"

#include <child_output.hpp>
#include <filesystem>
#include <gmock/gmock.h>
#include <map>

namespace {

using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::HasSubstr;
using words = std::vector<std::string>;

words lines_of(const std::string& text) {
    words lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

words each(words options, words command) {
    words all{"each"};
    all.insert(all.end(), options.begin(), options.end());
    all.push_back("--");
    all.insert(all.end(), command.begin(), command.end());
    return all;
}

TEST(line_buffer, lines_are_printed_while_the_job_runs) {
    for (const char* option : {"--line-buffer", "--ungroup"}) {
        const scratch place;
        leat_process process(each({option}, {"sh", "-c",
                                             "printf 'one\ntwo\n'; echo oops >&2; while ! test -e \"$0\"; do sleep "
                                             "0.02; done; echo three",
                                             place.file("go"), ":::", "x"}));
        process.start();
        EXPECT_TRUE(eventually([&] { return process.out_so_far() == "one\ntwo\n"; })) << option;
        EXPECT_TRUE(eventually([&] { return process.err_so_far() == "oops\n"; })) << option;
        (void)place.write("go", "");
        const leat_end end = process.wait();
        EXPECT_EQ(end.code, 0);
        EXPECT_EQ(end.out, "one\ntwo\nthree\n");
        EXPECT_EQ(end.err, "oops\n") << "once";
    }
}

TEST(line_buffer, a_line_is_never_mixed_with_another_and_keeps_its_place_among_those_of_its_job) {
    // Each line is written in two halves, so that others come between.
    const char* const halves =
        "i=0; while [ $i -lt 60 ]; do printf \"$0:$i:\"; sleep 0.00$(($i % 3)); echo \"$i:$0\"; i=$((i+1)); done";
    for (const bool tag : {false, true}) {
        words options{"-j", "4", "--lb"};
        if (tag) options.emplace_back("--tag");
        const leat_end end = run_leat(each(options, {"sh", "-c", halves, "{}", ":::", "a", "b", "c", "d"}));
        EXPECT_EQ(end.code, 0) << end.err;
        std::map<char, int> next;
        for (std::string line : lines_of(end.out)) {
            if (tag) {
                ASSERT_EQ(line.substr(1, 1), "\t");
                ASSERT_EQ(line[0], line[2]);
                line.erase(0, 2);
            }
            const char who = line[0];
            const std::string number = std::to_string(next[who]++);
            EXPECT_EQ(line, std::string(1, who) + ":" + number + ":" + number + ":" + std::string(1, who));
        }
        EXPECT_EQ(next, (std::map<char, int>{{'a', 60}, {'b', 60}, {'c', 60}, {'d', 60}}));
    }
}

TEST(line_buffer, a_line_that_is_longer_than_memory_should_hold_comes_whole_and_the_last_without_line_feed_as_it_is) {
    const leat_end end =
        run_leat(each({"-j", "2", "--lb"}, {"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' $0; echo; printf end",
                                            "{}", ":::", "a", "b"}));
    EXPECT_EQ(end.code, 0) << end.err;
    std::string rest = end.out;
    for (const char each : {'a', 'b'}) {
        const std::string line = std::string(3'000'000, each) + "\n";
        const std::size_t at = rest.find(line);
        ASSERT_NE(at, std::string::npos);
        rest.erase(at, line.size());
    }
    EXPECT_EQ(rest, "endend") << "as GNU parallel does";
}

// As GNU parallel does.
TEST(line_buffer, with_keep_order_the_first_job_is_printed_as_it_comes_and_the_next_when_it_is_done) {
    const scratch place;
    leat_process process(each({"-k", "--lb", "-j", "3", "--tag"},
                              {"sh", "-c",
                               "echo begun; echo oops >&2; touch \"$1/begun$0\"; "
                               "while ! test -e \"$1/go$0\"; do sleep 0.02; done; printf 'ended'; echo",
                               "{}", place.file(""), ":::", "1", "2", "3"}));
    process.start();
    for (const char* job : {"begun1", "begun2", "begun3"})
        ASSERT_TRUE(eventually([&] { return std::filesystem::exists(place.file(job)); }));
    EXPECT_TRUE(eventually([&] { return process.out_so_far() == "1\tbegun\n"; }));
    (void)place.write("go2", "");
    (void)place.write("go1", "");
    EXPECT_TRUE(eventually([&] {
        return process.out_so_far() == "1\tbegun\n1\tended\n2\tbegun\n2\tended\n3\tbegun\n";
    })) << process.out_so_far();
    (void)place.write("go3", "");
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 0);
    EXPECT_EQ(end.out, "1\tbegun\n1\tended\n2\tbegun\n2\tended\n3\tbegun\n3\tended\n");
    EXPECT_EQ(end.err, "1\toops\n2\toops\n3\toops\n");
}

TEST(line_buffer, with_keep_order_outputs_are_those_without_it_whatever_is_left_out_or_fails) {
    const scratch place;
    const words command{"sh", "-c",
                        "seq $0 $(($0 * 3)); sleep 0.00$(($0 % 5)); seq $(($0 % 7)); exit $(($0 % 11 == 0))"};
    std::string items;
    for (int item = 1; item <= 60; ++item) items += std::to_string(item) + "\n";
    const leat_end whole =
        run_leat(each({"-k", "-j", "4", "--retries", "1", "--joblog", place.file("log")}, command), items);
    const leat_end live = run_leat(each({"-k", "-j", "4", "--lb"}, command), items);
    EXPECT_EQ(live.out, whole.out);
    EXPECT_EQ(live.err, whole.err);
    const leat_end again =
        run_leat(each({"-k", "--lb", "-j", "4", "--joblog", place.file("log"), "--resume-failed"}, command), items);
    EXPECT_EQ(again.code, 1);
    EXPECT_THAT(again.out, testing::StartsWith("11\n12\n"));
    EXPECT_THAT(again.err, HasSubstr("5 of 60 items failed"));
}

TEST(line_buffer, results_and_the_job_log_are_as_without_it) {
    const scratch place;
    const leat_end end = run_leat(each({"--lb", "--results", place.file("kept"), "--joblog", place.file("log")},
                                       {"sh", "-c", "echo $0; echo e >&2; exit 3", ":::", "abc"}));
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "abc\n");
    EXPECT_EQ(place.read("kept/1/abc/stdout"), "abc\n");
    EXPECT_EQ(place.read("kept/1/abc/stderr"), "e\n");
    EXPECT_THAT(place.read("log"), testing::ContainsRegex("\t0\t4\t3\t0\tsh"));
    EXPECT_EQ(end.err, "e\nleat: item 'abc': exited with 3\nleat: 1 of 1 items failed\n");
}

TEST(line_buffer, what_is_read_slowly_is_not_lost_when_its_job_ends) {
    leat_test::pipe_pair pipe;
    leat_process process(each({"-j", "1", "--lb"}, {"seq", "{}", ":::", "60000"}));
    process.output_to(pipe.writer()).start();
    pipe.close_writer();
    std::this_thread::sleep_for(
        std::chrono::milliseconds(1500));  // longer than leat waits for outputs that others hold open
    std::string last;
    for (std::string line = pipe.read_line(); !line.empty(); line = pipe.read_line()) last = line;
    EXPECT_EQ(last, "60000");
    EXPECT_EQ(process.wait().code, 0);
}

TEST(line_buffer, a_reader_that_goes_early_or_a_full_disk_ends_it_with_one_message) {
    leat_test::pipe_pair pipe;
    leat_process process(each({"--lb"}, {"yes", ":::", "a", "b", "c"}));
    process.output_to(pipe.writer()).start();
    pipe.close_writer();
    EXPECT_NE(pipe.read_line(), "");
    pipe.close_reader();
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 141);
    EXPECT_EQ(end.err, "");
    const int full = ::open("/dev/full", O_WRONLY);
    leat_process to_full(each({"--lb"}, {"echo", ":::", "a", "b", "c"}));
    const leat_end failed = to_full.output_to(full).start().wait();
    ::close(full);
    EXPECT_EQ(failed.code, 4);
    EXPECT_THAT(failed.err, HasSubstr("No space left on device"));
    EXPECT_EQ(lines_of(failed.err).size(), 1U) << failed.err;
}

TEST(line_buffer, what_does_not_go_with_it_is_refused) {
    for (const words& wrong : {words{"--lb", "--persistent"}, words{"-u", "--lb"}, words{"-u", "--tag"},
                               words{"-u", "--results", "/nonexistent/x"}, words{"-u", "-k"}}) {
        const leat_end end = run_leat(each(wrong, {"cat", ":::", "a"}));
        EXPECT_EQ(end.code, 2) << testing::PrintToString(wrong);
        EXPECT_THAT(end.err, HasSubstr("does not go with"));
    }
}

}  // namespace
