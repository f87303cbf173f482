// leat cluster init: what it writes starts real servers, and it writes over nothing.
#include "leat_process.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <nats_server.hpp>
#include <string>

namespace {

using namespace leat_test;
using testing::HasSubstr;
using testing::Not;

std::filesystem::perms mode_of(const std::string& file) { return std::filesystem::status(file).permissions(); }

TEST(cluster_init, the_files_of_one_server_start_it) {
    LEAT_NEEDS_NATS_SERVER();
    const scratch folder;
    server_options options;
    options.launches = false;
    leat_end end;
    options.configuration = [&](const nats_server& server) {
        end = run_leat(
            {"cluster", "init", folder.file("engine"), "--server",
             "localhost:" + std::to_string(server.port()) + ":6222:" + std::to_string(server.monitoring_port())});
        return folder.read("engine/n1/nats.conf");
    };
    nats_server server(options);
    server.start();
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_EQ(end.err, "");
    EXPECT_THAT(end.out, HasSubstr("nats-server -c " + folder.file("engine") + "/n1/nats.conf"));
    EXPECT_THAT(end.out, HasSubstr("worker: --engine 'tls://localhost:" + std::to_string(server.port()) + "?ca="));
    EXPECT_THAT(server.ask("/varz"), HasSubstr("\"sync_always\": true"));
}

TEST(cluster_init, secrets_are_for_their_owner_and_not_in_the_configuration) {
    const scratch folder;
    EXPECT_EQ(run_leat({"cluster", "init", folder.file("e")}).code, 0);
    using std::filesystem::perms;
    for (const char* name : {"e/ca.key", "e/worker.nk", "e/coordinator.nk", "e/observer.nk", "e/n1/server.key"})
        EXPECT_EQ(mode_of(folder.file(name)), perms::owner_read | perms::owner_write) << name;
    const std::string text = folder.read("e/n1/nats.conf");
    EXPECT_THAT(text, HasSubstr("sync_interval: always"));
    EXPECT_THAT(text, Not(HasSubstr("password")));
    for (const char* name : {"e/worker.nk", "e/coordinator.nk", "e/observer.nk"}) {
        const std::string key = folder.read(name);
        EXPECT_THAT(text, Not(HasSubstr(key.substr(0, 58)))) << name;  // the seed
        EXPECT_THAT(text, HasSubstr(key.substr(59, 56))) << name;      // what is public of it
    }
}

TEST(cluster_init, three_servers_have_a_folder_each_for_the_place_where_they_will_be) {
    const scratch folder;
    const leat_end end =
        run_leat({"cluster", "init", folder.file("e"), "--place", "/etc/leat", "--name", "mill", "--disk", "10GiB",
                  "--server", "n1.example.org", "--server", "n2.example.org", "--server", "[2001:db8::3]:4333"});
    EXPECT_EQ(end.code, 0) << end.err;
    for (const std::string at : {"e/n1/", "e/n2/", "e/n3/"}) {
        const std::string text = folder.read(at + "nats.conf");
        EXPECT_THAT(text, HasSubstr("cert_file: \"/etc/leat/server.pem\""));
        EXPECT_THAT(text, HasSubstr("\"tls://[2001:db8::3]:6222\""));
        EXPECT_THAT(text, HasSubstr("max_file_store: 10737418240"));
        EXPECT_EQ(folder.read(at + "ca.pem"), folder.read("e/ca.pem"));
    }
    EXPECT_THAT(end.out, HasSubstr("server 2 on n2.example.org: " + folder.file("e") + "/n2 goes to /etc/leat"));
    EXPECT_THAT(end.out, HasSubstr("tls://n1.example.org:4222,n2.example.org:4222,[2001:db8::3]:4333?"));
}

TEST(cluster_init, nothing_is_written_over_nor_beside_what_is_there) {
    const scratch folder;
    std::filesystem::create_directories(folder.file("e/n1"));
    folder.write("e/n1/server.key", "precious");
    const leat_end end = run_leat({"cluster", "init", folder.file("e")});
    EXPECT_EQ(end.code, 2);
    EXPECT_THAT(end.err, HasSubstr("server.key is there already, and is not written over"));
    EXPECT_EQ(folder.read("e/n1/server.key"), "precious");
    EXPECT_FALSE(std::filesystem::exists(folder.file("e/ca.pem")));

    EXPECT_EQ(run_leat({"cluster", "init", folder.file("twice")}).code, 0);
    EXPECT_EQ(run_leat({"cluster", "init", folder.file("twice")}).code, 2);
}

TEST(cluster_init, what_cannot_be_meant_so_is_refused) {
    const scratch folder;
    const auto refused = [&](leat_process::words more) {
        leat_process::words all{"cluster", "init", folder.file("e")};
        all.insert(all.end(), more.begin(), more.end());
        const leat_end end = run_leat(all);
        EXPECT_EQ(end.code, 2);
        EXPECT_FALSE(std::filesystem::exists(folder.file("e")));
        return end.err;
    };
    EXPECT_THAT(refused({"--server", "a", "--server", "b"}), HasSubstr("2 servers are given"));
    EXPECT_THAT(refused({"--server", "a b"}), HasSubstr("expected a name or an address"));
    EXPECT_THAT(refused({"--server", "a:0"}), HasSubstr("is no port"));
    EXPECT_THAT(refused({"--server", "a:1:2:3:4"}), HasSubstr("HOST[:PORT"));
    EXPECT_THAT(refused({"--server", "[::1"}), HasSubstr("`]` is missing"));
    EXPECT_THAT(refused({"--server", "a", "--server", "a", "--server", "b"}),
                HasSubstr("port 4222 of a is given to two"));
    EXPECT_THAT(refused({"--server", "localhost", "--server", "a", "--server", "b"}),
                HasSubstr("on its own machine alone"));
    EXPECT_THAT(refused({"--name", "a.b"}), HasSubstr("--name"));
    EXPECT_THAT(refused({"--queue", "a\"b"}), HasSubstr("--queue"));
    EXPECT_THAT(refused({"--cache", "a.b"}), HasSubstr("--cache"));
    EXPECT_THAT(refused({"--seen", "*"}), HasSubstr("--seen"));
    EXPECT_THAT(refused({"--place", "etc"}), HasSubstr("from the root"));
    EXPECT_THAT(refused({"--disk", "much"}), HasSubstr("--disk"));
    EXPECT_THAT(refused({"--days", "0"}), HasSubstr("--days"));
    EXPECT_EQ(run_leat({"cluster"}).code, 2);
    EXPECT_EQ(run_leat({"cluster", "end", "x"}).code, 2);
    EXPECT_EQ(run_leat({"cluster", "init"}).code, 2);
    EXPECT_THAT(run_leat({"cluster", "--help"}).out, HasSubstr("leat cluster init FOLDER"));
}

TEST(cluster_init, a_folder_that_cannot_be_written_is_told) {
    const leat_end end = run_leat({"cluster", "init", "/proc/leat"});
    EXPECT_EQ(end.code, 4);
    EXPECT_THAT(end.err, HasSubstr("/proc/leat"));
}

}  // namespace
