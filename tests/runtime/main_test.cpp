// leat::main, in a child process: exit codes, signals, and what it prints.
#include <leat/runtime/main.hpp>

#include <child_output.hpp>
#include <core.hpp>
#include <csignal>
#include <sys/wait.h>

#include <leat/base/log.hpp>
#include <leat/task/timeout.hpp>

namespace {

using leat::task;
using leat_test::pipe_pair;

// leat::main(program) in a forked child, whose standard error comes back.
class forked_main {
public:
    template <class Program>
    explicit forked_main(Program program, unsigned threads = 2) {
        child_ = ::fork();
        if (child_ == 0) {
            ::dup2(output_.writer(), STDERR_FILENO);
            char name[] = "program";
            char* argv[] = {name, nullptr};
            ::_exit(leat::main(1, argv, program, leat::run_options(threads)));
        }
    }
    // Until the child has written its first line.
    std::string line() { return output_.read_line(); }
    void send(int signal) const { ::kill(child_, signal); }
    // The exit code and the rest of what it printed.
    std::pair<int, std::string> end() {
        const std::string text = output_.read_all();
        int status = 0;
        ::waitpid(child_, &status, 0);
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), text};
    }

private:
    pipe_pair output_;
    pid_t child_ = -1;
};

void say(const char* text) { (void)!::write(STDERR_FILENO, text, std::char_traits<char>::length(text)); }

using ended = std::pair<int, std::string>;

TEST(main, returns_what_the_program_returns) {
    EXPECT_EQ(forked_main([]() -> task<> { co_return; }).end(), ended(0, ""));
    EXPECT_EQ(forked_main([]() -> task<int> { co_return 7; }).end(), ended(7, ""));
    EXPECT_EQ(forked_main([](int argc, char** argv) -> task<int> {
                  co_return argc == 1 && std::string(argv[0]) == "program" ? 3 : 4;
              }).end(),
              ended(3, ""));
    EXPECT_EQ(forked_main([]() -> task<int> { co_return 8; }, 1).end(), ended(8, ""));
}

TEST(main, prints_an_uncaught_error_and_returns_one) {
    EXPECT_EQ(forked_main([]() -> task<> {
                  throw std::runtime_error("no such thing");
                  co_return;
              }).end(),
              ended(1, "error: no such thing\n"));
    EXPECT_EQ(forked_main([]() -> task<> {
                  throw 5;
                  co_return;
              }).end(),
              ended(1, "error: an exception that is no std::exception\n"));
}

TEST(main, prints_warnings_of_the_log_and_nothing_less) {
    EXPECT_EQ(forked_main([]() -> task<> {
                  leat::log(leat::log_level::info, "not this");
                  leat::log(leat::log_level::warning, "but this");
                  co_return;
              }).end(),
              ended(0, "but this\n"));
}

task<> waits() {
    say("ready\n");
    co_await leat_test::until_stopped();
}

TEST(main, a_signal_asks_the_program_to_stop_and_makes_the_exit_code) {
    for (const auto& [signal, code] : {std::pair(SIGTERM, 143), std::pair(SIGINT, 130)}) {
        for (const unsigned threads : {1U, 2U}) {
            forked_main child(waits, threads);
            EXPECT_EQ(child.line(), "ready");
            child.send(signal);
            EXPECT_EQ(child.end(), ended(code, ""));
        }
    }
}

TEST(main, a_program_may_finish_in_order_after_the_signal) {
    forked_main child([]() -> task<int> {
        task<> wait = waits();
        const leat::outcome<void> end = co_await wait.as_outcome();
        say(end.is_cancelled() ? "stopped\n" : "not stopped\n");
        co_return 0;
    });
    EXPECT_EQ(child.line(), "ready");
    child.send(SIGTERM);
    EXPECT_EQ(child.end(), ended(143, "stopped\n"));
}

TEST(main, a_second_signal_ends_the_process_at_once) {
    forked_main child([]() -> task<> {
        task<> wait = waits();
        (void)co_await wait.as_outcome();
        say("draining\n");
        co_await leat::shield(leat_test::until_stopped());
    });
    EXPECT_EQ(child.line(), "ready");
    child.send(SIGINT);
    EXPECT_EQ(child.line(), "draining");
    child.send(SIGINT);
    EXPECT_EQ(child.end(), ended(130, ""));
}

TEST(main, leaves_the_handlers_as_it_found_them) {
    // A signal after leat::main has returned has its ordinary effect again.
    const pid_t child = ::fork();
    if (child == 0) {
        char name[] = "program";
        char* argv[] = {name, nullptr};
        (void)leat::main(1, argv, []() -> task<> { co_return; });
        ::raise(SIGTERM);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

}  // namespace
