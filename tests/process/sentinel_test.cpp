// The sentinel, in the one way that shows it: a program of its own (this binary again) starts children and dies.
#include <leat/process/spawn.hpp>

#include <child_output.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <process/sentinel.hpp>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <vector>

namespace {

namespace fs = std::filesystem;
using leat_test::eventually;
using leat_test::pipe_pair;
using leat_test::runs;

leat::child_process start(const leat::spawn_options& options) {
    auto child = leat::spawn(options);
    if (!child) throw std::runtime_error(child.error().message);
    return std::move(*child);
}

leat::spawn_options shell(const std::string& text) { return leat::spawn_options({"sh", "-c", text}); }

pid_t own_sentinel() { return (*leat::sentinel::of_this_process())->pid(); }

// Says on one line which processes there are, and goes on with them running.
[[noreturn]] void family_and_then(void (*end)()) {
    static auto& leaked = *new std::vector<leat::child_process>;  // nobody cleans up after this program
    std::string line = std::to_string(own_sentinel());
    for (int i = 0; i != 2; ++i) {
        pipe_pair out;
        auto options = shell("sleep 1000 & echo $$ $!; sleep 1000 & wait");
        options.out = leat::child_stdio::descriptor(out.writer());
        leaked.push_back(start(options));
        line += " " + out.read_line();
    }
    std::puts(line.c_str());
    std::fflush(stdout);
    end();
    std::abort();
}

// Starts children that bear `mark` as fast as it can, from two threads, until it is killed.
[[noreturn]] void spawn_storm(const char* mark) {
    const auto storm = [mark] {
        std::vector<leat::child_process> children;
        while (true) {
            if (children.size() == 20) children.clear();
            leat::spawn_options options({"sleep", mark});
            options.out = options.err = leat::child_stdio::null();
            children.push_back(start(options));
            if (children.size() == 3) std::puts("storming"), std::fflush(stdout);
        }
    };
    std::thread second(storm);
    storm();
    std::abort();
}

// The other program: before main, so that no test framework is in it.
[[maybe_unused]] const bool is_victim = [] {
    const char* const role_text = std::getenv("LEAT_SENTINEL_VICTIM");
    if (role_text == nullptr) return false;
    const std::string_view role = role_text;
    if (role == "waits") family_and_then([] { ::pause(); });
    if (role == "crashes") family_and_then([] { ::raise(SIGABRT); });
    if (role == "leaves") family_and_then([] { ::_exit(0); });
    if (role == "exits") family_and_then([] { std::exit(0); });
    if (role == "forks") {
        static_cast<void>(own_sentinel());
        static const pid_t copy = ::fork();  // holds all that this program holds, the sentinel's pipe included
        if (copy == 0) {
            ::close(STDOUT_FILENO);
            ::pause();
        }
        family_and_then([] {
            std::printf("%d\n", copy);
            std::fflush(stdout);
            ::pause();
        });
    }
    if (role == "finishes") {
        start(leat::spawn_options({"true"})).wait();
        std::printf("%d\n", own_sentinel());
        std::exit(0);
    }
    spawn_storm(role_text);
}();

struct victim {
    explicit victim(const std::string& role) {
        leat::spawn_options options({"victim"});
        options.program = "/proc/self/exe";
        options.environment.emplace_back("LEAT_SENTINEL_VICTIM", role);
        options.out = leat::child_stdio::descriptor(out.writer());
        process = start(options);
    }
    // The pids on its next line, the sentinel's first.
    std::vector<pid_t> family() {
        std::istringstream line(out.read_line());
        std::vector<pid_t> pids;
        for (pid_t pid = 0; line >> pid;) pids.push_back(pid);
        return pids;
    }
    pipe_pair out;
    leat::child_process process;
};

bool none_runs(const std::vector<pid_t>& pids) {
    for (const pid_t pid : pids)
        if (runs(pid)) return false;
    return true;
}

// Whether any process has `argument` in its argument vector.
bool someone_bears(const std::string& argument) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "cmdline");
        std::string arguments;
        std::getline(file, arguments, '\n');
        if (arguments.find('\0' + argument + '\0') != std::string::npos) return true;
    }
    return false;
}

TEST(sentinel, children_and_grandchildren_die_with_a_program_killed_by_sigkill) {
    victim killed("waits");
    const auto family = killed.family();
    ASSERT_EQ(family.size(), 5u);
    for (const pid_t pid : family) EXPECT_TRUE(runs(pid));
    ::kill(killed.process.pid(), SIGKILL);
    EXPECT_EQ(killed.process.wait().signal(), SIGKILL);
    EXPECT_TRUE(eventually([&] { return none_runs(family); })) << "the sentinel included";
}

TEST(sentinel, children_die_with_a_program_that_crashes_or_leaves_without_clean_up) {
    for (const char* role : {"crashes", "leaves"}) {
        victim gone(role);
        const auto family = gone.family();
        ASSERT_EQ(family.size(), 5u) << role;
        EXPECT_FALSE(gone.process.wait().text().empty());
        EXPECT_TRUE(eventually([&] { return none_runs(family); })) << role;
    }
}

TEST(sentinel, a_fork_that_outlives_the_program_does_not_protect_the_children) {
    victim killed("forks");
    const auto family = killed.family();
    ASSERT_EQ(family.size(), 5u);
    const pid_t copy = std::stoi(killed.out.read_line());
    ::kill(killed.process.pid(), SIGKILL);
    EXPECT_TRUE(eventually([&] { return none_runs(family); }));
    EXPECT_TRUE(runs(copy)) << "the test asked nothing otherwise";
    ::kill(copy, SIGKILL);
    killed.process.wait();
}

TEST(sentinel, children_still_there_at_a_normal_exit_die_and_the_sentinel_is_reaped) {
    victim gone("exits");
    const auto family = gone.family();
    ASSERT_EQ(family.size(), 5u);
    EXPECT_TRUE(gone.process.wait().success());
    EXPECT_NE(::kill(family[0], 0), 0) << "not even a zombie";
    EXPECT_TRUE(eventually([&] { return none_runs(family); }));
}

TEST(sentinel, a_normal_exit_leaves_no_sentinel) {
    victim gone("finishes");
    const auto family = gone.family();
    ASSERT_EQ(family.size(), 1u);
    EXPECT_TRUE(gone.process.wait().success());
    EXPECT_NE(::kill(family[0], 0), 0);
}

TEST(sentinel, no_child_escapes_a_kill_in_the_middle_of_spawning) {
    for (int round = 0; round != 8; ++round) {
        const auto mark = "1000." + std::to_string(::getpid()) + std::to_string(round);
        victim storm(mark);
        EXPECT_EQ(storm.out.read_line(), "storming");
        std::this_thread::sleep_for(std::chrono::milliseconds(round * 3));  // another moment each time
        ::kill(storm.process.pid(), SIGKILL);
        storm.process.wait();
        EXPECT_TRUE(eventually([&] { return !someone_bears(mark); }));
    }
}

TEST(sentinel, it_holds_no_descriptor_of_the_program_and_survives_its_signals) {
    start(leat::spawn_options({"true"})).wait();
    const pid_t guard = own_sentinel();
    const auto proc = "/proc/" + std::to_string(guard);
    EXPECT_TRUE(eventually([&] { return ::getsid(guard) == guard && !fs::exists(proc + "/fd/2"); }));
    EXPECT_TRUE(eventually([&] { return !fs::exists(proc + "/fd/2") && fs::exists(proc + "/fd/1"); }));
    EXPECT_EQ(std::distance(fs::directory_iterator(proc + "/fd"), fs::directory_iterator()), 2);
    EXPECT_TRUE(fs::read_symlink(proc + "/fd/0").string().starts_with("pipe:"));
    EXPECT_EQ(fs::read_symlink(proc + "/cwd"), "/");
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGSEGV}) ::kill(guard, signal);
    EXPECT_TRUE(runs(guard));
    EXPECT_EQ(own_sentinel(), guard);
}

TEST(sentinel, it_watches_a_group_exactly_until_its_leader_is_reaped) {
    auto child = start(leat::spawn_options({"sleep", "1000"}));
    auto* const guard = *leat::sentinel::of_this_process();
    EXPECT_TRUE(guard->watches(child.pid()));
    child.signal_group(SIGKILL);
    EXPECT_TRUE(eventually([&] { return !runs(child.pid()); }));
    EXPECT_TRUE(guard->watches(child.pid())) << "a zombie still owns its id";
    child.wait();
    EXPECT_FALSE(guard->watches(child.pid()));
}

TEST(sentinel, a_start_that_failed_is_not_watched) {
    auto* const guard = *leat::sentinel::of_this_process();
    leat::spawn_options options({"true"});
    options.directory = "/nonexistent";
    EXPECT_FALSE(leat::spawn(options));
    for (pid_t pid = 1; pid != 1 << 22; ++pid)
        if (guard->watches(pid)) FAIL() << "pid " << pid << " is watched";
}

TEST(sentinel, nobody_who_waits_for_any_child_meets_it) {
    static_cast<void>(own_sentinel());
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

TEST(sentinel, a_fork_of_the_program_has_a_sentinel_of_its_own_and_leaves_the_children_alone) {
    auto child = start(leat::spawn_options({"sleep", "1000"}));
    const pid_t ours = own_sentinel();
    const pid_t fork = ::fork();
    if (fork == 0) {
        {
            const leat::child_process taken(std::move(child));
        }  // must not kill what belongs to the parent
        auto* const guard = *leat::sentinel::of_this_process();
        ::_exit(guard->owner() == ::getpid() && guard->pid() != ours ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(fork, &status, 0), fork);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(runs(child.pid()));
    EXPECT_EQ(own_sentinel(), ours);
}

}  // namespace
