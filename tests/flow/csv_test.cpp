// Comma-separated values: the parser, the source of rows for flows of functions, and the kind.
#include <leat/flow/csv.hpp>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <rapidcheck.h>
#include <sys/resource.h>

#include <flow_kinds.hpp>
#include <leat/base/sanitizer.hpp>
#include <leat/flow/journal.hpp>

namespace {

using leat::csv_parser;
using leat_test::get_file;
using leat_test::put_file;
using leat_test::run_text;
using leat_test::scratch_folder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using rows = std::vector<std::vector<std::string>>;

// A bad row is one of a single field, "LINE: why".
void take_rows(csv_parser& parser, rows& into) {
    for (;;) {
        const csv_parser::event found = parser.next();
        if (found == csv_parser::event::more) return;
        std::vector<std::string>& row = into.emplace_back();
        if (found == csv_parser::event::bad) row.push_back(fmt::format("{}: {}", parser.line(), parser.why()));
        else
            for (std::size_t i = 0; i < parser.size(); ++i) row.emplace_back(parser[i]);
    }
}

// Fed in pieces of the given size.
rows parsed(std::string_view text, std::size_t piece = ~std::size_t{0}, std::uint64_t longest = 1000) {
    csv_parser parser(',', longest);
    rows all;
    for (std::size_t at = 0; at < text.size();) {
        const std::string_view part = text.substr(at, piece);
        parser.feed(part);
        take_rows(parser, all);
        at += part.size();
    }
    parser.finish();
    take_rows(parser, all);
    return all;
}

TEST(csv_parser, takes_rows_apart_as_the_rfc_has_it) {
    EXPECT_EQ(parsed("a,b,c\r\n1,2,3\r\n"), (rows{{"a", "b", "c"}, {"1", "2", "3"}}));
    EXPECT_EQ(parsed("a,b\n1,2"), (rows{{"a", "b"}, {"1", "2"}}));
    EXPECT_EQ(parsed("\"a\",\"b,c\"\n"), (rows{{"a", "b,c"}}));
    EXPECT_EQ(parsed("\"say \"\"hello\"\"\",\"\"\"\"\n"), (rows{{"say \"hello\"", "\""}}));
    EXPECT_EQ(parsed("\"two\nlines\",\"two\r\nmore\"\r\nnext,row\r\n"),
              (rows{{"two\nlines", "two\r\nmore"}, {"next", "row"}}));
    EXPECT_EQ(parsed(",,\n"), (rows{{"", "", ""}}));
    EXPECT_EQ(parsed("\"\",\n"), (rows{{"", ""}}));
    EXPECT_EQ(parsed(" a , b \n"), (rows{{" a ", " b "}}));
    EXPECT_EQ(parsed(std::string_view("a\0b,\xff\n", 6)), (rows{{std::string("a\0b", 3), "\xff"}}));
    EXPECT_THAT(parsed(""), IsEmpty());
}

TEST(csv_parser, leaves_out_empty_lines_and_a_byte_order_mark) {
    EXPECT_EQ(parsed("\n\na\n\r\n\nb\n\n"), (rows{{"a"}, {"b"}}));
    EXPECT_EQ(parsed("a\r\n\r"), (rows{{"a"}}));
    EXPECT_EQ(parsed("\xef\xbb\xbf\"a\",b\n"), (rows{{"a", "b"}}));
    EXPECT_EQ(parsed("\xef\xbb"), (rows{{"\xef\xbb"}}));
    EXPECT_EQ(parsed("\"\"\n"), (rows{{""}}));
}

TEST(csv_parser, a_last_line_without_its_end_is_a_row) {
    EXPECT_EQ(parsed("a,b\n1,"), (rows{{"a", "b"}, {"1", ""}}));
    EXPECT_EQ(parsed("a,\"b\""), (rows{{"a", "b"}}));
    EXPECT_EQ(parsed("a,b\r"), (rows{{"a", "b"}}));
    EXPECT_EQ(parsed("a,\"b\"\r"), (rows{{"a", "b"}}));
}

TEST(csv_parser, a_bad_row_is_told_with_its_line_and_the_next_one_is_not_concerned) {
    const std::string inside = "a quote stands inside a field that does not begin with one";
    const std::string behind = "something stands behind the quote that ends a field";
    EXPECT_EQ(parsed("a\nb\"c,d\n\"e\"\n"), (rows{{"a"}, {"2: " + inside}, {"e"}}));
    EXPECT_EQ(parsed("\"a\"b,c\nd\n"), (rows{{"1: " + behind}, {"d"}}));
    EXPECT_EQ(parsed("\"a\"\rb\nd\n"), (rows{{"1: " + behind}, {"d"}}));
    EXPECT_EQ(parsed("\"x\ny\",z\n\"a\" \nd\n"), (rows{{"x\ny", "z"}, {"3: " + behind}, {"d"}}));
    EXPECT_EQ(parsed("a\n\"b\nc\nd"),
              (rows{{"a"}, {"2: a quote that is opened in it is not closed before the end of the file"}}));
}

TEST(csv_parser, a_row_beyond_its_bound_is_bad_and_its_quotes_are_followed_to_its_end) {
    const std::string why = "1: the row is longer than 10 bytes";
    for (const std::size_t piece : {1U, 3U, 1000U}) {
        EXPECT_EQ(parsed("0123456789\r\na\n", piece, 10), (rows{{"0123456789"}, {"a"}}));
        EXPECT_EQ(parsed("01234567890\na\n", piece, 10), (rows{{why}, {"a"}}));
        EXPECT_EQ(parsed("01234567890", piece, 10), (rows{{why}}));
        EXPECT_EQ(parsed("\"0123456789\n\n\n\"\"\",x\na\n", piece, 10), (rows{{why}, {"a"}}));
    }
}

TEST(csv_parser, keeps_the_text_of_what_is_bad) {
    csv_parser parser;
    parser.feed("good,row\r\nba\"d,row\r\nlast");
    EXPECT_EQ(parser.next(), csv_parser::event::row);
    EXPECT_EQ(parser.raw(), "good,row");
    EXPECT_EQ(parser.next(), csv_parser::event::bad);
    EXPECT_EQ(parser.raw(), "ba\"d,row");
}

TEST(csv_parser, bounds_the_fields_of_a_row) {
    EXPECT_EQ(parsed(std::string(csv_parser::most_fields, ',') + "\na\n", ~std::size_t{0}, 1 << 20),
              (rows{{"1: the row has more than 65536 fields"}, {"a"}}));
}

TEST(csv_parser, refuses_a_separator_that_could_not_be_told_from_what_it_separates) {
    for (const char bad : {'"', '\n', '\r'}) EXPECT_THROW((void)csv_parser(bad), std::invalid_argument);
}

void check_property(const std::function<void()>& property, int times, int size) {
    rc::detail::TestParams how;
    how.maxSuccess = times;
    how.maxSize = size;
    const auto result = rc::detail::checkTestable(property, rc::detail::TestMetadata(), how);
    if (result.is<rc::detail::SuccessResult>()) return;
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    FAIL() << text.str();
}
rc::Gen<std::string> texts() {
    return rc::gen::container<std::string>(
        rc::gen::element('"', ',', '\n', '\r', 'a', 'b', ' ', '\xef', '\xbb', '\xbf', '\0'));
}

TEST(csv_parser, gives_back_what_was_written_however_it_comes) {
    check_property(
        [] {
            const rows written =
                *rc::gen::container<rows>(rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(texts())));
            std::string text;
            for (const auto& row : written) {
                const std::vector<std::string_view> fields(row.begin(), row.end());
                leat::append_csv_row(text, fields);
            }
            RC_ASSERT(parsed(text, *rc::gen::inRange<std::size_t>(1, 20), 1 << 20) == written);
        },
        300, 12);
}

TEST(csv_parser, finds_the_same_rows_in_any_bytes_however_they_come) {
    check_property(
        [] {
            const std::string text = *texts();
            RC_ASSERT(parsed(text, *rc::gen::inRange<std::size_t>(1, 8), 7) == parsed(text, ~std::size_t{0}, 7));
        },
        2000, 60);
}

// --- Rows for functions ---

struct from_file {
    leat::report done;
    std::vector<std::string> seen;
};
from_file names_of(leat::csv_options options) {
    from_file all;
    auto flow =
        leat::from_csv(std::move(options)) | leat::for_each("keep", [&](const leat::csv_row& row) {
            all.seen.push_back(row.error().empty() ? row.key().substr(row.key().rfind(':') + 1) + " " + row["name"]
                                                   : row.error());
        });
    all.done = leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow)); });
    return all;
}

TEST(from_csv, gives_rows_with_their_columns_and_places) {
    const scratch_folder folder;
    put_file(folder / "in", "id,name\r\n1, one \r\n2,\"t\nwo\"\r\n\r\n3,three");
    EXPECT_THAT(names_of(leat::csv_options(folder / "in")).seen, ElementsAre("2  one ", "3 t\nwo", "6 three"));
    leat::csv_options bare(folder / "in");
    bare.header = false;
    EXPECT_THROW((void)leat::from_csv(bare), std::invalid_argument);
    bare.columns = {"x", "name"};
    bare.trim = true;
    EXPECT_THAT(names_of(bare).seen, ElementsAre("1 name", "2 one", "3 t\nwo", "6 three"));
}

TEST(from_csv, a_bad_row_is_what_was_asked_for) {
    const scratch_folder folder;
    put_file(folder / "in", "id,name\n1,one\n2\n3,three\n");
    leat::csv_options options(folder / "in");
    const std::string why = (folder / "in") + ":3: the row has 1 fields, and there are 2 columns";
    from_file all = names_of(options);
    EXPECT_EQ(all.done.end, leat::flow_end::failed);
    EXPECT_EQ(all.done.error, "csv: " + why);

    options.bad_rows = leat::csv_bad_rows::skip;
    all = names_of(options);
    EXPECT_THAT(all.seen, ElementsAre("2 one", "4 three"));
    EXPECT_EQ(all.done.end, leat::flow_end::complete);
    EXPECT_EQ(all.done.skipped, 1U);

    options.bad_rows = leat::csv_bad_rows::keep_going;
    all = names_of(options);
    EXPECT_EQ(all.done.failed, 1U);
    EXPECT_EQ(all.done.out, 2U);
    EXPECT_TRUE(all.done.adds_up());

    options.bad_rows = leat::csv_bad_rows::pass_on;
    EXPECT_THAT(names_of(options).seen, ElementsAre("2 one", why, "4 three"));

    options.bad_rows = leat::csv_bad_rows::dead_letter;
    EXPECT_THROW((void)names_of(options), std::invalid_argument) << "nobody keeps them";
}

TEST(from_csv, a_column_that_is_not_there_fails_the_item) {
    const scratch_folder folder;
    put_file(folder / "in", "id,nom\n1,one\n");
    EXPECT_THAT(names_of(leat::csv_options(folder / "in")).done.error, HasSubstr("in:2: there is no column 'name'"));
}

// --- The kind ---

std::string objects_of(const std::string& csv, const std::string& options = {}) {
    const scratch_folder folder;
    put_file(folder / "in", csv);
    const leat::report done = run_text(
        "[flow]\nstate='" + (folder / "state") + "'\n[source]\ntype='csv'\npath='" + (folder / "in") + "'\n" + options +
        "\n[[stage]]\ntype='filter'\npattern=''\n[sink]\ntype='write'\npath='" + (folder / "out") + "'\n");
    EXPECT_TRUE(done.adds_up());
    if (done.end == leat::flow_end::complete) return get_file(folder / "out") + get_file(folder / "state/dead.jsonl");
    std::string why = done.error;
    const std::size_t at = why.find(folder.path());
    if (at != std::string::npos) why.erase(at, folder.path().size() + 1);
    return "error: " + why;
}
const std::string no_letters = "(no such file)";

TEST(csv, each_row_is_a_json_object_that_other_kinds_can_look_into) {
    EXPECT_EQ(objects_of("id,a \"b\"\n"),
              "error: csv: in:1: a quote stands inside a field that does not begin with one");
    EXPECT_EQ(objects_of("id,\"a \"\"b\"\"\"\n1,x\ty\n2,\"\xc3\xa4\"\n"),
              "{\"id\":\"1\",\"a \\\"b\\\"\":\"x\\ty\"}\n{\"id\":\"2\",\"a \\\"b\\\"\":\"\xc3\xa4\"}\n" + no_letters);
    EXPECT_EQ(objects_of("1;2\n", "separator=';'\nheader=false\ncolumns=['a','b']"),
              "{\"a\":\"1\",\"b\":\"2\"}\n" + no_letters);
    EXPECT_EQ(objects_of("a\tb\n 1\t2 \n", "separator='tab'\ntrim=true"), "{\"a\":\"1\",\"b\":\"2\"}\n" + no_letters);
    EXPECT_EQ(objects_of("id\n1\n2\n1\n", "[[stage]]\ntype='dedup'\nkey='/id'"),
              "{\"id\":\"1\"}\n{\"id\":\"2\"}\n" + no_letters);
    EXPECT_EQ(objects_of(""), no_letters);
}

TEST(csv, says_where_what_is_wrong_is) {
    EXPECT_EQ(objects_of("a,b\n1,2\n3\n"), "error: csv: in:3: the row has 1 fields, and there are 2 columns");
    EXPECT_EQ(objects_of("a,a\n"), "error: csv: in:1: two columns are called 'a'");
    EXPECT_EQ(objects_of("a,\n"), "error: csv: in:1: column 2 has no name");
    EXPECT_EQ(objects_of("a\n\"x\ny\"\n\xff\n"), "error: csv: in:4: column \"a\" is not UTF-8");
    EXPECT_EQ(objects_of("a\nxx\n", "max_row=1"), "error: csv: in:2: the row is longer than 1 bytes");
}

TEST(csv, a_bad_row_can_be_left_out_kept_as_a_dead_letter_or_passed_on) {
    const std::string text = "a,b\n1,2\ntorn\n3,4\n";
    EXPECT_EQ(objects_of(text, "bad_rows='skip'"),
              "{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"4\"}\n" + no_letters);
    EXPECT_THAT(
        objects_of(text, "bad_rows='dead-letter'"),
        testing::AllOf(StartsWith("{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"4\"}\n{"),
                       HasSubstr("\"stage\":\"csv\""), HasSubstr("in:3: the row has 1 fields, and there are 2 columns"),
                       HasSubstr("\"text\":\"torn\"")));
    EXPECT_EQ(objects_of(text, "bad_rows='pass-on'"),
              "{\"a\":\"1\",\"b\":\"2\"}\ntorn\n{\"a\":\"3\",\"b\":\"4\"}\n" + no_letters);
}

TEST(from_csv, a_bad_row_goes_on_record_like_the_others_and_is_kept_once_by_a_run_that_goes_on) {
    const scratch_folder folder;
    put_file(folder / "in", "id,name\n1,one\ntorn\n3,three\n4\"x,y\n5,five\n");
    std::vector<std::string> seen;
    const auto run = [&](bool is_first) {
        leat::csv_options options(folder / "in");
        options.bad_rows = leat::csv_bad_rows::dead_letter;
        const std::unique_ptr<leat::journal> kept = leat::open_journal(folder / "state");
        leat::flow_control control;
        leat::flow_options with;
        with.control = &control;
        with.journal = kept.get();
        with.journal_mode = is_first ? leat::journal_mode::fresh : leat::journal_mode::resume;
        auto flow = leat::from_csv(options) | leat::for_each("keep", [&](const leat::csv_row& row) {
                        seen.push_back(row["name"]);
                        if (is_first) control.drain();
                    });
        const leat::report done =
            leat::run(leat::run_options(2), [&] { return leat::run_flow(std::move(flow), with); });
        EXPECT_NE(done.end, leat::flow_end::failed) << done.error;
        EXPECT_TRUE(done.adds_up());
        std::size_t letters = 0;
        kept->for_each_letter(0, [&](leat::kept_letter&&) {
            ++letters;
            return true;
        });
        return letters;
    };
    (void)run(true);
    EXPECT_EQ(run(false), 2U);
    EXPECT_THAT(seen, ElementsAre("one", "three", "five"));
}

TEST(csv, dead_letters_need_a_place) {
    const auto file = leat::parse_flow_file(
        "[source]\ntype='csv'\npath='x'\nbad_rows='dead-letter'\n[[stage]]\ntype='filter'\npattern=''\n[sink]\ntype='"
        "null'\n",
        "t.toml", leat_test::all_kinds());
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().to_text(),
              "t.toml:1:1: [source]: dead letters need a directory; expected state = \"…\" in [flow]\n");
}

TEST(csv, refuses_options_that_cannot_be_meant_so) {
    EXPECT_THROW((void)objects_of("", "separator='ab'"), std::invalid_argument);
    EXPECT_THROW((void)objects_of("", "header=false"), std::invalid_argument);
    EXPECT_THROW((void)objects_of("", "columns=['a','a']"), std::invalid_argument);
}

TEST(csv, a_line_of_a_gigabyte_is_an_error_within_bounds) {
    if (leat::sanitizer::any) GTEST_SKIP() << "the measure is of memory";
    const scratch_folder folder;
    put_file(folder / "in", "a,b\n1,\"");
    std::filesystem::resize_file(folder / "in", std::uintmax_t{1} << 30U);  // a hole: zeros
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    leat::csv_options options(folder / "in");
    options.bad_rows = leat::csv_bad_rows::skip;
    options.columns = {"a", "name"};
    const from_file all = names_of(options);
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_EQ(all.done.skipped, 1U) << all.done.error;
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 100L << 10U) << "in KiB";
}

}  // namespace
