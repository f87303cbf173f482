// What nats_broker does beside the contract, which tests/conformance/broker_*_test.cpp ask it for: connecting and being refused,
// and what a server, a network or a slow socket can do to calls under way.
#include <leat/cluster/nats_broker.hpp>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <set>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <leat/runtime/blocking.hpp>
#include <leat/runtime/run.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <nats_server.hpp>
#include <tcp_proxy.hpp>

namespace {

using namespace std::chrono_literals;
using namespace leat::cluster;  // NOLINT(google-build-using-namespace): what is tested here
using leat::task;
using leat_test::nats_server;
using leat_test::server_options;
using testing::AllOf;
using testing::HasSubstr;

// The value, or an error that ends the test.
template <class T>
T need(broker_result<T> result) {
    if (!result) throw std::runtime_error("failed: " + result.error().text);
    return std::move(*result);
}

template <class T>
std::string expect_problem(broker_problem problem, const broker_result<T>& result) {
    if (result) {
        ADD_FAILURE() << "it succeeded";
        return {};
    }
    EXPECT_EQ(static_cast<int>(result.error().problem), static_cast<int>(problem)) << result.error().text;
    return result.error().text;
}

message note(std::string subject, std::string payload, std::string id = {}) {
    message one;
    one.subject = std::move(subject);
    one.payload = std::move(payload);
    one.id = std::move(id);
    return one;
}

nats_options patient(std::string url) {
    nats_options options(std::move(url));
    options.patience = 120s;  // the machine may be busy
    return options;
}

// Runs body(broker&) with a connection to the server.
task<> with_connection(nats_options options, task<> (*body)(broker&)) {
    auto made = co_await connect(std::move(options));
    const auto link = need(std::move(made));
    co_await body(*link);
    co_await link->close();
}
void run_connected(nats_options options, task<> (*body)(broker&), unsigned threads = 2) {
    leat::run(leat::run_options(threads), with_connection, std::move(options), body);
}

task<std::string> connect_badly(nats_options options, broker_problem problem) {
    auto made = co_await connect(std::move(options));
    const std::string text = expect_problem(problem, made);
    if (made) co_await (*made)->close();
    co_return text;
}
std::string refusal(nats_options options, broker_problem problem = broker_problem::refused) {
    return leat::run(leat::run_options(1), connect_badly, std::move(options), problem);
}

task<> make_work(broker& link, std::string name, std::chrono::nanoseconds ack_wait = 30s, unsigned replicas = 1) {
    stream_config stream;
    stream.name = name;
    stream.subjects = {name + ".>"};
    stream.replicas = replicas;
    auto made = co_await link.make_stream(stream);
    (void)need(std::move(made));
    consumer_config consumer;
    consumer.stream = name;
    consumer.name = "workers";
    consumer.ack_wait = ack_wait;
    auto made_too = co_await link.make_consumer(consumer);
    (void)need(std::move(made_too));
}

// Publishes numbers with ids until `count` are stored.
task<> publish_numbers(broker& link, std::string subject, int from, int count) {
    for (int number = from; number < from + count; ++number) {
        message one = note(subject, std::to_string(number), "id-" + std::to_string(number));
        auto stored = co_await link.publish(std::move(one));
        (void)need(std::move(stored));
    }
}

// What is in the stream, each message once, in as many fetches as it takes; acknowledged.
task<std::multiset<std::string>> drain(broker& link, std::string stream, std::size_t count) {
    std::multiset<std::string> seen;
    for (int turn = 0; seen.size() < count && turn < 1000; ++turn) {
        auto taken = co_await link.fetch(stream, "workers", 100, 2s);
        if (!taken && taken.error().is_passing()) continue;
        auto came = need(std::move(taken));
        for (delivery& each : came) {
            seen.insert(each.what.payload);
            auto confirmed = co_await link.ack(std::move(each));
            (void)need(std::move(confirmed));
        }
    }
    co_return seen;
}

std::multiset<std::string> numbers(int count) {
    std::multiset<std::string> all;
    for (int number = 0; number < count; ++number) all.insert(std::to_string(number));
    return all;
}

// --- Connecting ---

TEST(nats_broker, without_a_server_the_address_and_the_reason_are_told) {
    const leat_test::held_port nobody;
    const std::string at = "127.0.0.1:" + std::to_string(nobody.number());
    EXPECT_THAT(refusal(nats_options("nats://" + at), broker_problem::unavailable),
                AllOf(HasSubstr(at), HasSubstr("refused")));
}

TEST(nats_broker, another_machine_without_tls_is_refused_before_anything_is_sent) {
    EXPECT_THAT(refusal(nats_options("nats://engine.example.org:4222")), HasSubstr("tls://"));
    EXPECT_THAT(refusal(nats_options("http://127.0.0.1:4222")), HasSubstr("nats://"));
    EXPECT_THAT(refusal(nats_options()), testing::Not(testing::IsEmpty()));
}

TEST(nats_broker, a_listener_that_says_nothing_is_told_apart_from_a_server) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::listen(listener, 4), 0);  // at a free port
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    nats_options options("nats://127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
    options.connect_timeout = 100ms;
    EXPECT_THAT(refusal(options, broker_problem::unavailable), HasSubstr("says nothing"));
    ::close(listener);
}

TEST(nats_broker, a_wrong_password_is_refused_at_once) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.extra = "authorization { user: worker, password: secret }"});
    nats_options options(server.url());
    options.user = "worker";
    options.password = "guess";
    EXPECT_THAT(refusal(options), HasSubstr("password"));
    options.password = "secret";
    run_connected(options, [](broker& link) -> task<> {
        EXPECT_THAT(link.limits().server, HasSubstr("nats-server 2."));
        co_return;
    });
}

TEST(nats_broker, an_nkey_is_taken_from_its_file) {
    LEAT_NEEDS_NATS_SERVER();
    // A pair that the documentation of NATS prints.
    const std::string key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    const nats_server server({.extra = "authorization { users: [ { nkey: " + key + " } ] }"});
    const leat_test::own_folder folder;
    nats_options options(server.url());
    options.nkey_file = folder.path() / "worker.nk";
    std::ofstream(options.nkey_file) << "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";
    EXPECT_THAT(refusal(options), HasSubstr("public key"));
    std::ofstream(options.nkey_file, std::ios::app) << key << '\n';
    run_connected(options, [](broker& link) -> task<> { co_await make_work(link, "A"); });
    options.nkey_file.clear();
    EXPECT_THAT(refusal(options), HasSubstr("refuses the user"));
}

TEST(nats_broker, a_certificate_is_verified_with_the_name_of_the_host) {
    LEAT_NEEDS_NATS_SERVER();
    const leat_test::certificates keys;
    const nats_server server({.extra = keys.server_tls(), .scheme = "tls"});
    nats_options options(server.url());
    options.ca_file = keys.other_authority;
    EXPECT_THAT(refusal(options), HasSubstr("certificate"));
    options.ca_file.clear();  // nor does the system trust it
    EXPECT_THAT(refusal(options), HasSubstr("certificate"));
    options.ca_file = keys.authority;
    run_connected(options, [](broker& link) -> task<> {
        co_await make_work(link, "A");
        co_await publish_numbers(link, "A.x", 0, 100);
        auto seen = co_await drain(link, "A", 100);
        EXPECT_EQ(seen, numbers(100));
    });
    // And without TLS.
    EXPECT_THAT(refusal(nats_options("nats://127.0.0.1:" + std::to_string(server.port()))), HasSubstr("tls://"));
}

TEST(nats_broker, a_certificate_of_another_name_is_refused) {
    LEAT_NEEDS_NATS_SERVER();
    leat_test::certificates keys;
    keys.server = keys.client;  // of the authority that is trusted, and not for this address
    keys.server_key = keys.client_key;
    const nats_server server({.extra = keys.server_tls(), .scheme = "tls"});
    nats_options options(server.url());
    options.ca_file = keys.authority;
    EXPECT_THAT(refusal(options), HasSubstr("certificate"));
}

TEST(nats_broker, a_server_that_asks_for_a_certificate_gets_ours) {
    LEAT_NEEDS_NATS_SERVER();
    const leat_test::certificates keys;
    const nats_server server({.extra = keys.server_tls(true), .scheme = "tls"});
    nats_options options(server.url());
    options.ca_file = keys.authority;
    EXPECT_THAT(refusal(options), HasSubstr("certificate of ours"));
    options.certificate_file = keys.other_server;
    options.key_file = keys.other_server_key;
    EXPECT_THAT(refusal(options), HasSubstr("certificate"));
    options.certificate_file = keys.client;
    options.key_file = keys.client_key;
    run_connected(options, [](broker& link) -> task<> { co_await make_work(link, "A"); });
}

TEST(nats_broker, a_server_without_jetstream_is_named_as_that) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.jetstream = false});
    EXPECT_THAT(refusal(nats_options(server.url()), broker_problem::unsupported), HasSubstr("JetStream"));
}

TEST(nats_broker, a_subject_that_the_user_may_not_use_is_refused_by_name) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.extra = R"(authorization { users: [
        { user: all, password: p },
        { user: some, password: p, permissions: { publish: ["A.open", "$JS.API.STREAM.INFO.A"], subscribe: "_INBOX.>" } },
        { user: deaf, password: p, permissions: { publish: ">", subscribe: "A.>" } } ] })"});
    nats_options options(server.url());
    options.password = "p";
    options.user = "all";
    run_connected(options, [](broker& link) -> task<> { co_await make_work(link, "A"); });
    options.user = "some";
    run_connected(options, [](broker& link) -> task<> {
        co_await publish_numbers(link, "A.open", 0, 1);
        message closed = note("A.closed", "x", "y");
        auto stored = co_await link.publish(std::move(closed));
        EXPECT_THAT(expect_problem(broker_problem::refused, stored), HasSubstr("A.closed"));
        auto fetched = co_await link.fetch("A", "workers", 1, 60s);
        EXPECT_THAT(expect_problem(broker_problem::refused, fetched), HasSubstr("MSG.NEXT.A.workers"));
        stream_config other;
        other.name = "B";
        other.subjects = {"B"};
        auto made = co_await link.make_stream(other);
        EXPECT_THAT(expect_problem(broker_problem::refused, made), HasSubstr("STREAM.CREATE.B"));
        co_await publish_numbers(link, "A.open", 1, 1);
    });
    options.user = "deaf";  // no answer would ever reach it
    EXPECT_THAT(refusal(options), HasSubstr("_INBOX"));
}

// --- What the server can do ---

TEST(nats_broker, an_old_server_is_taken_alone_and_says_so) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server({.age = leat_test::nats_age::old});
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        EXPECT_THAT(link.limits().durability, AllOf(HasSubstr("older than 2.12"), HasSubstr("power failure")));
        stream_config three;
        three.name = "A";
        three.subjects = {"A"};
        three.replicas = 3;
        auto made = co_await link.make_stream(three);
        EXPECT_THAT(expect_problem(broker_problem::unsupported, made), AllOf(HasSubstr("2.12"), HasSubstr("2.9")));
    });
}

TEST(nats_broker, three_replicas_of_one_server_are_unsupported) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        EXPECT_THAT(link.limits().durability, HasSubstr("sync_interval"));
        auto made = co_await link.make_bucket("B", 0s, 3);
        (void)expect_problem(broker_problem::unsupported, made);
    });
}

TEST(nats_broker, a_bucket_is_one_that_other_clients_read) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        auto made = co_await link.make_bucket("B", 0s, 1);
        (void)need(std::move(made));
        auto stored = co_await link.put("B", "a.b", "value");
        auto state = co_await link.stream("KV_B");
        EXPECT_THAT(need(std::move(state)).config.subjects, testing::ElementsAre("$KV.B.>"));
        auto raw = co_await link.read("KV_B", need(std::move(stored)));
        const delivery found = need(std::move(raw));
        EXPECT_EQ(found.what.subject, "$KV.B.a.b");
        EXPECT_EQ(found.what.payload, "value");
        auto erased = co_await link.erase("B", "a.b");
        (void)need(std::move(erased));
        auto mark = co_await link.read("KV_B", 2);
        EXPECT_EQ(need(std::move(mark)).what.headers.at("KV-Operation"), "DEL");
    });
}

TEST(nats_broker, a_header_with_a_line_end_and_a_subject_with_a_space_go_nowhere) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        co_await make_work(link, "A");
        message bad = note("A.x", "p", "id\r\nother: header");
        auto stored = co_await link.publish(bad);
        (void)expect_problem(broker_problem::malformed, stored);
        bad = note("A.x", "p");
        bad.headers["a"] = "b\nc";
        stored = co_await link.publish(bad);
        (void)expect_problem(broker_problem::malformed, stored);
        for (const char* const subject : {"", "A x", "A.*", "A..x", ".A", "A.x\r\nPUB B 0"}) {
            bad = note(subject, "p");
            stored = co_await link.publish(bad);
            (void)expect_problem(broker_problem::malformed, stored);
        }
        auto state = co_await link.stream("A");
        EXPECT_EQ(need(std::move(state)).last_sequence, 0U);
    });
}

// Publishes and fetches at once while `disturb` does what it does, and looks that each message was there once.
constexpr int disturbed_senders = 8;
constexpr int disturbed_each = 150;

task<> disturb_later(std::function<void()> disturb) { co_await leat::blocking(std::move(disturb)); }

task<> run_disturbed(std::string url, std::function<void()> disturb, unsigned replicas) {
    nats_options options = patient(std::move(url));
    options.answer_timeout = 3s;
    auto made = co_await connect(options);
    const auto link = need(std::move(made));
    co_await make_work(*link, "A", 30s, replicas);
    {
        leat::scope together(co_await leat::this_task::line());
        for (int sender = 0; sender < disturbed_senders; ++sender)
            together.spawn(publish_numbers, std::ref(*link), std::string("A.x"), sender * disturbed_each,
                           disturbed_each);
        together.spawn(disturb_later, std::move(disturb));
        co_await together.join();
    }
    auto state = co_await link->stream("A");
    EXPECT_EQ(need(std::move(state)).last_sequence, std::uint64_t{disturbed_senders * disturbed_each});
    auto seen = co_await drain(*link, "A", disturbed_senders * disturbed_each);
    EXPECT_EQ(seen, numbers(disturbed_senders * disturbed_each));
    co_await link->close();
}

TEST(nats_broker, what_is_published_while_the_server_is_killed_is_stored_once) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server({.sync_always = true});
    const std::function<void()> disturb = [&] {
        for (int turn = 0; turn < 3; ++turn) {
            std::this_thread::sleep_for(100ms);
            server.kill();
            server.start();
        }
    };
    leat::run(leat::run_options(2), run_disturbed, server.url(), disturb, 1U);
}

TEST(nats_broker, what_is_published_while_connections_are_reset_is_stored_once) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    leat_test::tcp_proxy proxy(server.port());
    const std::function<void()> disturb = [&] {
        for (int turn = 0; turn < 5; ++turn) {
            std::this_thread::sleep_for(50ms);
            proxy.reset();
        }
    };
    leat::run(leat::run_options(2), run_disturbed, proxy.url(), disturb, 1U);
}

TEST(nats_broker, a_partition_of_one_way_or_both_passes) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    leat_test::tcp_proxy proxy(server.port());
    const std::function<void()> disturb = [&] {
        std::this_thread::sleep_for(20ms);
        proxy.hold_to_client();  // stored, and the answers do not come
        std::this_thread::sleep_for(500ms);
        proxy.release();
        std::this_thread::sleep_for(20ms);
        proxy.hold_to_server();
        std::this_thread::sleep_for(500ms);
        proxy.release();
        std::this_thread::sleep_for(20ms);
        proxy.hold();
        std::this_thread::sleep_for(4s);  // longer than it takes to give a connection up
        proxy.release();
    };
    leat::run(leat::run_options(2), run_disturbed, proxy.url(), disturb, 1U);
}

TEST(nats_broker, a_paused_server_is_waited_for) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    const std::function<void()> disturb = [&] {
        std::this_thread::sleep_for(20ms);
        server.pause();
        std::this_thread::sleep_for(4s);
        server.resume();
    };
    leat::run(leat::run_options(2), run_disturbed, server.url(), disturb, 1U);
}

TEST(nats_broker, with_three_servers_the_leader_may_be_killed) {
    LEAT_NEEDS_NATS_SERVER();
    leat_test::nats_trio servers({.sync_always = true});
    const std::function<void()> disturb = [&] {
        std::this_thread::sleep_for(50ms);
        const std::size_t leader = servers.leader_of("A");
        servers[leader].kill();
        std::this_thread::sleep_for(1s);
        servers[leader].launch();
    };
    leat::run(leat::run_options(2), run_disturbed, servers.url(), disturb, 3U);
}

// A server of three that leads but cannot reach the others takes a message and does not answer; of a second try it says that the
// first is under way.
task<> publish_without_a_majority(leat_test::nats_trio* servers) {
    auto first = co_await connect(patient(servers->url()));
    const auto any = need(std::move(first));
    co_await make_work(*any, "A", 30s, 3);
    co_await any->close();
    const std::size_t leader = servers->leader_of("A");
    nats_options options = patient((*servers)[leader].url());
    options.answer_timeout = 500ms;
    auto made = co_await connect(options);
    const auto link = need(std::move(made));
    const auto others = [servers, leader](void (nats_server::*what)()) {
        for (std::size_t i = 0; i < servers->size(); ++i)
            if (i != leader) ((*servers)[i].*what)();
    };
    others(&nats_server::pause);
    {
        leat::scope together(co_await leat::this_task::line());
        together.spawn(publish_numbers, std::ref(*link), std::string("A.x"), 0, 1);
        co_await leat::sleep_for(3s);
        others(&nats_server::resume);
        co_await together.join();
    }
    auto state = co_await link->stream("A");
    EXPECT_EQ(need(std::move(state)).last_sequence, 1U);
    co_await link->close();
}

TEST(nats_broker, what_three_servers_have_not_agreed_on_yet_is_sent_again_until_they_have) {
    LEAT_NEEDS_NATS_SERVER();
    leat_test::nats_trio servers;
    leat::run(leat::run_options(2), publish_without_a_majority, &servers);
}

// --- Stops, late answers and slow sockets ---

TEST(nats_broker, what_a_stopped_fetch_asked_for_goes_to_the_next_at_its_first_delivery) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        co_await make_work(link, "A");
        for (int turn = 0; turn < 5; ++turn) {
            bool stopped = false;
            try {
                auto waiting = link.fetch("A", "workers", 100, 600s);
                (void)co_await leat::timeout(std::move(waiting), 20ms);
            } catch (const leat::timed_out&) {
                stopped = true;
            }
            EXPECT_TRUE(stopped);
        }
        co_await leat::sleep_for(200ms);  // the server has seen that nobody listens
        co_await publish_numbers(link, "A.x", 0, 50);
        auto taken = co_await link.fetch("A", "workers", 50, 60s);
        const auto came = need(std::move(taken));
        EXPECT_EQ(came.size(), 50U);
        for (const delivery& each : came) EXPECT_EQ(each.deliveries, 1U);
    });
}

task<std::size_t> fetch_and_leave(broker& link, std::chrono::milliseconds after) {
    try {
        auto waiting = link.fetch("A", "workers", 7, 600s);
        auto came = co_await leat::timeout(std::move(waiting), after);
        auto list = need(std::move(came));
        for (delivery& each : list) {
            auto confirmed = co_await link.ack(std::move(each));
            (void)need(std::move(confirmed));
        }
        co_return list.size();
    } catch (const leat::timed_out&) {
        co_return 0;
    }
}

TEST(nats_broker, messages_that_meet_a_stop_come_back_long_before_their_ack_wait) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        co_await make_work(link, "A", 600s);
        leat::scope together(co_await leat::this_task::line());
        together.spawn(publish_numbers, std::ref(link), std::string("A.x"), 0, 400);
        std::size_t count = 0;
        for (int turn = 0; count < 400 && turn < 20'000; ++turn)
            count += co_await fetch_and_leave(link, std::chrono::milliseconds(turn % 4));
        co_await together.join();
        EXPECT_EQ(count, 400U);
    });
}

task<bool> publish_and_leave(broker& link, std::string id, std::chrono::milliseconds after) {
    try {
        message one = note("A.x", id, id);
        auto waiting = link.publish(std::move(one));
        auto stored = co_await leat::timeout(std::move(waiting), after);
        (void)need(std::move(stored));
        co_return true;
    } catch (const leat::timed_out&) {
        co_return false;
    }
}

TEST(nats_broker, an_answer_that_comes_after_its_caller_has_left_finds_nobody) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    leat_test::tcp_proxy proxy(server.port());
    leat::run(leat::run_options(2), [&]() -> task<> {
        auto made = co_await connect(patient(proxy.url()));
        const auto link = need(std::move(made));
        co_await make_work(*link, "A");
        proxy.hold_to_client();
        std::vector<task<bool>> calls;
        for (int number = 0; number < 50; ++number)
            calls.push_back(publish_and_leave(*link, std::to_string(number), 50ms));
        const auto left = co_await leat::when_all(std::move(calls));
        EXPECT_EQ(std::count(left.begin(), left.end(), true), 0);
        proxy.release();
        // Others use their places meanwhile; each gets its own answer.
        for (int number = 0; number < 50; ++number) {
            const std::string id = std::to_string(number);
            message one = note("A.x", id, id);
            auto stored = co_await link->publish(std::move(one));
            (void)need(std::move(stored));
        }
        auto seen = co_await drain(*link, "A", 50);
        EXPECT_EQ(seen, numbers(50));
        co_await link->close();
    });
}

task<> count_while(const bool& goes_on, int& turns) {
    while (goes_on) {
        ++turns;
        co_await leat::sleep_for(1ms);
    }
}

TEST(nats_broker, a_socket_that_takes_nothing_holds_back_publishers_and_no_worker) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    leat_test::tcp_proxy proxy(server.port());
    leat::run(leat::run_options(1), [&]() -> task<> {
        nats_options options = patient(proxy.url());
        options.most_bytes_in_flight = 8U << 20U;
        auto made = co_await connect(options);
        const auto link = need(std::move(made));
        co_await make_work(*link, "A");
        proxy.hold_to_server();
        bool goes_on = true;
        int turns = 0;
        leat::scope together(co_await leat::this_task::line());
        together.spawn(count_while, std::cref(goes_on), std::ref(turns));
        std::vector<task<bool>> calls;
        for (int number = 0; number < 100; ++number) {
            const std::string big(512 * 1024, static_cast<char>('a' + number % 26));
            calls.push_back([](broker& to, message what) -> task<bool> {
                auto stored = co_await to.publish(std::move(what));
                co_return need(std::move(stored)).sequence != 0;
            }(*link, note("A.x", big, std::to_string(number))));
        }
        const auto release = [](leat_test::tcp_proxy& held, const int& counted) -> task<> {
            const int enough = counted + 100;
            while (counted < enough) co_await leat::sleep_for(1ms);
            held.release();
        };
        together.spawn(release, std::ref(proxy), std::cref(turns));
        const auto stored = co_await leat::when_all(std::move(calls));
        EXPECT_EQ(std::count(stored.begin(), stored.end(), true), 100);
        goes_on = false;
        co_await together.join();
        EXPECT_GE(turns, 100);
        auto state = co_await link->stream("A");
        EXPECT_EQ(need(std::move(state)).messages, 100U);
        co_await link->close();
    });
}

TEST(nats_broker, a_fetch_notices_within_seconds_that_the_server_has_forgotten_it) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    leat_test::tcp_proxy proxy(server.port());
    leat::run(leat::run_options(2), [&]() -> task<> {
        auto made = co_await connect(patient(proxy.url()));
        auto other_made = co_await connect(patient(server.url()));
        const auto link = need(std::move(made));
        const auto other = need(std::move(other_made));
        co_await make_work(*link, "A");
        const auto cut = [](leat_test::tcp_proxy& at, broker& by) -> task<> {
            co_await leat::sleep_for(100ms);
            at.reset();
            co_await leat::sleep_for(100ms);
            co_await publish_numbers(by, "A.x", 0, 1);
        };
        leat::scope together(co_await leat::this_task::line());
        together.spawn(cut, std::ref(proxy), std::ref(*other));
        auto taken = co_await link->fetch("A", "workers", 1, 600s);
        const auto came = need(std::move(taken));
        EXPECT_EQ(came.size(), 1U);
        co_await together.join();
        co_await other->close();
        co_await link->close();
    });
}

TEST(nats_broker, what_the_program_does_with_signals_stays_as_it_is) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    struct sigaction before{};
    struct sigaction after{};
    ::sigaction(SIGPIPE, nullptr, &before);
    run_connected(patient(server.url()), [](broker& link) -> task<> { co_await make_work(link, "A"); });
    ::sigaction(SIGPIPE, nullptr, &after);
    EXPECT_EQ(before.sa_handler, after.sa_handler);
}

TEST(nats_broker, without_a_server_calls_end_with_their_patience) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server;
    leat::run(leat::run_options(2), [&]() -> task<> {
        nats_options options(server.url());
        options.patience = 300ms;
        options.answer_timeout = 200ms;
        auto made = co_await connect(options);
        const auto link = need(std::move(made));
        server.kill();
        message one = note("A.x", "1", "1");
        auto stored = co_await link->publish(std::move(one));
        EXPECT_TRUE(!stored && stored.error().is_passing());
        auto fetched = co_await link->fetch("A", "workers", 1, 200ms);
        EXPECT_TRUE(!fetched && fetched.error().is_passing());
        co_await link->close();
    });
}

TEST(nats_broker, a_server_that_refuses_the_user_from_now_on_ends_all_calls) {
    LEAT_NEEDS_NATS_SERVER();
    nats_server server({.extra = "authorization { user: worker, password: secret }"});
    leat::run(leat::run_options(2), [&]() -> task<> {
        nats_options options = patient(server.url());
        options.user = "worker";
        options.password = "secret";
        auto made = co_await connect(options);
        const auto link = need(std::move(made));
        co_await make_work(*link, "A");
        co_await leat::blocking([&] {
            server.kill();
            server.configure_with("authorization { user: worker, password: other }");
            server.start();
        });
        message one = note("A.x", "1", "1");
        auto stored = co_await link->publish(std::move(one));
        (void)expect_problem(broker_problem::refused, stored);
        auto fetched = co_await link->fetch("A", "workers", 1, 60s);
        (void)expect_problem(broker_problem::refused, fetched);
        co_await link->close();
    });
}

TEST(nats_broker, keys_are_many_and_listed_all) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        auto made = co_await link.make_bucket("B", 0s, 1);
        (void)need(std::move(made));
        for (int number = 0; number < 300; ++number) {
            auto stored = co_await link.put("B", "a." + std::to_string(number), "x");
            (void)need(std::move(stored));
        }
        auto all = co_await link.keys("B", "a.");
        EXPECT_EQ(need(std::move(all)).size(), 300U);
        auto some = co_await link.keys("B", "a.29");
        EXPECT_EQ(need(std::move(some)).size(), 11U);
    });
}

TEST(nats_broker, what_was_told_last_before_closing_arrives) {
    LEAT_NEEDS_NATS_SERVER();
    const nats_server server;
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        co_await make_work(link, "A", 600s);
        co_await publish_numbers(link, "A.x", 0, 100);
    });
    leat::run(leat::run_options(2), [&]() -> task<> {
        auto made = co_await connect(patient(server.url()));
        const auto link = need(std::move(made));
        auto taken = co_await link->fetch("A", "workers", 100, 60s);
        auto came = need(std::move(taken));
        for (delivery& each : came) {
            auto told = co_await link->nack(std::move(each), 0s);
            (void)need(std::move(told));
        }
        co_await link->close();
    });
    run_connected(patient(server.url()), [](broker& link) -> task<> {
        auto seen = co_await drain(link, "A", 100);
        EXPECT_EQ(seen, numbers(100));
    });
}

}  // namespace
