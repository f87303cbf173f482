#include <leat/cluster/keys.hpp>

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <leat/cluster/nats_broker.hpp>
#include <leat/runtime/run.hpp>
#include <memory>
#include <nats_server.hpp>
#include <string>

namespace {

using namespace leat::cluster;
using testing::SizeIs;
using testing::StartsWith;

TEST(keys, a_seed_gives_its_public_key_again) {
    const nkey made = make_user_nkey();
    EXPECT_THAT(made.seed, AllOf(StartsWith("SU"), SizeIs(58)));
    EXPECT_THAT(made.public_key, AllOf(StartsWith("U"), SizeIs(56)));
    const auto again = user_nkey_of(made.seed);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->public_key, made.public_key);
    EXPECT_EQ(again->seed, made.seed);
    EXPECT_NE(make_user_nkey().seed, made.seed);
}

TEST(keys, a_seed_of_another_program_is_understood) {
    // From the documentation of nats-server.
    const auto known = user_nkey_of("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY");
    ASSERT_TRUE(known);
    EXPECT_EQ(known->public_key, "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
}

TEST(keys, what_is_no_seed_of_a_user_is_none) {
    const std::string seed = make_user_nkey().seed;
    EXPECT_FALSE(user_nkey_of(""));
    EXPECT_FALSE(user_nkey_of("SU"));
    EXPECT_FALSE(user_nkey_of(make_user_nkey().public_key));
    EXPECT_FALSE(user_nkey_of(seed.substr(1)));
    EXPECT_FALSE(user_nkey_of(seed + "A"));
    for (std::size_t at = 0; at < seed.size(); ++at) {
        std::string wrong = seed;
        wrong[at] = wrong[at] == 'A' ? 'B' : 'A';
        EXPECT_FALSE(user_nkey_of(wrong)) << at;
        wrong[at] = '1';
        EXPECT_FALSE(user_nkey_of(wrong)) << at;
    }
}

TEST(keys, certificates_are_pem_and_a_name_that_would_say_more_is_refused) {
    const certificate authority = make_authority("test", 30);
    EXPECT_THAT(authority.pem, StartsWith("-----BEGIN CERTIFICATE-----"));
    EXPECT_THAT(authority.key_pem, StartsWith("-----BEGIN PRIVATE KEY-----"));
    EXPECT_THAT(make_server_certificate(authority, {"n1.example.org", "10.0.0.1", "::1"}, 30).pem,
                StartsWith("-----BEGIN CERTIFICATE-----"));
    EXPECT_THROW((void)make_server_certificate(authority, {"a,DNS:b"}, 30), std::runtime_error);
    EXPECT_THROW((void)make_server_certificate(authority, {}, 30), std::runtime_error);
    EXPECT_THROW((void)make_server_certificate({authority.pem, "no key"}, {"a"}, 30), std::runtime_error);
}

leat::task<int> refusals(std::string url, int times) {
    int refused = 0;
    for (int each = 0; each < times; ++each) {
        nats_options options(url);
        auto connecting = connect(std::move(options));
        broker_result<std::unique_ptr<broker>> made = co_await std::move(connecting);
        if (made) co_await (*made)->close();
        else ++refused;
    }
    co_return refused;
}

// cnats 3.4.1 alone loses one connection in 256.
TEST(keys, who_has_the_key_gets_in_each_time) {
    LEAT_NEEDS_NATS_SERVER();
    const nkey mine = make_user_nkey();
    const leat_test::nats_server server({.extra = "authorization { users: [ { nkey: " + mine.public_key + " } ] }"});
    const std::string file = (server.store() / "mine.nk").string();
    std::ofstream(file) << mine.to_file();
    std::filesystem::permissions(file, std::filesystem::perms::owner_read);
    constexpr int times = 500;
    const std::string url = server.url() + "?nkey=" + file;
    EXPECT_EQ(leat::run(leat::run_options(1), [&] { return refusals(url, times); }), 0);
}

}  // namespace
