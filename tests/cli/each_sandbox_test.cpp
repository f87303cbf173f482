// The sandbox and the limits of `leat each`.
#include "leat_process.hpp"

#include <gmock/gmock.h>
#include <leat/process/sandbox.hpp>

namespace {

using leat_test::leat_end;
using leat_test::run_leat;
using leat_test::scratch;
using testing::HasSubstr;

// Landlock came in parts with Linux 5.13 to 6.2, and a kernel may be built without it: leat itself refuses the options there.
#define LEAT_NEEDS(what) \
    if (!(what)) GTEST_SKIP() << "this kernel cannot"

bool has_landlock() { return leat::find_sandbox_support().landlock >= 3; }
bool has_filters() { return leat::find_sandbox_support().socket_filter; }

TEST(each_sandbox, a_command_reads_and_writes_what_is_named_and_nothing_else) {
    LEAT_NEEDS(has_landlock());
    const scratch place;
    const scratch other;
    const std::string in = place.write("in", "text\n");
    const std::string secret = other.write("secret", "secret\n");
    const auto run = [&](const std::string& script) {
        return run_leat({"each", "--sandbox-read", in, "--sandbox-write", place.file("."), "--", "sh", "-c", script,
                         "{}", ":::", secret});
    };
    const leat_end good = run("cat " + in + " && echo x > " + place.file("out"));
    EXPECT_EQ(good.code, 0) << good.err;
    EXPECT_EQ(good.out, "text\n");
    EXPECT_EQ(place.read("out"), "x\n");
    const leat_end bad = run(R"(LC_ALL=C cat "$0")");
    EXPECT_EQ(bad.code, 1);
    EXPECT_EQ(bad.out, "");
    EXPECT_THAT(bad.err, HasSubstr("Permission denied"));
}

TEST(each_sandbox, holds_for_persistent_workers_too) {
    LEAT_NEEDS(has_landlock());
    const scratch place;
    const std::string secret = place.write("secret", "secret\n");
    const leat_end end =
        run_leat({"each", "--persistent", "--sandbox-read", "/dev/null", "--", "sh", "-c",
                  "while read f; do if cat $f 2> /dev/null; then :; else echo refused; fi; done", ":::", secret});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, "refused\n");
}

TEST(each_sandbox, without_network_no_socket_is_made) {
    LEAT_NEEDS(has_filters());
    const leat_end end = run_leat(
        {"each", "--no-network", "--", "python3", "-c", "import socket; socket.socket(); print('made')", ":::", "x"});
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "");
    EXPECT_THAT(end.err, HasSubstr("PermissionError"));
}

TEST(each_sandbox, a_path_that_is_not_there_is_refused_before_anything_runs) {
    LEAT_NEEDS(has_landlock());
    const leat_end end = run_leat({"each", "--sandbox-write", "/not/there", "--", "echo", ":::", "x"});
    EXPECT_EQ(end.code, 2);
    EXPECT_EQ(end.out, "");
    EXPECT_EQ(end.err, "leat: each: the sandbox names `/not/there`: No such file or directory\n");
}

TEST(each_limits, hold_for_each_process) {
    const leat_end end =
        run_leat({"each", "--limit-files", "17", "--limit-cpu", "5", "--limit-file-size", "50k", "--limit-memory", "1G",
                  "--", "sh", "-c", "ulimit -n; ulimit -t; ulimit -f; ulimit -v", ":::", "x"});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, "17\n5\n100\n1048576\n");
}

TEST(each_limits, that_cannot_be_meant_are_refused) {
    EXPECT_EQ(run_leat({"each", "--limit-files", "2", "--", "echo", ":::", "x"}).err,
              "leat: --limit-files: found `2`, expected a number from 3 to 1000000000\n");
    EXPECT_THAT(run_leat({"each", "--limit-memory", "much", "--", "echo", ":::", "x"}).err,
                HasSubstr("--limit-memory: found `much`"));
    EXPECT_EQ(run_leat({"each", "--limit-cpu", "0", "--", "echo", ":::", "x"}).code, 2);
}

}  // namespace
