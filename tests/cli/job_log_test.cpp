// `leat each --joblog`, `--resume`, `--halt`, `--delay`: what was done, and where a run ends.
#include "leat_process.hpp"

#include <algorithm>
#include <child_output.hpp>
#include <gmock/gmock.h>
#include <set>

namespace {

using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using words = std::vector<std::string>;

const std::string header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

words lines_of(const std::string& text) {
    words lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// Of each line but the header: number, bytes of output, exit value, signal and command.
words jobs_in(const std::string& log) {
    words jobs;
    for (const std::string& line : lines_of(log)) {
        if (line + "\n" == header) continue;
        words cells;
        std::istringstream in(line);
        for (std::string cell; std::getline(in, cell, '\t');) cells.push_back(cell);
        jobs.push_back(cells.size() == 9 ? cells[0] + " " + cells[5] + " " + cells[6] + " " + cells[7] + " " + cells[8]
                                         : "not nine columns: " + line);
    }
    return jobs;
}

words resuming(const scratch& place, words rest) {
    words all{"each", "-k", "--joblog", place.file("log"), "--resume", "--"};
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
}

TEST(job_log, has_a_line_for_each_job_with_the_columns_of_parallel) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "--joblog", place.file("log"), "--", "sh", "-c",
                                   "echo out; [ $0 = k ] && kill -9 $$; exit $0", ":::", "0", "3", "k", "a\nb"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(place.read("log"), testing::StartsWith(header));
    const std::string command = "sh -c 'echo out; [ $0 = k ] && kill -9 $$; exit $0' ";
    EXPECT_THAT(jobs_in(place.read("log")), ElementsAre("1 4 0 0 " + command + "0", "2 4 3 0 " + command + "3",
                                                        "3 4 0 9 " + command + "k", "4 4 2 0 " + command + "'a\\nb'"));
}

TEST(job_log, resume_skips_what_is_in_it_and_goes_on) {
    const scratch place;
    const words all = resuming(place, {"sh", "-c", "echo out $0; exit $0", ":::", "0", "3", "1"});
    const words first_two(all.begin(), all.end() - 1);
    EXPECT_EQ(run_leat(first_two).out, "out 0\nout 3\n");
    const leat_end second = run_leat(all);
    EXPECT_EQ(second.out, "out 1\n");
    EXPECT_EQ(jobs_in(place.read("log")).size(), 3U);
    words again = all;
    std::replace(again.begin(), again.end(), std::string("--resume"), std::string("--resume-failed"));
    EXPECT_EQ(run_leat(again).out, "out 3\nout 1\n");
    std::erase(again, "--resume-failed");
    EXPECT_EQ(run_leat(again).out, "out 0\nout 3\nout 1\n");
    EXPECT_EQ(jobs_in(place.read("log")).size(), 3U) << "without --resume it begins anew";
}

TEST(job_log, a_line_that_was_cut_short_is_taken_away_and_its_job_done_again) {
    const scratch place;
    const words all = resuming(place, {"echo", ":::", "a", "b"});
    run_leat(all);
    const std::string whole = place.read("log");
    for (const std::size_t cut :
         {whole.size() - 1, whole.size() - 20, header.size() + 3, header.size() - 1, std::size_t{5}}) {
        place.write("log", whole.substr(0, cut));
        const leat_end end = run_leat(all);
        EXPECT_EQ(end.code, 0);
        EXPECT_THAT(end.err, HasSubstr("cut short"));
        EXPECT_THAT(end.out, testing::EndsWith("b\n"));
        EXPECT_EQ(jobs_in(place.read("log")), jobs_in(whole));
    }
}

TEST(job_log, one_of_another_command_or_of_other_items_is_refused_and_nothing_is_run) {
    const scratch place;
    run_leat(resuming(place, {"echo", ":::", "a", "b"}));
    const std::string before = place.read("log");
    for (const words& other : {words{"printf", "%s", ":::", "a", "b"}, words{"echo", ":::", "b", "a"}}) {
        const leat_end end = run_leat(resuming(place, other));
        EXPECT_EQ(end.code, 2);
        EXPECT_EQ(end.out, "");
        EXPECT_THAT(end.err, testing::ContainsRegex("job [12] is another command"));  // whichever came first
        EXPECT_EQ(place.read("log"), before);
    }
}

TEST(job_log, a_file_that_is_none_or_cannot_be_written_is_refused_before_anything_runs) {
    const scratch place;
    const auto refusal = [&](const std::string& file, words more = {"--resume"}) {
        words all{"each", "--joblog", file};
        all.insert(all.end(), more.begin(), more.end());
        all.insert(all.end(), {"--", "touch", place.file("ran"), ":::", "a"});
        const leat_end end = run_leat(all);
        EXPECT_EQ(end.code, 2) << end.err;
        EXPECT_EQ(lines_of(end.err).size(), 1U) << end.err;
        EXPECT_FALSE(std::filesystem::exists(place.file("ran")));
        return end.err;
    };
    EXPECT_THAT(refusal(place.write("text", "shopping\nmilk\n")), HasSubstr("is no job log"));
    EXPECT_EQ(place.read("text"), "shopping\nmilk\n");
    EXPECT_THAT(refusal(place.write("text", "milk")), HasSubstr("is no job log"));
    EXPECT_EQ(place.read("text"), "milk");
    EXPECT_THAT(refusal(place.write("bad", header + "1\t:\tsoon\n")), HasSubstr("bad:2: no line of a job log"));
    EXPECT_THAT(refusal("/nonexistent/log"), HasSubstr("cannot write to `/nonexistent/log`"));
    EXPECT_THAT(refusal("/dev/full"), HasSubstr("No space left"));
    EXPECT_THAT(refusal(place.file("log"), {"--resume", "--shuf"}), HasSubstr("random order"));
    EXPECT_THAT(run_leat({"each", "--resume", "--", "echo", ":::", "a"}).err, HasSubstr("no --joblog"));
}

// What a log promises when leat is killed: a job in it has had its output written, so that what two runs wrote together
// holds each output; one that was written just before the kill may come twice.
TEST(job_log, after_a_kill_9_of_leat_a_resumed_run_completes_the_job) {
    const scratch place;
    std::string items;
    for (int i = 0; i < 200; ++i) items += std::to_string(i) + "\n";
    words all = resuming(place, {"sh", "-c", "sleep 0.01; echo $0"});
    all.insert(all.begin() + 1, {"-j", "4", "-a", place.write("items", items)});
    std::string out;
    {
        leat_process first(all);
        first.start();
        leat_test::eventually([&] { return jobs_in(place.read("log")).size() > 20; });
        first.kill(SIGKILL);
        out = first.wait().out;
    }
    const leat_end second = run_leat(all);
    EXPECT_EQ(second.code, 0) << second.err;
    out += second.out;
    const words lines = lines_of(out);
    const std::set<std::string> kinds(lines.begin(), lines.end());
    EXPECT_EQ(kinds.size(), 200U);
    EXPECT_LE(lines.size(), 201U) << "the output of one job may have been written before its line was";
    EXPECT_LT(lines_of(second.out).size(), 190U);
}

TEST(job_log, is_kept_for_persistent_workers_too) {
    const scratch place;
    const words all{"each", "-k",  "--joblog", place.file("log"), "--resume", "--persistent",
                    "--",   "sed", "-u",       "s/^/=/",          ":::",      "a b",
                    "c"};
    EXPECT_EQ(run_leat(all).out, "=a b\n=c\n");
    EXPECT_THAT(jobs_in(place.read("log")), ElementsAre("1 5 0 0 sed -u 's/^/=/' 'a b'", "2 3 0 0 sed -u 's/^/=/' c"));
    EXPECT_EQ(run_leat(all).out, "");
}

// The names are GNU parallel's, but for those that it would confuse with others.
TEST(results, are_kept_in_a_folder_for_each_item) {
    const scratch place;
    const std::string large(300'000, 'x');
    const leat_end end = run_leat({"each", "-k", "--results", place.file("kept"), "--", "sh", "-c",
                                   "echo \"$0-$1\"; echo err >&2; [ $1 = 1 ] || head -c 300000 /dev/zero | tr '\\0' x",
                                   ":::", "a/b", "..", "", ":::", "1", "2"});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(place.read("kept/1/a\\_b/2/1/stdout"), "a/b-1\n");
    EXPECT_EQ(place.read("kept/1/a\\_b/2/1/stderr"), "err\n");
    EXPECT_EQ(place.read("kept/1/a\\_b/2/1/seq"), "1");
    EXPECT_EQ(place.read("kept/1/a\\_b/2/2/stdout"), "a/b-2\n" + large);
    EXPECT_EQ(place.read("kept/1/\\../2/1/stdout"), "..-1\n");
    EXPECT_EQ(place.read("kept/1/\\e/2/1/seq"), "5");
    const std::string long_item(400, 'y');
    EXPECT_EQ(run_leat({"each", "--results", place.file("kept"), "--", "echo", ":::", long_item}).code, 0);
    EXPECT_EQ(place.read("kept/1/" + long_item.substr(0, 200) + "\\1/stdout"), long_item + "\n");
    EXPECT_EQ(run_leat({"each", "--results", place.write("file", ""), "--", "echo", ":::", "a"}).code, 2);
}

TEST(halt, soon_lets_running_jobs_end_and_starts_no_more) {
    const leat_end end =
        run_leat({"each", "-j", "1", "--halt", "soon,fail=2", "--", "sh", "-c", "echo $0; exit $0", ":::", "0", "1",
                  "0",    "2",  "0", "0",      "0",           "0",  "0",  "0"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.out, testing::StartsWith("0\n1\n0\n2\n"));
    EXPECT_LT(lines_of(end.out).size(), 10U);
    EXPECT_THAT(end.err, AllOf(HasSubstr("2 of 4 jobs failed: starting no more"), HasSubstr("halted")));
}

TEST(halt, now_ends_running_jobs_and_shows_what_failed) {
    const leat_end failed = run_leat({"each", "-j", "2", "--halt", "now,fail=1", "--", "sh", "-c",
                                      "echo $0; sleep $0; exit 1", ":::", "1000", "0", "1000"});
    EXPECT_EQ(failed.code, 1);
    EXPECT_EQ(failed.out, "0\n");
    const leat_end first = run_leat({"each", "-j", "2", "--halt", "now,success=1", "--", "sh", "-c",
                                     "echo $0; sleep $0", ":::", "1000", "0", "1000"});
    EXPECT_EQ(first.code, 0) << "it was asked for";
    EXPECT_EQ(first.out, "0\n");
}

TEST(halt, a_share_counts_from_three_jobs_on) {
    const leat_end end = run_leat({"each",
                                   "-j",
                                   "1",
                                   "--halt",
                                   "soon,fail=50%",
                                   "--",
                                   "sh",
                                   "-c",
                                   "echo $0; exit $0",
                                   ":::",
                                   "1",
                                   "1",
                                   "0",
                                   "0",
                                   "1",
                                   "0",
                                   "0",
                                   "0",
                                   "0",
                                   "0"});
    EXPECT_THAT(end.err, HasSubstr("3 of 5 jobs failed"));
}

TEST(halt, what_cannot_be_meant_is_refused) {
    for (const char* wrong : {"soon", "soon,fail", "later,fail=1", "now,death=1", "now,fail=0", "now,fail=101%", "1"}) {
        const leat_end end = run_leat({"each", "--halt", wrong, "--", "echo", ":::", "a"});
        EXPECT_EQ(end.code, 2) << wrong;
        EXPECT_THAT(end.err, HasSubstr("--halt: found `"));
    }
}

TEST(delay, keeps_the_starts_of_jobs_apart) {
    const leat_end dates =
        run_leat({"each", "-k", "-j", "4", "--delay", "200ms", "--", "sh", "-c", "date +%s%N", ":::", "a", "b", "c"});
    words lines = lines_of(dates.out);
    ASSERT_EQ(lines.size(), 3U);
    std::sort(lines.begin(), lines.end());
    EXPECT_GE(std::stoll(lines[2]) - std::stoll(lines[0]), 250'000'000)
        << "400 ms, but for a first one that began late";
}

}  // namespace
