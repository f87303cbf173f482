// command_template: GNU parallel's replacement strings (what they give was taken from GNU parallel 20221122), and the two
// places where an item must not go: an argument with a NUL byte, and the text of a shell.
#include <leat/flow/command_template.hpp>

#include <gmock/gmock.h>

#include <flow/shell_text.hpp>
#include <leat/flow/policy.hpp>
#include <leat/process/spawn.hpp>

#include <child_output.hpp>

namespace {

using leat::command_template;
using leat::command_template_options;
using testing::ElementsAre;
using testing::HasSubstr;
using words = std::vector<std::string>;

command_template_options appending() {
    command_template_options options;
    options.append_item = true;
    return options;
}
command_template_options quoting() {
    command_template_options options;
    options.shell_quote = true;
    return options;
}

// The one argument `text` filled with `item`.
std::string filled(const std::string& text, std::string_view item, std::uint64_t number = 1, unsigned slot = 1) {
    return command_template(words{"echo", text}).fill(item, number, slot).at(1);
}

std::string refusal(const words& argv, command_template_options options = {}) {
    try {
        const command_template made(argv, options);
    } catch (const std::invalid_argument& problem) {
        return problem.what();
    }
    return {};
}

TEST(command_template, replacement_strings_mean_what_they_mean_in_gnu_parallel) {
    struct meaning {
        const char *item, *stem, *base, *folder, *base_stem;
    };
    const meaning expected[] = {
        {"foo.jpg", "foo", "foo.jpg", ".", "foo"},
        {".bashrc", "", ".bashrc", ".", ""},
        {"d/.x", "d/", ".x", "d", ""},
        {"foo.", "foo", "foo.", ".", "foo"},
        {"a/b/", "a/b/", "", "a", ""},
        {"/", "/", "", "/", ""},
        {"//", "//", "", "/", ""},
        {"", "", "", ".", ""},
        {"a", "a", "a", ".", "a"},
        {"d.e/f", "d.e/f", "f", "d.e", "f"},
        {"/x", "/x", "x", "/", "x"},
        {"x/", "x/", "", ".", ""},
        {"./x", "./x", "x", ".", "x"},
        {"../..", "../.", "..", "..", "."},
        {".", "", ".", ".", ""},
        {"..", ".", "..", ".", "."},
        {"a//b", "a//b", "b", "a", "b"},
        {"///a", "///a", "a", "/", "a"},
        {"a/b//", "a/b//", "", "a", ""},
        {"d.e/x.tar.gz", "d.e/x.tar", "x.tar.gz", "d.e", "x.tar"},
    };
    for (const meaning& each : expected) {
        EXPECT_EQ(filled("{}", each.item), each.item);
        EXPECT_EQ(filled("{.}", each.item), each.stem) << each.item;
        EXPECT_EQ(filled("{/}", each.item), each.base) << each.item;
        EXPECT_EQ(filled("{//}", each.item), each.folder) << each.item;
        EXPECT_EQ(filled("{/.}", each.item), each.base_stem) << each.item;
        EXPECT_EQ(filled("{1}{1.}{1/}{1//}{1/.}", each.item),
                  std::string(each.item) + each.stem + each.base + each.folder + each.base_stem);
    }
    EXPECT_EQ(filled("{#}-{%}", "x", 17, 3), "17-3");
}

TEST(command_template, strings_are_replaced_anywhere_in_an_argument) {
    EXPECT_EQ(filled("{}{}", "a.b"), "a.ba.b");
    EXPECT_EQ(filled("{{}}", "a.b"), "{a.b}");
    EXPECT_EQ(filled("out/{/.}.{#}", "in/x.c"), "out/x.1");
    EXPECT_EQ(filled("a{2}b{2.}", "x"), "ab") << "there is no second source";
}

TEST(command_template, an_item_of_several_parts_is_so_many_arguments_or_is_named_by_number) {
    const words parts{"a", "d/1.c"};
    const auto filled_with = [&](words argv) { return command_template(std::move(argv)).fill(parts, 1, 1); };
    EXPECT_THAT(filled_with({"echo", "x{}y", "{2.}", "{3}.", "{2//}"}),
                ElementsAre("echo", "xa d/1.cy", "d/1", ".", "d"));
    EXPECT_THAT(filled_with({"echo", "{}", "{/.}"}), ElementsAre("echo", "a", "d/1.c", "a", "1"));
    EXPECT_THAT(command_template({"echo"}, appending()).fill(parts, 1, 1), ElementsAre("echo", "a", "d/1.c"));
    EXPECT_THAT(command_template({"sh", "-c", "echo {} {2}"}, quoting()).fill(parts, 1, 1),
                ElementsAre("sh", "-c", "echo 'a' 'd/1.c' 'd/1.c'"));
}

TEST(shell_line, quotes_what_a_shell_would_read_otherwise) {
    EXPECT_EQ(leat::shell_line(words{"echo", "a b", "", "x=1", "./a-b_c.d", "it's"}),
              "echo 'a b' '' 'x=1' ./a-b_c.d 'it'\\''s'");
}

TEST(command_template, other_braces_stay) {
    for (const char* text : {"{ }", "{x}", "{", "}", "{##}", "{..}", "{/", "{+/}", "{1x}", "{-1}", "{0}"})
        EXPECT_EQ(filled(text, "a.b"), text);
}

TEST(command_template, the_item_is_the_last_argument_where_no_string_occurs) {
    EXPECT_THAT(command_template({"echo", "-n"}, appending()).fill("a b", 1, 1), ElementsAre("echo", "-n", "a b"));
    EXPECT_THAT(command_template({"echo", "{#}"}, appending()).fill("a b", 7, 1), ElementsAre("echo", "7"));
    const command_template fixed({"tr", "a", "b"});
    EXPECT_FALSE(fixed.takes_item());
    EXPECT_THAT(fixed.fill(std::string_view("a\0b", 3), 1, 1), ElementsAre("tr", "a", "b"));
}

TEST(command_template, the_bytes_of_an_item_are_untouched) {
    for (const char* item : {"a b", "'\"", "new\nline", "$(x)", ";", "-n", "\xff\xfe", "`x`", "\\", ""})
        EXPECT_EQ(filled("[{}]", item), std::string("[") + item + "]");
}

TEST(command_template, an_item_with_a_nul_byte_fails_where_it_would_be_an_argument) {
    const command_template made({"echo", "{}"});
    try {
        (void)made.fill(std::string_view("ab\0c", 4), 1, 1);
        FAIL() << "was accepted";
    } catch (const leat::permanent_error& problem) {
        EXPECT_THAT(problem.what(), HasSubstr("NUL byte (at byte 3)"));
    }
}

TEST(command_template, the_command_is_known_when_it_does_not_depend_on_the_item) {
    EXPECT_EQ(command_template({"echo", "{}"}).fixed_command(), "echo");
    EXPECT_EQ(command_template({"bin/{}"}).fixed_command(), "");
    EXPECT_THAT(refusal({}), HasSubstr("no command"));
    EXPECT_THAT(refusal({""}), HasSubstr("empty"));
    EXPECT_THAT(refusal({"echo", std::string("a\0b", 3)}), HasSubstr("NUL"));
}

TEST(command_template, an_item_in_the_text_of_a_shell_is_refused_with_advice) {
    const words refused[] = {
        {"sh", "-c", "echo {}"},
        {"bash", "-c", "echo {/.}"},
        {"/bin/dash", "-c", "{}"},
        {"zsh", "-lc", "echo {}"},
        {"ksh", "-ec", "echo {1}"},
        {"bash", "-e", "-o", "pipefail", "-c", "echo {}"},
        {"bash", "-eo", "pipefail", "-c", "echo {}"},
        {"bash", "--norc", "-c", "echo {}"},
        {"bash", "-c", "-x", "echo {}"},
        {"env", "sh", "-c", "echo {}"},
        {"/usr/bin/env", "-i", "X=1", "bash", "-c", "echo {}"},
        {"nice", "-n", "5", "sh", "-c", "echo {}"},
        {"timeout", "5", "sh", "-c", "echo {}"},
    };
    for (const words& each : refused)
        EXPECT_THAT(refusal(each), testing::AllOf(HasSubstr("$0"), HasSubstr("--shell-quote")))
            << testing::PrintToString(each);
    EXPECT_THAT(refusal({"bash", "-c"}, appending()), HasSubstr("$0")) << "the item would be the text";
}

TEST(command_template, an_item_beside_the_text_of_a_shell_is_fine) {
    const words fine[] = {
        {"sh", "-c", "echo \"$0\"", "{}"},       {"bash", "script.sh", "{}"},
        {"sh", "-c", "echo {#}", "{}"},          {"echo", "sh", "-c", "{}"},
        {"bash", "-e", "script.sh", "-c", "{}"},
    };
    for (const words& each : fine) EXPECT_EQ(refusal(each), "") << testing::PrintToString(each);
    EXPECT_EQ(refusal({"sh", "-c", "echo \"$0\""}, appending()), "");
}

TEST(command_template, quoting_puts_one_literal_word_into_the_text) {
    const command_template made({"sh", "-c", "printf %s {}"}, quoting());
    for (const char* item : {"a b", "it's", "$(echo x)", "`echo x`", "a;b", "\n", "''", "\\", "\xff", "*", ""}) {
        leat_test::pipe_pair pipe;
        leat::spawn_options options(made.fill(item, 1, 1));
        options.out = leat::child_stdio::descriptor(pipe.writer());
        auto child = leat::spawn(options);
        ASSERT_TRUE(child.has_value());
        EXPECT_EQ(pipe.read_all(), item);
        EXPECT_TRUE(child->wait().success());
    }
    EXPECT_THAT(made.fill("it's", 1, 1), ElementsAre("sh", "-c", "printf %s 'it'\\''s'"));
}

TEST(command_template, quoting_is_refused_where_the_shell_would_not_see_a_word) {
    for (const char* text :
         {"echo \"{}\"", "echo '{}'", "echo `cat {}`", "echo \\{}", "echo $'{}", "cat <<E\n{}\nE", "echo $(({} + 1))",
          "# {}", "echo a # {}", "echo ${x:{}}", "echo \"$(cat {})\"", "echo $'it\\'s' {}", "echo $[{}]"})
        EXPECT_NE(refusal({"sh", "-c", text}, quoting()), "") << text;
    for (const char* text : {"echo {}", "cat < {}", "cat <<< {}", "x={}; echo \"$x\"", "echo \"a\" 'b' {}", "echo a#{}",
                             "echo $(cat {})", "echo {} {}", "# c\necho {}"})
        EXPECT_EQ(refusal({"sh", "-c", text}, quoting()), "") << text;
    EXPECT_THAT(refusal({"fish", "-c", "echo {}"}, quoting()), HasSubstr("quotes of its own"));
}

TEST(shell_text, quoted_words_hold_everything) { EXPECT_EQ(leat::single_quoted("a'b c"), "'a'\\''b c'"); }

}  // namespace
