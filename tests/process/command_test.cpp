// run_command with real programs, well-behaved and not.
#include <leat/process/command.hpp>

#include <child_output.hpp>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <leat/runtime/run.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>

namespace {

using namespace std::chrono_literals;
using leat::command_options;
using leat::command_output;
using leat::command_result;
using leat_test::eventually;
using leat_test::runs;

command_options shell(const std::string& text) { return command_options({"sh", "-c", text}); }

command_options nothing_but_true() { return command_options({"true"}); }

command_result run(command_options options) { return leat::run(leat::run_command, std::move(options)); }

std::size_t open_descriptors() {
    namespace fs = std::filesystem;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

TEST(command, gives_output_error_and_status) {
    const auto done = run(shell("echo out; echo err >&2; exit 3"));
    EXPECT_EQ(done.out.text(), "out\n");
    EXPECT_EQ(done.err, "err\n");
    EXPECT_EQ(done.err_omitted_bytes, 0);
    EXPECT_EQ(done.status.text(), "exited with 3");
    EXPECT_FALSE(done.timed_out);
    EXPECT_FALSE(done.output_held_open);
    EXPECT_GT(done.elapsed, 0s);
    EXPECT_GT(done.status.usage().max_rss_bytes, 0);
}

TEST(command, runs_on_one_thread_too) {
    auto options = command_options({"cat"});
    options.input = "through";
    const auto done = leat::run(leat::run_options(1), leat::run_command, std::move(options));
    EXPECT_EQ(done.out.text(), "through");
}

TEST(command, a_death_by_signal_is_a_result) { EXPECT_EQ(run(shell("kill -SEGV $$")).status.signal(), SIGSEGV); }

TEST(command, input_and_output_larger_than_pipes_go_through) {
    std::string text;
    for (int i = 0; i < 300'000; ++i) text += std::to_string(i) + '\n';
    auto options = command_options({"cat"});
    options.input = text;
    const auto done = run(std::move(options));
    EXPECT_FALSE(done.out.in_memory());
    EXPECT_EQ(done.out.text(), text);
}

// One that fills a pipe before it is read makes those after it be read at once, for a while.
TEST(command, outputs_come_whole_whether_they_are_read_at_the_end_or_at_once) {
    const auto large = shell("head -c 200000 /dev/zero; head -c 100000 /dev/zero >&2");
    const auto small = shell("echo out; echo err >&2");
    for (int i = 0; i < 150; ++i) {
        const bool is_large = i % 70 == 3;
        const command_result done = run(is_large ? large : small);
        ASSERT_TRUE(done.status.success());
        ASSERT_EQ(done.out.size(), is_large ? 200'000U : 4U);
        ASSERT_EQ(done.err.size() + done.err_omitted_bytes >= 100'000, is_large);
        if (!is_large) {
            ASSERT_EQ(done.out.text() + done.err, "out\nerr\n");
        }
        ASSERT_FALSE(done.output_held_open);
    }
}

TEST(command, without_input_reads_nothing) { EXPECT_EQ(run(command_options({"wc", "-c"})).out.text(), "0\n"); }

TEST(command, that_never_reads_its_input_is_no_error) {
    auto options = command_options({"true"});
    options.input = std::string(10'000'000, 'x');
    EXPECT_TRUE(run(std::move(options)).status.success());
}

TEST(command, listeners_hear_the_output_while_it_runs_and_to_its_end) {
    std::string heard, complaints;
    auto options = shell("echo first; echo oh >&2; while [ ! -e \"$0\" ]; do sleep 0.01; done; seq 100000");
    const auto mark = std::filesystem::temp_directory_path() / ("leat_heard_" + std::to_string(::getpid()));
    options.child.argv.push_back(mark.string());
    options.keep_out = false;
    options.on_out = [&](std::span<const char> piece) -> leat::task<> {
        heard.append(piece.data(), piece.size());
        // Later than the end of the command would wait for it.
        if (heard.size() < 100) std::ofstream(mark).flush();
        else co_await leat::sleep_for(100ms);
    };
    options.on_err = [&](std::span<const char> piece) -> leat::task<> {
        complaints.append(piece.data(), piece.size());
        co_return;
    };
    options.drain = 1ms;
    const auto done = run(std::move(options));
    std::filesystem::remove(mark);
    EXPECT_TRUE(heard.starts_with("first\n1\n2\n"));
    EXPECT_TRUE(heard.ends_with("\n100000\n")) << "what the pipe held at the end is heard too";
    EXPECT_EQ(complaints, "oh\n");
    EXPECT_EQ(done.err, "oh\n");
    EXPECT_TRUE(done.out.empty());
}

TEST(command, what_a_listener_throws_ends_it) {
    auto options = shell("echo out; sleep 100");
    options.on_out = [](std::span<const char>) -> leat::task<> {
        throw std::runtime_error("enough");
        co_return;
    };
    EXPECT_THROW(run(std::move(options)), std::runtime_error);
}

TEST(command, that_floods_standard_error_costs_bounded_memory) {
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    const auto done = run(shell("echo first >&2; head -c 300000000 /dev/zero >&2; echo last >&2; echo out"));
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_EQ(done.out.text(), "out\n");
    EXPECT_LT(done.err.size(), 66'000);
    EXPECT_TRUE(done.err.starts_with("first\n"));
    EXPECT_TRUE(done.err.ends_with("last\n"));
    EXPECT_EQ(done.err_omitted_bytes, 300'000'000U + 6 + 5 - 65'536);
    EXPECT_NE(done.err.find("[... " + std::to_string(done.err_omitted_bytes) + " bytes left out ...]"),
              std::string::npos);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 50'000);
}

TEST(command, at_its_timeout_the_whole_group_ends) {
    auto options = shell("sleep 1000 & echo $!; echo before; wait");
    options.timeout = 300ms;
    const auto done = run(std::move(options));
    EXPECT_TRUE(done.timed_out);
    EXPECT_EQ(done.status.signal(), SIGTERM);
    const auto text = done.out.text();
    EXPECT_TRUE(text.ends_with("before\n"));
    const int sleeper = std::stoi(text);
    EXPECT_TRUE(eventually([&] { return !runs(sleeper); }));
}

TEST(command, that_ignores_sigterm_is_killed_after_the_grace) {
    auto options = shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done");
    options.timeout = 1s;  // long enough for the shell to have set its trap
    options.grace = 100ms;
    const auto done = run(std::move(options));
    EXPECT_TRUE(done.timed_out);
    EXPECT_EQ(done.status.signal(), SIGKILL);
    EXPECT_EQ(done.out.text(), "deaf\n");
}

TEST(command, may_end_well_when_it_is_asked_to) {
    auto options = shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    options.timeout = 1s;  // long enough for the shell to have set its trap
    const auto done = run(std::move(options));
    EXPECT_TRUE(done.timed_out);
    EXPECT_EQ(done.status.code(), 7);
    EXPECT_EQ(done.out.text(), "ready\nbye\n");
}

TEST(command, that_closes_its_output_early_is_waited_for) {
    const auto done = run(shell("echo out; exec >&- 2>&-; sleep 0.2; exit 5"));
    EXPECT_EQ(done.out.text(), "out\n");
    EXPECT_EQ(done.status.code(), 5);
    EXPECT_GE(done.elapsed, 200ms);
}

TEST(command, whose_grandchild_holds_the_output_does_not_hang) {
    auto options = shell("sleep 1000 & echo $!");
    options.drain = 50ms;
    const auto done = run(std::move(options));
    EXPECT_TRUE(done.output_held_open);
    EXPECT_TRUE(done.status.success());
    const int sleeper = std::stoi(done.out.text());
    EXPECT_TRUE(runs(sleeper));  // left behind, as the command meant it
    ::kill(sleeper, SIGKILL);
}

TEST(command, whose_grandchild_floods_the_output_does_not_hang) {
    auto options = shell("(cat /dev/zero; echo) & echo $!");
    options.out_memory_bytes = 1000;
    options.drain = 100ms;
    const auto done = run(std::move(options));
    EXPECT_TRUE(done.output_held_open);
}

TEST(command, a_stop_ends_it_and_throws) {
    for (const bool deaf : {false, true}) {
        const auto body = [&]() -> leat::task<> {
            auto options = shell(deaf ? "trap '' TERM; while :; do sleep 0.05; done" : "sleep 1000");
            options.grace = deaf ? 50ms : 1000s;
            auto command = leat::timeout(leat::run_command(std::move(options)), 50ms);
            EXPECT_THROW(co_await std::move(command), leat::timed_out);
        };
        leat::run(body);
    }
}

TEST(command, that_cannot_be_started_is_an_error_with_its_reason) {
    try {
        run(command_options({"leat-no-such-command"}));
        FAIL() << "it was started";
    } catch (const leat::spawn_failed& failed) {
        EXPECT_EQ(failed.error().what, leat::spawn_error::kind::not_found);
        EXPECT_FALSE(failed.retryable());
        EXPECT_NE(std::string(failed.what()).find("leat-no-such-command"), std::string::npos);
    }
}

TEST(command, environment_directory_and_discarded_output_are_as_asked) {
    auto options = shell("pwd; echo $COLOUR; echo noise >&2");
    options.child.directory = "/";
    options.child.environment.emplace_back("COLOUR", "blue");
    options.err = command_output::discard;
    const auto done = run(std::move(options));
    EXPECT_EQ(done.out.text(), "/\nblue\n");
    EXPECT_EQ(done.err, "");
}

TEST(command, on_a_full_disk_fails_with_the_directory_and_the_reason) {
    auto options = shell("head -c 5000000 /dev/zero; sleep 1000");
    options.out_memory_bytes = 100;
    ASSERT_EQ(::setenv("TMPDIR", "/proc/nowhere", 1), 0);
    try {
        run(std::move(options));
        ADD_FAILURE() << "there was somewhere to write to";
    } catch (const leat::spool_error& error) {
        EXPECT_NE(std::string(error.what()).find("/proc/nowhere"), std::string::npos) << error.what();
    }
    ::unsetenv("TMPDIR");
}

TEST(command, two_thousand_at_once_leave_no_descriptor_and_no_zombie) {
    run(command_options({"true"}));  // the sentinel and what the runtime keeps
    const auto before = open_descriptors();
    const auto all = [](leat::scope& work, int& good) -> leat::task<> {
        static leat::semaphore jobs(8);
        leat::semaphore& at_once = jobs;
        const auto one = [](leat::semaphore& slots, int* count) -> leat::task<> {
            auto slot = co_await slots.acquire();
            auto command = nothing_but_true();
            const auto done = co_await leat::run_command(std::move(command));
            if (done.status.success() && !done.output_held_open) __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
        };
        for (int i = 0; i < 2000; ++i) work.spawn(one, std::ref(at_once), &good);
        co_return;
    };
    int good = 0;
    const auto body = [&] { return leat::with_scope(all, std::ref(good)); };
    leat::run(body);
    EXPECT_EQ(good, 2000);
    EXPECT_EQ(open_descriptors(), before);
    siginfo_t info;
    info.si_pid = 0;
    ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    EXPECT_EQ(info.si_pid, 0) << "a zombie was left";
}

}  // namespace
