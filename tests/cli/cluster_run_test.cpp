// leat run --engine, worker, status and drain on a real server, each a process of its own.
#include "leat_process.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <nats_server.hpp>
#include <sstream>
#include <string>

namespace {

using namespace leat_test;
using testing::HasSubstr;
using testing::Not;

// A flow over the lines 1 to `count`; `exec` is the stage's, in TOML.
std::string flow_of(const scratch& folder, int count, const std::string& exec, const std::string& more = {}) {
    std::string lines;
    for (int line = 1; line <= count; ++line) lines += std::to_string(line) + "\n";
    folder.write("in.txt", lines);
    return folder.write("flow.toml",
                        "[flow]\nname = \"marks\"\norder = \"input\"\n[source]\ntype = \"lines\"\npath = \"" +
                            folder.file("in.txt") + "\"\n[[stage]]\nname = \"mark\"\nexec = " + exec + "\n" + more +
                            "[sink]\ntype = \"write\"\npath = \"" + folder.file("out.txt") + "\"\n");
}
constexpr const char* marks = R"(["sed", "-u", "s/$/!/"]
mode = "persistent")";

std::string marked(int count) {
    std::string lines;
    for (int line = 1; line <= count; ++line) lines += std::to_string(line) + "!\n";
    return lines;
}

// The addresses that `leat cluster init` told, by role.
std::map<std::string, std::string> addresses_in(const std::string& told) {
    std::map<std::string, std::string> all;
    std::istringstream lines(told);
    for (std::string line; std::getline(lines, line);)
        if (const auto at = line.find(": --engine '"); at != std::string::npos)
            all[line.substr(0, at)] = line.substr(at + 12, line.size() - at - 13);
    return all;
}

TEST(cluster_run, a_flow_runs_in_workers_over_tls_with_the_key_of_each_role) {
    LEAT_NEEDS_NATS_SERVER();
    const scratch folder;
    std::map<std::string, std::string> at;
    server_options options;
    options.launches = false;
    options.configuration = [&](const nats_server& server) {
        at = addresses_in(run_leat({"cluster", "init", folder.file("engine"), "--server",
                                    "localhost:" + std::to_string(server.port()) +
                                        ":6222:" + std::to_string(server.monitoring_port())})
                              .out);
        return folder.read("engine/n1/nats.conf");
    };
    nats_server server(options);
    server.start();
    const std::string flow = flow_of(folder, 3000, marks);

    leat_process first({"worker", "--engine", at["worker"], "--name", "one"}),
        second({"worker", "--engine", at["worker"], "--name", "two"});
    first.start();
    second.start();
    const leat_end end = run_leat({"run", flow, "--engine", at["coordinator"]});
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(folder.read("out.txt"), marked(3000));
    EXPECT_THAT(end.err, HasSubstr("leat: engine: nats-server 2."));
    EXPECT_THAT(end.err, HasSubstr("it survives power failures"));
    EXPECT_THAT(end.err, HasSubstr("3000 items sent in"));
    EXPECT_THAT(end.err, HasSubstr("cluster: the engine has nothing left of it"));
    EXPECT_THAT(run_leat({"status", "--engine", at["observer"]}).out, HasSubstr("no flow runs"));
    for (leat_process* each : {&first, &second}) each->kill(SIGTERM);
    const leat_end one = first.wait(), two = second.wait();
    EXPECT_EQ(one.code, 0) << one.err;
    EXPECT_EQ(two.code, 0) << two.err;

    // A worker's key makes no flow.
    const leat_end refused = run_leat({"run", flow, "--engine", at["worker"]});
    EXPECT_EQ(refused.code, 4);
    EXPECT_THAT(refused.err, HasSubstr("Permissions Violation"));
}

TEST(cluster_run, a_running_flow_is_seen_and_drained) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    const scratch folder;
    const std::string flow = flow_of(folder, 100'000, R"(["cat"])", "placement = \"cluster\"\n");
    leat_process worker({"worker", "--engine", server.url(), "--name", "one", "--health-file", folder.file("health")});
    worker.start();
    EXPECT_TRUE(eventually([&] { return folder.read("health") == "connected\n"; }));
    leat_process run({"run", flow, "--engine", server.url()});
    run.start();
    std::string seen;
    // A worker tells what it has done every five seconds.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    while (seen.find("worker one: holds") == std::string::npos || seen.find("has done 0") != std::string::npos) {
        ASSERT_LT(std::chrono::steady_clock::now(), give_up) << seen << worker.err_so_far() << run.err_so_far();
        seen = run_leat({"status", "--engine", server.url(), "marks"}).out;
    }
    EXPECT_THAT(seen, AllOf(HasSubstr("marks (run r"), HasSubstr("mark: ")));
    const leat_end asked = run_leat({"drain", "marks", "--engine", server.url()});
    EXPECT_EQ(asked.code, 0) << asked.err;
    EXPECT_THAT(asked.out, HasSubstr("drains"));
    const leat_end end = run.wait();
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_THAT(end.err, HasSubstr("was asked to drain"));
    // What it began it ended, in order and once.
    const std::string out = folder.read("out.txt");
    const auto lines = static_cast<int>(std::count(out.begin(), out.end(), '\n'));
    EXPECT_LT(lines, 100'000);
    std::string wanted;
    for (int line = 1; line <= lines; ++line) wanted += std::to_string(line) + "\n";
    EXPECT_EQ(out, wanted);
    worker.kill(SIGTERM);
    EXPECT_EQ(worker.wait().code, 0);
    EXPECT_EQ(folder.read("health"), "");
}

TEST(cluster_run, a_coordinator_that_was_killed_is_followed_by_another_that_has_nothing_of_it) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    const scratch folder;
    // The items from 1000 on wait, so that the first coordinator cannot be done before it is killed.
    const std::string gate = folder.file("gate"),
                      waits = "[ $n -lt 1000 ] || until [ -e " + gate + " ]; do sleep 0.1; done";
    const std::string flow =
        flow_of(folder, 3000, R"(["sh", "-c", "read n; )" + waits + R"(; printf %s $n"])", "jobs = 8\n");
    const std::string url = server.url();
    leat_process worker({"worker", "--engine", url, "--name", "one"});
    worker.start();
    leat_process first({"run", flow, "--engine", url, "--state-in-engine"});
    first.start();
    EXPECT_TRUE(eventually([&] {
        const std::string seen = run_leat({"status", "--engine", url, "marks"}).out;
        return seen.find("worker one: holds") != std::string::npos && seen.find("has done 0") == std::string::npos;
    }));
    // While it lives no other may.
    const leat_end second = run_leat({"resume", flow, "--engine", url, "--state-in-engine"});
    EXPECT_EQ(second.code, 4);
    EXPECT_THAT(second.err, HasSubstr("one coordinator at a time"));
    first.kill(SIGKILL);
    (void)first.wait();
    const leat_end unasked = run_leat({"run", flow, "--engine", url, "--state-in-engine"});
    EXPECT_EQ(unasked.code, 2);
    EXPECT_THAT(unasked.err, AllOf(HasSubstr("was killed"), HasSubstr("leat resume")));
    std::ofstream{gate};
    const leat_end end = run_leat({"resume", flow, "--engine", url, "--state-in-engine"});
    EXPECT_EQ(end.code, 0) << end.err;
    std::string wanted;
    for (int line = 1; line <= 3000; ++line) wanted += std::to_string(line) + "\n";
    EXPECT_EQ(folder.read("out.txt"), wanted);
    worker.kill(SIGTERM);
    EXPECT_EQ(worker.wait().code, 0);
}

TEST(cluster_run, dead_letters_in_the_engine_are_shown_and_replayed_in_workers) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    const scratch folder;
    const std::string url = server.url(), mended = folder.file("mended");
    const std::string flow =
        flow_of(folder, 40,
                R"(["sh", "-c", "read n; case $n in *7) [ -e )" + mended + R"( ] || exit 3;; esac; printf %s! $n"])",
                "on_error = \"dead-letter\"\n");
    const auto dlq = [&](const char* verb, leat_process::words more = {}) {
        leat_process::words all{"dlq", verb, flow, "--engine", url};
        all.insert(all.end(), more.begin(), more.end());
        return run_leat(all);
    };
    EXPECT_EQ(dlq("ls").code, 4);
    EXPECT_THAT(dlq("ls").err, HasSubstr("flow 'marks' has no journal in this engine"));

    leat_process worker({"worker", "--engine", url});
    worker.start();
    const leat_end end = run_leat({"run", flow, "--engine", url, "--state-in-engine"});
    EXPECT_EQ(end.code, 1) << end.err;
    const leat_end listed = dlq("ls");
    EXPECT_EQ(listed.code, 0) << listed.err;
    EXPECT_EQ(std::count(listed.out.begin(), listed.out.end(), '\n'), 5) << listed.out;  // with its heading
    EXPECT_THAT(listed.out, HasSubstr("exited with 3"));
    const std::string dead = listed.out.substr(listed.out.find('\n') + 1);
    const std::string item = dead.substr(0, dead.find("  "));
    const leat_end shown = dlq("show", {item});
    EXPECT_EQ(shown.code, 0) << shown.err;
    EXPECT_THAT(shown.out, AllOf(HasSubstr("died in 'mark'"), HasSubstr("exited with 3")));
    EXPECT_EQ(dlq("show", {"nobody"}).code, 2);

    const leat_end again = dlq("replay");
    EXPECT_EQ(again.code, 1) << again.err;
    EXPECT_EQ(dlq("ls", {"--json"}).out.size() > 0, true);
    std::ofstream{mended};
    const leat_end replayed = dlq("replay", {"-q"});
    EXPECT_EQ(replayed.code, 0) << replayed.err;
    EXPECT_EQ(dlq("ls").out, "");
    std::string wanted;
    for (int line = 1; line <= 40; ++line)
        if (line % 10 != 7) wanted += std::to_string(line) + "!\n";
    const std::string out = folder.read("out.txt");
    EXPECT_EQ(out.substr(0, wanted.size()), wanted);
    // Behind them the others, in the order in which they died.
    for (const char* line : {"\n7!\n", "\n17!\n", "\n27!\n", "\n37!\n"}) EXPECT_THAT(out, HasSubstr(line));
    EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 40);
    worker.kill(SIGTERM);
    EXPECT_EQ(worker.wait().code, 0);

    const leat_end nowhere = run_leat({"dlq", "replay", flow});
    EXPECT_EQ(nowhere.code, 2);
    EXPECT_THAT(nowhere.err, HasSubstr("dead letters need a directory; expected state"));
}

TEST(cluster_run, a_worker_waits_for_an_engine_that_is_not_there_yet) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server({.launches = false});
    const scratch folder;
    leat_process worker({"worker", "--engine", server.url(), "--health-file", folder.file("health")});
    worker.start();
    EXPECT_TRUE(eventually([&] { return worker.err_so_far().find("waiting for it") != std::string::npos; }));
    EXPECT_EQ(folder.read("health"), "waiting\n");
    server.start();
    EXPECT_TRUE(eventually([&] { return folder.read("health") == "connected\n"; }));
    worker.kill(SIGTERM);
    EXPECT_EQ(worker.wait().code, 0);

    leat_process other({"worker", "--engine", "nats://127.0.0.1:1"});
    other.start();
    EXPECT_TRUE(eventually([&] { return other.err_so_far().find("waiting for it") != std::string::npos; }));
    other.kill(SIGTERM);
    EXPECT_EQ(other.wait().code, 0);
}

TEST(cluster_run, what_cannot_be_meant_so_is_refused) {
    const scratch folder;
    const std::string flow = flow_of(folder, 3, marks, "placement = \"cluster\"\n");
    const auto refused = [](leat_process::words words, int code = 2) {
        const leat_end end = run_leat(std::move(words));
        EXPECT_EQ(end.code, code) << end.err;
        return end.err;
    };
    EXPECT_THAT(refused({"run", flow}), HasSubstr("stage 'mark' runs on a cluster: --engine URL says on which"));
    EXPECT_THAT(refused({"run", flow, "--engine", "nats://10.0.0.1"}), HasSubstr("begin it with tls://"));
    EXPECT_THAT(refused({"run", flow, "--engine", "nats://127.0.0.1?nkey=/nowhere"}), HasSubstr("/nowhere"));
    EXPECT_THAT(refused({"run", flow, "--engine", "nats://127.0.0.1", "--replicas", "2"}), HasSubstr("--replicas"));
    const std::string secret = refused({"worker", "--engine", "nats://me:geheim@127.0.0.1"});
    EXPECT_THAT(secret, HasSubstr("password-file=FILE"));
    EXPECT_THAT(secret, Not(HasSubstr("geheim")));
    EXPECT_THAT(refused({"worker"}), HasSubstr("leat worker --engine URL"));
    EXPECT_THAT(refused({"worker", "--engine", "nats://127.0.0.1", "-j", "0"}), HasSubstr("--threads"));
    EXPECT_THAT(refused({"worker", "--engine", "nats://127.0.0.1", "--drain-timeout", "soon"}),
                HasSubstr("--drain-timeout"));
    EXPECT_THAT(refused({"run", flow, "--state-in-engine"}), HasSubstr("--state-in-engine: is for --engine"));
    EXPECT_THAT(refused({"run", flow, "--state-in-engine", "--engine", "nats://127.0.0.1:1"}, 4),
                HasSubstr("127.0.0.1:1"));
    EXPECT_THAT(refused({"status"}), HasSubstr("leat status --engine URL"));
    EXPECT_THAT(refused({"drain", "--engine", "nats://127.0.0.1"}), HasSubstr("there is no flow"));
    EXPECT_THAT(refused({"drain", "marks"}), HasSubstr("there is no engine"));
    EXPECT_THAT(refused({"status", "--engine", "nats://127.0.0.1:1"}, 4), HasSubstr("127.0.0.1:1"));
    EXPECT_THAT(refused({"run", flow, "--engine", "nats://127.0.0.1:1"}, 4), HasSubstr("127.0.0.1:1"));
    const std::string serial =
        folder.write("serial.toml",
                     "[flow]\nname = \"s\"\n[source]\ntype = \"lines\"\npath = \"" + folder.file("in.txt") +
                         "\"\n[[stage]]\nname = \"once\"\ntype = \"dedup\"\nkey = \"line\"\n[sink]\ntype = \"null\"\n");
    EXPECT_THAT(refused({"run", serial, "--engine", "nats://127.0.0.1:1"}), HasSubstr("serial.toml"));
}

TEST(cluster_run, a_wrong_key_and_a_wrong_authority_are_told) {
    LEAT_NEEDS_NATS_SERVER();
    const certificates keys;
    const nats_server server(
        {.extra = keys.server_tls() + "authorization { user: me, password: right }\n", .scheme = "tls"});
    const scratch folder;
    const std::string password = folder.write("password", "wrong\n");
    std::filesystem::permissions(password, std::filesystem::perms::owner_read);
    const auto told = [&](const std::string& options) {
        const leat_end end =
            run_leat({"status", "--engine", "tls://me@127.0.0.1:" + std::to_string(server.port()) + options});
        EXPECT_EQ(end.code, 4) << end.out;
        return end.err;
    };
    EXPECT_THAT(told("?ca=" + keys.authority + "&password-file=" + password),
                HasSubstr("refuses the user or password"));
    EXPECT_THAT(told("?ca=" + keys.other_authority + "&password-file=" + password), HasSubstr("certificate"));
}

}  // namespace
