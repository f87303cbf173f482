// `leat each`: items, order, outputs, failures; what must pass unharmed and what must be refused.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <numeric>

#include <leat/base/machine.hpp>
#include <leat/base/sanitizer.hpp>

namespace {

using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::scratch;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using words = std::vector<std::string>;

std::string numbers(int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

words lines_of(const std::string& text) {
    words lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

boost::json::object report_in(const scratch& place) {
    return boost::json::parse(place.read("report.json")).as_object();
}
std::int64_t count(const boost::json::object& report, const char* key) {
    return report.at(key).to_number<std::int64_t>();
}
bool adds_up(const boost::json::object& report) {
    return count(report, "in") == count(report, "out") + count(report, "skipped") + count(report, "dead") +
                                      count(report, "failed") + count(report, "unfinished");
}

TEST(each, keep_order_gives_outputs_in_the_order_of_the_items) {
    const leat_end end = run_leat(
        {"each", "-k", "-j", "4", "--", "bash", "-c", "sleep 0.00$((RANDOM % 9)); echo $0", "{}"}, numbers(1000));
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, numbers(1000));
    EXPECT_EQ(end.err, "");
}

TEST(each, without_keep_order_every_output_comes_once) {
    const leat_end end = run_leat({"each", "-j", "4", "--", "echo"}, numbers(300));
    words lines = lines_of(end.out);
    std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return std::stoi(a) < std::stoi(b); });
    EXPECT_EQ(lines, lines_of(numbers(300)));
    EXPECT_EQ(end.code, 0);
}

TEST(each, items_are_never_read_by_a_shell) {
    const scratch place;
    leat_process process({"each", "-k", "--", "printf", "[%s]\n", "{}"});
    process.input("a b\nc;d\n$(touch pwned)\n-n\n'\"\n`x`\n\n").in_directory(place.file(""));
    const leat_end end = process.start().wait();
    EXPECT_EQ(end.out, "[a b]\n[c;d]\n[$(touch pwned)]\n[-n]\n['\"]\n[`x`]\n[]\n");
    EXPECT_EQ(end.code, 0);
    EXPECT_FALSE(std::filesystem::exists(place.file("pwned")));
}

TEST(each, any_bytes_pass_as_items) {
    EXPECT_EQ(
        run_leat({"each", "-0", "-k", "--", "printf", "[%s]", "{}"}, std::string("two\nlines\0\xff\xfe\0last", 18)).out,
        "[two\nlines][\xff\xfe][last]");
    EXPECT_EQ(run_leat({"each", "-k", "--", "printf", "[%s]", "{}", ":::", "--help", "-k", "--", "a\nb"}).out,
              "[--help][-k][--][a\nb]");
}

TEST(each, items_come_from_a_file_too) {
    const scratch place;
    EXPECT_EQ(run_leat({"each", "-k", "-a", place.write("items", "x\ny"), "--", "echo"}).out, "x\ny\n");
    const leat_end missing = run_leat({"each", "-a", place.file("none"), "--", "echo"});
    EXPECT_EQ(missing.code, 2);
    EXPECT_THAT(missing.err, AllOf(HasSubstr("none"), HasSubstr("No such file")));
}

// What is expected was taken from GNU parallel 20221122.
TEST(each, several_sources_are_combined_and_linked_as_in_parallel) {
    const auto out = [](words arguments) {
        arguments.insert(arguments.begin(), {"each", "-k"});
        const leat_end end = run_leat(arguments, "s\nt\n");
        EXPECT_EQ(end.code, 0) << end.err;
        return end.out;
    };
    const scratch place;
    place.write("file", "1\n2\n");
    EXPECT_EQ(out({"--", "echo", ":::", "a", "b", ":::", "1", "2"}), "a 1\na 2\nb 1\nb 2\n");
    EXPECT_EQ(out({"--", "echo", "{2}-{1}-{3}", ":::", "a", "b", "::::", place.file("file")}),
              "1-a-\n2-a-\n1-b-\n2-b-\n");
    EXPECT_EQ(out({"--", "echo", "::::", "-", ":::", "x", "y"}), "s x\ns y\nt x\nt y\n");
    EXPECT_EQ(out({"-a", "-", "-a", place.file("file"), "--", "echo"}), "s 1\ns 2\nt 1\nt 2\n");
    EXPECT_EQ(out({"--link", "--", "echo", ":::", "a", "b", "c", ":::", "1", "2"}), "a 1\nb 2\nc 1\n");
    EXPECT_EQ(out({"--", "echo", ":::", "a", "b", ":::+", "1", "2", "3", ":::", "x", "y"}),
              "a 1 x\na 1 y\nb 2 x\nb 2 y\n");
    EXPECT_EQ(out({"--", "echo", ":::", "a", ":::"}), "") << "one of the sources is empty";
    EXPECT_EQ(out({"-n", "2", "--", "echo", "{2}-{1}-{3}", ":::", "a", "b", "c"}), "b-a-\n-c-\n");
    EXPECT_EQ(out({"-n", "2", "--", "echo", "<{}>"}), "<s t>\n");
    EXPECT_EQ(out({"--colsep", " *, *", "--", "echo", "{2}", "{}", ":::", "a , b", "c,d,"}), "b a b\nd c d \n");
    EXPECT_EQ(out({"--tag", "--", "echo", ":::", "a", ":::", "1", "2"}), "a 1\ta 1\na 2\ta 2\n");
}

TEST(each, jobs_can_be_told_beside_the_number_of_cpus) {
    const auto seen = [](const char* jobs) {
        const leat_end end = run_leat({"each", "-j", jobs, "--", "sh", "-c", "echo $0; sleep 0.1", "{%}"}, numbers(8));
        EXPECT_EQ(end.code, 0) << end.err;
        const words lines = lines_of(end.out);
        return std::stoul(*std::max_element(lines.begin(), lines.end()));
    };
    const unsigned cpus = leat::effective_machine().worker_count;
    // What is expected is seen with eight items: as many jobs as CPUs and three more must find work at the same time.
    if (cpus > 4) GTEST_SKIP() << "made for a few CPUs";
    EXPECT_EQ(seen("+3"), cpus + 3);
    EXPECT_EQ(seen("1%"), 1U);
    EXPECT_EQ(seen("+0"), cpus);
}

TEST(each, items_in_random_order_are_the_same_items) {
    const leat_end end = run_leat({"each", "-k", "--shuf", "--", "echo"}, numbers(50));
    words lines = lines_of(end.out);
    EXPECT_NE(lines, lines_of(numbers(50)));  // one in 50! that it is the same order
    std::sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return std::stoi(a) < std::stoi(b); });
    EXPECT_EQ(lines, lines_of(numbers(50)));
}

TEST(each, a_dry_run_shows_the_commands_and_runs_none) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "--dry-run", "--", "touch", place.file("{}"), ":::", "a b", "c"});
    EXPECT_EQ(end.out, "touch '" + place.file("a b") + "'\ntouch " + place.file("c") + "\n");
    EXPECT_FALSE(std::filesystem::exists(place.file("c")));
}

TEST(each, no_items_are_no_error) {
    EXPECT_EQ(run_leat({"each", "--", "echo"}).code, 0);
    EXPECT_EQ(run_leat({"each", "--", "echo", ":::"}).code, 0);
}

TEST(each, replacement_strings_and_the_double_dash_are_those_of_parallel) {
    EXPECT_EQ(run_leat({"each", "-k", "-j", "1", "--", "echo", "{#}:{%}", "{/.}", "{//}", ":::", "a/b.c", "d"}).out,
              "1:1 b a\n2:1 d .\n");
    EXPECT_EQ(run_leat({"each", "-k", "echo", "-n", "{}", ":::", "x", "y"}).out, "xy")
        << "the command ends our options";
}

TEST(each, an_item_that_fails_costs_no_other) {
    const scratch place;
    const leat_end end = run_leat({"each", "-k", "--report", place.file("report.json"), "--", "bash", "-c",
                                   "echo out$0; echo err$0 >&2; case $0 in 2) exit 3;; 3) kill -9 $$;; esac", "{}",
                                   ":::", "1", "2", "3", "4"});
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "out1\nout2\nout3\nout4\n") << "what failed has an output, too";
    EXPECT_EQ(end.err,
              "err1\nerr2\nleat: item '2': exited with 3\nerr3\nleat: item '3': killed by signal 9 (SIGKILL)\nerr4\n"
              "leat: 2 of 4 items failed\n");
    const auto report = report_in(place);
    EXPECT_TRUE(adds_up(report));
    EXPECT_EQ(count(report, "in"), 4);
    EXPECT_EQ(count(report, "out"), 2);
    EXPECT_EQ(count(report, "failed"), 2);
    EXPECT_EQ(report.at("flow"), "each");
    const auto& command = report.at("stages").as_array().at(0).as_object();
    EXPECT_EQ(command.at("name"), "command");
    EXPECT_EQ(count(command, "failed"), 2);
    for (const char* key :
         {"in", "out", "skipped", "retried", "dead", "busy_s", "starved_s", "blocked_s", "p50_ms", "p99_ms"})
        EXPECT_TRUE(command.contains(key)) << key;
}

TEST(each, retries_are_attempts_in_all_and_keep_the_last_output) {
    const scratch place;
    const leat_end end =
        run_leat({"each", "--retries", "3", "--report", place.file("report.json"), "--", "sh", "-c",
                  "echo try >> \"$1\"; echo out; test $(wc -l < \"$1\") = $0", "{}", place.file("tries"), ":::", "3"});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.out, "out\n");
    EXPECT_EQ(count(report_in(place).at("stages").as_array().at(0).as_object(), "retried"), 2);
    const leat_end failed = run_leat({"each", "--retries", "2", "--", "sh", "-c", "echo out; exit 1", ":::", "x"});
    EXPECT_EQ(failed.code, 1);
    EXPECT_EQ(failed.out, "out\n");
    EXPECT_EQ(failed.err, "leat: item 'x': exited with 1\nleat: 1 of 1 items failed\n");
}

TEST(each, a_command_that_never_reads_its_input_or_writes_much_error_is_no_trouble) {
    const leat_end flood =
        run_leat({"each", "-k", "--", "sh", "-c", "head -c 67108864 /dev/zero >&2; echo $0", "{}", ":::", "1", "2"});
    EXPECT_EQ(flood.code, 0);
    EXPECT_EQ(flood.out, "1\n2\n");
    EXPECT_LT(flood.err.size(), 300'000U) << "the middle is left out";
    EXPECT_EQ(run_leat({"each", "--persistent", "--", "true", ":::", "a"}).code, 1);
}

TEST(each, a_large_output_comes_whole) {
    const leat_end end =
        run_leat({"each", "-j", "2", "--", "sh", "-c", "yes $0 | head -c 3000000", "{}", ":::", "aaa", "bbb"});
    EXPECT_EQ(end.code, 0) << end.err;
    ASSERT_EQ(end.out.size(), 6'000'000U);
    const std::string first = end.out.substr(0, 3'000'000), second = end.out.substr(3'000'000);
    EXPECT_EQ(first.find(first[0] == 'a' ? 'b' : 'a'), std::string::npos);
    EXPECT_EQ(second.find(second[0] == 'a' ? 'b' : 'a'), std::string::npos);
    EXPECT_NE(first[0], second[0]);
}

TEST(each, outputs_larger_than_memory_should_hold_go_through_files) {
    // The bound is on the resident memory of leat, in which a sanitizer's shadow and quarantine are.
    if (leat::sanitizer::any) GTEST_SKIP() << "its own memory counts, too";
    const scratch place;
    const std::size_t many = 200'000'000;
    const auto run = [&](words options) {
        words all{"each", "-j", "2"};
        all.insert(all.end(), options.begin(), options.end());
        all.insert(all.end(), {"--", "sh", "-c", "head -c " + std::to_string(many) + " /dev/zero"});
        if (options.empty() || options[0] != "--pipe") all.insert(all.end(), {":::", "a"});
        leat_process process(all);
        const int nowhere = ::open("/dev/null", O_WRONLY);
        const leat_end end = process.input("a line\n").output_to(nowhere).start().wait();
        ::close(nowhere);
        EXPECT_EQ(end.code, 0) << end.err;
        EXPECT_LT(end.peak_mib, 100U) << testing::PrintToString(options);
    };
    run({});
    run({"--pipe"});
    run({"--results", place.file("kept")});
    EXPECT_EQ(std::filesystem::file_size(place.file("kept/1/a/stdout")), many);
    run({"--line-buffer"});
    // A large input in blocks.
    const std::string large = place.file("large");
    EXPECT_EQ(run_leat({"each", "--", "sh", "-c", "yes 0123456 | head -c 200000000 > \"$0\"", large, ":::", "a"}).code,
              0);
    const leat_end blocks = run_leat({"each", "-k", "-j", "2", "--pipe", "-a", large, "--", "wc", "-c"});
    std::size_t sum = 0;
    for (const std::string& line : lines_of(blocks.out)) sum += std::stoul(line);
    EXPECT_EQ(sum, many);
    EXPECT_LT(blocks.peak_mib, 100U);
}

TEST(each, a_timeout_ends_even_what_ignores_sigterm) {
    const leat_end end = run_leat({"each", "-k", "--timeout", "0.3", "--", "sh", "-c",
                                   "echo $0; test $0 = quick || { trap '' TERM; while :; do sleep 60; done; }", "{}",
                                   ":::", "slow", "quick"});
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "slow\nquick\n");
    EXPECT_THAT(end.err, HasSubstr("leat: item 'slow': timed out after 0.3 s"));
}

TEST(each, tag_marks_each_line) {
    EXPECT_EQ(run_leat({"each", "-k", "--tag", "--", "sh", "-c", "echo a; echo b", "{}", ":::", "1", "2"}).out,
              "1\ta\n1\tb\n2\ta\n2\tb\n");
}

TEST(each, shell_quote_puts_the_item_into_the_text_as_one_word) {
    EXPECT_EQ(
        run_leat({"each", "-k", "--shell-quote", "--", "sh", "-c", "printf '[%s]' {}", ":::", "a b", "it's $(x)"}).out,
        "[a b][it's $(x)]");
}

TEST(each, an_item_with_a_nul_byte_fails_alone) {
    const leat_end end = run_leat({"each", "-k", "--", "echo"}, std::string("a\0b\nok\n", 7));
    EXPECT_EQ(end.code, 1);
    EXPECT_EQ(end.out, "ok\n");
    EXPECT_THAT(end.err, AllOf(HasSubstr("item 'a\\x00b'"), HasSubstr("NUL byte")));
}

TEST(each, what_cannot_be_meant_is_refused_before_anything_runs) {
    struct refused {
        words arguments;
        std::string says;
    };
    const scratch place;
    const std::string plain = place.write("plain", "no program");
    const refused all[] = {
        {{"each", "-j", "0", "--", "echo"}, "`auto`"},
        {{"each", "-j", "-1", "--", "echo"}, "-j: found `-1`, expected a number from 1 to 4096"},
        {{"each", "-j", "1000000000", "--", "echo"}, "-j: found `1000000000`"},
        {{"each", "-j", "two", "--", "echo"}, "-j: found `two`"},
        {{"each", "-j", "0%", "--", "echo"}, "-j: found `0`"},
        {{"each", "-j", "+x", "--", "echo"}, "-j: found `x`"},
        {{"each", "--", "no-such-command-here"}, "`no-such-command-here` was not found"},
        {{"each", "--", plain}, "is not executable"},
        {{"each", "--", "/tmp"}, "is a directory"},
        {{"each", "--persistent", "--", "no-such-command-here"}, "was not found"},
        {{"each", "--", "sh", "-c", "echo {}"}, "\"$0\""},
        {{"each", "--shell-quote", "--", "sh", "-c", "echo \"{}\""}, "inside double quotes"},
        {{"each"}, "no command"},
        {{"each", ":::", "a"}, "no command"},
        {{"each", "--nonsense", "--", "echo"}, "--nonsense"},
        {{"each", "--timeout", "soon", "--", "echo"}, "--timeout: found `soon`"},
        {{"each", "--retries", "0", "--", "echo"}, "--retries: found `0`"},
        {{"each", "--progress", "pink", "--", "echo"}, "expected auto, json or none"},
        {{"each", "--report", "/nonexistent/r.json", "--", "echo"}, "/nonexistent/r.json"},
        {{"each", "--", "echo", ":::+", "a"}, "`:::+` has no source before it"},
        {{"each", "--", "echo", "::::"}, "no file behind `::::`"},
        {{"each", "--", "echo", "::::", "/nonexistent/items"}, "cannot read `/nonexistent/items`"},
        {{"each", "-a", "-", "--", "echo", "::::", "-"}, "twice"},
        {{"each", "--colsep", "(", "--", "echo"}, "--colsep: no regular expression"},
        {{"each", "-n", "0", "--", "echo"}, "-n: found `0`"},
        {{"each", "--dry-run", "--persistent", "--", "cat"}, "persistent workers"},
        {{"each", "--persistent", "--", "cat", "{}"}, "standard input"},
        {{"nonsense"}, "`nonsense`, which is no command of leat"},
        {{}, "no command"},
    };
    for (const refused& each : all) {
        const leat_end end = run_leat(each.arguments, "an item\n");
        EXPECT_EQ(end.code, 2) << testing::PrintToString(each.arguments);
        EXPECT_THAT(end.err, AllOf(testing::StartsWith("leat: "), HasSubstr(each.says)));
        EXPECT_EQ(lines_of(end.err).size(), 1U) << end.err;
        EXPECT_EQ(end.out, "");
    }
}

TEST(each, closed_standard_streams_are_told) {
    leat_process no_input({"each", "--", "echo"});
    const leat_end end = no_input.closing(0).start().wait();
    EXPECT_EQ(end.code, 2);
    EXPECT_THAT(end.err, HasSubstr("standard input is closed"));
    leat_process items_given({"each", "--", "echo", ":::", "a"});
    EXPECT_EQ(items_given.closing(0).start().wait().out, "a\n") << "it is not needed then";
    leat_process no_output({"each", "--", "echo", ":::", "a"});
    EXPECT_EQ(no_output.closing(1).start().wait().code, 2);
}

TEST(each, a_reader_that_goes_early_ends_it_with_141_and_without_a_word) {
    leat_test::pipe_pair pipe;
    leat_process process({"each", "--", "echo"});
    process.input(numbers(20'000)).output_to(pipe.writer()).start();
    pipe.close_writer();
    EXPECT_NE(pipe.read_line(), "");
    pipe.close_reader();
    const leat_end end = process.wait();
    EXPECT_EQ(end.code, 141);
    EXPECT_EQ(end.err, "");
}

TEST(each, a_full_disk_ends_it_with_one_message) {
    const int full = ::open("/dev/full", O_WRONLY);
    leat_process process({"each", "--", "echo"});
    const leat_end end = process.input(numbers(100)).output_to(full).start().wait();
    ::close(full);
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, HasSubstr("No space left on device"));
    EXPECT_EQ(lines_of(end.err).size(), 1U) << end.err;
}

TEST(each, progress_is_silent_unless_asked_for_and_json_is_one_object_a_line) {
    const leat_end end = run_leat({"each", "--progress=json", "-j", "1", "--", "sleep", "0.6", ":::", "0"});
    EXPECT_EQ(end.code, 0);
    const words lines = lines_of(end.err);
    ASSERT_GE(lines.size(), 2U);
    for (const std::string& line : lines) EXPECT_TRUE(boost::json::parse(line).as_object().contains("stages"));
    EXPECT_EQ(count(boost::json::parse(lines.back()).as_object(), "out"), 1);
    EXPECT_EQ(count(boost::json::parse(lines.back()).as_object(), "total"), 1);
}

}  // namespace
