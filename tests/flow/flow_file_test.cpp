// Flow files: what is accepted, and for what is wrong the exact place and words.
#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <flow/suggest.hpp>
#include <flow_kinds.hpp>

namespace {

using leat_test::all_kinds;
using leat_test::put_file;
using leat_test::scratch_folder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

auto parse(const std::string& text) { return leat::parse_flow_file(text, "f.toml", all_kinds()); }

std::string errors_of(const std::string& text) {
    auto file = parse(text);
    return file ? "(accepted)" : file.error().to_text();
}

// A right flow around the stages of a test; they begin in line 4.
std::string around(const std::string& stages) {
    return "[source]\ntype = 'list'\nitems = ['a']\n" + stages + "\n[sink]\ntype = 'null'\n";
}

// One stage; its first option is in line 6.
std::string with(const std::string& options) { return around("[[stage]]\ntype = 'dedup'\n" + options); }

TEST(flow_file, a_whole_flow_is_read) {
    auto file = parse(R"(
[flow]
name  = "licences"
state = ".leat/licences"
order = "none"
window = 100

[source]
type = "glob"
path = "docs/*/copyright"

[[stage]]
name   = "unique"
type   = "dedup"
key    = "content"
filter = { items = 1_000_000, false_positives = 1e-4, confirm = "exact" }

[[stage]]
name      = "parse"
exec      = ["cat"]
jobs      = 3
buffer    = { items = 64, bytes = "16MiB" }
timeout   = "20s"
retry     = { max = 3, backoff = "200ms..10s", jitter = 0.5 }
on_error  = "dead-letter"
placement = "threads"

[sink]
type = "write"
path = "licences.jsonl"
)");
    ASSERT_TRUE(file) << file.error().to_text();
    const leat::flow_description& flow = file->description;
    EXPECT_EQ(flow.name, "licences");
    EXPECT_EQ(flow.state, ".leat/licences");
    EXPECT_EQ(flow.ordered, leat::order::none);
    EXPECT_EQ(flow.window, 100U);
    EXPECT_EQ(flow.sources.front().kind->name, "glob");
    ASSERT_EQ(flow.stages.size(), 2U);
    EXPECT_EQ(flow.stages[0].options.table("filter").integer("items"), 1000000);
    EXPECT_EQ(flow.stages[1].kind->name, "exec");  // by its key alone
    const leat::stage_policy& policy = flow.stages[1].policy;
    EXPECT_EQ(policy.jobs, 3U);
    EXPECT_TRUE(policy.own_buffer);
    EXPECT_EQ(policy.buffer_items, 64U);
    EXPECT_EQ(policy.buffer_bytes, std::size_t{16} << 20U);
    EXPECT_EQ(policy.timeout, std::chrono::seconds(20));
    EXPECT_EQ(policy.retry.max, 3U);
    EXPECT_EQ(policy.retry.longest_delay, std::chrono::seconds(10));
    EXPECT_EQ(policy.retry.jitter, 0.5);
    EXPECT_EQ(policy.error, leat::on_error::dead_letter);
    EXPECT_EQ(file->graph.stages.size(), 3U);
    EXPECT_EQ(file->graph.stages[2].name, "write");
    EXPECT_EQ(file->graph.ordered, leat::order::none);
    ASSERT_EQ(file->graph.sources.size(), 1U);
    EXPECT_NE(file->graph.sources.front().what, nullptr);
}

TEST(flow_file, short_forms_stand_for_their_tables) {
    auto file =
        parse(around("[[stage]]\ntype='filter'\npattern='x'\nretry = 2\nbuffer = 10\njobs = {min = 2, max = 2}\n"));
    ASSERT_TRUE(file) << file.error().to_text();
    const leat::stage_policy& policy = file->description.stages[0].policy;
    EXPECT_EQ(policy.retry.max, 2U);
    EXPECT_EQ(policy.retry.first_delay, std::chrono::milliseconds(200));
    EXPECT_EQ(policy.buffer_items, 10U);
    EXPECT_EQ(policy.jobs, 2U);
    EXPECT_EQ(file->description.name, "f");
    EXPECT_FALSE(parse(with(""))->description.stages[0].policy.own_buffer);
}

TEST(flow_file, stages_without_names_are_told_apart) {
    auto file =
        parse(around("[[stage]]\ntype='dedup'\n[[stage]]\ntype='dedup'\n[[stage]]\nname='dedup-2'\ntype='dedup'\n"));
    ASSERT_TRUE(file) << file.error().to_text();
    EXPECT_EQ(file->graph.stages[0].name, "dedup");
    EXPECT_EQ(file->graph.stages[1].name, "dedup-3");
    EXPECT_EQ(file->graph.stages[2].name, "dedup-2");
}

TEST(flow_file, from_puts_the_stages_in_order) {
    auto file = parse(
        "[source]\nname='s'\ntype='list'\nitems=[]\n[[stage]]\nname='b'\ntype='dedup'\nfrom=['a']\n"
        "[[stage]]\nname='a'\ntype='dedup'\nfrom='source'\n[sink]\ntype='null'\nfrom=['b']\n");
    ASSERT_TRUE(file) << file.error().to_text();
    EXPECT_EQ(file->graph.stages[0].name, "a");
    EXPECT_EQ(file->graph.stages[1].name, "b");
    EXPECT_EQ(file->description.stages[0].name, "a");
}

struct bad_flow {
    std::string text;
    std::string message;
};

TEST(flow_file, mistakes_are_named_with_place_and_words) {
    const std::vector<bad_flow> bad = {
        // The shape of the file.
        {"", "f.toml: the flow file is empty; expected [source], one or more [[stage]], and [sink]\n"},
        {"# nothing\n\n", "f.toml: the flow file is empty; expected [source], one or more [[stage]], and [sink]\n"},
        {around(""), "f.toml: the flow has no stages; expected one [[stage]] at least\n"},
        {"[[stage]]\ntype='dedup'\n[sink]\ntype='null'\n", "f.toml: the flow has no [source]\n"},
        {"[source]\ntype='list'\nitems=[]\n[[stage]]\ntype='dedup'\n", "f.toml: the flow has no [sink]\n"},
        {"[source]\ntype='list'\nitems=[]\n[stage]\ntype='dedup'\n[sink]\ntype='null'\n",
         "f.toml:4:2: 'stage' is a table; expected [[stage]], in two pairs of brackets, for each stage\n"},
        {"[source]\ntype='list'\nitems=[]\n[[stage]]\ntype='dedup'\n[[sink]]\ntype='null'\n[[sink]]\ntype='nul'\n",
         "f.toml:9:6: unknown type \"nul\" of sink in [[sink]] 2; did you mean 'null'?\n"},
        {"flow = 3\n" + with(""), "f.toml:1:1: 'flow' is the number 3; expected a table [flow]\n"},
        {"stages = 3\n" + with(""), "f.toml:1:1: unknown key 'stages'; did you mean [[stage]]?\n"},
        {"weather = 3\n" + with(""),
         "f.toml:1:1: unknown key 'weather'; expected [flow], [source], [[stage]] or [sink]\n"},
        // Keys.
        {with("concurency = 3"), "f.toml:6:1: unknown key 'concurency' in [[stage]] 1; did you mean 'jobs'?\n"},
        {with("keey = 'content'"), "f.toml:6:1: unknown key 'keey' in [[stage]] 1; did you mean 'key'?\n"},
        {with("xyzzy = 1"),
         "f.toml:6:1: unknown key 'xyzzy' in [[stage]] 1; expected one of name, type, from, jobs, buffer"},
        {with("name='u'\nfilter = { itms = 3 }"),
         "f.toml:7:12: unknown key 'itms' in 'filter' of [[stage]] 'u'; did you mean 'items'?\n"},
        {"[flow]\nordr='input'\n" + with(""), "f.toml:2:1: unknown key 'ordr' in [flow]; did you mean 'order'?\n"},
        // Kinds.
        {around("[[stage]]\ntype='fliter'\npattern='x'"),
         "f.toml:5:6: unknown type \"fliter\" of stage in [[stage]] 1; did you mean 'filter'?\n"},
        {around("[[stage]]\ntype='write'"),
         "f.toml:5:6: unknown type \"write\" of stage in [[stage]] 1; it is a sink, and this is a stage\n"},
        {around("[[stage]]\nname='x'\njobs=1"),
         "f.toml:4:1: [[stage]] 'x' has no 'type'; expected one of read, split, filter, replace"},
        {around("[[stage]]\ntype=3"),
         "f.toml:5:6: 'type' in [[stage]] 1: found the number 3, expected one of read, split, filter, replace"},
        {around("[[stage]]\ntype='filter'"),
         "f.toml:4:1: [[stage]] 1 has no 'pattern': the regular expression; it may match anywhere, ^ and $ hold it to "
         "the ends\n"},
        {around("[[stage]]\ntype='filter'\npattern='('"),
         "f.toml:6:9: 'pattern' in [[stage]] 1 is no regular expression: missing ): (\n"},
        {with("key = 'body'"),
         "f.toml:6:7: 'key' in [[stage]] 1 is \"body\"; expected content, line, key, attribute:NAME, or a JSON pointer "
         "such as /name\n"},
        {with("key = '/a~2'"), "f.toml:6:7: 'key' in [[stage]] 1 is no JSON pointer: \"/a~2\"; "},
        {around("[[stage]]\ntype='batch'"),
         "f.toml:4:1: 'count' in [[stage]] 1 or 'bytes' must say when a batch is full\n"},
        {around("[[stage]]\ntype='split'\nby='separator'"),
         "f.toml:6:4: 'by' in [[stage]] 1 is \"separator\", but 'separator' does not say which\n"},
        // Jobs.
        {with("jobs = 0"),
         "f.toml:6:8: 'jobs' in [[stage]] 1: found the number 0, expected a number of jobs from 1 to 4096, \"auto\", "
         "or { min = 1, max = 8 }\n"},
        {with("jobs = -1"),
         "f.toml:6:8: 'jobs' in [[stage]] 1: found the number -1, expected a number of jobs from 1 to 4096"},
        {with("jobs = 1_000_000_000"),
         "f.toml:6:8: 'jobs' in [[stage]] 1: found the number 1000000000, expected a number of jobs from 1 to 4096"},
        {with("jobs = 1e-4"), "f.toml:6:8: 'jobs' in [[stage]] 1: found the number 0.0001, expected a number of jobs"},
        {with("jobs = 'many'"), "f.toml:6:8: 'jobs' in [[stage]] 1: found \"many\", expected a number of jobs"},
        {with("jobs = {min=3,max=2}"), "f.toml:6:8: 'jobs' in [[stage]] 1: min = 3 is above max = 2\n"},
        {with("jobs = {min=1}"), "f.toml:6:8: 'jobs' of [[stage]] 1 has no 'max': the most jobs\n"},
        {with("jobs = {min=0,max=2}"),
         "f.toml:6:13: 'min' in 'jobs' of [[stage]] 1: found the number 0, expected a whole number from 1 to 4096\n"},
        {with("jobs = 2"), "f.toml:6:8: 'jobs' in [[stage]] 1: found 2, expected at most 1: it has to see all items\n"},
        // Values.
        {with("timeout = 20"),
         "f.toml:6:11: 'timeout' in [[stage]] 1: found the number 20, expected a time such as \"20s\", \"200ms\" or "
         "\"1h30m\"\n"},
        {with("timeout = '-5s'"), "f.toml:6:11: 'timeout' in [[stage]] 1: found \"-5s\", expected a time such as"},
        {with("timeout = '0s'"),
         "f.toml:6:11: 'timeout' in [[stage]] 1: found \"0s\", expected a time of 1e-06 seconds or more\n"},
        {with("timeout = 2020-01-01"),
         "f.toml:6:11: 'timeout' in [[stage]] 1: found a date or a time of day, expected a time such as"},
        {with("retry = -1"),
         "f.toml:6:9: 'max' in 'retry' of [[stage]] 1: found the number -1, expected a whole number from 0 to "
         "1000000\n"},
        {with("retry = 1e-4"),
         "f.toml:6:9: 'max' in 'retry' of [[stage]] 1: found the number 0.0001, expected a whole number\n"},
        {with("retry = { jitter = 2 }"),
         "f.toml:6:20: 'jitter' in 'retry' of [[stage]] 1: found the number 2, expected a number from 0 to 1\n"},
        {with("retry = { jitter = nan }"),
         "f.toml:6:20: 'jitter' in 'retry' of [[stage]] 1: found the number nan, expected a finite number\n"},
        {with("retry = { backoff = '10s..1s' }"),
         "f.toml:6:21: 'backoff' in 'retry' of [[stage]] 1: found \"10s..1s\", expected two times such as "
         "\"200ms..10s\", the shorter one first\n"},
        {with("buffer = { bytes = '16 MiB' }"),
         "f.toml:6:20: 'bytes' in 'buffer' of [[stage]] 1: found \"16 MiB\", expected a size such as \"16MiB\", "
         "\"64k\" or a number of bytes\n"},
        {with("buffer = 0"),
         "f.toml:6:10: 'items' in 'buffer' of [[stage]] 1: found the number 0, expected a whole number from 1 to"},
        {with("on_error = 'ignore'"),
         "f.toml:6:12: 'on_error' in [[stage]] 1: found \"ignore\", expected \"fail\", \"skip\", \"dead-letter\" or "
         "\"keep-going\"\n"},
        {with("on_error = 'dead-letter'"),
         "f.toml:6:12: 'on_error' in [[stage]] 1: dead letters need a directory; expected state = \"…\" in [flow]\n"},
        {with("placement = 'processes'"),
         "f.toml:6:13: 'placement' in [[stage]] 1: a 'dedup' runs in threads; what is to run in processes is a "
         "program, as "
         "exec = [\"…\"], or a function in C++, as map<fn>(\"…\").on(processes(n))\n"},
        {with("placement = 'cluster'"),
         "f.toml:6:13: 'placement' in [[stage]] 1: a 'dedup' cannot be on the cluster: it has to see all items, or "
         "sends them different ways\n"},
        {with("placement = 'moon'"),
         "f.toml:6:13: 'placement' in [[stage]] 1: found \"moon\", expected \"threads\", \"processes\" or "
         "\"cluster\"\n"},
        {"[flow]\nwindow=0\n" + with(""),
         "f.toml:2:8: 'window' in [flow]: found the number 0, expected a whole number from 1 to"},
        {with("filter = { confirm = 'maybe' }"),
         "f.toml:6:22: 'confirm' in 'filter' of [[stage]] 1: found \"maybe\", expected \"exact\" or \"none\"\n"},
        {with("filter = { false_positives = 2 }"),
         "f.toml:6:30: 'false_positives' in 'filter' of [[stage]] 1: found the number 2, expected a number from"},
        {with("name = ''"), "f.toml:6:8: 'name' in [[stage]] 1: found \"\", expected a text that is not empty\n"},
        {with("key = 3"), "f.toml:6:7: 'key' in [[stage]] 1: found the number 3, expected a text\n"},
        {with("from = 3"), "f.toml:6:8: 'from' in [[stage]] 1: found the number 3, expected a list of texts\n"},
        {with("from = ['a', 3]"), "f.toml:6:14: 'from' in [[stage]] 1: found the number 3, expected texts only\n"},
        {around("[[stage]]\nexec='wc -l'"),
         "f.toml:5:6: 'exec' in [[stage]] 1: found \"wc -l\", expected a program and its arguments, such as [\"wc\", "
         "\"-l\"]\n"},
        {around("[[stage]]\nexec=[]"),
         "f.toml:5:6: 'exec' in [[stage]] 1: found an empty array, expected a program and its arguments, such as "
         "[\"wc\", \"-l\"]\n"},
        {around("[[stage]]\nexec=[\"a\\u0000b\"]"),
         "f.toml:5:6: 'exec' in [[stage]] 1: found an array, expected arguments without NUL bytes\n"},
        {with("key = \"\\u0007\""), "f.toml:6:7: 'key' in [[stage]] 1 is \"\a\"; expected content"},
        // Names and who takes from whom.
        {around("[[stage]]\nname='u'\ntype='dedup'\n[[stage]]\nname='u'\ntype='dedup'"),
         "f.toml:8:6: the name 'u' is taken by the stage in line 4; names must differ\n"},
        {with("from = ['nowhere']"),
         "f.toml:6:8: 'from' of 'dedup' names 'nowhere', which is not in this flow; expected one of list\n"},
        {with("from = ['lst']"),
         "f.toml:6:8: 'from' of 'dedup' names 'lst', which is not in this flow; did you mean 'list'?\n"},
        {with("from = ['null']"), "f.toml:6:8: 'from' of 'dedup' names the sink, which gives nothing\n"},
        {with("from = []"), "f.toml:6:8: 'from' of 'dedup' is empty; expected the name of a stage\n"},
        {with("from = ['dedup']"), "f.toml:6:8: the stages form a cycle: dedup → dedup\n"},
        {around("[[stage]]\nname='a'\ntype='dedup'\nfrom=['c']\n[[stage]]\nname='b'\ntype='dedup'\n[[stage]]\nname='c'"
                "\ntype='dedup'\n"),
         "f.toml:7:6: the stages form a cycle: a → b → c → a\n"},
        {around("[[stage]]\nname='a'\ntype='dedup'\n[[stage]]\nname='b'\ntype='dedup'\nfrom=['list']\n"),
         "f.toml:4:1: nobody takes what 'a' gives\n"},
        {with("from = ['list.yes']"), "f.toml:6:8: 'from' of 'dedup' names 'list.yes', but 'list' has one way out\n"},
        {around("[[stage]]\ntype='route'\npattern='x'\n"),
         "f.toml:4:1: nobody takes what 'route' gives at 'route.rest'\nf.toml:8:1: 'from' of 'null' must say which way "
         "out of 'route'; expected 'route.match', 'route.rest'\n"},
        {around("[[stage]]\ntype='route'\npattern='x'\n[[stage]]\ntype='dedup'\nfrom=['route.match']"),
         "f.toml:4:1: nobody takes what 'route' gives at 'route.rest'\n"},
    };
    for (const bad_flow& each : bad) EXPECT_THAT(errors_of(each.text), StartsWith(each.message)) << each.text;
}

TEST(flow_file, what_is_not_toml_is_named_with_its_place) {
    EXPECT_THAT(errors_of("[source]\ntype = list\n"), StartsWith("f.toml:2:"));
    EXPECT_THAT(errors_of("[source]\ntype = list\n"), HasSubstr("not TOML: "));
    EXPECT_THAT(errors_of("[source]\ntype='list'\n[source]\n"), StartsWith("f.toml:3:"));
    EXPECT_THAT(errors_of("a = \"\xff\xfe\"\n"), HasSubstr("not TOML: "));
    EXPECT_THAT(errors_of(std::string("\0\0\0", 3)), HasSubstr("not TOML: "));
    EXPECT_THAT(errors_of("\x7f"
                          "ELF\x02\x01"),
                HasSubstr("not TOML: "));
    EXPECT_THAT(errors_of("a = " + std::string(100000, '[')), HasSubstr("not TOML: "));
}

TEST(flow_file, all_mistakes_are_told_in_the_order_of_the_file_up_to_a_bound) {
    auto file = parse(
        "[flow]\norder='x'\n[source]\ntype='lists'\n[[stage]]\ntype='dedup'\njobs=0\nkey=1\n[sink]\ntype='nul'\n");
    ASSERT_FALSE(file);
    std::vector<unsigned> lines;
    for (const leat::flow_file_error& each : file.error().all) lines.push_back(each.line);
    EXPECT_THAT(lines, ElementsAre(2, 4, 7, 8, 10));

    std::string many = "[[stage]]\ntype='dedup'\n";
    for (int i = 0; i < 30; ++i) many += "unknown_" + std::to_string(i) + " = 1\n";
    auto full = parse(around(many));
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().all.size(), leat::flow_file_errors::most);
    EXPECT_EQ(full.error().left_out, 10U);
    EXPECT_THAT(full.error().to_text(), HasSubstr("\n… and 10 more\n"));
}

std::string load_error(const std::string& path) {
    auto file = leat::load_flow_file(path, all_kinds());
    return file ? "(accepted)" : file.error().to_text();
}

TEST(flow_file, a_file_that_cannot_be_read_is_refused) {
    const scratch_folder folder;
    EXPECT_EQ(load_error(folder / "none.toml"), (folder / "none.toml") + ": there is no such file\n");
    EXPECT_EQ(load_error(folder.path()), folder.path() + ": is a directory; expected a flow file\n");
    put_file(folder / "empty.toml", "");
    EXPECT_THAT(load_error(folder / "empty.toml"), HasSubstr("empty.toml: the flow file is empty"));
    EXPECT_THAT(load_error((folder / "empty.toml") + "/x"), HasSubstr("cannot be opened: Not a directory"));
    put_file(folder / "huge.toml", std::string((std::size_t{16} << 20U) + 1, '#'));
    EXPECT_THAT(load_error(folder / "huge.toml"), HasSubstr("is longer than 16 MiB"));
    put_file(folder / "closed.toml", with(""));
    ASSERT_EQ(::chmod((folder / "closed.toml").c_str(), 0), 0);
    if (::geteuid() != 0) {
        EXPECT_THAT(load_error(folder / "closed.toml"), HasSubstr("cannot be opened: Permission denied"));
    }
    put_file(folder / "good.toml", with(""));
    auto good = leat::load_flow_file(folder / "good.toml", all_kinds());
    ASSERT_TRUE(good);
    EXPECT_EQ(good->description.name, "good");
}

TEST(flow_file, checking_a_flow_touches_nothing) {
    const scratch_folder folder;
    auto file = parse("[flow]\nstate='" + (folder / "state") + "'\n[source]\ntype='lines'\npath='" + (folder / "in") +
                      "'\n[[stage]]\ntype='read'\non_error='dead-letter'\n[sink]\ntype='write'\npath='" +
                      (folder / "out") + "'\n");
    ASSERT_TRUE(file) << file.error().to_text();
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(flow_file, cut_anywhere_it_is_accepted_or_refused_with_a_reason) {
    const std::string whole = "[flow]\nname='x'\n" + with("retry={max=1,backoff='1s..2s'}\njobs={min=1,max=1}\n");
    for (std::size_t length = 0; length <= whole.size(); ++length) {
        auto file = parse(whole.substr(0, length));
        if (!file) {
            EXPECT_FALSE(file.error().all.empty()) << length;
        }
        for (const char other : {'\0', '"', '[', '\xff', '\n'}) {
            std::string changed = whole;
            if (length < changed.size()) changed[length] = other;
            auto another = parse(changed);
            if (!another) {
                EXPECT_FALSE(another.error().all.empty()) << length;
            }
        }
    }
}

TEST(suggest, the_distance_counts_letters_and_swaps) {
    EXPECT_EQ(leat::edit_distance("", ""), 0U);
    EXPECT_EQ(leat::edit_distance("jobs", "jobs"), 0U);
    EXPECT_EQ(leat::edit_distance("jbos", "jobs"), 1U);
    EXPECT_EQ(leat::edit_distance("job", "jobs"), 1U);
    EXPECT_EQ(leat::edit_distance("kitten", "sitting"), 3U);
    EXPECT_EQ(leat::nearest("tiemout", {{"timeout", "timeout"}, {"time_limit", "timeout"}}), "timeout");
    EXPECT_EQ(leat::nearest("zzz", {{"timeout", "timeout"}}), "");
}

}  // namespace
