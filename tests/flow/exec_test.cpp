// The kind exec: a program as a stage of a flow file.
#include <csignal>
#include <gmock/gmock.h>

#include <child_output.hpp>
#include <flow_kinds.hpp>

#include <leat/process/sandbox.hpp>

namespace {

using leat_test::eventually;
using leat_test::get_file;
using leat_test::put_file;
using leat_test::run_text;
using leat_test::scratch_folder;
using testing::AllOf;
using testing::HasSubstr;

// A flow of three items through one stage, and what came out of it.
struct ran {
    leat::report done;
    std::string out;
};
ran run_stage(const std::string& stage, const std::string& items = "['one', 'two', 'three']", bool ordered = true) {
    const scratch_folder folder;
    ran result;
    result.done =
        run_text(std::string("[flow]\norder = '") + (ordered ? "input" : "none") + "'\nstate = '" + (folder / "state") +
                 "'\n[source]\ntype = 'list'\nitems = " + items + "\n[[stage]]\nname = 'it'\n" + stage +
                 "\n[sink]\ntype = 'write'\npath = '" + (folder / "out") + "'\n");
    EXPECT_TRUE(result.done.adds_up());
    result.out = get_file(folder / "out");
    return result;
}

std::string refusal(const std::string& stage) {
    const auto file =
        leat::parse_flow_file("[source]\ntype='list'\nitems=['x']\n[[stage]]\n" + stage + "\n[sink]\ntype='null'\n",
                              "f.toml", leat_test::all_kinds());
    return file ? "" : file.error().to_text();
}

// --- A process an item ---

TEST(exec, the_item_goes_to_standard_input_and_the_output_becomes_the_item) {
    EXPECT_EQ(run_stage("exec = ['tr', 'a-z', 'A-Z']").out, "ONE\nTWO\nTHREE\n");
}

TEST(exec, the_item_goes_where_the_arguments_say) {
    EXPECT_EQ(run_stage("exec = ['printf', '<%s>', '{}']").out, "<one>\n<two>\n<three>\n");
    EXPECT_EQ(run_stage("exec = ['printf', '%s-%s', '{#}', '{/.}']", "['a/b.c', 'd']").out, "1-b\n2-d\n");
    EXPECT_EQ(run_stage("exec = ['echo', '-n']\ninput = 'argument'").out, "one\ntwo\nthree\n");
    EXPECT_EQ(run_stage("exec = ['sh', '-c', 'cat; printf %s \"$0\"', '{}']\ninput = 'stdin'").out,
              "oneone\ntwotwo\nthreethree\n");
}

TEST(exec, no_item_is_read_by_a_shell) {
    EXPECT_EQ(run_stage("exec = ['printf', '%s', '{}']", R"(['$(touch pwned)', "a;b", '-n', "q'\"", 'x  y'])").out,
              "$(touch pwned)\na;b\n-n\nq'\"\nx  y\n");
    EXPECT_FALSE(std::filesystem::exists("pwned"));
}

TEST(exec, a_failing_command_fails_its_item_with_its_status_and_what_it_said) {
    const ran result = run_stage("exec = ['sh', '-c', 'echo oh no >&2; exit 3']");
    EXPECT_EQ(result.done.end, leat::flow_end::failed);
    EXPECT_THAT(result.done.error, AllOf(HasSubstr("it"), HasSubstr("exited with 3"), HasSubstr("oh no")));
}

TEST(exec, only_the_failing_item_is_lost_where_the_flow_goes_on) {
    const ran result = run_stage(
        "exec = ['sh', '-c', 'test \"$0\" != two || kill -9 $$; echo \"$0\"', '{}']\non_error = 'keep-going'");
    EXPECT_EQ(result.done.end, leat::flow_end::complete);
    EXPECT_EQ(result.done.failed, 1U);
    EXPECT_EQ(result.out, "one\n\nthree\n\n");
}

TEST(exec, a_retry_runs_the_command_again_with_the_same_item) {
    const scratch_folder folder;
    const ran result = run_stage("exec = ['sh', '-c', 'echo x >> \"$0/n\"; cat; test $(wc -l < \"$0/n\") -ge 3', '" +
                                     folder.path() + "']\nretry = { max = 5, backoff = '1ms..1ms' }",
                                 "['one']");
    EXPECT_EQ(result.out, "one\n");
    EXPECT_EQ(result.done.stages.at(0).retried, 2U);
}

TEST(exec, a_timeout_ends_the_command_and_says_so) {
    const ran result = run_stage(
        "exec = ['sh', '-c', 'echo waiting >&2; sleep 100']\ntimeout = '200ms'\ngrace = '100ms'\non_error = "
        "'keep-going'",
        "['x']");
    EXPECT_EQ(result.done.failed, 1U);
    const ran ended = run_stage("exec = ['sh', '-c', 'echo waiting >&2; sleep 100']\ntimeout = '200ms'", "['x']");
    EXPECT_THAT(ended.done.error, AllOf(HasSubstr("timed out after 0.2 s"), HasSubstr("waiting")));
}

TEST(exec, a_command_that_does_not_exist_fails_the_flow_before_any_item) {
    const ran missing = run_stage("exec = ['no-such-command-here']\non_error = 'skip'");
    EXPECT_EQ(missing.done.end, leat::flow_end::failed);
    EXPECT_THAT(missing.done.error, HasSubstr("`no-such-command-here` was not found"));
    EXPECT_EQ(missing.done.in, 0U);
    EXPECT_EQ(missing.done.skipped, 0U);
    const ran directory = run_stage("exec = ['/tmp']\nmode = 'persistent'\non_error = 'skip'");
    EXPECT_THAT(directory.done.error, HasSubstr("is a directory"));
}

TEST(exec, an_item_with_a_nul_byte_is_no_argument_but_passes_on_standard_input) {
    const std::string nul = R"(["a\u0000b"])";
    const ran refused = run_stage("exec = ['echo', '{}']\nretry = 3", nul);
    EXPECT_THAT(refused.done.error, HasSubstr("NUL byte"));
    EXPECT_EQ(refused.done.stages.at(0).retried, 0U) << "no retry can mend it";
    EXPECT_EQ(run_stage("exec = ['cat']", nul).out, std::string("a\0b\n", 4));
}

TEST(exec, too_much_output_fails_the_item) {
    const ran result = run_stage("exec = ['head', '-c', '5000', '/dev/zero']\nmax_output = 4096", "['x']");
    EXPECT_THAT(result.done.error, HasSubstr("max_output allows 4096"));
}

TEST(exec, limits_and_directory_reach_the_process) {
    EXPECT_EQ(run_stage("exec = ['sh', '-c', 'ulimit -n; pwd']\nopen_files = 17\ndirectory = '/'", "['x']").out,
              "17\n/\n\n");
}

TEST(exec, a_sandbox_keeps_the_program_from_other_files_and_from_the_network) {
    const auto support = leat::find_sandbox_support();
    if (support.landlock < 3 || !support.socket_filter) GTEST_SKIP() << "this kernel cannot";
    EXPECT_EQ(run_stage("exec = ['sh', '-c', 'cat; ls /proc > /dev/null 2>&1 || echo refused']\n"
                        "sandbox = { read = '/dev/null', network = false }",
                        "['x']")
                  .out,
              "xrefused\n\n");
    EXPECT_THAT(run_stage("exec = ['cat']\nsandbox = { write = ['/not/there'] }", "['x']").done.error,
                HasSubstr("the sandbox names `/not/there`"));
    EXPECT_THAT(refusal("exec = ['cat']\nsandbox = { red = '/' }"), HasSubstr("read"));
}

// --- A process a job ---

TEST(exec, a_persistent_program_is_started_once_a_job_and_keeps_the_order) {
    std::string items = "[";
    std::string expected;
    for (int i = 0; i < 500; ++i) {
        items += "'" + std::to_string(i) + "', ";
        expected += "<" + std::to_string(i) + ">\n";
    }
    const ran result =
        run_stage("exec = ['sed', '-u', 's/.*/<&>/']\nmode = 'persistent'\njobs = 2\nwindow = 4", items + "]");
    EXPECT_EQ(result.out, expected);
    EXPECT_EQ(result.done.stages.at(0).jobs, 2U) << "jobs are processes";
}

TEST(exec, an_item_that_kills_its_worker_costs_that_item_and_no_other) {
    const scratch_folder folder;
    put_file(folder / "w.sh", "echo start >> " + (folder / "starts") +
                                  "\nwhile read -r x; do test \"$x\" = poison && kill -9 $$; echo \"got $x\"; done\n");
    const ran result = run_stage("exec = ['sh', '" + (folder / "w.sh") +
                                     "']\nmode = 'persistent'\njobs = 1\nretry = { max = 1, backoff = '1ms..1ms' }\n"
                                     "on_error = 'dead-letter'",
                                 "['a', 'b', 'poison', 'c', 'd']");
    EXPECT_EQ(result.done.end, leat::flow_end::complete) << result.done.error;
    EXPECT_EQ(result.out, "got a\ngot b\ngot c\ngot d\n");
    EXPECT_EQ(result.done.dead, 1U);
    EXPECT_EQ(result.done.stages.at(0).retried, 1U);
    // A third is needed only when something is left after the second death.
    EXPECT_THAT(get_file(folder / "starts"), testing::AnyOf("start\nstart\n", "start\nstart\nstart\n"));
}

TEST(exec, a_worker_that_hangs_is_ended_at_the_timeout_of_its_item) {
    const ran result = run_stage(
        "exec = ['sh', '-c', 'while read -r x; do test $x = two && sleep 100; echo $x; done']\n"
        "mode = 'persistent'\njobs = 1\nwindow = 1\ntimeout = '300ms'\non_error = 'skip'");
    EXPECT_EQ(result.done.end, leat::flow_end::complete) << result.done.error;
    EXPECT_EQ(result.out, "one\nthree\n");
    EXPECT_EQ(result.done.skipped, 1U);
}

TEST(exec, a_persistent_program_may_be_given_frames) {
    const ran result = run_stage(
        "exec = ['python3', '-I', '-S', '-c', '''\n"
        "import sys\n"
        "while head := sys.stdin.buffer.read(4):\n"
        "    item = sys.stdin.buffer.read(int.from_bytes(head, \"big\"))\n"
        "    answer = item.upper() + b\"!\"\n"
        "    sys.stdout.buffer.write(len(answer).to_bytes(4, \"big\") + answer)\n"
        "    sys.stdout.buffer.flush()\n"
        "''']\nmode = 'persistent'\nprotocol = 'frame'\njobs = 1");
    EXPECT_EQ(result.out, "ONE!\nTWO!\nTHREE!\n");
}

TEST(exec, no_worker_outlives_the_flow) {
    const scratch_folder folder;
    const ran result =
        run_stage("exec = ['sh', '-c', 'echo $$ > \"$0/pid\"; while read -r x; do echo $x; done; sleep 100', '" +
                  folder.path() + "']\nmode = 'persistent'\njobs = 1\ngrace = '50ms'");
    EXPECT_EQ(result.out, "one\ntwo\nthree\n");
    EXPECT_FALSE(leat_test::runs(std::stoi(get_file(folder / "pid"))));
}

// --- What is refused when the flow file is read ---

TEST(exec, what_cannot_be_meant_is_refused_with_its_place) {
    EXPECT_THAT(refusal("exec = ['sh', '-c', 'echo {}']"), AllOf(HasSubstr("f.toml:5:"), HasSubstr("\"$0\"")));
    EXPECT_THAT(refusal("exec = ['cat', '{}']\nmode = 'persistent'"), HasSubstr("standard input"));
    EXPECT_THAT(refusal("exec = ['cat']\nmode = 'persistent'\ninput = 'argument'"), HasSubstr("f.toml:7:"));
    EXPECT_THAT(refusal("exec = ['cat']\nprotocol = 'json'"), HasSubstr("frame"));
    EXPECT_THAT(refusal("exec = ['cat']\nmode = 'persistant'"), HasSubstr("persistent"));
    EXPECT_THAT(refusal("exec = []"), HasSubstr("exec"));
    EXPECT_THAT(refusal("exec = ['cat']\nwindow = 0"), HasSubstr("window"));
    EXPECT_EQ(refusal("exec = ['cat']"), "");
}

// --- Answers that are kept ---

TEST(exec_cache, items_of_the_same_content_get_the_answer_of_the_first) {
    const scratch_folder folder;
    for (const std::string mode : {"item", "persistent"}) {
        const std::string calls = folder / mode;
        const std::string script = "while read -r line; do echo x >> " + calls + "; echo \"<$line>\"; done";
        const ran got =
            run_stage("exec = ['bash', '-c', '" + script + "']\nmode = '" + mode + "'\njobs = 2\ncache = 100",
                      "[\"a\\n\", \"b\\n\", \"a\\n\", \"a\\n\", \"b\\n\"]");
        EXPECT_EQ(got.done.error, "");
        EXPECT_EQ(got.done.out, 5U);
        EXPECT_EQ(got.out, mode == "item" ? "<a>\n\n<b>\n\n<a>\n\n<a>\n\n<b>\n\n" : "<a>\n<b>\n<a>\n<a>\n<b>\n");
        EXPECT_EQ(get_file(calls), "x\nx\n") << mode;
    }
}

TEST(exec_cache, failures_are_not_kept) {
    const scratch_folder folder;
    const ran got = run_stage("exec = ['sh', '-c', 'echo x >> " + (folder / "calls") +
                                  "; exit 3']\njobs = 1\ncache = { items = 5, age = '1h' }\non_error = 'keep-going'",
                              "['a', 'a', 'a']");
    EXPECT_EQ(got.done.failed, 3U);
    EXPECT_EQ(get_file(folder / "calls"), "x\nx\nx\n");
}

TEST(exec_cache, what_depends_on_the_number_of_an_item_is_not_kept) {
    EXPECT_THAT(
        refusal("exec = ['echo', '{#}']\ncache = 10"),
        HasSubstr("'cache' in [[stage]] 1 cannot be: {#} or {%} in the arguments gives the same item another answer"));
    EXPECT_EQ(refusal("exec = ['echo', '{}']\ncache = 10"), "");
}

}  // namespace
