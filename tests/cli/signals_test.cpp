// Ctrl-C and SIGTERM: the first lets the items at work end, the second stops them; nothing outlives the command.
#include "leat_process.hpp"

#include <gmock/gmock.h>

namespace {

using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::runs;
using leat_test::scratch;
using testing::HasSubstr;
using testing::Not;

std::vector<pid_t> pids_in(const std::string& text) {
    std::vector<pid_t> pids;
    std::istringstream in(text);
    for (pid_t pid = 0; in >> pid;) pids.push_back(pid);
    return pids;
}

// A run of many items, each of which notes its pid and then waits until the file `go` is there.
struct waiting_run {
    waiting_run()
        : process({"each", "-j", "2", "--report", place.file("report.json"), "--", "sh", "-c",
                   "echo $$ >> \"$1\"/pids; while ! test -e \"$1\"/go; do sleep 0.02; done; echo done", "{}",
                   place.file("")}) {
        std::string items;
        for (int i = 0; i < 50; ++i) items += "x\n";
        process.input(items).start();
        started = eventually([this] { return children().size() >= 2; });
    }
    std::vector<pid_t> children() const { return pids_in(place.read("pids")); }
    bool said(const char* what) const {
        return eventually([&] { return process.err_so_far().find(what) != std::string::npos; });
    }
    scratch place;
    leat_process process;
    bool started = false;
};

TEST(signals, the_first_interrupt_lets_the_items_at_work_end) {
    waiting_run run;
    ASSERT_TRUE(run.started);
    run.process.kill(SIGINT);
    ASSERT_TRUE(run.said("draining"));
    (void)run.place.write("go", "");
    const leat_end end = run.process.wait();
    EXPECT_EQ(end.code, 130);
    EXPECT_THAT(end.err, HasSubstr("Ctrl-C again to stop at once"));
    EXPECT_THAT(end.out, HasSubstr("done\ndone\n"));
    EXPECT_LT(run.children().size(), 10U) << "no more items are begun";
    EXPECT_THAT(run.place.read("report.json"), HasSubstr("\"end\":\"interrupted\""));
}

TEST(signals, the_second_interrupt_stops_at_once_and_leaves_no_child) {
    waiting_run run;
    ASSERT_TRUE(run.started);
    run.process.kill(SIGINT);
    ASSERT_TRUE(run.said("draining"));
    run.process.kill(SIGINT);
    const leat_end end = run.process.wait();
    EXPECT_EQ(end.code, 130);
    EXPECT_EQ(end.out, "");
    for (const pid_t child : run.children()) EXPECT_TRUE(eventually([&] { return !runs(child); }));
}

TEST(signals, sigterm_drains_and_ends_with_143) {
    waiting_run run;
    ASSERT_TRUE(run.started);
    run.process.kill(SIGTERM);
    ASSERT_TRUE(run.said("draining"));
    (void)run.place.write("go", "");
    EXPECT_EQ(run.process.wait().code, 143);
}

TEST(signals, children_die_with_a_leat_that_is_killed) {
    waiting_run run;
    ASSERT_TRUE(run.started);
    run.process.kill(SIGKILL);
    EXPECT_EQ(run.process.wait().signal, SIGKILL);
    for (const pid_t child : run.children()) EXPECT_TRUE(eventually([&] { return !runs(child); }));
}

TEST(signals, a_wait_for_items_is_interrupted_too) {
    leat_test::pipe_pair pipe;  // nobody ever writes to it
    leat_process process({"each", "--", "echo"});
    ASSERT_EQ(::write(pipe.writer(), "one\n", 4), 4);
    process.input_from(pipe.reader()).start();
    ASSERT_TRUE(eventually([&] { return process.out_so_far() == "one\n"; }));
    process.kill(SIGINT);
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 130);
    EXPECT_EQ(end.out, "one\n");
}

}  // namespace
