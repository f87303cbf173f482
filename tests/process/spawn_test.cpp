// spawn, find_program, child_process and exit_status with real processes.
#include <leat/process/spawn.hpp>

#include <algorithm>
#include <child_output.hpp>
#include <filesystem>
#include <gtest/gtest.h>
#include <poll.h>
#include <process/raw_calls.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

namespace {

namespace fs = std::filesystem;
using kind = leat::spawn_error::kind;
using leat_test::eventually;
using leat_test::pipe_pair;
using leat_test::runs;

leat::spawn_options command(std::vector<std::string> argv) { return leat::spawn_options(std::move(argv)); }
leat::spawn_options shell(const std::string& text) { return command({"sh", "-c", text}); }

leat::child_process start(const leat::spawn_options& options) {
    auto child = leat::spawn(options);
    if (!child) throw std::runtime_error(child.error().message);
    return std::move(*child);
}

std::string output_of(leat::spawn_options options) {
    pipe_pair out;
    options.out = leat::child_stdio::descriptor(out.writer());
    auto child = start(options);
    auto text = out.read_all();
    EXPECT_EQ(child.wait().text(), "exited with 0");
    return text;
}

leat::spawn_error error_of(const leat::spawn_options& options) {
    const auto child = leat::spawn(options);
    if (child) throw std::runtime_error("the child was started");
    return child.error();
}

std::size_t open_descriptors() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

bool has_children() {
    siginfo_t info;
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

class scratch_directory {
public:
    scratch_directory() {
        std::string pattern = (fs::temp_directory_path() / "leat-spawn-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path = pattern;
    }
    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;
    ~scratch_directory() { fs::remove_all(path); }

    std::string file(const std::string& name, const std::string& text, mode_t mode) const {
        const auto at = path + "/" + name;
        std::ofstream(at) << text;
        ::chmod(at.c_str(), mode);
        return at;
    }
    std::string path;
};

TEST(spawn, an_exit_code_is_reported) {
    for (const int code : {0, 1, 3, 126, 127, 255}) {
        auto child = start(shell("exit " + std::to_string(code)));
        const auto status = child.wait();
        EXPECT_EQ(status.how(), leat::exit_status::kind::exited);
        EXPECT_EQ(status.code(), code);
        EXPECT_EQ(status.success(), code == 0);
        EXPECT_EQ(status.text(), "exited with " + std::to_string(code));
    }
}

TEST(spawn, death_by_a_signal_is_reported_by_name) {
    for (const auto& [signal, name] : {std::pair(SIGKILL, "SIGKILL"), {SIGTERM, "SIGTERM"}, {SIGPIPE, "SIGPIPE"}}) {
        auto child = start(shell("kill -" + std::to_string(signal) + " $$; exit 1"));
        const auto status = child.wait();
        EXPECT_EQ(status.how(), leat::exit_status::kind::signalled);
        EXPECT_EQ(status.signal(), signal);
        EXPECT_EQ(status.code(), -1);
        EXPECT_FALSE(status.success());
        EXPECT_EQ(status.text(), "killed by signal " + std::to_string(signal) + " (" + name + ")");
    }
    EXPECT_EQ(leat::exit_status::signalled(SIGSEGV, true).text(), "killed by signal 11 (SIGSEGV), core dumped");
    EXPECT_EQ(leat::exit_status::signalled(SIGRTMIN + 2).text(), "killed by signal 36 (SIGRTMIN+2)");
}

TEST(spawn, arguments_arrive_unharmed) {
    const std::vector<std::string> hard = {"", "a b", "$(touch x)", ";", "-n", "line\nbreak", "\xff\xfe", "'\"\\"};
    auto argv = hard;
    argv.insert(argv.begin(), {"printf", "%s|"});
    std::string expected;
    for (const auto& argument : hard) expected += argument + "|";
    EXPECT_EQ(output_of(command(argv)), expected);
}

TEST(spawn, an_empty_argument_vector_is_refused) {
    const auto error = error_of(command({}));
    EXPECT_EQ(error.what, kind::bad_option);
    EXPECT_EQ(error.message, "no command was given: the argument vector is empty");
    EXPECT_EQ(error_of(command({""})).message, "the command is an empty string");
}

TEST(spawn, a_nul_byte_in_an_argument_is_refused) {
    using namespace std::string_literals;
    const auto error = error_of(command({"echo", "fine", "ab\0c"s}));
    EXPECT_EQ(error.what, kind::bad_option);
    EXPECT_EQ(error.message, "argument 2 holds a NUL byte (at byte 3), which cannot be passed to a program");
    EXPECT_EQ(error_of(command({"ec\0ho"s})).message,
              "the command holds a NUL byte (at byte 3), which cannot be passed to a program");
}

TEST(spawn, a_command_that_does_not_exist_is_named_with_the_places_searched) {
    auto options = command({"leat-no-such-command"});
    options.environment.emplace_back("PATH", "/usr/bin:/nonexistent");
    const auto error = error_of(options);
    EXPECT_EQ(error.what, kind::not_found);
    EXPECT_EQ(error.code, ENOENT);
    EXPECT_EQ(error.message, "`leat-no-such-command` was not found in PATH (/usr/bin:/nonexistent)");
    EXPECT_EQ(error_of(command({"/nonexistent/tool"})).message, "`/nonexistent/tool` does not exist");
}

TEST(spawn, a_file_that_is_not_executable_is_refused) {
    const scratch_directory scratch;
    const auto plain = scratch.file("plain", "#!/bin/sh\n", 0644);
    const auto error = error_of(command({plain}));
    EXPECT_EQ(error.what, kind::not_executable);
    EXPECT_EQ(error.message, "`" + plain + "` is not executable for this user (its mode is 0644)");

    auto by_name = command({"plain"});
    by_name.environment.emplace_back("PATH", "/nonexistent:" + scratch.path);
    EXPECT_EQ(error_of(by_name).message, error.message);
}

TEST(spawn, a_directory_is_no_program) {
    const auto error = error_of(command({"/tmp"}));
    EXPECT_EQ(error.what, kind::not_executable);
    EXPECT_EQ(error.message, "`/tmp` is a directory, not a program");
}

TEST(spawn, the_search_goes_on_past_what_cannot_be_executed) {
    const scratch_directory first;
    const scratch_directory second;
    first.file("tool", "", 0644);
    fs::create_directory(second.path + "/other");
    second.file("tool", "#!/bin/sh\necho right\n", 0755);
    auto options = command({"tool"});
    options.environment.emplace_back("PATH", first.path + ":" + second.path);
    EXPECT_EQ(output_of(options), "right\n");
}

TEST(spawn, a_script_whose_interpreter_is_missing_is_refused_and_the_interpreter_named) {
    const scratch_directory scratch;
    const auto script = scratch.file("script", "#! /no/such/interpreter -x\n", 0755);
    const auto error = error_of(command({script}));
    EXPECT_EQ(error.what, kind::not_executable);
    EXPECT_EQ(
        error.message,
        "`" + script + "` cannot be run: its interpreter `/no/such/interpreter` (from its #! line) does not exist");
}

TEST(spawn, a_file_that_is_no_program_is_refused) {
    const scratch_directory scratch;
    const auto text = scratch.file("text", "hello\n", 0755);
    const auto error = error_of(command({text}));
    EXPECT_EQ(error.what, kind::not_executable);
    EXPECT_EQ(error.message, "`" + text + "` is neither a program for this machine nor a script with a #! line");
}

TEST(spawn, arguments_beyond_what_the_system_passes_are_refused) {
    const auto error = error_of(command({"true", std::string(16u << 20, 'x')}));
    EXPECT_EQ(error.what, kind::bad_option);
    EXPECT_EQ(error.code, E2BIG);
}

TEST(spawn, a_working_directory_that_is_missing_is_refused) {
    auto options = command({"pwd"});
    options.directory = "/nonexistent/place";
    const auto error = error_of(options);
    EXPECT_EQ(error.what, kind::bad_directory);
    EXPECT_EQ(error.message, "the working directory `/nonexistent/place` cannot be entered: No such file or directory");
    EXPECT_FALSE(has_children());
}

TEST(spawn, the_working_directory_holds_for_the_child_and_for_relative_commands) {
    const scratch_directory scratch;
    scratch.file("tool", "#!/bin/sh\npwd -P\n", 0755);
    auto options = command({"./tool"});
    options.directory = scratch.path;
    EXPECT_EQ(output_of(options), fs::canonical(scratch.path).string() + "\n");
}

TEST(spawn, the_environment_is_inherited_changed_or_cleared) {
    ::setenv("LEAT_TEST_KEPT", "kept", 1);
    ::setenv("LEAT_TEST_GONE", "gone", 1);
    auto options = shell("echo $LEAT_TEST_KEPT,$LEAT_TEST_GONE,$LEAT_TEST_NEW");
    EXPECT_EQ(output_of(options), "kept,gone,\n");
    options.environment.emplace_back("LEAT_TEST_NEW", "first");
    options.environment.emplace_back("LEAT_TEST_NEW", "a=b c");
    options.environment.emplace_back("LEAT_TEST_GONE", std::nullopt);
    EXPECT_EQ(output_of(options), "kept,,a=b c\n");

    auto cleared = command({"env"});
    cleared.clear_environment = true;
    EXPECT_EQ(output_of(cleared), "");
    cleared.environment.emplace_back("ONLY", "this");
    EXPECT_EQ(output_of(cleared), "ONLY=this\n");

    cleared.environment.emplace_back("A=B", "x");
    EXPECT_EQ(error_of(cleared).what, kind::bad_option);
}

TEST(spawn, standard_input_is_empty_unless_given) {
    EXPECT_EQ(output_of(command({"cat"})), "");
    pipe_pair in;
    ASSERT_EQ(::write(in.writer(), "data", 4), 4);
    in.close_writer();
    auto options = command({"cat"});
    options.in = leat::child_stdio::descriptor(in.reader());
    EXPECT_EQ(output_of(options), "data");
}

TEST(spawn, both_outputs_can_go_to_one_descriptor) {
    pipe_pair both;
    auto options = shell("echo out; echo err >&2");
    options.out = options.err = leat::child_stdio::descriptor(both.writer());
    auto child = start(options);
    EXPECT_EQ(both.read_all(), "out\nerr\n");
}

TEST(spawn, no_descriptor_leaks_into_the_child_even_without_close_on_exec) {
    const int leaky = ::fcntl(STDERR_FILENO, F_DUPFD, 57);
    ASSERT_GE(leaky, 57);
    const auto listed = output_of(command({"ls", "/proc/self/fd"}));
    ::close(leaky);
    EXPECT_EQ(listed, "0\n1\n2\n3\n") << "3 is the listing itself";
}

TEST(spawn, an_inherited_descriptor_that_is_close_on_exec_or_closed_becomes_dev_null) {
    const int saved = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    auto options = command({"readlink", "/proc/self/fd/2"});
    ASSERT_EQ(::fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC), 0);
    const auto marked = output_of(options);
    ::close(STDERR_FILENO);
    const auto closed = output_of(options);
    ::dup2(saved, STDERR_FILENO);
    ::close(saved);
    EXPECT_EQ(marked, "/dev/null\n");
    EXPECT_EQ(closed, "/dev/null\n");
}

TEST(spawn, further_descriptors_are_passed_in_any_permutation) {
    pipe_pair first;
    pipe_pair second;
    const auto name = [](int fd) { return std::to_string(fd); };
    auto options =
        command({"bash", "-c", "echo a >&$0; echo b >&$1; echo c >&300", name(first.writer()), name(second.writer())});
    options.pass.emplace_back(first.writer(), second.writer());  // crossed
    options.pass.emplace_back(second.writer(), first.writer());
    pipe_pair third;
    options.pass.emplace_back(third.writer(), 300);
    auto child = start(options);
    EXPECT_EQ(child.wait().code(), 0);
    EXPECT_EQ(first.read_all(), "b\n");
    EXPECT_EQ(second.read_all(), "a\n");
    EXPECT_EQ(third.read_all(), "c\n");
}

TEST(spawn, a_descriptor_passed_under_its_own_number_stays_open) {
    pipe_pair out;
    auto options = command({"bash", "-c", "echo here >&$0", std::to_string(out.writer())});
    options.pass.emplace_back(out.writer(), out.writer());
    auto child = start(options);
    EXPECT_EQ(out.read_all(), "here\n");
}

TEST(spawn, impossible_descriptors_are_refused) {
    auto options = command({"true"});
    options.out = leat::child_stdio::descriptor(-1);
    EXPECT_EQ(error_of(options).message, "the descriptor given as standard output is negative");
    options.out = leat::child_stdio::descriptor(99999);
    EXPECT_EQ(error_of(options).message, "descriptor 99999 could not be given to the child: Bad file descriptor");
    options.out = leat::child_stdio::null();
    options.pass.emplace_back(0, 2);
    EXPECT_EQ(error_of(options).what, kind::bad_option);
    options.pass = {{0, 5}, {1, 5}};
    EXPECT_EQ(error_of(options).message, "two descriptors are to be passed as 5");
}

TEST(spawn, the_child_has_an_empty_signal_mask_and_no_ignored_signal) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const auto old_pipe = ::signal(SIGPIPE, SIG_IGN);
    const auto old_usr1 = ::signal(SIGUSR1, SIG_IGN);
    const auto listed = output_of(command({"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}));
    ::signal(SIGPIPE, old_pipe);
    ::signal(SIGUSR1, old_usr1);
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, &before, &after);
    EXPECT_EQ(listed, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    EXPECT_TRUE(sigismember(&after, SIGTERM)) << "the mask of the caller is as it was";
}

TEST(spawn, the_child_leads_a_group_of_its_own) {
    auto child = start(command({"sleep", "1000"}));
    EXPECT_EQ(::getpgid(child.pid()), child.pid());
    EXPECT_TRUE(child.signal_group(SIGTERM));
    EXPECT_EQ(child.wait().signal(), SIGTERM);
    EXPECT_FALSE(child.signal_group(SIGTERM)) << "it has been waited for";
}

TEST(spawn, limits_hold_in_the_child) {
    auto options = shell("ulimit -v; ulimit -n; ulimit -t");
    options.limits.memory_bytes = 64u << 20;
    options.limits.open_files = 17;
    options.limits.cpu_seconds = 5;
    EXPECT_EQ(output_of(options), "65536\n17\n5\n");

    auto inner = shell("ulimit -S -n 8; ulimit -H -n 9; exec 3<&-; ulimit -n");
    inner.limits.open_files = 1u << 30;
    EXPECT_EQ(output_of(inner), "8\n") << "a limit above the present one changes nothing";
}

TEST(spawn, a_child_beyond_its_cpu_seconds_is_ended) {
    auto options = shell("while :; do :; done");
    options.limits.cpu_seconds = 1;
    EXPECT_EQ(start(options).wait().signal(), SIGXCPU);
}

TEST(spawn, what_the_child_used_is_reported) {
    auto child = start(shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
    const auto status = child.wait();
    ASSERT_TRUE(status.success());
    EXPECT_GT((status.usage().user_time + status.usage().system_time).count(), 0);
    EXPECT_GT(status.usage().max_rss_bytes, 100'000u);
}

TEST(spawn, a_program_given_by_path_runs_under_the_name_in_argv) {
    auto options = command({"called", "-c", "echo $0"});
    options.program = "/bin/sh";
    EXPECT_EQ(output_of(options), "called\n");
}

TEST(spawn, many_spawns_leave_no_descriptor_and_no_zombie) {
    start(command({"true"})).wait();  // the sentinel, which stays, has a descriptor
    const auto before = open_descriptors();
    for (int i = 0; i != 200; ++i) {
        auto child = start(command({"true"}));
        if (i % 2 == 0) child.wait();  // else the destructor reaps
        static_cast<void>(leat::spawn(command({"/nonexistent/tool"})));
    }
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_FALSE(has_children());
}

TEST(spawn, several_threads_spawn_at_once_and_leak_nothing) {
    start(command({"true"})).wait();
    const auto before = open_descriptors();
    std::vector<std::thread> threads;
    std::array<int, 4> right{};
    for (std::size_t t = 0; t != right.size(); ++t)
        threads.emplace_back([t, &right] {
            for (int i = 0; i != 25; ++i) {
                const int code = static_cast<int>(t) * 25 + i;
                right[t] += start(shell("exit " + std::to_string(code))).wait().code() == code;
                const auto text = output_of(command({"ls", "/proc/self/fd"}));
                right[t] += text == "0\n1\n2\n3\n";
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(right, (std::array<int, 4>{50, 50, 50, 50}));
    EXPECT_EQ(open_descriptors(), before);
    EXPECT_FALSE(has_children());
}

TEST(spawn, out_of_descriptors_is_a_clear_error) {
    start(command({"true"})).wait();
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    std::vector<int> taken;
    rlimit low = before;
    low.rlim_cur = 64;
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int fd = 0; (fd = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) >= 0;) taken.push_back(fd);
    const auto child = leat::spawn(command({"/bin/true"}));
    ::setrlimit(RLIMIT_NOFILE, &before);
    for (const int fd : taken) ::close(fd);
    ASSERT_FALSE(child);
    EXPECT_EQ(child.error().what, kind::no_resources);
    EXPECT_EQ(child.error().code, EMFILE);
    EXPECT_EQ(
        child.error().message,
        "a process could not be made: this process has no file descriptor left (its limit is 64, see `ulimit -n`)");
    EXPECT_FALSE(has_children());
}

TEST(child_process, try_wait_and_pidfd_tell_when_it_has_ended) {
    pipe_pair in;
    auto options = command({"cat"});
    options.in = leat::child_stdio::descriptor(in.reader());
    options.out = leat::child_stdio::null();
    auto child = start(options);
    EXPECT_EQ(child.try_wait(), std::nullopt);
    pollfd ended{child.pidfd(), POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 0), 0);
    EXPECT_EQ(::fcntl(child.pidfd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    in.close_writer();
    EXPECT_EQ(::poll(&ended, 1, -1), 1);
    EXPECT_TRUE(child.unreaped());
    ASSERT_TRUE(child.try_wait());
    EXPECT_FALSE(child.unreaped());
    EXPECT_TRUE(child.try_wait()->success());
    EXPECT_TRUE(child.wait().success()) << "the outcome stays";
}

TEST(child_process, destroying_one_that_runs_kills_its_grandchildren_too) {
    pipe_pair out;
    auto options = shell("sleep 1000 & echo $!; sleep 1000");
    options.out = leat::child_stdio::descriptor(out.writer());
    pid_t grandchild = 0;
    pid_t pid = 0;
    {
        auto child = start(options);
        pid = child.pid();
        grandchild = std::stoi(out.read_line());
        EXPECT_TRUE(runs(grandchild));
    }
    EXPECT_FALSE(runs(pid));
    EXPECT_TRUE(eventually([&] { return !runs(grandchild); }));
}

TEST(child_process, what_a_finished_child_left_running_can_be_ended_before_the_wait) {
    pipe_pair out;
    auto options = shell("sleep 1000 & echo $!");
    options.out = leat::child_stdio::descriptor(out.writer());
    auto child = start(options);
    const pid_t left = std::stoi(out.read_line());
    pollfd ended{child.pidfd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, -1), 1);
    EXPECT_TRUE(runs(left));
    EXPECT_TRUE(child.signal_group(SIGKILL));
    EXPECT_TRUE(child.wait().success());
    EXPECT_TRUE(eventually([&] { return !runs(left); }));
}

TEST(child_process, moves_leave_an_empty_object_behind) {
    auto child = start(command({"sleep", "1000"}));
    const pid_t pid = child.pid();
    leat::child_process other(std::move(child));
    EXPECT_EQ(child.pid(), 0);  // NOLINT(bugprone-use-after-move): that is the question
    EXPECT_FALSE(child.signal_group(SIGKILL));
    EXPECT_EQ(other.pid(), pid);
    other = start(command({"true"}));
    EXPECT_FALSE(runs(pid)) << "assignment ends what was held before";
    EXPECT_TRUE(other.wait().success());
}

TEST(child_process, a_child_that_someone_else_reaped_is_lost_and_signalled_no_more) {
    auto child = start(command({"true"}));
    ASSERT_EQ(::waitpid(child.pid(), nullptr, 0), child.pid());
    EXPECT_FALSE(child.signal_group(SIGTERM));
    EXPECT_EQ(child.wait().how(), leat::exit_status::kind::lost);
    EXPECT_FALSE(child.wait().success());
    EXPECT_NE(child.wait().text().find("exit status is lost"), std::string::npos);
}

// What kernels without close_range need.
TEST(raw_calls, descriptors_are_ended_one_by_one) {
    std::vector<int> high;
    for (int i = 0; i != 300; ++i) high.push_back(::fcntl(STDERR_FILENO, F_DUPFD, 200));
    ASSERT_GE(high.back(), 499);
    ASSERT_TRUE(leat::raw::end_descriptors_one_by_one(250, leat::raw::descriptor_end::close_on_exec));
    EXPECT_TRUE(std::all_of(high.begin(), high.end(),
                            [](int fd) { return (::fcntl(fd, F_GETFD) == FD_CLOEXEC) == (fd >= 250); }));
    ASSERT_TRUE(leat::raw::end_descriptors_one_by_one(200, leat::raw::descriptor_end::close_now));
    EXPECT_TRUE(std::all_of(high.begin(), high.end(), [](int fd) { return ::fcntl(fd, F_GETFD) == -1; }));
}

}  // namespace
