// `leat each` where input, commands or the system are not as they should be: a clear message, the documented exit status,
// nothing lost, nothing left behind.
#include "leat_process.hpp"

#include <gmock/gmock.h>
#include <leat/base/sanitizer.hpp>
#include <sys/stat.h>

namespace {

namespace fs = std::filesystem;
using leat_test::eventually;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::run_leat_after;
using leat_test::runs;
using leat_test::scratch;
using testing::AllOf;
using testing::HasSubstr;

std::string numbers(int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

std::size_t count_of(const std::string& text, const std::string& what) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
    return count;
}

// So that leat has as many threads as on any other machine: commands for before it.
constexpr const char* on_one_cpu = "taskset -cp $(taskset -cp $$ | sed 's/.*: //; s/[-,].*//') $$ > /dev/null";
std::string on_one_cpu_with(const std::string& limit) { return std::string(on_one_cpu) + " && " + limit; }

// --- Items ---

TEST(bad_input, an_item_larger_than_memory_fails_or_ends_the_run_after_those_before_it) {
    // The limit below is on address space, of which a sanitizer's shadow memory alone takes terabytes.
    if (leat::sanitizer::any) GTEST_SKIP() << "sanitizers need more address space than there would be";
    const std::string items = "small\n" + std::string(std::size_t{60} << 20U, 'x') + "\nlast\n";
    for (const int kilobytes : {120'000, 200'000, 260'000, 300'000, 400'000}) {
        SCOPED_TRACE(kilobytes);
        const leat_end end = run_leat_after(on_one_cpu_with("ulimit -v " + std::to_string(kilobytes)),
                                            {"each", "-k", "--persistent", "--", "cat"}, items);
        // The answer would be too long even where there is memory for the item.
        EXPECT_THAT(end.err, testing::AnyOf(HasSubstr("out of memory"), HasSubstr("memory was out"),
                                            HasSubstr("an answer of more than")));
        EXPECT_THAT(end.code, testing::AnyOf(1, 4));
        EXPECT_EQ(end.out, end.code == 1 ? "small\nlast\n" : "small\n");
    }
}

TEST(bad_input, an_item_longer_than_any_may_be_ends_the_run_with_4_and_is_told_of) {
    const leat_end end = run_leat({"each", "-k", "--", "echo"}, "small\n" + std::string(std::size_t{65} << 20U, 'x'));
    EXPECT_EQ(end.code, 4);
    EXPECT_EQ(end.out, "small\n");
    EXPECT_EQ(end.err, "leat: items: standard input: an item is longer than 64 MiB\n");
}

TEST(bad_input, an_item_longer_than_an_argument_may_be_fails_alone) {
    const leat_end end =
        run_leat({"each", "-k", "--", "echo"}, "a\n" + std::string(std::size_t{4} << 20U, 'x') + "\nb\n");
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "a\nb\n");
    EXPECT_THAT(end.err,
                AllOf(HasSubstr("more than the system passes to a program"), HasSubstr("1 of 3 items failed")));
}

// --- Commands ---

TEST(bad_input, a_persistent_worker_that_writes_no_line_feed_for_ever_is_cut_off_and_costs_its_item) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "-j", "1", "--window", "1", "--persistent", "--", "sh", "-c",
                                   R"(echo $$ >> "$0"; while read x; do
                                          if [ $x = endless ]; then yes | tr -d '\n'; else echo $x; fi; done)",
                                   place.file("pids")},
                                  "a\nendless\nb\n");
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "a\nb\n");
    EXPECT_THAT(end.err, AllOf(HasSubstr("item 'endless'"), HasSubstr("an answer of more than 16777216 bytes")));
    std::istringstream pids(place.read("pids"));
    for (int pid = 0; pids >> pid;) EXPECT_FALSE(runs(pid));
}

TEST(bad_input, a_command_that_joins_another_group_is_ended_all_the_same) {
    constexpr const char* leave_the_group = R"(
import os, sys, time
other = os.fork()
if other == 0:
    time.sleep(1000)
os.setpgid(other, other)
os.setpgid(0, other)
open(sys.argv[1], "w").write("%d" % os.getpid())
time.sleep(1000)
)";
    const scratch place;
    const std::string worker = place.write("leave.py", leave_the_group);
    const leat_end end = run_leat({"each", "--timeout", "5s", "--", "python3", worker, place.file("pid"), ":::", "x"});
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.err, HasSubstr("timed out after 5 s"));
    const pid_t pid = std::stoi(place.read("pid"));
    EXPECT_FALSE(runs(pid));
    ::kill(-::getpgid(pid), SIGKILL);

    leat_process killed({"each", "--", "python3", worker, place.file("pid2"), ":::", "x"});
    killed.start();
    ASSERT_TRUE(eventually([&] { return !place.read("pid2").empty(); }));
    killed.kill(SIGKILL);
    killed.wait();
    const pid_t second = std::stoi(place.read("pid2"));
    EXPECT_TRUE(eventually([&] { return !runs(second); })) << "nor does it outlive leat";
}

TEST(bad_input, a_process_that_leaves_the_group_on_purpose_outlives_the_command_and_holds_nothing_up) {
    const scratch place;
    const leat_end end = run_leat(
        {"each", "--", "sh", "-c", R"(setsid sleep 1000 & echo $! > "$0"; echo done)", place.file("pid"), ":::", "x"});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, "done\n");
    const pid_t left = std::stoi(place.read("pid"));
    EXPECT_TRUE(runs(left)) << "as docs/processes.md says";
    ::kill(left, SIGKILL);
}

// --- A user with few processes ---

// Nobody else's, so that the limit counts what the test starts alone.
constexpr uid_t lone_user = 61'234;

// leat where that user can run it.
struct lone_place : scratch {
    lone_place() {
        ::chmod(file(".").c_str(), 0777);
        fs::copy_file(LEAT_COMMAND, file("leat"));
        ::chmod(file("leat").c_str(), 0755);
    }
};

int processes_of_lone_user() {
    int count = 0;
    for (const auto& each : fs::directory_iterator("/proc")) {
        struct stat about{};
        if (each.path().filename().string().find_first_not_of("0123456789") == std::string::npos &&
            ::stat(each.path().c_str(), &about) == 0 && about.st_uid == lone_user)
            ++count;
    }
    return count;
}

leat_end run_as_lone_user(const lone_place& place, std::string commands, leat_process::words arguments,
                          const std::string& input) {
    leat_process process(std::move(arguments));
    process.input(input).after(std::move(commands)).program(place.file("leat")).as_user(lone_user).in_directory("/");
    return process.start().wait();
}

// A limit on processes counts all of a user's: only root can become one who has none yet, and the threads of a sanitizer's runtime
// count too.
#define LEAT_NEEDS_A_LONE_USER()                                                                  \
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run as a user without other processes"; \
    if (leat::sanitizer::any) GTEST_SKIP() << "sanitizers start processes of their own"

TEST(bad_input, a_fork_bomb_under_a_process_limit_goes_out_and_costs_its_item) {
    LEAT_NEEDS_A_LONE_USER();
    // Were there no limit, it would be 128 processes.
    constexpr const char* bomb = R"(
import os, sys, time
if sys.argv[1] == "bomb":
    for i in range(7):
        try:
            os.fork()
        except OSError:
            os.write(1, b"refused\n")
    time.sleep(1000)
print(sys.argv[1])
)";
    const lone_place place;
    const std::string script = place.write("bomb.py", bomb);
    ::chmod(script.c_str(), 0644);
    const leat_end end = run_as_lone_user(
        place, ":",
        {"each", "-k", "-j", "1", "--limit-processes", "30", "--timeout", "5s", "--", "/usr/bin/python3", script},
        "a\nbomb\nb\n");
    EXPECT_EQ(end.code, 1) << end.err;
    EXPECT_THAT(end.out, AllOf(testing::StartsWith("a\nrefused\n"), testing::EndsWith("refused\nb\n")));
    EXPECT_THAT(end.err, HasSubstr("item 'bomb': timed out"));
    EXPECT_TRUE(eventually([] { return processes_of_lone_user() == 0; })) << "nothing is left of it";
}

TEST(bad_input, more_jobs_than_the_limit_on_processes_wait_for_each_other) {
    LEAT_NEEDS_A_LONE_USER();
    const lone_place place;
    for (const bool persistent : {false, true}) {
        leat_process::words words{"each", "-k", "-j", "64"};
        if (persistent) words.insert(words.end(), {"--persistent", "--", "cat"});
        else words.insert(words.end(), {"--", "echo"});
        const leat_end end = run_as_lone_user(place, on_one_cpu_with("ulimit -u 14"), words, numbers(200));
        EXPECT_EQ(end.code, 0) << end.err;
        EXPECT_EQ(end.out, numbers(200));
        EXPECT_THAT(end.err, HasSubstr("the limit on processes is reached"));
        EXPECT_LT(count_of(end.err, "\n"), 3u) << "it is said once: " << end.err;
    }
    EXPECT_TRUE(eventually([] { return processes_of_lone_user() == 0; }));
}

TEST(bad_input, a_limit_on_processes_that_leaves_no_room_for_any_job_is_told_of) {
    LEAT_NEEDS_A_LONE_USER();
    const lone_place place;
    for (const char* limit : {"ulimit -u 1", "ulimit -u 3", "ulimit -u 4"}) {
        SCOPED_TRACE(limit);
        const leat_end end =
            run_as_lone_user(place, on_one_cpu_with(limit), {"each", "-k", "-j", "2", "--", "echo"}, "a\nb\n");
        EXPECT_THAT(end.code, testing::AnyOf(0, 1, 4)) << end.err;  // 4: not even its own threads
        if (end.code == 0) {
            EXPECT_EQ(end.out, "a\nb\n");
            continue;
        }
        EXPECT_EQ(end.out, "");
        EXPECT_THAT(end.err, testing::AnyOf(HasSubstr("the limit on processes is reached"),
                                            HasSubstr("starting worker thread")));
    }
}

// --- Few descriptors, no space ---

TEST(bad_input, with_32_descriptors_all_is_done_by_fewer_jobs) {
    const scratch place;
    for (const bool persistent : {false, true}) {
        leat_process::words words{
            "each", "-k", "-j", "16", "--joblog", place.file("jobs"), "--results", place.file("results")};
        if (persistent) words.insert(words.end(), {"--persistent", "--", "cat"});
        else words.insert(words.end(), {"--", "echo"});
        const leat_end end = run_leat_after("ulimit -n 32", words, numbers(200));
        EXPECT_EQ(end.code, 0) << end.err;
        EXPECT_EQ(end.out, numbers(200));
        EXPECT_EQ(count_of(place.read("jobs"), "\n"), 201u);
        EXPECT_EQ(place.read("results/1/200/stdout"), "200\n");
        EXPECT_THAT(end.err, AllOf(testing::StartsWith("leat: -j 16: "),
                                   HasSubstr(" at a time, since there can be 32 open files (`ulimit -n`)\n")));
    }
}

TEST(bad_input, too_few_descriptors_for_anything_are_told_of) {
    // With eight descriptors a sanitizer's runtime cannot open what it needs at its start.
    if (leat::sanitizer::any) GTEST_SKIP() << "sanitizers need descriptors of their own";
    const leat_end none = run_leat_after("ulimit -n 8", {"each", "--", "echo"}, numbers(20));
    EXPECT_EQ(none.code, 4);
    EXPECT_THAT(none.err, HasSubstr("Too many open files"));
    const leat_end few = run_leat_after("ulimit -n 14", {"each", "-j", "1", "--", "echo"}, numbers(20));
    EXPECT_THAT(few.code, testing::AnyOf(1, 4));
    EXPECT_THAT(few.err, testing::AnyOf(HasSubstr("ulimit -n"), HasSubstr("Too many open files")));
}

TEST(bad_input, an_output_beyond_the_limit_on_files_fails_its_item_and_ends_nothing) {
    const leat_end end =
        run_leat_after("ulimit -f 200", {"each", "-k", "--", "head", "/dev/zero", "-c"}, "3\n900000\n4\n");
    EXPECT_EQ(end.code, 1) << end.err;
    EXPECT_EQ(end.out, std::string(7, '\0'));
    EXPECT_THAT(end.err, AllOf(HasSubstr("item '900000': its output could not be kept"), HasSubstr("File too large")));
}

TEST(bad_input, standard_output_beyond_the_limit_on_files_ends_the_run_with_4) {
    const leat_end end = run_leat_after("ulimit -f 2", {"each", "-k", "--", "echo"}, numbers(1000));
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, HasSubstr("cannot write to standard output: File too large"));
    EXPECT_TRUE(numbers(1000).starts_with(end.out));
}

TEST(bad_input, a_full_temporary_folder_fails_the_items_with_large_outputs_alone) {
    // A full disk is a small one here: a tmpfs in a mount namespace of its own, which root alone can make, and not in every container.
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a small file system";
    const scratch place;
    fs::create_directory(place.file("small"));
    const std::string small = place.file("small");
    const leat_end end = run_leat_after("exec unshare --mount sh -c 'mount -t tmpfs -o size=512k none " + small +
                                            " && TMPDIR=" + small + R"( exec "$0" "$@"' "$0" "$@")",
                                        {"each", "-k", "-j", "1", "--", "head", "/dev/zero", "-c"}, "3\n900000\n4\n");
    if (end.err.find("unshare") != std::string::npos || end.err.find("mount") != std::string::npos)
        GTEST_SKIP() << "no file systems can be mounted here: " << end.err;
    EXPECT_EQ(end.code, 1) << end.err;
    EXPECT_EQ(end.out, std::string(7, '\0'));
    EXPECT_THAT(end.err, AllOf(HasSubstr("item '900000': its output could not be kept"), HasSubstr("No space left")));
    EXPECT_TRUE(fs::is_empty(place.file("small")));
}

// --- Job logs ---

TEST(bad_input, a_read_only_job_log_is_refused_before_anything_runs) {
    const lone_place place;
    const std::string log = place.write("log", "");
    ::chmod(log.c_str(), 0444);
    leat_process process({"each", "--joblog", log, "--", "touch", place.file("ran"), ":::", "x"});
    process.program(place.file("leat")).in_directory("/");
    if (::geteuid() == 0) process.as_user(lone_user);
    const leat_end end = process.start().wait();
    EXPECT_EQ(end.code, 2);
    EXPECT_EQ(end.err, "leat: --joblog: cannot write to `" + log + "`: Permission denied\n");
    EXPECT_FALSE(fs::exists(place.file("ran")));
}

TEST(bad_input, a_job_log_that_cannot_grow_ends_the_run_with_4_and_is_gone_on_with) {
    const scratch place;
    // A block of 512 bytes is the header and some jobs.
    const leat_process::words words{"each", "-k", "-j", "1", "--joblog", place.file("log"), "--resume", "--", "echo"};
    leat_process full(words);
    const leat_test::pipe_pair out;
    full.input(numbers(100)).after("ulimit -f 1").output_to(out.writer());
    const leat_end end = full.start().wait();
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, AllOf(HasSubstr("cannot write the job log"), HasSubstr("File too large")));
    const leat_end rest = run_leat(words, numbers(100));
    EXPECT_EQ(rest.code, 0) << rest.err;
    EXPECT_EQ(count_of(place.read("log"), "\techo "), 100u);
    EXPECT_TRUE(rest.out.ends_with("\n99\n100\n"));
}

}  // namespace
