#include <leat/cluster/engine_url.hpp>

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nats_server.hpp>
#include <string>

namespace {

using namespace leat::cluster;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

engine_url parsed(const std::string& text) {
    auto url = parse_engine_url(text);
    if (!url) throw std::runtime_error(url.error().text);
    return *url;
}
std::string refused(const std::string& text) {
    auto url = parse_engine_url(text);
    return url ? "it is taken" : url.error().text;
}

TEST(engine_url, a_server_has_a_port_of_its_own_or_4222) {
    EXPECT_THAT(parsed("nats://127.0.0.1").servers, ElementsAre("nats://127.0.0.1:4222"));
    EXPECT_THAT(parsed("nats://localhost:4711/").servers, ElementsAre("nats://localhost:4711"));
    EXPECT_THAT(parsed("tls://[2001:db8::1]:4711").servers, ElementsAre("tls://[2001:db8::1]:4711"));
    EXPECT_THAT(parsed("nats://[::1]").servers, ElementsAre("nats://[::1]:4222"));
}

TEST(engine_url, several_servers_stand_in_one_address_with_the_scheme_once_or_each) {
    EXPECT_THAT(parsed("tls://a.example:1,b.example:2").servers, ElementsAre("tls://a.example:1", "tls://b.example:2"));
    EXPECT_EQ(parsed("nats://127.0.0.1:1,nats://127.0.0.1:2").to_text(), "nats://127.0.0.1:1,nats://127.0.0.1:2");
    EXPECT_THAT(refused("tls://a.example,nats://127.0.0.1"), HasSubstr("with TLS, or none"));
}

TEST(engine_url, another_machine_is_reached_with_tls_alone) {
    EXPECT_THAT(refused("nats://engine.example"), HasSubstr("engine.example is not this machine"));
    EXPECT_THAT(refused("nats://127.0.0.1,10.0.0.1"), HasSubstr("begin it with tls://"));
    EXPECT_THAT(refused("nats://127.example.org"), HasSubstr("not this machine"));
    EXPECT_THAT(refused("nats://localhost.example.org"), HasSubstr("not this machine"));
    EXPECT_TRUE(parsed("tls://10.0.0.1").tls);
}

TEST(engine_url, who_connects_is_named_by_reference) {
    const engine_url user = parsed("nats://me%40home@127.0.0.1?password-file=/run/a%26b");
    EXPECT_EQ(user.user, "me@home");
    EXPECT_EQ(user.password_file, "/run/a&b");
    EXPECT_EQ(parsed("tls://h?nkey=worker.nk&ca=ca.pem").nkey_file, "worker.nk");
    EXPECT_EQ(parsed("tls://h?nkey=worker.nk&ca=ca.pem").ca_file, "ca.pem");
    EXPECT_EQ(parsed("tls://h?credentials=a.creds").credentials_file, "a.creds");
    const engine_url own = parsed("tls://h?certificate=me.pem&key=me.key&inbox=leat.answers&synced=yes");
    EXPECT_EQ(own.certificate_file, "me.pem");
    EXPECT_EQ(own.key_file, "me.key");
    EXPECT_EQ(own.inbox, "leat.answers");
    EXPECT_TRUE(own.operator_says_synced);
}

TEST(engine_url, a_password_in_the_address_is_refused_and_not_repeated) {
    for (const char* text :
         {"nats://me:geheim@127.0.0.1", "nats://127.0.0.1?password=geheim", "http://me:geheim@127.0.0.1",
          "nats://me:geheim@there.example", "nats://me:ge@geheim@127.0.0.1:0", "geheim@127.0.0.1"}) {
        EXPECT_THAT(refused(text), HasSubstr("is no address of an engine")) << text;
        EXPECT_THAT(refused(text), Not(HasSubstr("geheim"))) << text;
    }
    EXPECT_THAT(refused("nats://me:geheim@127.0.0.1"), HasSubstr("password-file=FILE"));
    EXPECT_THAT(refused("nats://127.0.0.1?token=geheim"), HasSubstr("password-file=FILE"));
}

TEST(engine_url, what_does_not_go_together_is_refused) {
    EXPECT_THAT(refused("nats://me@127.0.0.1"), HasSubstr("needs password-file"));
    EXPECT_THAT(refused("nats://127.0.0.1?password-file=p"), HasSubstr("needs a user"));
    EXPECT_THAT(refused("nats://127.0.0.1?nkey=a&credentials=b"), HasSubstr("only one"));
    EXPECT_THAT(refused("tls://h?certificate=a"), HasSubstr("given together"));
    EXPECT_THAT(refused("tls://h?ca=a&ca=b"), HasSubstr("twice"));
    EXPECT_THAT(refused("nats://127.0.0.1?ca=a"), HasSubstr("for tls://"));
}

TEST(engine_url, what_is_no_address_is_told_so) {
    EXPECT_THAT(refused(""), HasSubstr("begins with nats:// or tls://"));
    EXPECT_THAT(refused("127.0.0.1:4222"), HasSubstr("begins with nats:// or tls://"));
    EXPECT_THAT(refused("nats://"), HasSubstr("names no host"));
    EXPECT_THAT(refused("nats://127.0.0.1,:7"), HasSubstr("names no host"));
    EXPECT_THAT(refused("nats://127.0.0.1,"), HasSubstr("names no host"));
    EXPECT_THAT(refused("tls://a b"), HasSubstr("no name of a host"));
    EXPECT_THAT(refused("tls://[::1"), HasSubstr("']' is missing"));
    for (const char* port : {"", "0", "65536", "4222x", "-1", "99999999999"})
        EXPECT_THAT(refused("nats://127.0.0.1:" + std::string(port)), HasSubstr("no number from 1 to 65535")) << port;
    EXPECT_THAT(refused("nats://127.0.0.1?colour=red"), HasSubstr("no option 'colour'"));
    EXPECT_THAT(refused("tls://h?ca="), HasSubstr("has no value"));
    EXPECT_THAT(refused("tls://h?ca=%2"), HasSubstr("two digits"));
    EXPECT_THAT(refused("tls://h?ca=%zz"), HasSubstr("two digits"));
    EXPECT_THAT(refused("tls://h?synced=perhaps"), HasSubstr("yes or no"));
    EXPECT_THAT(refused("tls://h?inbox=a.*"), HasSubstr("no subject"));
}

TEST(engine_url, its_files_are_there_and_secrets_are_not_for_all) {
    const leat_test::own_folder folder;
    const std::string seed = (folder.path() / "worker.nk").string();
    const engine_url url = parsed("nats://127.0.0.1?nkey=" + seed);
    const auto problem = [&] {
        auto checked = check_files(url);
        return checked ? std::string() : checked.error().text;
    };
    EXPECT_THAT(problem(), AllOf(HasSubstr("nkey"), HasSubstr("No such file")));
    std::ofstream(seed) << "SUA\n";
    using std::filesystem::perms;
    std::filesystem::permissions(seed, perms::owner_read | perms::others_read);
    EXPECT_THAT(problem(), HasSubstr("chmod o= it"));
    EXPECT_FALSE(read_secret(seed).has_value());
    std::filesystem::permissions(seed, perms::owner_read | perms::group_read);  // as Kubernetes mounts a secret
    EXPECT_EQ(problem(), "");
    auto content = read_secret(seed);
    ASSERT_TRUE(content.has_value());
    EXPECT_EQ(*content, "SUA");

    const std::string ca = (folder.path() / "ca.pem").string();
    std::ofstream(ca) << "anybody may read it";
    EXPECT_TRUE(check_files(parsed("tls://h?ca=" + ca)).has_value());
    EXPECT_THAT(check_files(parsed("tls://h?ca=" + folder.path().string())).error().text, HasSubstr("it is no file"));
    std::ofstream((folder.path() / "empty").string()).flush();
    std::filesystem::permissions(folder.path() / "empty", perms::owner_read);
    EXPECT_THAT(read_secret((folder.path() / "empty").string()).error().text, HasSubstr("it is empty"));
}

}  // namespace
