// `leat plan`, `leat explain`, `leat report`: from the outside.
#include "leat_process.hpp"

#include <gmock/gmock.h>

#include <leat/flow/report.hpp>

namespace {

using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Two hundred items, a stage that takes its time, and a sink that would write.
std::string flow(const scratch& place, const std::string& stage = "exec = ['sh', '-c', 'sleep 0.01; cat', '{}']\n") {
    std::string items;
    for (int i = 0; i < 200; ++i) items += "'" + std::to_string(i) + "', ";
    return place.write("flow.toml", "[flow]\nname = 'numbers'\nstate = '" + place.file("state") +
                                        "'\n[source]\ntype = 'list'\nitems = [" + items +
                                        "]\n[[stage]]\nname = 'slow'\ninput = 'stdin'\njobs = 2\n" + stage +
                                        "[sink]\ntype = 'write'\npath = '" + place.file("out") + "'\n");
}

TEST(plan, tells_from_a_sample_what_a_flow_will_take_and_writes_nothing) {
    const scratch place;
    const leat_end end = run_leat({"plan", flow(place), "--sample", "40", "--report", place.file("plan.json")});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.err, "");
    EXPECT_THAT(end.out, AllOf(HasSubstr("numbers: a sample of 40 of 200 items took"),
                               HasSubstr("slow limits the flow: its 2 workers can do"), HasSubstr("200 items in"),
                               HasSubstr("one more worker (2 → 3) would give")));
    EXPECT_FALSE(std::filesystem::exists(place.file("out")));
    EXPECT_FALSE(std::filesystem::exists(place.file("out.part")));
    EXPECT_FALSE(std::filesystem::exists(place.file("state")));
    const auto plan = leat::report::from_json(place.read("plan.json"));
    ASSERT_TRUE(plan) << plan.error();
    ASSERT_TRUE(plan->plan);
    EXPECT_EQ(plan->plan->sampled, 40U);
    EXPECT_EQ(plan->plan->items, 200U);
    EXPECT_GT(plan->plan->rate, 0);

    const leat_end run =
        run_leat({"run", flow(place), "--plan", place.file("plan.json"), "--report", place.file("report.json")});
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_THAT(run.err, HasSubstr("planned from a sample of 40: 200 items, "));
    const leat_end again = run_leat({"report", place.file("report.json")});
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(again.out, run.err) << "the same table";
    EXPECT_THAT(again.out, HasSubstr("times as planned"));
}

TEST(plan, a_flow_shorter_than_the_sample_is_told_as_a_whole) {
    const scratch place;
    const leat_end end = run_leat({"plan", flow(place, "exec = ['cat']\n")});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_THAT(end.out, HasSubstr("a sample of 200 (all there are) items"));
}

TEST(plan, items_that_fail_are_told_and_what_ends_the_flow_ends_the_plan) {
    const scratch place;
    const std::string fails = "exec = ['sh', '-c', 'cat; test \"$0\" != 7', '{}']\n";
    const leat_end kept = run_leat({"plan", flow(place, fails + "on_error = 'dead-letter'\n"), "--sample", "20"});
    EXPECT_EQ(kept.code, 1) << kept.err;
    EXPECT_THAT(kept.err, HasSubstr("leat: slow: item"));
    EXPECT_THAT(kept.out, HasSubstr("a sample of 20 of 200"));
    EXPECT_FALSE(std::filesystem::exists(place.file("state")));
    const leat_end ended = run_leat({"plan", flow(place, fails), "--sample", "20"});
    EXPECT_EQ(ended.code, 1);
    EXPECT_THAT(ended.err, HasSubstr("exited with 1"));
    EXPECT_EQ(ended.out, "");
}

TEST(plan, a_ctrl_c_plans_from_what_there_is) {
    const scratch place;
    leat_process process(
        {"plan", flow(place, "exec = ['sh', '-c', 'echo >> \"$0\"; sleep 0.1; cat', '" + place.file("mark") + "']\n")});
    process.start();
    while (!std::filesystem::exists(place.file("mark"))) ::usleep(5000);
    process.kill(SIGINT);
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 130) << end.err;
    EXPECT_THAT(end.out, AllOf(HasSubstr(" of 200 items took"), Not(HasSubstr("all there are"))));
}

TEST(plan, bad_input_is_refused_with_2) {
    const scratch place;
    const auto refused = [](leat_process::words words, const std::string& says) {
        const leat_end end = run_leat(words);
        EXPECT_EQ(end.code, 2) << words.front() << ": " << end.err;
        EXPECT_THAT(end.err, HasSubstr(says));
        EXPECT_EQ(end.out, "");
    };
    refused({"plan"}, "there is no flow file");
    refused({"plan", place.file("none.toml")}, "none.toml");
    refused({"plan", flow(place), "--sample", "0"}, "--sample: found `0`, expected a number from 1");
    refused({"plan", flow(place), "--sample", "many"}, "--sample: found `many`");
    refused({"explain"}, "there is no report");
    refused({"report"}, "there is no report");
    for (const char* verb : {"explain", "report"}) {
        refused({verb, place.file("none.json")}, "No such file or directory");
        refused({verb, place.file("")}, "Is a directory");
        refused({verb, place.write("empty", "")}, "it is not JSON");
        refused({verb, place.write("torn.json", "{\"flow\": \"a\", \"in\"")}, "it is not JSON");
        refused({verb, place.write("other.json", "{\"name\": 7}")},
                "it is not the report of a run: the report has no \"flow\"");
        refused({verb, place.write("list.json", "[]")}, "the report is no object");
        refused({verb, "/dev/zero"}, "larger than 64 MiB");
    }
    const std::string report = place.write("report.json", leat::report{}.to_json());
    refused({"report", report, "--plan", report}, "holds no plan");
    refused({"run", flow(place), "--plan", report}, "holds no plan");
    EXPECT_FALSE(std::filesystem::exists(place.file("out"))) << "nothing was run";
}

TEST(explain, names_the_bottleneck_of_a_report) {
    const scratch place;
    ASSERT_EQ(run_leat({"run", "-q", flow(place), "--report", place.file("report.json")}).code, 0);
    const leat_end end = run_leat({"explain", place.file("report.json")});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.err, "");
    // On a machine with other things to do it may be the CPUs.
    EXPECT_THAT(end.out, HasSubstr("slow"));
    EXPECT_THAT(end.out, HasSubstr("one more worker"));
    const leat_end none = run_leat({"explain", place.write("none.json", leat::report{}.to_json())});
    EXPECT_EQ(none.code, 0);
    EXPECT_THAT(none.out, HasSubstr("nothing to explain"));
    ASSERT_EQ(run_leat({"each", "--report", place.file("each.json"), "--", "true", ":::", "a", "b"}).code, 0);
    EXPECT_EQ(run_leat({"explain", place.file("each.json")}).code, 0) << "of any run";
}

TEST(explain, a_reader_that_has_gone_ends_it_with_141) {
    const scratch place;
    const std::string report = place.write("report.json", leat::report{}.to_json());
    leat_test::pipe_pair pipe;
    leat_process process({"explain", report});
    pipe.close_reader();
    process.output_to(pipe.writer()).start();
    EXPECT_EQ(process.wait().code, 141);
}

}  // namespace
