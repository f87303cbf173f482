// The configurations that are generated, on real servers: they take them, and each role may do what it needs and no more.
#include <leat/cluster/server_config.hpp>

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <csignal>
#include <fstream>
#include <leat/cluster/engine_url.hpp>
#include <leat/cluster/keys.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/cluster/shared_cache.hpp>
#include <leat/cluster/shared_seen.hpp>
#include <leat/runtime/run.hpp>
#include <memory>
#include <mutex>
#include <nats/nats.h>
#include <nats_server.hpp>
#include <string>
#include <vector>

namespace {

using namespace leat::cluster;
using leat_test::held_port;
using leat_test::nats_server;
using leat_test::nats_trio;
using leat_test::own_folder;
using testing::HasSubstr;
using testing::StartsWith;

// Servers as `leat cluster init` plans them, with their files.
class planned_servers {
public:
    explicit planned_servers(std::size_t count) {
        for (std::size_t index = 0; index < count; ++index) {
            leat_test::server_options options;
            options.launches = false;
            options.configuration = [this, index](const nats_server&) { return server_config(plan, index); };
            servers.push_back(std::make_unique<nats_server>(std::move(options)));
            server_place place;
            place.host = "127.0.0.1";
            place.port = servers.back()->port();
            place.monitoring_port = servers.back()->monitoring_port();
            place.routes_port = routes_.emplace_back(std::make_unique<held_port>())->number();
            place.folder = servers.back()->store().string();
            const certificate mine = make_server_certificate(authority, place.names(), 30);
            write(place.folder + "/ca.pem", authority.pem);
            write(place.folder + "/server.pem", mine.pem);
            write(place.folder + "/server.key", mine.key_pem);
            plan.servers.push_back(place);
        }
        plan.coordinator_key = keys[0].public_key;
        plan.worker_key = keys[1].public_key;
        plan.observer_key = keys[2].public_key;
        for (const role who : all_roles)
            write((folder.path() / name_of(who)).string() + ".nk", keys.at(static_cast<std::size_t>(who)).to_file());
        write((folder.path() / "ca.pem").string(), authority.pem);
    }
    void start() const {
        for (const auto& each : servers) each->launch();
        for (const auto& each : servers) each->wait_ready();
    }
    static void write(const std::string& file, const std::string& text) {
        std::ofstream(file) << text;
        std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    }

    own_folder folder;
    certificate authority = make_authority("test", 30);
    std::array<nkey, 3> keys{make_user_nkey(), make_user_nkey(), make_user_nkey()};
    engine_plan plan;
    std::vector<std::unique_ptr<nats_server>> servers;

private:
    std::vector<std::unique_ptr<held_port>> routes_;
};

// A connection of a role, by the address that is told for it.
class client {
public:
    client(const planned_servers& to, role who) {
        auto url = parse_engine_url(address_for(to.plan, who, to.folder.path().string()));
        if (!url) throw std::runtime_error(url.error().text);
        auto checked = check_files(std::move(*url));
        if (!checked) throw std::runtime_error(checked.error().text);
        open(*checked, to.keys.at(static_cast<std::size_t>(who)).public_key);
    }
    client(const engine_url& url, const std::string& public_key) { open(url, public_key); }
    client(const client&) = delete;
    client& operator=(const client&) = delete;
    ~client() {
        if (connection_ != nullptr) {
            natsConnection_Close(connection_);
            closed_->wait(false);  // said behind the last error, by the thread that calls hear()
        }
        natsConnection_Destroy(connection_);
        natsOptions_Destroy(options_);
    }
    [[nodiscard]] const std::string& problem() const { return problem_; }  // why there is no connection

    // The answer; "refused" when the server said so; "nobody" when no one listens there.
    std::string ask(const std::string& subject, const std::string& request = {}) {
        forget();
        return ask_on(subject, request);
    }
    // Whether it may subscribe there.
    bool may_listen(const std::string& subject) {
        natsSubscription* listening = nullptr;
        natsConnection_SubscribeSync(&listening, connection_, subject.c_str());
        natsConnection_Flush(connection_);  // comes back behind what the server says to it
        const char* text = nullptr;
        natsConnection_GetLastError(connection_, &text);
        const bool may =
            text == nullptr || std::string(text).find("Subscription to \"" + subject + '"') == std::string::npos;
        natsSubscription_Destroy(listening);
        return may;
    }
    natsConnection* get() { return connection_; }

private:
    std::string ask_on(const std::string& subject, const std::string& request) {
        const std::string inbox = inbox_ + ".ask" + std::to_string(++asked_);
        natsSubscription* answers = nullptr;
        natsConnection_SubscribeSync(&answers, connection_, inbox.c_str());
        natsConnection_PublishRequestString(connection_, subject.c_str(), inbox.c_str(), request.c_str());
        std::string text = "silence";
        for (int round = 0; round < 2000 && text == "silence"; ++round) {  // each of 10 ms
            natsMsg* answer = nullptr;
            if (natsSubscription_NextMsg(&answer, answers, 10) == NATS_OK)
                text =
                    natsMsg_IsNoResponders(answer)
                        ? "nobody"
                        : std::string(natsMsg_GetData(answer), static_cast<std::size_t>(natsMsg_GetDataLength(answer)));
            else if (was_refused()) text = "refused";
            natsMsg_Destroy(answer);
        }
        natsSubscription_Destroy(answers);
        return text;
    }
    void open(const engine_url& url, const std::string& public_key) {
        std::signal(SIGPIPE, SIG_IGN);  // which cnats needs where nats_broker does not see to it
        natsOptions_Create(&options_);
        std::vector<const char*> servers;
        for (const std::string& each : url.servers) servers.push_back(each.c_str());
        natsOptions_SetServers(options_, servers.data(), static_cast<int>(servers.size()));
        natsOptions_SetSecure(options_, url.tls);
        natsOptions_LoadCATrustedCertificates(options_, url.ca_file.c_str());
        natsOptions_SetNKeyFromSeed(options_, public_key.c_str(), url.nkey_file.c_str());
        inbox_ = url.inbox;
        natsOptions_SetErrorHandler(options_, hear, this);
        natsOptions_SetClosedCB(options_, hear_closed, this);
        natsStatus status = NATS_CONNECTION_AUTH_FAILED;  // cnats loses one signature in 256 (nats_connect.cpp)
        for (int tries = 0; tries < 4 && status == NATS_CONNECTION_AUTH_FAILED; ++tries)
            status = natsConnection_Connect(&connection_, options_);
        if (status != NATS_OK) {
            const char* const text = nats_GetLastError(nullptr);
            problem_ = text != nullptr ? text : natsStatus_GetText(status);
        }
    }
    static void hear(natsConnection* from, natsSubscription*, natsStatus, void* self) {
        auto& mine = *static_cast<client*>(self);
        const char* text = nullptr;
        natsConnection_GetLastError(from, &text);
        const std::lock_guard lock(mine.mutex_);
        if (text != nullptr) mine.heard_ += std::string(text) + '\n';
    }
    static void hear_closed(natsConnection*, void* self) {
        // Held, since the client may go as soon as it is told.
        const std::shared_ptr<std::atomic<bool>> closed = static_cast<client*>(self)->closed_;
        closed->store(true);
        closed->notify_all();
    }
    void forget() {
        const std::lock_guard lock(mutex_);
        heard_.clear();
    }
    bool was_refused() {
        const std::lock_guard lock(mutex_);
        return heard_.find("Publish to") != std::string::npos;
    }

    natsOptions* options_ = nullptr;
    natsConnection* connection_ = nullptr;
    std::string problem_;
    std::string inbox_;
    unsigned asked_ = 0;
    std::mutex mutex_;
    std::string heard_;
    std::shared_ptr<std::atomic<bool>> closed_ = std::make_shared<std::atomic<bool>>(false);
};

std::string stream_request(const std::string& name, const std::string& subject, int replicas = 1) {
    return R"({"name":")" + name + R"(","subjects":[")" + subject +
           R"("],"retention":"workqueue","storage":"file","discard":"new","num_replicas":)" + std::to_string(replicas) +
           "}";
}
std::string consumer_request(const std::string& stream, const std::string& name) {
    return R"({"stream_name":")" + stream + R"(","action":"create","config":{"durable_name":")" + name +
           R"(","ack_policy":"explicit","max_deliver":-1}})";
}

TEST(server_config, a_server_runs_with_it_and_its_roles_get_in) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    for (const role who : all_roles) {
        client connected(engine, who);
        EXPECT_EQ(connected.problem(), "") << name_of(who);
        EXPECT_THAT(connected.ask("$JS.API.INFO"), HasSubstr("\"api\"")) << name_of(who);
    }
}

TEST(server_config, its_server_writes_through_and_says_so_where_it_is_asked) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    EXPECT_THAT(engine.servers[0]->ask("/varz"), HasSubstr("\"sync_always\": true"));
}

TEST(server_config, who_has_no_key_or_another_or_another_authority_does_not_get_in) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    auto url = parse_engine_url(address_for(engine.plan, role::worker, engine.folder.path().string()));
    ASSERT_TRUE(url.has_value()) << url.error().text;
    const std::string key = engine.keys[1].public_key;
    EXPECT_EQ(client(*url, key).problem(), "");

    const nkey stranger = make_user_nkey();
    engine_url other = *url;
    other.nkey_file = (engine.folder.path() / "stranger.nk").string();
    planned_servers::write(other.nkey_file, stranger.to_file());
    EXPECT_THAT(client(other, stranger.public_key).problem(), HasSubstr("uthorization"));
    EXPECT_THAT(client(other, key).problem(), HasSubstr("uthorization"));  // a key, and the signature of another

    other = *url;
    other.ca_file = (engine.folder.path() / "other.pem").string();
    planned_servers::write(other.ca_file, make_authority("other", 30).pem);
    EXPECT_THAT(client(other, key).problem(), HasSubstr("SSL"));
}

TEST(server_config, a_worker_takes_items_and_gives_results_and_does_nothing_else) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    client boss(engine, role::coordinator);
    for (const auto& [stream, subject] : {std::pair{"df-f-r-0", "df.f.r.0.*"},
                                          {"df-f-r-0-out", "df.f.r.0.out.*"},
                                          {"df-f-dead", "df.f.dead.>"},
                                          {"KV_leat-runs", "$KV.leat-runs.>"},
                                          {"KV_leat-workers", "$KV.leat-workers.>"}})
        EXPECT_THAT(boss.ask("$JS.API.STREAM.CREATE." + std::string(stream), stream_request(stream, subject)),
                    HasSubstr("\"created\""))
            << stream;
    for (const auto& [stream, name] : {std::pair{"df-f-r-0", "workers"}, {"df-f-r-0-out", "coordinator"}})
        EXPECT_THAT(boss.ask("$JS.API.CONSUMER.DURABLE.CREATE." + std::string(stream) + "." + name,
                             consumer_request(stream, name)),
                    HasSubstr("\"created\""));
    EXPECT_THAT(boss.ask("df.f.r.0.k0", "an item"), HasSubstr("\"seq\""));
    EXPECT_THAT(boss.ask("$KV.leat-runs.manifest.f.r", "words"), HasSubstr("\"seq\""));

    client worker(engine, role::worker);
    // What it lives on.
    EXPECT_THAT(worker.ask("$JS.API.STREAM.MSG.GET.KV_leat-runs", R"({"last_by_subj":"$KV.leat-runs.manifest.f.r"})"),
                HasSubstr("\"data\""));
    EXPECT_THAT(worker.ask("$JS.API.STREAM.INFO.KV_leat-runs"), HasSubstr("\"state\""));
    EXPECT_THAT(worker.ask("$JS.API.CONSUMER.INFO.df-f-r-0.workers"), HasSubstr("\"num_pending\""));
    EXPECT_THAT(worker.ask("df.f.r.0.out.k0", "a result"), HasSubstr("\"seq\""));
    EXPECT_THAT(worker.ask("df.f.r.0.k0", "half of an item"), HasSubstr("\"seq\""));
    EXPECT_THAT(worker.ask("df.f.dead.r.0", "a dead item"), HasSubstr("\"seq\""));
    EXPECT_THAT(worker.ask("$KV.leat-workers.f.r.me", "alive"), HasSubstr("\"seq\""));
    EXPECT_EQ(worker.ask("$JS.API.CONSUMER.MSG.NEXT.df-f-r-0.workers", R"({"batch":1})"), "an item");
    {  // and its acknowledgement, confirmed
        natsSubscription* answers = nullptr;
        const std::string to = inbox_of(role::worker) + ".items";
        ASSERT_EQ(natsConnection_SubscribeSync(&answers, worker.get(), to.c_str()), NATS_OK);
        natsConnection_PublishRequestString(worker.get(), "$JS.API.CONSUMER.MSG.NEXT.df-f-r-0.workers", to.c_str(),
                                            R"({"batch":1})");
        natsMsg* got = nullptr;
        ASSERT_EQ(natsSubscription_NextMsg(&got, answers, 20'000), NATS_OK);
        EXPECT_EQ(worker.ask(natsMsg_GetReply(got), "+ACK"), "");
        natsMsg_Destroy(got);
        natsSubscription_Destroy(answers);
    }

    // What is not its business.
    for (const char* subject :
         {"$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.df-f-r-0", "$JS.API.STREAM.DELETE.df-f-r-0",
          "$JS.API.STREAM.PURGE.df-f-r-0", "$JS.API.CONSUMER.DURABLE.CREATE.df-f-r-0.mine",
          "$JS.API.CONSUMER.CREATE.df-f-r-0", "$JS.API.CONSUMER.DELETE.df-f-r-0.workers",
          "$JS.API.CONSUMER.MSG.NEXT.df-f-r-0-out.coordinator", "$JS.API.STREAM.MSG.GET.df-f-dead",
          "$JS.API.STREAM.MSG.DELETE.df-f-r-0", "$JS.API.STREAM.SNAPSHOT.df-f-r-0",
          "$JS.ACK.df-f-r-0-out.coordinator.1.1.1.1.1", "$KV.leat-runs.lease.f", "$KV.leat-runs.manifest.f.r",
          "df.f.r.0.k0.more", "anything", "$SYS.REQ.SERVER.PING"})
        EXPECT_EQ(worker.ask(subject, "{}"), "refused") << subject;
    EXPECT_TRUE(worker.may_listen(inbox_of(role::worker) + ".x"));
    for (const std::string& subject :
         {std::string("df.>"), std::string(">"), std::string("_INBOX.>"), inbox_of(role::coordinator) + ".>",
          std::string("$KV.leat-runs.>"), std::string("$JS.EVENT.>")})
        EXPECT_FALSE(worker.may_listen(subject)) << subject;
    // And nothing of it happened.
    EXPECT_THAT(boss.ask("$JS.API.STREAM.INFO.mine"), HasSubstr("not found"));
    EXPECT_THAT(boss.ask("$JS.API.STREAM.MSG.GET.KV_leat-runs", R"({"last_by_subj":"$KV.leat-runs.lease.f"})"),
                HasSubstr("no message found"));
}

TEST(server_config, a_worker_uses_the_caches_and_filters_that_it_was_given_and_no_others) {
    LEAT_NEEDS_NATS_SERVER();
    planned_servers engine(1);
    engine.plan.shared.caches = {"pages"};
    engine.plan.shared.seen = {"urls"};
    engine.start();
    const std::string address = address_for(engine.plan, role::worker, engine.folder.path().string());
    leat::run([&]() -> leat::task<> {
        auto connecting = connect(nats_options(address));
        auto made = co_await std::move(connecting);
        if (!made) throw std::runtime_error(made.error().text);
        broker& link = **made;
        const auto fetch = [](const std::string& key) { return std::string(2'000'000, key[0]); };  // goes by reference
        for (int machine = 0; machine < 2; ++machine) {
            shared_cache<std::string, std::string> pages(link, shared_cache_options("pages"));
            co_await pages.open();
            const std::string page = co_await pages.get("x", fetch);
            EXPECT_EQ(page, std::string(2'000'000, 'x'));
            EXPECT_EQ(pages.counts().broken, 0U);
            EXPECT_EQ(pages.counts().shared_hits, machine == 0 ? 0U : 1U);

            shared_seen_options few("urls");
            few.items = 1000;
            shared_seen urls(link, few);
            co_await urls.open();
            const bool is_seen = co_await urls.has(leat::digest_of("x"));
            EXPECT_EQ(is_seen, machine == 1);
            urls.note(leat::digest_of("x"));
            co_await urls.exchange();
            EXPECT_EQ(urls.counts().broken, 0U);
        }
        shared_cache<std::string, std::string> others(link, shared_cache_options("others"));
        co_await others.open();
        EXPECT_GT(others.counts().broken, 0U);
        shared_seen_options none("others");
        none.patience = std::chrono::seconds(1);
        shared_seen strange(link, none);
        auto opening = strange.open();
        const leat::outcome<void> end = co_await std::move(opening).as_outcome();
        EXPECT_TRUE(end.is_error());
        auto closing = link.close();
        co_await std::move(closing);
    });
}

TEST(server_config, an_observer_sees_the_state_and_no_items) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    client boss(engine, role::coordinator);
    EXPECT_THAT(boss.ask("$JS.API.STREAM.CREATE.df-f-r-0", stream_request("df-f-r-0", "df.f.r.0.*")),
                HasSubstr("\"created\""));
    client observer(engine, role::observer);
    EXPECT_THAT(observer.ask("$JS.API.STREAM.NAMES"), HasSubstr("df-f-r-0"));
    EXPECT_THAT(observer.ask("$JS.API.STREAM.INFO.df-f-r-0"), HasSubstr("\"state\""));
    for (const char* subject : {"$JS.API.STREAM.MSG.GET.df-f-r-0", "$JS.API.STREAM.DELETE.df-f-r-0",
                                "$JS.API.CONSUMER.MSG.NEXT.df-f-r-0.workers", "df.f.r.0.k0", "$KV.leat-runs.drain.f"})
        EXPECT_EQ(observer.ask(subject, "{}"), "refused") << subject;
    EXPECT_FALSE(observer.may_listen("df.>"));
}

TEST(server_config, a_coordinator_leaves_the_servers_to_their_operator) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(1);
    engine.start();
    client boss(engine, role::coordinator);
    for (const char* subject : {"$JS.API.ACCOUNT.PURGE.LEAT", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
                                "$JS.API.STREAM.SNAPSHOT.x", "$SYS.REQ.SERVER.PING"})
        EXPECT_EQ(boss.ask(subject, "{}"), "refused") << subject;
}

TEST(server_config, three_servers_with_it_replicate) {
    LEAT_NEEDS_NATS_SERVER();
    const planned_servers engine(3);
    engine.start();
    client boss(engine, role::coordinator);
    ASSERT_EQ(boss.problem(), "");
    std::string answer;
    for (int round = 0; round < 30 && answer.find("\"created\"") == std::string::npos;
         ++round)  // a leader may be on its way
        answer = boss.ask("$JS.API.STREAM.CREATE.df-f-r-0", stream_request("df-f-r-0", "df.f.r.0.*", 3));
    EXPECT_THAT(answer, AllOf(HasSubstr("\"created\""), HasSubstr("\"num_replicas\":3")));
    EXPECT_THAT(boss.ask("df.f.r.0.k0", "an item"), HasSubstr("\"seq\""));
}

TEST(server_config, the_address_of_a_role_names_its_files_and_is_one_that_is_taken) {
    engine_plan plan;
    plan.servers.resize(2);
    plan.servers[0].host = "n1.example.org";
    plan.servers[1].host = "2001:db8::1";
    plan.servers[1].port = 4711;
    const std::string text = address_for(plan, role::worker, "/etc/leat & co");
    const auto url = parse_engine_url(text);
    ASSERT_TRUE(url.has_value()) << url.error().text;
    EXPECT_THAT(url->servers, testing::ElementsAre("tls://n1.example.org:4222", "tls://[2001:db8::1]:4711"));
    EXPECT_EQ(url->nkey_file, "/etc/leat & co/worker.nk");
    EXPECT_EQ(url->ca_file, "/etc/leat & co/ca.pem");
    EXPECT_EQ(url->inbox, "_INBOX_worker");
    EXPECT_TRUE(url->operator_says_synced);
}

}  // namespace
