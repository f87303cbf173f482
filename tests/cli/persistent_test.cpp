// `leat each --persistent`: long-lived workers, and what their death costs.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <map>
#include <soak.hpp>
#include <thread>

namespace {

using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::runs;
using leat_test::scratch;
using testing::HasSubstr;

std::string numbers(int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

// A worker that notes its pid in the file of its first argument, and answers a line with the same line; a second argument makes
// it quick.
constexpr const char* echo_worker = R"(
import os, sys, time
open(sys.argv[1], "a").write("%d\n" % os.getpid())
for line in sys.stdin:
    item = line.rstrip("\n")
    if item == "poison":
        os.abort()
    if len(sys.argv) == 2: time.sleep(0.001)
    print(item, flush=True)
)";

TEST(persistent, each_item_is_a_line_to_a_worker_and_each_answer_a_line_of_output) {
    const leat_end end =
        run_leat({"each", "-k", "-j", "2", "--persistent", "--", "sed", "-u", "s/^/got /"}, "a b\n$(x)\n-n\n");
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, "got a b\ngot $(x)\ngot -n\n");
}

TEST(persistent, a_kill_9_of_a_worker_loses_and_repeats_nothing) {
    const scratch place;
    const std::string worker = place.write("worker.py", echo_worker);
    leat_process process({"each", "-k", "-j", "2", "--report", place.file("report.json"), "--persistent", "--",
                          "python3", "-u", worker, place.file("pids")});
    process.input(numbers(3000)).start();
    ASSERT_TRUE(eventually([&] { return process.out_so_far().size() > 500; }));
    int victim = 0;
    std::istringstream(place.read("pids")) >> victim;
    ASSERT_GT(victim, 0);
    ASSERT_EQ(::kill(victim, SIGKILL), 0);
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, numbers(3000));
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("in").to_number<int>(), 3000);
    EXPECT_EQ(report.at("out").to_number<int>(), 3000);
    std::istringstream pids(place.read("pids"));
    int workers = 0;
    for (int pid = 0; pids >> pid; ++workers) EXPECT_FALSE(runs(pid));
    EXPECT_EQ(workers, 3) << "the dead one was replaced";
}

// All pids that the workers of a run have noted.
std::vector<int> noted(const scratch& place) {
    std::vector<int> pids;
    std::istringstream text(place.read("pids"));
    for (int pid = 0; text >> pid;) pids.push_back(pid);
    return pids;
}

TEST(persistent_soak, workers_killed_at_any_moment_cost_no_item_and_a_killed_leat_leaves_no_worker) {
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        leat_test::dice random(rounds.seed());
        const scratch place;
        const std::string worker = place.write("worker.py", echo_worker);
        const bool quick = random(2) == 0;  // then items go in blocks
        const int count = quick ? 20'000 : 400;
        std::vector<std::string> words = {"each",         "-k",
                                          "-j",           "2",
                                          "--retries",    "20",
                                          "--report",     place.file("report.json"),
                                          "--persistent", "--",
                                          "python3",      "-u",
                                          worker,         place.file("pids")};
        if (quick) words.emplace_back("quick");
        leat_process process(words);
        process.input(numbers(count)).start();
        const auto pause = [&] { std::this_thread::sleep_for(std::chrono::microseconds(random(200'000))); };
        for (unsigned kills = random(4); kills > 0; --kills) {
            pause();
            const std::vector<int> pids = noted(place);
            if (!pids.empty() && runs(pids.back())) ::kill(pids.back(), SIGKILL);
        }
        const bool kill_leat = rounds.seed() % 3 == 0;
        if (kill_leat) process.kill(SIGKILL);
        const leat_end end = process.wait();
        if (end.signal == 0) {
            EXPECT_EQ(end.code, 0) << end.err;
            EXPECT_EQ(end.out, numbers(count));
        } else {
            EXPECT_EQ(end.signal, SIGKILL);
            EXPECT_TRUE(numbers(count).starts_with(end.out)) << "what came out is in order and whole";
        }
        for (const int pid : noted(place)) EXPECT_TRUE(eventually([&] { return !runs(pid); })) << pid;
    }
}

TEST(persistent, an_item_that_kills_every_worker_is_tried_once_more_and_then_reported) {
    const scratch place;
    const std::string worker = place.write("worker.py", echo_worker);
    const leat_end end = run_leat({"each", "-k", "-j", "2", "--report", place.file("report.json"), "--persistent", "--",
                                   "python3", "-u", worker, place.file("pids")},
                                  numbers(20) + "poison\n" + numbers(20));
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, numbers(20) + numbers(20));
    EXPECT_THAT(end.err, HasSubstr("leat: item 'poison': "));
    EXPECT_THAT(end.err, HasSubstr("1 of 41 items failed"));
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("failed").to_number<int>(), 1);
    EXPECT_EQ(report.at("out").to_number<int>(), 40);
    EXPECT_EQ(report.at("stages").as_array().at(0).as_object().at("retried").to_number<int>(), 1);
}

TEST(persistent, quick_workers_answer_many_items_in_order_and_each_is_counted) {
    const scratch place;
    const std::vector<std::string> words = {
        "each", "-j", "2", "--report", place.file("report.json"), "-k", "--persistent", "--", "sed", "-u", "s/$/!/"};
    std::string expected;
    for (int i = 1; i <= 50'000; ++i) expected += std::to_string(i) + "!\n";
    const leat_end end = run_leat(words, numbers(50'000));
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_TRUE(end.out == expected);
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("in").to_number<int>(), 50'000);
    EXPECT_EQ(report.at("out").to_number<int>(), 50'000);
    for (const auto& stage : report.at("stages").as_array()) {
        EXPECT_EQ(stage.as_object().at("in").to_number<int>(), 50'000);
        EXPECT_EQ(stage.as_object().at("out").to_number<int>(), 50'000);
    }
}

TEST(persistent, among_many_quick_items_one_that_kills_every_worker_fails_alone) {
    const scratch place;
    const std::string worker = place.write("worker.py", echo_worker);
    const leat_end end = run_leat({"each", "-k", "-j", "2", "--report", place.file("report.json"), "--persistent", "--",
                                   "python3", "-u", worker, place.file("pids"), "quick"},
                                  numbers(20'000) + "poison\n" + numbers(20'000));
    EXPECT_EQ(end.code, 1);
    EXPECT_TRUE(end.out == numbers(20'000) + numbers(20'000));
    EXPECT_THAT(end.err, HasSubstr("leat: item 'poison': "));
    EXPECT_THAT(end.err, HasSubstr("1 of 40001 items failed"));
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("failed").to_number<int>(), 1);
    EXPECT_EQ(report.at("out").to_number<int>(), 40'000);
    EXPECT_EQ(report.at("stages").as_array().at(0).as_object().at("retried").to_number<int>(), 1);
}

TEST(persistent, with_the_nul_protocol_items_and_answers_may_be_of_several_lines) {
    const leat_end end =
        run_leat({"each", "-0", "-k", "--persistent", "--protocol", "nul", "--", "sed", "-z", "-u", "s/^/=/"},
                 std::string("a\nb\0ok\0", 7));
    EXPECT_EQ(end.out, std::string("=a\nb\0=ok\0", 9));
    EXPECT_EQ(end.code, 0) << end.err;
}

TEST(persistent, an_unknown_protocol_and_one_without_persistent_workers_are_refused) {
    EXPECT_THAT(run_leat({"each", "--persistent", "--protocol", "xml", "--", "cat"}).err,
                HasSubstr("line, nul or frame"));
    const leat_end end = run_leat({"each", "--protocol", "nul", "--", "echo", ":::", "a"});
    EXPECT_EQ(end.code, 2);
    EXPECT_THAT(end.err, HasSubstr("--persistent"));
}

TEST(persistent, an_item_with_a_line_feed_fails_alone) {
    const leat_end end = run_leat({"each", "-0", "-k", "--persistent", "--", "cat"}, std::string("a\nb\0ok\0", 7));
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "ok\n");
    EXPECT_THAT(end.err, HasSubstr("item 'a\\nb'"));
}

TEST(persistent, a_worker_that_hangs_is_ended_in_time) {
    const leat_end end = run_leat({"each", "-k", "-j", "1", "--window", "1", "--timeout", "300ms", "--persistent", "--",
                                   "sh", "-c", "while read x; do test $x = hang && sleep 100; echo $x; done"},
                                  "a\nhang\nb\n");
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "a\nb\n");
    EXPECT_THAT(end.err, HasSubstr("item 'hang'"));
}

}  // namespace
