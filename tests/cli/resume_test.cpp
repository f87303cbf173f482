// `leat run` with a journal: killed again and again and gone on with; resume, --fresh, dlq, report --item; and journals and
// states that are not as they should be.
#include "leat_process.hpp"

#include <boost/json.hpp>
#include <flow/sqlite.hpp>
#include <gmock/gmock.h>
#include <leat/base/sanitizer.hpp>
#include <map>
#include <soak.hpp>
#include <thread>

namespace {

namespace fs = std::filesystem;
using leat_test::dice;
using leat_test::leat_end;
using leat_test::leat_process;
using leat_test::run_leat;
using leat_test::run_leat_after;
using leat_test::scratch;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

bool is_soak() { return std::getenv("LEAT_SOAK_SECONDS") != nullptr; }

std::string numbers(unsigned count) {
    std::string text;
    for (unsigned i = 1; i <= count; ++i) text += std::to_string(i) + "\n";
    return text;
}

std::string flow(const scratch& place, const std::string& source, const std::string& stages, const std::string& sink,
                 const std::string& state = "state") {
    return "[flow]\nname = 'f'\nstate = '" + place.file(state) + "'\n[source]\n" + source + "\n" + stages + "[sink]\n" +
           sink + "\n";
}
std::string lines_of(const scratch& place) { return "type = 'lines'\npath = '" + place.file("in") + "'"; }
std::string into(const scratch& place, const std::string& name) {
    return "type = 'write'\npath = '" + place.file(name) + "'";
}
// Each item as it is.
const std::string through = "[[stage]]\ntype = 'replace'\npattern = 'x'\nwith = 'y'\n";

std::map<std::string, std::string> files_in(const std::string& folder) {
    std::map<std::string, std::string> all;
    for (const auto& each : fs::directory_iterator(folder)) {
        std::ostringstream content;
        content << std::ifstream(each.path()).rdbuf();
        all[each.path().filename()] = content.str();
    }
    return all;
}

// --- kill -9 ---

// Runs the flow to its end though it is killed so many times; each time it has `most_ms` at most.
void run_with_kills(const std::string& file, unsigned kills, unsigned most_ms, dice& random) {
    unsigned killed = 0;
    for (unsigned i = 0; i < kills; ++i) {
        leat_process run({"run", "--resume", "-q", file});
        run.start();
        std::this_thread::sleep_for(std::chrono::milliseconds(1 + random(most_ms)));
        run.kill(SIGKILL);
        const leat_end end = run.wait();
        if (end.signal == SIGKILL) ++killed;
        else ASSERT_EQ(end.code, 0) << end.err;
    }
    const leat_end end = run_leat({"resume", "-q", file});
    ASSERT_EQ(end.code, 0) << end.err;
    testing::Test::RecordProperty("killed", static_cast<int>(killed));
}

struct shape {
    const char* name;
    std::string stages;
};

TEST(resume_soak, a_file_is_byte_for_byte_that_of_an_undisturbed_run_however_often_it_is_killed) {
    const shape shapes[] = {
        {"lines", through},
        {"split", "[[stage]]\ntype = 'split'\nby = 'separator'\nseparator = '1'\njobs = 3\n"},
        {"batches",
         "[[stage]]\ntype = 'split'\nby = 'separator'\nseparator = '2'\n[[stage]]\ntype = 'batch'\ncount = 7\n"},
        {"workers", "[[stage]]\nexec = ['cat']\nmode = 'persistent'\njobs = 2\n"},
    };
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        for (const shape& each : shapes) {
            SCOPED_TRACE(each.name);
            const scratch place;
            place.write("in", numbers(is_soak() ? 400'000 : 60'000));
            const std::string file =
                place.write("f.toml", flow(place, lines_of(place), each.stages, into(place, "out")));
            const std::string calm =
                place.write("calm.toml", flow(place, lines_of(place), each.stages, into(place, "calm"), "state-calm"));
            ASSERT_EQ(run_leat({"run", "-q", calm}).code, 0);
            run_with_kills(file, is_soak() ? 50 : 5, is_soak() ? 400 : 120, random);
            EXPECT_TRUE(place.read("out") == place.read("calm")) << "the files differ";
            EXPECT_FALSE(fs::exists(place.file("out.part")));
        }
    }
}

TEST(resume_soak, a_folder_has_the_files_of_an_undisturbed_run_however_often_it_is_killed) {
    for (leat_test::soak rounds(2); rounds.go_on();) {
        SCOPED_TRACE(rounds.text());
        dice random(rounds.seed());
        const scratch place;
        const unsigned count = is_soak() ? 5'000 : 800;
        for (const char* const folder : {"a", "b"}) {
            fs::create_directories(place.file(std::string("in/") + folder));
            for (unsigned i = 0; i < count; ++i)
                place.write("in/" + std::string(folder) + "/" + std::to_string(i), "the same");
        }
        const auto file = [&](const std::string& out, const std::string& state) {
            return place.write(out + ".toml",
                               flow(place, "type = 'glob'\npath = '" + place.file("in/*/*") + "'",
                                    "[[stage]]\ntype = 'read'\njobs = 3\n",
                                    "type = 'directory'\njobs = 3\npath = '" + place.file(out) + "'", state));
        };
        ASSERT_EQ(run_leat({"run", "-q", file("calm", "state-calm")}).code, 0);
        run_with_kills(file("out", "state"), is_soak() ? 50 : 5, 120, random);
        // Of two files of one name with one content it does not matter which is which.
        EXPECT_EQ(files_in(place.file("out")), files_in(place.file("calm")));
        EXPECT_EQ(files_in(place.file("out")).size(), 2 * count) << "and nothing is left over";
    }
}

// --- The commands ---

std::string failing(const scratch& place, const std::string& more = {}) {
    return "[[stage]]\nname = 'try'\nexec = ['sh', '-c', 'test -e \"" + place.file("ok-") +
           "$0\" && cat || { echo oh >&2; exit 3; }', '{}']\ninput = 'stdin'\n" + more;
}
const std::string letters_source = "type = 'list'\nitems = ['a', 'b', 'c']";

TEST(resume, an_unfinished_run_is_neither_repeated_nor_gone_on_with_unasked) {
    const scratch place;
    place.write("ok-a", "");
    const std::string file =
        place.write("f.toml", flow(place, letters_source, failing(place, "jobs = 1\n"), into(place, "out")));
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 1);
    const leat_end refused = run_leat({"run", "-q", file});
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("run 1 of this flow ended as failed with "), HasSubstr("`leat resume "),
                                   HasSubstr("--fresh does all again")));
    place.write("ok-b", "");
    place.write("ok-c", "");
    const leat_end rest = run_leat({"run", "--resume", file, "--report", place.file("report")});
    EXPECT_EQ(rest.code, 0) << rest.err;
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
    const auto report = boost::json::parse(place.read("report")).as_object();
    EXPECT_EQ(report.at("in").to_number<int>(), 3);
    EXPECT_GE(report.contains("resumed") ? report.at("resumed").to_number<int>() : 0, 0);
    // It is complete: the next run begins afresh, as one without a journal does.
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 0);
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
    const leat_end story = run_leat({"report", file, "--item", "b"});
    EXPECT_EQ(story.code, 0);
    EXPECT_THAT(story.out, AllOf(HasSubstr("failed in 'try': exited with 3"), HasSubstr("run 2"),
                                 HasSubstr("committed"), HasSubstr("run 3")));
    EXPECT_EQ(run_leat({"run", "-q", "--fresh", file}).code, 0);
}

TEST(resume, a_flow_without_state_keeps_no_journal) {
    const scratch place;
    const std::string file =
        place.write("f.toml", "[source]\n" + letters_source + "\n" + through + "[sink]\ntype = 'null'\n");
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 0);
    for (const leat_process::words& words : {leat_process::words{"run", "--resume", file},
                                             {"run", "--fresh", file},
                                             {"resume", file},
                                             {"dlq", "ls", file},
                                             {"report", file, "--item", "a"}}) {
        const leat_end end = run_leat(words);
        EXPECT_EQ(end.code, 2);
        EXPECT_THAT(end.err, HasSubstr("state = "));
    }
    EXPECT_EQ(run_leat({"dlq", "eat", file}).code, 2);
    EXPECT_EQ(run_leat({"dlq", "show", file}).code, 2);
    EXPECT_EQ(run_leat({"report", file}).code, 2);
    EXPECT_EQ(run_leat({"run", "--resume", "--fresh", file}).code, 2);
}

TEST(resume, a_flow_that_has_changed_is_told_of_and_gone_on_with_when_that_is_accepted) {
    const scratch place;
    place.write("ok-a", "");
    const std::string stages = failing(place, "jobs = 1\n");
    const std::string file = place.write("f.toml", flow(place, letters_source, stages, into(place, "out")));
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 1);
    // How many do it is no change.
    place.write("f.toml", flow(place, letters_source, failing(place, "jobs = 2\n"), into(place, "out")));
    EXPECT_EQ(run_leat({"resume", "-q", file}).code, 1);
    place.write("f.toml",
                flow(place, letters_source, "[[stage]]\nname = 'try'\nexec = ['cat']\ninput = 'stdin'\n" + through,
                     into(place, "out")));
    const leat_end refused = run_leat({"resume", "-q", file});
    EXPECT_EQ(refused.code, 2);
    EXPECT_THAT(
        refused.err,
        AllOf(HasSubstr("the flow has changed since run 2"), HasSubstr("stage 'try' (exec): exec is"),
              HasSubstr("stage 'replace' (replace) is new"), HasSubstr("--accept-changes"), HasSubstr("--fresh")));
    const leat_end end = run_leat({"resume", "-q", "--accept-changes", file});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
}

TEST(resume, dead_letters_are_listed_shown_and_replayed_until_they_succeed) {
    const scratch place;
    place.write("ok-b", "");
    const std::string file = place.write(
        "f.toml", flow(place, letters_source, failing(place, "on_error = 'dead-letter'\n"), into(place, "out")));
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 1);
    EXPECT_EQ(place.read("out"), "b\n");
    const leat_end list = run_leat({"dlq", "ls", file});
    EXPECT_EQ(list.code, 0);
    EXPECT_THAT(list.out, AllOf(HasSubstr("\na     try "), HasSubstr("\nc     try "), HasSubstr("exited with 3"),
                                Not(HasSubstr("\nb "))));
    EXPECT_EQ(run_leat({"dlq", "ls", place.file("state")}).out, list.out);
    const leat_end shown = run_leat({"dlq", "show", file, "a"});
    EXPECT_THAT(shown.out, AllOf(HasSubstr("item 'a'\n  died in 'try' in run 1"), HasSubstr("after 1 attempt\n"),
                                 HasSubstr("input, 1 bytes\n    a\n")));
    EXPECT_EQ(run_leat({"dlq", "show", file, "b"}).code, 2);
    std::istringstream json(run_leat({"dlq", "ls", "--json", file}).out);
    unsigned letters = 0;
    for (std::string line; std::getline(json, line); ++letters)
        EXPECT_EQ(boost::json::parse(line).as_object().at("stage"), "try");
    EXPECT_EQ(letters, 2U);

    place.write("ok-c", "");
    EXPECT_EQ(run_leat({"dlq", "replay", "-q", file}).code, 1) << "one fails again";
    EXPECT_EQ(place.read("out"), "b\nc\n");
    EXPECT_THAT(run_leat({"dlq", "show", file, "a"}).out, HasSubstr("in run 2, "));
    EXPECT_THAT(run_leat({"dlq", "show", file, "a"}).out, HasSubstr("after 2 attempts"));
    const leat_end story = run_leat({"report", file, "--item", "a"});
    EXPECT_THAT(story.out, AllOf(HasSubstr("run 2 (replay)"), HasSubstr("'try': attempt 1 failed")));
    place.write("ok-a", "");
    EXPECT_EQ(run_leat({"dlq", "replay", "-q", file}).code, 0);
    EXPECT_EQ(place.read("out"), "b\nc\na\n");
    EXPECT_EQ(run_leat({"dlq", "ls", file}).out, "");
    EXPECT_EQ(run_leat({"dlq", "replay", "-q", file}).code, 0) << "there is nothing left to do";
    EXPECT_EQ(run_leat({"resume", "-q", file}).code, 0);
    EXPECT_EQ(place.read("out"), "b\nc\na\n") << "what was replayed is done";
}

// --- Bad input ---

// A flow whose first run is at work until `go` is there.
struct waiting_run {
    explicit waiting_run(const scratch& place)
        : file(place.write("f.toml", flow(place, letters_source,
                                          "[[stage]]\nexec = ['sh', '-c', 'touch \"" + place.file("began") +
                                              "\"; while ! test -e \"" + place.file("go") +
                                              "\"; do sleep 0.05; done; cat']\ninput = 'stdin'\njobs = 1\n",
                                          into(place, "out")))),
          process({"run", "-q", file}) {
        process.start();
        EXPECT_TRUE(leat_test::eventually([&] { return fs::exists(place.file("began")); }));
    }
    std::string file;
    leat_process process;
};

TEST(bad_journal, two_runs_of_one_flow_at_once_are_one_run_and_one_refusal) {
    const scratch place;
    waiting_run first(place);
    for (const leat_process::words& words :
         {leat_process::words{"run", first.file}, {"resume", first.file}, {"dlq", "replay", first.file}}) {
        const leat_end second = run_leat(words);
        EXPECT_EQ(second.code, 2);
        EXPECT_THAT(second.err,
                    HasSubstr("another run of this flow is at work: pid " + std::to_string(first.process.pid())));
    }
    EXPECT_EQ(run_leat({"dlq", "ls", first.file}).code, 0) << "to look is allowed";
    place.write("go", "");
    EXPECT_EQ(first.process.wait().code, 0);
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
}

TEST(bad_journal, of_a_newer_version_or_damaged_it_is_refused_and_stays_as_it_is) {
    const scratch place;
    const std::string file = place.write("f.toml", flow(place, letters_source, through, into(place, "out")));
    ASSERT_EQ(run_leat({"run", "-q", file}).code, 0);
    const std::string path = place.file("state/journal.db");
    leat::sqlite::database(path).run("PRAGMA user_version = 77");
    for (const char* const verb : {"run", "resume"}) {
        const leat_end newer = run_leat({verb, file});
        EXPECT_EQ(newer.code, 2);
        EXPECT_THAT(newer.err, HasSubstr("has version 77; this leat knows version"));
    }
    EXPECT_EQ(run_leat({"dlq", "ls", file}).code, 2);
    fs::resize_file(path, 6000);
    const auto size = fs::file_size(path);
    for (const char* const verb : {"run", "resume"}) {
        const leat_end damaged = run_leat({verb, file});
        EXPECT_EQ(damaged.code, 4);
        EXPECT_THAT(damaged.err, AllOf(HasSubstr("is damaged"), HasSubstr("move it away")));
    }
    EXPECT_EQ(fs::file_size(path), size);
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
}

TEST(bad_journal, that_another_program_has_locked_ends_the_run_with_4) {
    const scratch place;
    const std::string file = place.write("f.toml", flow(place, letters_source, through, into(place, "out")));
    ASSERT_EQ(run_leat({"run", "-q", file}).code, 0);
    {
        leat::sqlite::database other(place.file("state/journal.db"));
        const leat::sqlite::transaction held(other);
        const leat_end end = run_leat({"run", "-q", file});
        EXPECT_EQ(end.code, 4);
        EXPECT_THAT(end.err, HasSubstr("is locked by another program"));
    }
    EXPECT_EQ(run_leat({"run", "-q", file}).code, 0);
}

TEST(bad_journal, on_a_full_disk_ends_the_run_with_4_and_is_gone_on_with_where_there_is_room) {
    const scratch place;
    place.write("in", numbers(20'000));
    const std::string file = place.write("f.toml", flow(place, lines_of(place), through, into(place, "out")));
    const leat_end full = run_leat_after("ulimit -f 300", {"run", "-q", file});
    EXPECT_EQ(full.code, 4) << full.err;
    EXPECT_THAT(full.err, HasSubstr("journal"));
    const leat_end rest = run_leat({"resume", "-q", file});
    EXPECT_EQ(rest.code, 0) << rest.err;
    EXPECT_TRUE(place.read("out") == numbers(20'000));
}

TEST(bad_journal, a_file_that_is_shorter_than_what_is_on_record_is_not_gone_on_with) {
    const scratch place;
    const std::string file = place.write(
        "f.toml", flow(place, letters_source,
                       "[[stage]]\nexec = ['sh', '-c', 'test $0 = a || while ! test -e \"" + place.file("go") +
                           "\"; do sleep 0.05; done; cat', '{}']\ninput = 'stdin'\njobs = 1\n",
                       into(place, "out")));
    leat_process killed({"run", "-q", file});
    killed.start();
    ASSERT_TRUE(leat_test::eventually([&] { return run_leat({"report", file, "--item", "a"}).code == 0; }));
    killed.kill(SIGKILL);
    killed.wait();
    EXPECT_EQ(place.read("out.part"), "a\n");
    const leat_end unasked = run_leat({"run", "-q", file});
    EXPECT_EQ(unasked.code, 2);
    EXPECT_THAT(unasked.err, HasSubstr("run 1 of this flow was killed with 1 items done"));
    fs::resize_file(place.file("out.part"), 1);
    const leat_end end = run_leat({"resume", "-q", file});
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, AllOf(HasSubstr("should have 2 bytes"), HasSubstr("--fresh does all again")));
    place.write("go", "");
    EXPECT_EQ(run_leat({"run", "-q", "--fresh", file}).code, 0);
    EXPECT_EQ(place.read("out"), "a\nb\nc\n");
}

TEST(bad_journal, a_state_that_cannot_be_made_is_told_of) {
    const scratch place;
    const std::string file = place.write("f.toml", "[flow]\nstate = '/proc/none/state'\n[source]\n" + letters_source +
                                                       "\n" + through + "[sink]\ntype = 'null'\n");
    const leat_end end = run_leat({"run", file});
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, HasSubstr("/proc/none"));
}

}  // namespace
