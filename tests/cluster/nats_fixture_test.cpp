// The fixtures that the tests of the cluster stand on: tests/support/nats_server.hpp and tcp_proxy.hpp.
#include <gmock/gmock.h>

#include <arpa/inet.h>
#include <child_output.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nats_server.hpp>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tcp_proxy.hpp>
#include <unistd.h>

namespace {

using namespace leat_test;
using testing::HasSubstr;
using testing::StartsWith;

// A plain client of one line: what the server says first, or nothing when nothing comes for a while.
class line_client {
public:
    explicit line_client(std::uint16_t port, int limit_ms = 20'000)
        : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const timeval limit{.tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }
    line_client(const line_client&) = delete;
    line_client& operator=(const line_client&) = delete;
    ~line_client() { ::close(fd_); }
    [[nodiscard]] bool connected() const { return connected_; }
    void send(const std::string& text) const { (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
    [[nodiscard]] std::string line() const {
        std::string text;
        for (char next = 0; ::recv(fd_, &next, 1, 0) == 1 && next != '\n';) text += next;
        return text;
    }

private:
    int fd_;
    bool connected_ = false;
};

TEST(nats_fixture, a_server_is_ready_with_its_streams_when_it_has_been_made) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    EXPECT_THAT(line_client(server.port()).line(), AllOf(StartsWith("INFO "), HasSubstr("\"jetstream\":true")));
    EXPECT_THAT(server.url(), StartsWith("nats://127.0.0.1:"));
    EXPECT_THAT(server.ask("/varz"), HasSubstr("\"version\": \"2."));
}

TEST(nats_fixture, a_killed_server_comes_back_on_its_port_and_store) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server({.sync_always = true});
    std::ofstream(server.store() / "store" / "mark") << "kept";
    const std::uint16_t port = server.port();
    server.kill();
    EXPECT_FALSE(server.runs());
    EXPECT_FALSE(line_client(port).connected());
    server.start();
    EXPECT_TRUE(line_client(port).connected());
    EXPECT_TRUE(std::filesystem::exists(server.store() / "store" / "mark"));
    server.end();
    EXPECT_THAT(server.log(), HasSubstr("Initiating Shutdown"));
}

TEST(nats_fixture, a_paused_server_answers_when_it_goes_on) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    server.pause();
    EXPECT_EQ(server.ask("/healthz"), "");
    server.resume();
    EXPECT_TRUE(eventually([&] { return !server.ask("/healthz").empty(); }));
}

TEST(nats_fixture, the_old_server_is_older) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.age = nats_age::old});
    EXPECT_THAT(server.ask("/varz"), HasSubstr("\"version\": \"2.9"));
}

TEST(nats_fixture, a_server_that_cannot_start_says_why) {
    LEAT_NEEDS_NATS_SERVER();
    try {
        const nats_server server({.extra = "no_such_setting: 1"});
        FAIL() << "it started";
    } catch (const std::exception& error) {
        EXPECT_THAT(error.what(), HasSubstr("no_such_setting"));
    }
}

TEST(nats_fixture, three_servers_have_a_leader_and_another_when_it_is_gone) {
    LEAT_NEEDS_NATS_SERVER();
    nats_trio servers;
    const std::size_t first = servers.leader();
    servers[first].kill();
    EXPECT_NE(servers.leader(), first);
    servers[first].start();
    servers.wait_ready();
}

TEST(nats_fixture, a_server_with_certificates_speaks_tls_alone) {
    LEAT_NEEDS_NATS_SERVER();
    const certificates keys;
    const nats_server server({.extra = keys.server_tls()});
    EXPECT_THAT(line_client(server.port()).line(), HasSubstr("\"tls_required\":true"));
}

TEST(nats_fixture, a_server_ends_when_its_test_is_killed) {
    LEAT_NEEDS_NATS_SERVER();
    pipe_pair told;
    const pid_t child =
        ::fork();  // no thread runs but this one, or the keeper, which holds no lock that the child needs
    if (child == 0) {
        // The fork has no keeper; a program of its own makes a server, and waits to be killed.
        ::dup2(told.writer(), 9);
        ::dup2(::open("/dev/null", O_WRONLY), 1);
        ::execl("/proc/self/exe", "leat_cluster_tests", "--gtest_also_run_disabled_tests",
                "--gtest_filter=nats_fixture.DISABLED_tells_the_pid_of_a_server", "--gtest_brief=1", nullptr);
        ::_exit(98);
    }
    told.close_writer();
    const std::string line = told.read_line();
    if (!line.starts_with("pid ")) ::kill(child, SIGKILL);
    ASSERT_THAT(line, StartsWith("pid "));
    const pid_t server = std::stoi(line.substr(4));
    EXPECT_TRUE(runs(server));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(eventually([&] { return !runs(server); }));
    std::filesystem::remove_all(line.substr(line.rfind(' ') + 1));  // which nobody was left to do
}
TEST(nats_fixture, DISABLED_tells_the_pid_of_a_server) {  // a part of the test above
    const nats_server server;
    const std::string line = "pid " + std::to_string(server.pid()) + " " + server.store().string() + "\n";
    (void)!::write(9, line.data(), line.size());
    for (;;) ::pause();
}

TEST(nats_fixture, a_held_way_lets_nothing_through_until_it_is_released) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    tcp_proxy proxy(server.port());
    const line_client client(proxy.port(), 100);
    EXPECT_TRUE(eventually([&] { return client.line().starts_with("INFO "); }));
    client.send("CONNECT {\"verbose\":false}\r\nPING\r\n");
    EXPECT_TRUE(eventually([&] { return client.line() == "PONG\r"; }));

    proxy.hold_to_client();
    client.send("PING\r\n");
    EXPECT_EQ(client.line(), "");
    proxy.release();
    EXPECT_TRUE(eventually([&] { return client.line() == "PONG\r"; }));

    proxy.hold_to_server();
    client.send("PING\r\n");
    EXPECT_EQ(client.line(), "");
    proxy.release();
    EXPECT_TRUE(eventually([&] { return client.line() == "PONG\r"; }));

    proxy.refuse();
    EXPECT_EQ(client.line(), "");
    EXPECT_EQ(line_client(proxy.port()).line(), "");
    proxy.accept();
    EXPECT_THAT(line_client(proxy.port()).line(), StartsWith("INFO "));
}

}  // namespace
