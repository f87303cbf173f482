// `leat run`, `validate`, `list` and the help: flow files from the outside.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace {

using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::string flow(const std::string& stage, const std::string& out) {
    return "[flow]\nname = 'letters'\n[source]\ntype = 'list'\nitems = ['a', 'b', 'a', 'c']\n[[stage]]\ntype = "
           "'dedup'\n" +
           stage + "\n[sink]\ntype = 'write'\npath = '" + out + "'\n";
}
const std::string upper = "[[stage]]\nname = 'upper'\nexec = ['tr', 'a-z', 'A-Z']\n";

TEST(run, a_flow_file_runs_to_its_end_and_its_report_adds_up) {
    const scratch place;
    const std::string file = place.write("flow.toml", flow(upper, place.file("out")));
    const leat_end end = run_leat({"run", file, "--report", place.file("report.json")});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(place.read("out"), "A\nB\nC\n");
    EXPECT_EQ(end.out, "");
    EXPECT_THAT(end.err, AllOf(HasSubstr("letters"), HasSubstr("upper"))) << "a report for a person";
    const auto report = boost::json::parse(place.read("report.json")).as_object();
    EXPECT_EQ(report.at("flow"), "letters");
    const auto count = [&](const char* key) { return report.at(key).to_number<int>(); };
    EXPECT_EQ(count("in"), 4);
    EXPECT_EQ(count("skipped"), 1);
    EXPECT_EQ(count("out"), 3);
    EXPECT_EQ(count("dead") + count("failed") + count("unfinished"), 0);
    EXPECT_EQ(report.at("stages").as_array().size(), 3U);
    EXPECT_EQ(run_leat({"run", "-q", file}).err, "");
}

TEST(run, data_goes_to_standard_output_and_nothing_else_does) {
    const scratch place;
    const leat_end end = run_leat({"run", place.write("flow.toml", flow(upper, "-"))});
    EXPECT_EQ(end.out, "A\nB\nC\n");
    EXPECT_EQ(end.code, 0);
}

TEST(run, failed_items_are_told_and_exit_with_1) {
    const scratch place;
    const std::string fails =
        "[[stage]]\nname = 'pick'\nexec = ['sh', '-c', 'cat; test \"$0\" != b', '{}']\ninput = 'stdin'\n";
    const leat_end went_on =
        run_leat({"run", place.write("flow.toml", flow(fails + "on_error = 'keep-going'\n", place.file("out")))});
    EXPECT_EQ(went_on.code, 1);
    EXPECT_THAT(went_on.err, HasSubstr("leat: pick: item"));
    EXPECT_THAT(went_on.err, HasSubstr("exited with 1"));
    EXPECT_EQ(place.read("out"), "a\nc\n");
    const leat_end ended = run_leat({"run", place.write("flow.toml", flow(fails, place.file("out")))});
    EXPECT_EQ(ended.code, 1);
    EXPECT_THAT(ended.err, HasSubstr("exited with 1"));
}

TEST(run, a_bad_flow_file_is_refused_with_the_place_of_each_mistake) {
    const scratch place;
    struct refused {
        std::string content;
        std::string says;
    };
    const std::string source = "[source]\ntype = 'list'\nitems = ['a']\n";
    const std::string sink = "[sink]\ntype = 'null'\n";
    const refused all[] = {
        {"", "flow.toml"},
        {"this is no TOML", "flow.toml:1:"},
        {source + "[[stage]]\ntype = 'dedup'\nkeyy = 'x'\n" + sink, "flow.toml:6:1"},
        {source + "[[stage]]\ntype = 'dedupe'\n" + sink, "dedup"},
        {source + "[[stage]]\nexec = ['cat']\njobs = 0\n" + sink, "jobs"},
        {source + "[[stage]]\nexec = ['cat']\njobs = -1\n" + sink, "jobs"},
        {source + "[[stage]]\nexec = ['cat']\njobs = 1000000000\n" + sink, "jobs"},
        {source + "[[stage]]\nexec = ['no-such-command-here']\n" + sink, "flow.toml:4: exec of stage"},
        {source + "[[stage]]\nexec = ['sh', '-c', 'cat {}']\n" + sink, "$0"},
    };
    for (const refused& each : all) {
        const std::string file = place.write("flow.toml", each.content);
        for (const char* verb : {"run", "validate"}) {
            const leat_end end = run_leat({verb, file});
            EXPECT_EQ(end.code, 2) << each.content;
            EXPECT_THAT(end.err, HasSubstr(each.says)) << verb;
            EXPECT_EQ(end.out, "");
        }
    }
    for (const char* verb : {"run", "validate"}) {
        const leat_end missing = run_leat({verb, place.file("none.toml")});
        EXPECT_EQ(missing.code, 2);
        EXPECT_THAT(missing.err, HasSubstr("none.toml"));
        EXPECT_EQ(run_leat({verb}).code, 2);
    }
}

TEST(run, a_place_that_cannot_be_written_to_ends_it_with_4) {
    const scratch place;
    const leat_end full = run_leat({"run", place.write("flow.toml", flow("", "/dev/full"))});
    EXPECT_EQ(full.code, 4) << full.err;
    EXPECT_THAT(full.err, HasSubstr("No space left"));
    const leat_end missing = run_leat({"run", place.write("flow.toml", flow("", "/proc/none/out"))});
    EXPECT_EQ(missing.code, 4) << missing.err;
    EXPECT_THAT(missing.err, HasSubstr("/proc/none"));
}

TEST(run, an_output_directory_that_is_read_only_ends_it_with_4) {
    const scratch place;
    std::filesystem::create_directory(place.file("frozen"));
    std::filesystem::permissions(place.file("frozen"),
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    // To root nothing is read-only but what the system makes so.
    const std::string out = ::geteuid() == 0 ? "/proc/self/frozen" : place.file("frozen");
    const std::string file = place.write(
        "flow.toml",
        "[source]\ntype = 'list'\nitems = ['a']\n[[stage]]\nexec = ['cat']\n[sink]\ntype = 'directory'\npath = '" +
            out + "'\n");
    const leat_end end = run_leat({"run", file});
    EXPECT_EQ(end.code, 4) << end.err;
    EXPECT_THAT(end.err, HasSubstr("frozen"));
}

TEST(run, a_reader_that_goes_early_ends_it_with_141) {
    const scratch place;
    std::string many;
    for (int i = 0; i < 20'000; ++i) many += "line " + std::to_string(i) + "\n";
    const std::string file = place.write(
        "flow.toml", "[source]\ntype = 'lines'\npath = '" + place.write("many", many) +
                         "'\n[[stage]]\ntype = 'filter'\npattern = 'line'\n[sink]\ntype = 'write'\npath = '-'\n");
    leat_test::pipe_pair pipe;
    leat_process process({"run", file});
    process.output_to(pipe.writer()).start();
    pipe.close_writer();
    EXPECT_EQ(pipe.read_line(), "line 0");
    pipe.close_reader();
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 141) << end.err;
    EXPECT_EQ(end.err, "");
}

TEST(run, a_closed_standard_input_that_the_flow_reads_is_refused) {
    const scratch place;
    const std::string file = place.write("flow.toml",
                                         "[source]\ntype = 'lines'\npath = '-'\n[[stage]]\nexec = ['cat']\n[sink]\n"
                                         "type = 'null'\n");
    leat_process process({"run", file});
    const leat_end end = process.closing(0).start().wait();
    EXPECT_EQ(end.code, 2);
    EXPECT_THAT(end.err, HasSubstr("standard input, which is closed"));
    EXPECT_EQ(run_leat({"run", file}, "a\nb\n").code, 0);
}

TEST(run, it_is_interrupted_by_the_first_signal_and_reports_what_is_unfinished) {
    const scratch place;
    std::string items;
    for (int i = 0; i < 300; ++i) items += "'" + std::to_string(i) + "',";
    leat_process process(
        {"run",
         place.write("flow.toml",
                     "[source]\ntype = 'list'\nitems = [" + items +
                         "]\n[[stage]]\njobs = 2\nbuffer = 1\nexec = ['sh', '-c', 'echo x >> \"$0/log\"; while ! test "
                         "-e \"$0/go\"; do sleep 0.02; done; cat', '" +
                         place.file("") + "']\n[sink]\ntype = 'write'\npath = '" + place.file("out") + "'\n")});
    process.start();
    ASSERT_TRUE(leat_test::eventually([&] { return place.read("log").size() >= 4; }));
    process.kill(SIGINT);
    ASSERT_TRUE(leat_test::eventually([&] { return process.err_so_far().find("draining") != std::string::npos; }));
    (void)place.write("go", "");
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 130);
    EXPECT_THAT(end.err, HasSubstr("interrupted"));
    EXPECT_THAT(place.read("out.part"), StartsWith("0\n1\n"));
    EXPECT_FALSE(std::filesystem::exists(place.file("out"))) << "what is not the whole does not take its name";
}

TEST(validate, a_good_flow_file_is_ok_and_nothing_is_run) {
    const scratch place;
    const std::string file = place.write("flow.toml", flow(upper, place.file("out")));
    const leat_end end = run_leat({"validate", file, file});
    EXPECT_EQ(end.code, 0);
    EXPECT_EQ(end.out, file + ": ok (4 stages)\n" + file + ": ok (4 stages)\n");
    EXPECT_FALSE(std::filesystem::exists(place.file("out")));
}

TEST(list, kinds_and_their_options_are_shown) {
    const leat_end all = run_leat({"list"});
    EXPECT_EQ(all.code, 0);
    for (const char* kind :
         {"glob", "lines", "read", "split", "filter", "dedup", "batch", "exec", "zstd", "write", "directory", "jsonl"})
        EXPECT_THAT(all.out, HasSubstr(kind));
    EXPECT_THAT(run_leat({"list", "exec"}).out,
                AllOf(HasSubstr("window"), HasSubstr("persistent"), HasSubstr("timeout")));
    const leat_end none = run_leat({"list", "nothing"});
    EXPECT_EQ(none.code, 2);
    EXPECT_THAT(none.err, HasSubstr("`nothing`, which is no kind"));
}

TEST(help, each_command_has_help_with_examples) {
    EXPECT_THAT(run_leat({"--version"}).out, StartsWith("leat "));
    const leat_end help = run_leat({"--help"});
    EXPECT_EQ(help.code, 0);
    for (const char* command : {"run", "each", "validate", "list"}) {
        EXPECT_THAT(help.out, HasSubstr(command));
        const leat_end own = run_leat({command, "--help"});
        EXPECT_EQ(own.code, 0);
        EXPECT_THAT(own.out, AllOf(HasSubstr("Usage: leat "), HasSubstr(std::string("leat ") + command)));
        EXPECT_EQ(run_leat({"help", command}).out, own.out);
    }
    EXPECT_EQ(run_leat({"help", "nothing"}).code, 2);
}

TEST(help, a_closed_or_full_output_is_no_success) {
    const int full = ::open("/dev/full", O_WRONLY);
    leat_process process({"list"});
    EXPECT_EQ(process.output_to(full).start().wait().code, 4);
    ::close(full);
}

}  // namespace
