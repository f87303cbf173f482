// The built-in kinds, one by one and in whole flows.
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <child_output.hpp>
#include <flow/record_json.hpp>
#include <flow_kinds.hpp>
#include <leat/flow/dead_letter_file.hpp>
#include <leat/flow/flow.hpp>
#include <leat/flow/output_closed.hpp>
#include <leat/sync/semaphore.hpp>

namespace {

using leat::fate;
using leat::record;
using leat_test::fate_probe;
using leat_test::get_file;
using leat_test::make_stage;
using leat_test::put_file;
using leat_test::run_text;
using leat_test::scratch_folder;
using leat_test::stage_hand;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const std::string binary("\x00\xff\xfe\r\n\x80 end", 10);

std::string source(const std::string& text) { return "[source]\n" + text + "\n"; }
std::string stage(const std::string& text) { return "[[stage]]\n" + text + "\n"; }
std::string sink(const std::string& text) { return "[sink]\n" + text + "\n"; }
// Every item as it is: a stage is needed.
const std::string pass = stage("type='filter'\npattern=''");

// What a source gives, a line an item.
std::string emitted_by(const std::string& text) {
    const scratch_folder folder;
    const leat::report done = run_text(source(text) + pass + sink("type='write'\npath='" + (folder / "out") + "'"));
    EXPECT_TRUE(done.adds_up());
    if (done.end != leat::flow_end::complete) return "error: " + done.error;
    return get_file(folder / "out");
}

// --- Sources ---

class glob : public testing::Test {
protected:
    glob() {
        for (const char* each : {"a/1.txt", "a/2.txt", "a/.hidden.txt", "a/b/1.txt", "a/b/c/deep.txt", "a/b/c/x.md",
                                 ".dot/1.txt", "z.txt"})
            put_file(folder_ / each, each);
        std::filesystem::create_directory(folder_ / "a/dir.txt");
        std::filesystem::create_directory_symlink("..", folder_ / "a/b/loop");
        std::filesystem::create_symlink("../z.txt", folder_ / "a/link.txt");
        std::filesystem::create_symlink("nowhere", folder_ / "a/broken.txt");
    }
    // The paths found, without the folder.
    std::string found(const std::string& pattern) {
        std::string all = emitted_by("type='glob'\npath='" + (folder_ / pattern) + "'");
        for (std::size_t at = all.find(folder_.path() + "/"); at != std::string::npos;
             at = all.find(folder_.path() + "/"))
            all.erase(at, folder_.path().size() + 1);
        std::replace(all.begin(), all.end(), '\n', ' ');
        return all;
    }
    scratch_folder folder_;
};

TEST_F(glob, finds_files_in_order_and_no_directories) {
    EXPECT_EQ(found("a/*.txt"), "a/1.txt a/2.txt a/link.txt ");
    EXPECT_EQ(found("*/1.txt"), "a/1.txt ");
    EXPECT_EQ(found("a/[2-9].t?t"), "a/2.txt ");
    EXPECT_EQ(found("a/b/1.txt"), "a/b/1.txt ");
    EXPECT_EQ(found("./a/../z.txt"), "./a/../z.txt ");
}

TEST_F(glob, two_stars_match_any_depth_without_cycles_and_each_path_once) {
    EXPECT_EQ(found("**/*.txt"), "a/1.txt a/2.txt a/b/1.txt a/b/c/deep.txt a/link.txt z.txt ");
    EXPECT_EQ(found("a/**"), "a/1.txt a/2.txt a/b/1.txt a/b/c/deep.txt a/b/c/x.md a/link.txt ");
    EXPECT_EQ(found("**/**/b/**/*.md"), "a/b/c/x.md ");
    EXPECT_EQ(found("**/1.txt"), "a/1.txt a/b/1.txt ");
}

TEST_F(glob, names_with_a_dot_need_a_pattern_with_one) {
    EXPECT_EQ(found("a/.*.txt"), "a/.hidden.txt ");
    EXPECT_EQ(found(".dot/*"), ".dot/1.txt ");
}

TEST_F(glob, a_link_to_a_directory_is_followed_where_the_pattern_names_it) {
    EXPECT_EQ(found("a/b/loop/1.txt"), "a/b/loop/1.txt ");
    EXPECT_EQ(found("**/loop/*.txt"), "a/b/loop/1.txt a/b/loop/2.txt a/b/loop/link.txt ");
}

TEST_F(glob, nothing_found_is_an_error_unless_allowed) {
    const std::string nothing = folder_ / "*.none";
    EXPECT_EQ(emitted_by("type='glob'\npath='" + nothing + "'"), "error: glob: no file matches '" + nothing + "'");
    EXPECT_EQ(emitted_by("type='glob'\nallow_empty=true\npath='" + nothing + "'"), "");
    EXPECT_EQ(emitted_by("type='glob'\nallow_empty=true\npath='/nonexistent/x/*'"), "");
}

TEST_F(glob, a_directory_that_cannot_be_read_is_an_error) {
    ASSERT_EQ(::chmod((folder_ / "a/b").c_str(), 0), 0);
    ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
    const bool root = ::geteuid() == 0;
    if (root) {
        ASSERT_EQ(::seteuid(65534), 0);
    }
    const leat::report done =
        run_text(source("type='glob'\npath='" + (folder_ / "a/**") + "'") + pass + sink("type='null'"));
    if (root) {
        ASSERT_EQ(::seteuid(0), 0);
    }
    ::chmod((folder_ / "a/b").c_str(), 0755);
    EXPECT_EQ(done.error, "glob: cannot read directory '" + (folder_ / "a/b/") + "': Permission denied");
}

TEST_F(glob, says_how_many_there_are_once_it_knows) {
    const leat::component* kind = leat_test::all_kinds().find(leat::component_role::source, "glob");
    leat::option_values options = leat::default_values(kind->options);
    options.set("path", std::vector<std::string>{folder_ / "a/*.txt", folder_ / "z.txt"});
    const std::shared_ptr<leat::source> made = kind->make_source(options);
    EXPECT_FALSE(made->total());
    struct counter final : leat::source_output {
        leat::task<> emit(leat::payload value) override {
            keys.push_back(value.as<record>().key);
            co_return;
        }
        leat::task<> emit(leat::payload value, listener&) override { return emit(std::move(value)); }
        std::vector<std::string> keys;
    } out;
    leat::run(leat::run_options(1), [&] { return made->run(out); });
    EXPECT_EQ(made->total(), 4U);
    EXPECT_EQ(out.keys.back(), folder_ / "z.txt");
}

TEST(lines, the_last_line_needs_no_end_and_bytes_stay_as_they_are) {
    const scratch_folder folder;
    put_file(folder / "in", "one\n\ntwo\xff\r\nlast");
    EXPECT_EQ(emitted_by("type='lines'\npath='" + (folder / "in") + "'"), "one\n\ntwo\xff\r\nlast\n");
    put_file(folder / "in", "one\n");
    EXPECT_EQ(emitted_by("type='lines'\npath='" + (folder / "in") + "'"), "one\n");
    put_file(folder / "in", "");
    EXPECT_EQ(emitted_by("type='lines'\npath='" + (folder / "in") + "'"), "");
    put_file(folder / "in", std::string("a\nb\0c\0", 6));
    EXPECT_EQ(emitted_by("type='lines'\nend='nul'\npath='" + (folder / "in") + "'"), "a\nb\nc\n");
}

TEST(lines, many_lines_over_many_reads_come_out_as_they_went_in) {
    const scratch_folder folder;
    std::string all;
    for (int i = 0; i < 200000; ++i)
        all += std::to_string(i) + std::string(static_cast<std::size_t>(i % 37), 'x') + "\n";
    put_file(folder / "in", all);
    EXPECT_TRUE(emitted_by("type='lines'\npath='" + (folder / "in") + "'") == all);
}

TEST(lines, a_line_beyond_the_bound_is_an_error_with_its_number) {
    const scratch_folder folder;
    put_file(folder / "in", "short\n" + std::string(11, 'x') + "\n");
    const std::string path = folder / "in";
    EXPECT_EQ(emitted_by("type='lines'\nmax_line=10\npath='" + path + "'"),
              "error: lines: " + path + ":2: the line is longer than 10 bytes");
    EXPECT_EQ(emitted_by("type='lines'\nmax_line=11\npath='" + path + "'"), "short\nxxxxxxxxxxx\n");
    put_file(path, std::string(std::size_t{4} << 20U, 'x'));  // does not even end
    EXPECT_EQ(emitted_by("type='lines'\nmax_line='1MiB'\npath='" + path + "'"),
              "error: lines: " + path + ":1: the line is longer than 1048576 bytes");
}

TEST(lines, what_cannot_be_read_is_an_error_with_its_name) {
    const scratch_folder folder;
    EXPECT_EQ(emitted_by("type='lines'\npath='" + (folder / "none") + "'"),
              "error: lines: cannot open '" + (folder / "none") + "': No such file or directory");
    EXPECT_EQ(emitted_by("type='lines'\npath='" + folder.path() + "'"),
              "error: lines: cannot read '" + folder.path() + "': Is a directory");
}

TEST(lines, a_drain_ends_a_wait_for_standard_input) {
    const leat_test::pipe_pair in;
    const int saved = ::dup(0);
    ASSERT_EQ(::dup2(in.reader(), 0), 0);
    auto file = leat::parse_flow_file(source("type='lines'\npath='-'") + pass + sink("type='null'"), "t",
                                      leat_test::all_kinds());
    ASSERT_TRUE(file);
    ASSERT_EQ(::write(in.writer(), "one\ntw", 6), 6);
    leat::flow_control control;
    leat::flow_options options = leat::prepare_flow(*file);
    options.control = &control;
    std::thread ender([&] {
        while (control.snapshot().counts.out == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        control.drain();
    });
    const leat::report done =
        leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(file->graph), options); });
    ender.join();
    ::dup2(saved, 0);
    ::close(saved);
    EXPECT_EQ(done.end, leat::flow_end::interrupted);
    EXPECT_EQ(done.in, 1U);
    EXPECT_EQ(done.out, 1U);
}

TEST(jsonl_source, each_line_is_a_json_value_and_an_error_names_the_place) {
    const scratch_folder folder;
    const std::string path = folder / "in";
    put_file(path, "{\"a\": 1}\n\n[1,2]\n  7 \n\"x\"");
    EXPECT_EQ(emitted_by("type='jsonl'\npath='" + path + "'"), "{\"a\": 1}\n[1,2]\n  7 \n\"x\"\n");
    put_file(path, "{}\n{\"a\": }\n");
    EXPECT_THAT(emitted_by("type='jsonl'\npath='" + path + "'"),
                StartsWith("error: jsonl: " + path + ":2:7: not JSON: "));
    for (const std::string bad : {"{} {}", "{", "nul", "\"\xff\"", "[1,]"}) {
        put_file(path, bad);
        EXPECT_THAT(emitted_by("type='jsonl'\npath='" + path + "'"), HasSubstr(":1:")) << bad;
    }
}

TEST(list, gives_its_items) { EXPECT_EQ(emitted_by("type='list'\nitems=['a b', '', '$(x)']"), "a b\n\n$(x)\n"); }

// --- Stages ---

TEST(read, puts_the_content_in_the_place_of_the_path) {
    const scratch_folder folder;
    put_file(folder / "bin", binary);
    stage_hand hand(make_stage("read", {}));
    hand.give(record("ignored", folder / "bin"));
    hand.give(record("", "/proc/self/comm"));  // a file that says its length is 0
    ASSERT_EQ(hand.emitter.out.size(), 2U);
    EXPECT_EQ(hand.contents()[0], binary);
    EXPECT_FALSE(hand.contents()[1].empty());
    EXPECT_EQ(hand.emitter.out[0].value.as<record>().key, folder / "bin");
}

std::string error_of(stage_hand& hand, record what, bool& permanent, leat::ack_ref account = {}) {
    try {
        hand.give(std::move(what), std::move(account));
    } catch (const leat::permanent_error& error) {
        permanent = true;
        return error.what();
    } catch (const std::exception& error) {
        permanent = false;
        return error.what();
    }
    return "(no error)";
}

std::string finish_error_of(stage_hand& hand) {
    try {
        hand.finish();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "(no error)";
}

TEST(read, what_is_no_readable_file_fails_for_good) {
    const scratch_folder folder;
    put_file(folder / "long", "12345678901");
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    stage_hand hand(make_stage("read", {{"max", "10"}}));
    const std::vector<std::pair<std::string, std::string>> bad = {
        {folder / "none", "cannot open '" + (folder / "none") + "': No such file or directory"},
        {folder.path(), "'" + folder.path() + "' is a directory"},
        {folder / "fifo", "'" + (folder / "fifo") + "' is not a file"},
        {folder / "long", "'" + (folder / "long") + "' is longer than 10 bytes, the bound 'max' of the stage"},
        {std::string("a\0b", 3), "a path cannot hold a NUL byte"}};
    for (const auto& [path, message] : bad) {
        bool permanent = false;
        EXPECT_EQ(error_of(hand, record("", path), permanent), message);
        EXPECT_TRUE(permanent) << path;
    }
}

TEST(split, by_lines_paragraphs_and_separators) {
    const auto pieces = [](const std::vector<leat_test::given_option>& options, const std::string& whole) {
        stage_hand hand(make_stage("split", options));
        hand.give(record(whole, "w"));
        return hand.contents();
    };
    EXPECT_THAT(pieces({}, "a\n\nb\nc"), ElementsAre("a", "b", "c"));
    EXPECT_THAT(pieces({{"keep_empty", "true"}}, "a\n\nb\n"), ElementsAre("a", "", "b"));
    EXPECT_THAT(pieces({}, ""), IsEmpty());
    EXPECT_THAT(pieces({}, "\n\n"), IsEmpty());
    const std::vector<leat_test::given_option> paragraphs = {{"by", "paragraphs"}};
    EXPECT_THAT(pieces(paragraphs, "\n\na\nb\n\n\nc\n"), ElementsAre("a\nb", "c"));
    EXPECT_THAT(pieces(paragraphs, "a\r\nb\r\n\r\nc"), ElementsAre("a\r\nb", "c"));
    EXPECT_THAT(pieces(paragraphs, "\n"), IsEmpty());
    EXPECT_THAT(pieces({{"by", "separator"}, {"separator", "--"}}, "a--b----c"), ElementsAre("a", "b", "c"));
    EXPECT_THAT(pieces({{"by", "separator"}, {"separator", "--"}, {"keep_empty", "true"}}, "--a--"),
                ElementsAre("", "a", ""));
    EXPECT_THAT(pieces({}, binary), ElementsAre(binary.substr(0, 4), binary.substr(5)));
}

TEST(split, pieces_are_called_after_the_whole_and_keep_its_attributes) {
    stage_hand hand(make_stage("split", {}));
    record whole("a\nb", "file");
    whole.set_attribute("from", "x");
    hand.give(std::move(whole));
    EXPECT_EQ(hand.emitter.out[1].value.as<record>().key, "file#2");
    EXPECT_EQ(hand.emitter.out[1].value.as<record>().attribute("from"), "x");
}

TEST(filter, lets_through_what_matches) {
    const auto passed = [](const std::vector<leat_test::given_option>& options, record what) {
        stage_hand hand(make_stage("filter", options));
        hand.give(std::move(what));
        return !hand.emitter.out.empty();
    };
    EXPECT_TRUE(passed({{"pattern", "b+"}}, record("abbc")));
    EXPECT_FALSE(passed({{"pattern", "^b+"}}, record("abbc")));
    EXPECT_TRUE(passed({{"pattern", "^b+"}, {"invert", "true"}}, record("abbc")));
    EXPECT_TRUE(passed({{"pattern", "\\.txt$"}, {"on", "key"}}, record("", "a.txt")));
    EXPECT_TRUE(passed({{"pattern", "^2$"}, {"on", "/a/0"}}, record("{\"a\":[2]}")));
    EXPECT_TRUE(passed({{"pattern", "end$"}}, record(binary)));
    EXPECT_FALSE(passed({{"pattern", "^.{10}$"}}, record(binary)));
    EXPECT_TRUE(passed({{"pattern", "(?s)^.{10}$"}, {"encoding", "latin1"}}, record(binary)));
    record with_attribute;
    with_attribute.set_attribute("lang", "de");
    EXPECT_TRUE(passed({{"pattern", "de"}, {"on", "attribute:lang"}}, std::move(with_attribute)));
}

TEST(filter, an_item_without_the_part_fails_for_good) {
    for (const auto& [on, message] : std::vector<std::pair<std::string, std::string>>{
             {"attribute:lang", "it has no attribute 'lang'"}, {"/a", "it has no value at '/a'"}}) {
        stage_hand hand(make_stage("filter", {{"pattern", "x"}, {"on", on}}));
        bool permanent = false;
        EXPECT_EQ(error_of(hand, record("{}"), permanent), message);
        EXPECT_TRUE(permanent);
    }
    stage_hand hand(make_stage("filter", {{"pattern", "x"}, {"on", "/a"}}));
    bool permanent = false;
    EXPECT_THAT(error_of(hand, record("{no"), permanent), StartsWith("it is not JSON: "));
}

TEST(filter, an_item_that_may_be_needed_again_is_copied) {
    stage_hand hand(make_stage("filter", {{"pattern", ""}}), false);
    leat::item in(leat::payload(record("kept")), {});
    hand.give(record("kept"));
    EXPECT_THAT(hand.contents(), ElementsAre("kept"));
}

TEST(replace, puts_a_text_in_the_place_of_matches) {
    stage_hand hand(make_stage("replace", {{"pattern", "(a+)b"}, {"with", "<\\1>"}}));
    hand.give(record("aab ab b"));
    EXPECT_THAT(hand.contents(), ElementsAre("<aa> <a> b"));
    EXPECT_THROW((void)make_stage("replace", {{"pattern", "a"}, {"with", "\\1"}}), leat::option_error);
}

class dedup : public testing::Test {
protected:
    // Gives an item and what became of it.
    std::unique_ptr<fate_probe> give(const std::string& content) {
        auto probe = std::make_unique<fate_probe>();
        hand_.give(record(content), probe->account());
        return probe;
    }
    void end(std::size_t which, fate how) { hand_.emitter.out[which].ack.end(how); }
    stage_hand hand_{make_stage("dedup", {})};
};

TEST_F(dedup, a_key_is_seen_once_its_first_item_was_committed) {
    const auto first = give("x");
    const auto other = give("y");
    EXPECT_THAT(hand_.contents(), ElementsAre("x", "y"));
    end(0, fate::committed);
    EXPECT_EQ(first->how(), fate::committed);
    EXPECT_TRUE(first->settled());
    EXPECT_FALSE(other->settled());
    const auto again = give("x");
    EXPECT_TRUE(again->settled());
    EXPECT_EQ(again->how(), fate::skipped);
    EXPECT_EQ(hand_.emitter.out.size(), 2U);
    end(1, fate::committed);
}

TEST_F(dedup, a_duplicate_of_an_item_in_flight_waits_and_is_skipped_when_that_is_committed) {
    const auto first = give("x");
    const auto again = give("x");
    EXPECT_EQ(hand_.emitter.out.size(), 1U);
    EXPECT_FALSE(again->settled());
    end(0, fate::committed);
    EXPECT_EQ(first->how(), fate::committed);
    EXPECT_TRUE(again->settled());
    EXPECT_EQ(again->how(), fate::skipped);
}

TEST_F(dedup, a_duplicate_of_an_item_in_flight_shares_its_failure_and_the_key_is_free_again) {
    for (const fate how : {fate::failed, fate::dead, fate::abandoned, fate::skipped}) {
        hand_.emitter.out.clear();
        const auto first = give("x");
        const auto again = give("x");
        end(0, how);
        EXPECT_EQ(first->how(), how);
        EXPECT_TRUE(again->settled());
        EXPECT_EQ(again->how(), how);
        ASSERT_EQ(hand_.emitter.out.size(), 1U);
    }
    hand_.emitter.out.clear();
    const auto next = give("x");
    EXPECT_EQ(hand_.emitter.out.size(), 1U);
    end(0, fate::committed);
}

TEST_F(dedup, an_item_cut_into_pieces_counts_as_seen_when_all_are_committed) {
    const auto first = give("x");
    leat::ack_ref piece = hand_.emitter.out[0].ack.fork();
    end(0, fate::committed);
    EXPECT_FALSE(first->settled());
    const auto again = give("x");
    piece.fail();
    EXPECT_EQ(first->how(), fate::failed);
    EXPECT_EQ(again->how(), fate::failed);
}

TEST(dedup_keys, are_what_the_option_says) {
    const auto distinct = [](const std::string& key, std::vector<record> items) {
        stage_hand hand(make_stage("dedup", {{"key", key}}));
        for (record& each : items) hand.give(std::move(each));
        return hand.emitter.out.size();
    };
    EXPECT_EQ(distinct("content", {record("a", "1"), record("a\n", "1"), record("a", "2")}), 2U);
    EXPECT_EQ(distinct("line", {record("a", "1"), record(" a\r\n", "1")}), 1U);
    EXPECT_EQ(distinct("key", {record("a", "1"), record("a", "2"), record("b", "1")}), 2U);
    EXPECT_EQ(distinct("/id", {record("{\"id\":1,\"x\":2}"), record("{\"id\":1}"), record("{\"id\":\"1\"}")}), 1U);
    EXPECT_EQ(distinct("content", {record(binary), record(binary), record("")}), 2U);
}

TEST(dedup_bound, one_key_too_many_is_an_error_that_says_what_to_set) {
    const scratch_folder folder;
    const leat::report done = run_text(source("type='list'\nitems=['a','b','a','c','d']") +
                                       stage("type='dedup'\nfilter=2\non_error='keep-going'") + sink("type='null'"));
    EXPECT_EQ(done.in, 5U);
    EXPECT_EQ(done.out, 2U);
    EXPECT_EQ(done.skipped, 1U);
    EXPECT_EQ(done.failed, 2U);
    const leat::report failed =
        run_text(source("type='list'\nitems=['a','b','c']") + stage("type='dedup'\nfilter=2") + sink("type='null'"));
    EXPECT_EQ(failed.end, leat::flow_end::failed);
    EXPECT_THAT(failed.error,
                HasSubstr("dedup has 2 different keys, its bound; filter = { items = … } of the stage sets it"));
}

TEST(dedup_run, a_million_items_leave_as_many_as_there_are_keys) {
    const scratch_folder folder;
    std::string all;
    for (int i = 0; i < 200000; ++i) all += std::to_string(i * 7919 % 50000) + "\n";
    put_file(folder / "in", all);
    const leat::report done = run_text(source("type='lines'\npath='" + (folder / "in") + "'") + stage("type='dedup'") +
                                       sink("type='write'\npath='" + (folder / "out") + "'"));
    EXPECT_EQ(done.in, 200000U);
    EXPECT_EQ(done.out, 50000U);
    EXPECT_EQ(done.skipped, 150000U);
    EXPECT_TRUE(done.adds_up());
}

TEST(batch, joins_by_count_and_flushes_the_rest_at_the_end) {
    stage_hand hand(make_stage("batch", {{"count", "2"}, {"separator", ","}}));
    std::vector<std::unique_ptr<fate_probe>> probes;
    for (const std::string each : {"a", "b", "c"}) {
        probes.push_back(std::make_unique<fate_probe>());
        hand.give(record(each, "key-" + each), probes.back()->account());
    }
    EXPECT_THAT(hand.contents(), ElementsAre("a,b"));
    hand.finish();
    EXPECT_THAT(hand.contents(), ElementsAre("a,b", "c"));
    EXPECT_EQ(hand.emitter.out[0].value.as<record>().key, "key-a");
    EXPECT_EQ(hand.emitter.out[0].value.as<record>().attribute("items"), "2");
    EXPECT_FALSE(probes[0]->settled());
    hand.emitter.out[0].ack.commit();
    EXPECT_EQ(probes[0]->how(), fate::committed);
    EXPECT_EQ(probes[1]->how(), fate::committed);
    EXPECT_FALSE(probes[2]->settled());
    hand.emitter.out[1].ack.fail();
    EXPECT_EQ(probes[2]->how(), fate::failed);
}

TEST(batch, joins_by_bytes_and_a_longer_item_is_one_alone) {
    stage_hand hand(make_stage("batch", {{"bytes", "5"}}));
    for (const std::string each : {"aa", "bb", "c", "dddddddd", "e"}) hand.give(record(each));
    hand.finish();
    EXPECT_THAT(hand.contents(), ElementsAre("aa\nbb", "c", "dddddddd", "e"));
}

// Gives an item, and the next one when the first has come out at the other end.
class patient_source : public leat::source {
public:
    leat::task<> run(leat::source_output& out) override {
        for (const char* each : {"a", "b"}) {
            leat::payload value(record{std::string(each)});
            co_await out.emit(std::move(value));
            auto taken = co_await arrived.acquire();
            taken.forget();
        }
    }
    leat::semaphore arrived{0};
};

TEST(batch, is_given_on_when_its_time_is_over_though_it_is_not_full) {
    auto source = std::make_shared<patient_source>();
    std::vector<std::string> got;
    auto tail = leat::from_source<record>("patient", source) |
                leat::through<record>("batch", make_stage("batch", {{"count", "1000"}, {"time", "1ms"}})) |
                leat::for_each("store", [&](const record& each) {
                    got.push_back(each.bytes);
                    source->arrived.release();
                });
    // Without its time the batch would be waited for, and wait, for ever.
    const leat::report done = leat::run(leat::run_options(2), leat::run_flow, std::move(tail), leat::flow_options());
    EXPECT_THAT(got, ElementsAre("a", "b"));
    EXPECT_EQ(done.out, 2U);
    EXPECT_TRUE(done.adds_up());
}

TEST(zstd, what_was_compressed_comes_back) {
    for (const std::string& content : {std::string(), binary, std::string(1000000, 'x')}) {
        stage_hand in(make_stage("zstd", {{"level", "5"}}));
        in.give(record(content));
        stage_hand back(make_stage("zstd", {{"mode", "decompress"}}));
        back.give(record(in.contents()[0]));
        back.give(record(in.contents()[0] + in.contents()[0]));
        EXPECT_EQ(back.contents()[0], content);
        EXPECT_EQ(back.contents()[1], content + content);
    }
}

TEST(zstd, broken_or_too_long_content_fails_for_good) {
    stage_hand in(make_stage("zstd", {}));
    in.give(record(std::string(100000, 'x')));
    const std::string packed = in.contents()[0];
    stage_hand back(make_stage("zstd", {{"mode", "decompress"}, {"max", "1000"}}));
    bool permanent = false;
    EXPECT_EQ(error_of(back, record(packed), permanent),
              "the content is longer than 1000 bytes, the bound 'max' of the stage");
    EXPECT_TRUE(permanent);
    EXPECT_EQ(error_of(back, record(packed.substr(0, packed.size() - 1)), permanent),
              "zstd: the content ends in the middle");
    EXPECT_EQ(error_of(back, record(""), permanent), "zstd: the content ends in the middle");
    EXPECT_THAT(error_of(back, record("no zstd at all"), permanent), StartsWith("zstd: "));
    EXPECT_TRUE(permanent);
}

// --- Sinks ---

TEST(write, the_file_takes_its_name_at_the_end) {
    const scratch_folder folder;
    stage_hand hand(make_stage("write", {{"path", folder / "out"}, {"end", "|"}}, leat::component_role::sink));
    put_file(folder / "out", "old");
    fate_probe first;
    hand.give(record(binary), first.account());
    hand.give(record(""));
    EXPECT_EQ(get_file(folder / "out"), "old");
    hand.finish();
    EXPECT_TRUE(first.settled());
    EXPECT_EQ(first.how(), fate::committed);
    EXPECT_EQ(get_file(folder / "out"), binary + "||");
    EXPECT_FALSE(std::filesystem::exists((folder / "out") + ".part"));
}

TEST(write, items_are_written_while_none_follows) {
    const scratch_folder folder;
    const leat_test::pipe_pair in;
    const int saved = ::dup(0);
    ASSERT_EQ(::dup2(in.reader(), 0), 0);
    auto file = leat::parse_flow_file(
        source("type='lines'\npath='-'") + pass + sink("type='write'\npath='" + (folder / "out") + "'"), "t",
        leat_test::all_kinds());
    ASSERT_TRUE(file);
    ASSERT_EQ(::write(in.writer(), "one\n", 4), 4);
    leat::flow_control control;
    leat::flow_options options = leat::prepare_flow(*file);
    options.control = &control;
    std::thread ender([&] {
        while (control.snapshot().counts.out == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        EXPECT_EQ(get_file((folder / "out") + ".part"), "one\n");
        control.drain();
    });
    const leat::report done =
        leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(file->graph), options); });
    ender.join();
    ::dup2(saved, 0);
    ::close(saved);
    EXPECT_EQ(done.out, 1U);
}

TEST(write, a_folder_that_is_missing_or_read_only_is_refused_before_the_first_item) {
    const scratch_folder folder;
    const std::string path = folder / "none/out";
    const leat::report done =
        run_text(source("type='list'\nitems=['a']") + pass + sink("type='write'\npath='" + path + "'"));
    EXPECT_EQ(done.error,
              "write: cannot write '" + path + ".part', which is to become '" + path + "': No such file or directory");
    EXPECT_EQ(done.in, 0U);
    const leat::report other =
        run_text(source("type='list'\nitems=['a']") + pass + sink("type='write'\npath='" + folder.path() + "'"));
    EXPECT_EQ(other.error, "write: cannot write '" + folder.path() + "': Is a directory");
}

TEST(write, a_device_is_written_as_it_is) {
    const leat::report done =
        run_text(source("type='list'\nitems=['a']") + pass + sink("type='write'\npath='/dev/full'"));
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_THAT(done.error, HasSubstr("cannot write to '/dev/full': No space left on device"));
    EXPECT_FALSE(std::filesystem::exists("/dev/full.part"));
    EXPECT_TRUE(done.adds_up());
    EXPECT_EQ(done.out, 0U);
    const leat::report null =
        run_text(source("type='list'\nitems=['a']") + pass + sink("type='write'\npath='/dev/null'"));
    EXPECT_EQ(null.out, 1U);
}

// A limit on the length of files stands for a disk that is full: the same path through write(2).
class file_limit {
public:
    explicit file_limit(rlim_t bytes) {
        ::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &old_);
        rlimit fresh = old_;
        fresh.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &fresh);
    }
    ~file_limit() {
        ::setrlimit(RLIMIT_FSIZE, &old_);
        ::signal(SIGXFSZ, SIG_DFL);
    }

private:
    rlimit old_{};
};

TEST(write, a_full_disk_keeps_the_whole_items_and_says_how_many) {
    const scratch_folder folder;
    const std::string path = folder / "out";
    const std::string message =
        "cannot write '" + path + ".part': File too large; the first 3 items are in it whole, and it keeps its name";
    stage_hand hand(make_stage("write", {{"path", path}}, leat::component_role::sink));
    std::vector<std::unique_ptr<fate_probe>> probes;
    std::vector<std::string> refused;  // the sink may meet its end before it is given all
    {
        const file_limit limit(350);
        for (int i = 0; i < 5; ++i) {
            const std::string content(99, static_cast<char>('a' + i));
            probes.push_back(std::make_unique<fate_probe>());
            bool permanent = true;
            const std::string error = error_of(hand, record(content), permanent, probes.back()->account());
            if (error == "(no error)") continue;
            EXPECT_EQ(error, message);
            refused.push_back(content);
        }
        EXPECT_EQ(finish_error_of(hand), message);
        EXPECT_EQ(get_file(path + ".part").size(), 300U);
        EXPECT_EQ(get_file(path + ".part").back(), '\n');
        EXPECT_TRUE(probes[2]->settled());
        EXPECT_EQ(probes[2]->how(), fate::committed);
        EXPECT_FALSE(probes[3]->settled() && probes[3]->how() == fate::committed);
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    for (const std::string& each : refused) hand.give(record(each));
    hand.finish();  // there is room again: it goes on where the last whole item ended
    EXPECT_EQ(get_file(path).size(), 500U);
    EXPECT_EQ(get_file(path)[400], 'e');
}

TEST(write, a_full_disk_ends_a_flow_with_an_account_that_adds_up) {
    const scratch_folder folder;
    put_file(folder / "in", [] {
        std::string all;
        for (int i = 0; i < 100000; ++i) all += fmt::format("{:09}\n", i);
        return all;
    }());
    leat::report done;
    {
        const file_limit limit(500003);
        done = run_text(source("type='lines'\npath='" + (folder / "in") + "'") + pass +
                        sink("type='write'\npath='" + (folder / "out") + "'"));
    }
    EXPECT_EQ(done.end, leat::flow_end::failed);
    EXPECT_TRUE(done.adds_up());
    EXPECT_EQ(done.out, 50000U);
    EXPECT_EQ(get_file((folder / "out") + ".part").size(), 500000U);
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

TEST(write, standard_output_that_nobody_reads_is_an_error_of_its_own) {
    leat_test::pipe_pair out;
    out.close_reader();
    const int saved = ::dup(1);
    std::fflush(stdout);
    ASSERT_EQ(::dup2(out.writer(), 1), 1);
    stage_hand hand(make_stage("write", {{"path", "-"}}, leat::component_role::sink));
    hand.give(record("lost"));
    std::string error;
    try {
        hand.finish();
    } catch (const leat::output_closed& closed) {
        error = closed.what();
    }
    ::dup2(saved, 1);
    ::close(saved);
    EXPECT_EQ(error, "cannot write to standard output: nobody reads it any more");
}

TEST(jsonl_sink, content_that_is_no_text_stands_as_base64) {
    const scratch_folder folder;
    stage_hand hand(make_stage("jsonl", {{"path", folder / "out"}}, leat::component_role::sink));
    record text("line\n\"q\"\x01 \xc3\xa4", "k");
    text.set_attribute("a", "1");
    hand.give(std::move(text));
    hand.give(record("\xff\x01", "\xfe"));
    hand.finish();
    EXPECT_EQ(get_file(folder / "out"),
              "{\"key\":\"k\",\"attributes\":{\"a\":\"1\"},\"text\":\"line\\n\\\"q\\\"\\u0001 \xc3\xa4\"}\n"
              "{\"key_base64\":\"/g==\",\"base64\":\"/wE=\"}\n");
}

TEST(record_json, utf8_is_told_from_what_only_looks_like_it) {
    for (const std::string good :
         {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "12345678\xc3\xa4", "\xf4\x8f\xbf\xbf"})
        EXPECT_TRUE(leat::is_utf8(good)) << good;
    for (const std::string bad :
         {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "1234567\xff", "\xe2\x82", "\xff"})
        EXPECT_FALSE(leat::is_utf8(bad));
    std::string made;
    for (const std::string each : {"", "f", "fo", "foo", "foob"}) leat::append_base64(made, each), made += ' ';
    EXPECT_EQ(made, " Zg== Zm8= Zm9v Zm9vYg== ");
}

TEST(directory, a_file_an_item_inside_the_directory_whatever_the_name) {
    const scratch_folder folder;
    const std::string to = folder / "to";
    stage_hand hand(make_stage("directory", {{"path", to}, {"suffix", ".out"}}, leat::component_role::sink));
    hand.give(record(binary, "../../etc/passwd"));
    hand.give(record("2", "a/b/name.txt"));
    EXPECT_EQ(get_file(to + "/passwd.out"), binary);
    EXPECT_EQ(get_file(to + "/name.txt.out"), "2");
    for (const std::string bad : {"..", "a/..", "", "x/", ".", "/"}) {
        stage_hand plain(make_stage("directory", {{"path", to}}, leat::component_role::sink));
        bool permanent = false;
        EXPECT_EQ(error_of(plain, record("x", bad), permanent), "\"" + bad + "\" gives no file name");
        EXPECT_TRUE(permanent);
    }
    std::size_t files = 0;
    for (const auto& each : std::filesystem::directory_iterator(to)) files += each.is_regular_file() ? 1 : 0;
    EXPECT_EQ(files, 2U);  // and nothing half done
}

TEST(directory, a_collision_gets_a_number_or_fails_or_replaces) {
    const scratch_folder folder;
    const auto with = [&](const std::string& collision) {
        return std::make_unique<stage_hand>(
            make_stage("directory", {{"path", folder.path()}, {"collision", collision}}, leat::component_role::sink));
    };
    auto number = with("number");
    for (const std::string each : {"1", "2", "3"}) number->give(record(each, "a.txt"));
    number->give(record("4", ".rc"));
    number->give(record("5", ".rc"));
    EXPECT_EQ(get_file(folder / "a.txt"), "1");
    EXPECT_EQ(get_file(folder / "a-2.txt"), "2");
    EXPECT_EQ(get_file(folder / "a-3.txt"), "3");
    EXPECT_EQ(get_file(folder / ".rc-2"), "5");
    bool permanent = false;
    EXPECT_EQ(error_of(*with("fail"), record("x", "a.txt"), permanent), "'" + (folder / "a.txt") + "' exists already");
    EXPECT_TRUE(permanent);
    with("replace")->give(record("new", "a.txt"));
    EXPECT_EQ(get_file(folder / "a.txt"), "new");
}

TEST(directory, one_that_cannot_be_made_is_refused_before_the_first_item) {
    const scratch_folder folder;
    put_file(folder / "file", "");
    for (const std::string& path : {folder / "none/deeper", folder / "file"}) {
        const leat::report done =
            run_text(source("type='list'\nitems=['a']") + pass + sink("type='directory'\npath='" + path + "'"));
        EXPECT_THAT(done.error, StartsWith("directory: cannot ")) << path;
        EXPECT_THAT(done.error, HasSubstr("'" + path + "'"));
        EXPECT_EQ(done.in, 0U);
    }
}

TEST(directory, a_full_disk_leaves_no_half_file) {
    const scratch_folder folder;
    stage_hand hand(make_stage("directory", {{"path", folder.path()}}, leat::component_role::sink));
    bool permanent = true;
    {
        const file_limit limit(100);
        EXPECT_THAT(error_of(hand, record(std::string(200, 'x'), "big"), permanent),
                    HasSubstr("cannot write '" + (folder / "big") + "': File too large"));
    }
    EXPECT_FALSE(permanent);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// --- Dead letters ---

TEST(dead_letters, are_appended_with_all_that_is_known) {
    const scratch_folder folder;
    for (int run = 0; run < 2; ++run) {
        const leat::report done = run_text(
            "[flow]\nname='f'\nstate='" + (folder / "a/state") + "'\n" + source("type='list'\nitems=['{}', 'no']") +
            stage("type='filter'\npattern='x'\non='/a'\non_error='dead-letter'") + sink("type='null'"));
        EXPECT_EQ(done.dead, 2U);
        EXPECT_EQ(done.end, leat::flow_end::complete);
        EXPECT_TRUE(done.adds_up());
    }
    const std::string letters = get_file(folder / "a/state/dead.jsonl");
    EXPECT_EQ(std::count(letters.begin(), letters.end(), '\n'), 4);
    EXPECT_THAT(letters, HasSubstr("\"flow\":\"f\",\"stage\":\"filter\",\"attempts\":1,\"error\":\"it has no value at "
                                   "'/a'\",\"sequence\":0,\"key\":\"{}\",\"text\":\"{}\"}\n"));
    EXPECT_THAT(letters, StartsWith("{\"time\":\"2"));
}

TEST(dead_letters, that_cannot_be_written_are_an_error_and_leave_no_half_line) {
    const scratch_folder folder;
    leat::dead_letter_file file(folder / "dead.jsonl", "f");
    leat::item what(leat::payload(record(std::string(500, '\xff'), "k")), {});
    const std::string stage_name = "s", error = "e";
    const leat::dead_letter letter{what, stage_name, 2, error};
    file.keep(letter);
    const std::string one = get_file(folder / "dead.jsonl");
    EXPECT_THAT(one, HasSubstr("\"base64\":\"/////"));
    {
        const file_limit limit(one.size() + 100);
        EXPECT_THROW(file.keep(letter), std::system_error);
    }
    EXPECT_EQ(get_file(folder / "dead.jsonl"), one);
    EXPECT_THROW(leat::dead_letter_file("/proc/none/dead.jsonl", "f"), std::system_error);
}

TEST(flow_run, files_are_read_cut_and_written_in_order) {
    const scratch_folder folder;
    std::string all;
    for (int i = 0; i < 50; ++i) {
        const std::string text = fmt::format("file {:02}\nsecond {:02}\n", i, i);
        put_file(folder / fmt::format("in/{:02}", i), text);
        all += text;
    }
    const leat::report done = run_text(source("type='glob'\npath='" + (folder / "in/*") + "'") +
                                       stage("type='read'\njobs=4") + stage("type='split'\njobs=3") +
                                       stage("type='zstd'") + stage("type='zstd'\nmode='decompress'\nname='back'") +
                                       sink("type='write'\npath='" + (folder / "out") + "'"));
    EXPECT_EQ(done.end, leat::flow_end::complete) << done.error;
    EXPECT_EQ(done.in, 50U);
    EXPECT_EQ(done.out, 50U);
    EXPECT_EQ(get_file(folder / "out"), all);
}

}  // namespace
