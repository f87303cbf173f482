// What is shown while a flow runs: the lines themselves, and that a terminal gets them and nobody else.
#include <child_output.hpp>
#include <cli/progress.hpp>
#include <cli/screen.hpp>
#include <cli/session.hpp>
#include <gmock/gmock.h>
#include <poll.h>
#include <pty.h>

#include "leat_process.hpp"

namespace {

using leat::flow_control;
using leat::cli::exit_code;
using leat::cli::exit_code_of;
using leat::cli::printable;
using leat::cli::progress_bar;
using leat::cli::progress_eta;
using leat::cli::progress_lines;
using leat::cli::progress_style;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

flow_control::progress halfway() {
    flow_control::progress now;
    now.counts.flow = "thumbs";
    now.counts.in = 60;
    now.counts.out = 45;
    now.counts.failed = 5;
    now.counts.unfinished = 10;
    now.total = 100;
    now.elapsed_s = 10;
    leat::stage_report resize;
    resize.name = "resize";
    resize.in = 60;
    resize.out = 50;
    resize.failed = 5;
    resize.jobs = 2;
    resize.busy_s = 15;
    leat::stage_report write;
    write.name = "write";
    write.in = write.out = 45;
    write.busy_s = 1;
    now.counts.stages = {resize, write};
    now.queued = {4, 0};
    return now;
}

TEST(progress, lines_tell_items_rate_time_left_and_how_busy_each_stage_is) {
    progress_style wide;
    wide.width = 100;
    EXPECT_THAT(progress_lines(halfway(), wide),
                ElementsAre("thumbs: 50 of 100 items [##########----------] 50%, 5/s, 10s, 10s left, 5 failed",
                            "  resize [########--]  75% busy  60 in  50 out  4 waiting  5 failed",
                            "  write  [#---------]  10% busy  45 in  45 out"));
}

TEST(progress, an_unknown_total_has_no_bar_and_no_time_left) {
    flow_control::progress now = halfway();
    now.total = 0;
    EXPECT_EQ(progress_lines(now, {}).front(), "thumbs: 50 items, 5/s, 10s, 5 failed");
}

TEST(progress, a_bar_and_an_eta_tell_what_is_left_as_far_as_the_total_is_known) {
    progress_style narrow;
    narrow.width = 50;
    flow_control::progress now = halfway();
    EXPECT_EQ(progress_bar(now, narrow), "[############------------] 50% 50:50=10s 5 failed");
    EXPECT_EQ(progress_eta(now), "ETA: 10s Left: 50 AVG: 0.20s Failed: 5");
    now.total = 0;
    EXPECT_THAT(progress_bar(now, narrow), HasSubstr("--] 50 done in 10s 5 failed"));
    EXPECT_EQ(progress_eta(now), "ETA: unknown Done: 50 AVG: 0.20s Failed: 5");
    now = {};
    now.total = 3;
    EXPECT_THAT(progress_bar(now, narrow), HasSubstr("--] 0% 0:3"));
    EXPECT_EQ(progress_eta(now), "ETA: unknown Left: 3");
    for (const unsigned width : {20U, 40U, 61U, 200U}) {
        progress_style style;
        style.width = width;
        EXPECT_LT(progress_bar(halfway(), style).size(), width);
    }
}

TEST(progress, a_bar_that_was_asked_for_is_printed_in_lines_where_there_is_no_terminal) {
    using leat_test::run_leat;
    const leat_test::scratch place;
    for (const char* option : {"--bar", "--eta"}) {
        const leat_test::leat_end end = run_leat({"each", option, "-j", "1", "-a", place.write("items", "a\nb\nc"),
                                                  "--", "sh", "-c", "test $0 = a || sleep 0.8", "{}"});
        EXPECT_EQ(end.code, 0);
        const bool is_bar = std::string(option) == "--bar";
        EXPECT_THAT(end.err, HasSubstr(is_bar ? " 33% 1:2=" : "Left: 2 AVG")) << "the total is known from the start";
        EXPECT_THAT(end.err, HasSubstr(is_bar ? " 100% 3:0=0s\n" : "ETA: 0s Left: 0 AVG"));
        leat_test::leat_process unknown({"each", option, "--", "true"});
        leat_test::pipe_pair pipe;
        unknown.input_from(pipe.reader()).start();
        ASSERT_EQ(::write(pipe.writer(), "a\nb\n", 4), 4);
        EXPECT_TRUE(leat_test::eventually([&] {
            return unknown.err_so_far().find(is_bar ? " 2 done in " : "ETA: unknown Done: 2") != std::string::npos;
        }));
        pipe.close_writer();
        EXPECT_EQ(unknown.wait().code, 0);
    }
    EXPECT_EQ(run_leat({"each", "--bar", "--progress", "json", "--", "echo", ":::", "a"}).code, 2);
    EXPECT_EQ(run_leat({"each", "--eta", "-u", "--", "echo", ":::", "a"}).code, 2);
}

TEST(progress, lines_fit_the_terminal) {
    for (const unsigned width : {20U, 40U, 61U, 200U}) {
        progress_style style;
        style.width = width;
        for (const std::string& line : progress_lines(halfway(), style)) EXPECT_LT(line.size(), width);
    }
}

TEST(progress, color_is_used_only_when_wanted) {
    progress_style style;
    EXPECT_THAT(progress_lines(halfway(), style).front(), Not(HasSubstr("\x1b")));
    style.color = true;
    EXPECT_THAT(progress_lines(halfway(), style).front(), HasSubstr("\x1b["));
}

TEST(progress, names_cannot_write_to_the_terminal) {
    flow_control::progress now = halfway();
    now.counts.flow = "\x1b[2J\xff";
    EXPECT_THAT(progress_lines(now, {}).front(), testing::StartsWith("\\x1b[2J\\xff: "));
    EXPECT_EQ(printable("a\nb\tc\r\x01 \xc3\xa4 \xc2\x9b \xf0\x9f\x98\x80 \xed\xa0\x80 \xc0\x80 \xe2\x82"),
              "a\\nb\\tc\\r\\x01 \xc3\xa4 \\xc2\\x9b \xf0\x9f\x98\x80 \\xed\\xa0\\x80 \\xc0\\x80 \\xe2\\x82");
}

TEST(exit_code, says_how_a_run_ended) {
    leat::report done;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::done);
    EXPECT_EQ(exit_code_of(done, SIGINT, false), exit_code::done) << "it was complete before it could be interrupted";
    done.failed = 1;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::items_failed);
    done.end = leat::flow_end::interrupted;
    EXPECT_EQ(exit_code_of(done, SIGINT, false), exit_code::interrupted);
    EXPECT_EQ(exit_code_of(done, SIGTERM, false), exit_code::terminated);
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::items_failed) << "it was halted by itself";
    done.end = leat::flow_end::failed;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::items_failed) << "a stage's on_error = fail";
    EXPECT_EQ(exit_code_of(done, 0, true), exit_code::output_closed);
    done.failed = 0;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::engine_failed);
    done.failed = 1;
    done.stages.resize(2);
    done.stages.back().failed = 1;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::engine_failed) << "the sink could not keep an item";
    done = {};
    done.dead = 1;
    EXPECT_EQ(exit_code_of(done, 0, false), exit_code::items_failed);
}

// All that is written to the terminal until the program lets go of it.
std::string shown_on(int terminal) {
    std::string all;
    char piece[4096];
    for (;;) {
        const ssize_t got = ::read(terminal, piece, sizeof piece);
        if (got <= 0) return all;  // EIO: the other side was closed
        all.append(piece, static_cast<std::size_t>(got));
    }
}

TEST(progress, a_terminal_shows_a_block_that_is_cleared_at_the_end) {
    int ours = -1, theirs = -1;
    winsize size{};
    size.ws_row = 24;
    size.ws_col = 60;
    ASSERT_EQ(::openpty(&ours, &theirs, nullptr, nullptr, &size), 0);
    ::setenv("TERM", "xterm", 1);
    leat_test::leat_process process(
        {"each", "-j", "1", "--", "sh", "-c", "sleep 0.3; echo data; echo note >&2", ":::", "a", "b"});
    process.error_to(theirs).start();
    ::close(theirs);
    const std::string shown = shown_on(ours);
    ::close(ours);
    const leat_test::leat_end end = process.wait();
    EXPECT_EQ(end.code, 0);
    EXPECT_EQ(end.out, "data\ndata\n") << "standard output is data only";
    EXPECT_THAT(shown, HasSubstr("of 2 items"));
    EXPECT_THAT(shown, HasSubstr("busy"));
    EXPECT_THAT(shown, HasSubstr("note"));
    EXPECT_TRUE(shown.ends_with("\x1b[3A\r\x1b[J")) << "the block is gone at the end";
}

}  // namespace
