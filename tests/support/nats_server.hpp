// Real nats-servers for tests of the cluster: one, or three that replicate, on free ports of loopback with stores in a folder of
// their own. A server ends with its object, and with this process however that ends. Nothing here waits without a limit: a server
// that does not become ready is an exception with the end of its log.
//
//     leat_test::nats_server server({.sync_always = true});
//     connect(server.url());
//     server.kill();       // -9; start() goes on with the same ports and store
//
// Where there is no server to test with (LEAT_NATS_SERVER=none), tests begin with LEAT_NEEDS_NATS_SERVER().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace leat_test {

// A port of loopback that stays ours: no other process is given it while this lives, also between two servers that use it.
class held_port {
public:
    held_port();
    held_port(held_port&& other) noexcept;
    held_port& operator=(held_port&&) = delete;
    ~held_port();
    [[nodiscard]] std::uint16_t number() const noexcept { return number_; }

private:
    int fd_ = -1;
    std::uint16_t number_ = 0;
};

// A folder of its own under that for temporary files, gone at the end.
class own_folder {
public:
    own_folder();
    own_folder(const own_folder&) = delete;
    own_folder& operator=(const own_folder&) = delete;
    ~own_folder();
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

private:
    std::filesystem::path path_;
};

enum class nats_age : std::uint8_t {
    current,  // what ./dev setup got, 2.12 or newer; or LEAT_NATS_SERVER
    old,      // Debian 12's 2.9; or LEAT_OLD_NATS_SERVER
};

// The program; throws when there is none, with how to get it.
std::string nats_program(nats_age age = nats_age::current);
bool has_nats_server();

#define LEAT_NEEDS_NATS_SERVER() \
    if (!leat_test::has_nats_server()) GTEST_SKIP() << "LEAT_NATS_SERVER=none: no nats-server here"

class nats_server;

struct server_options {
    nats_age age = nats_age::current;
    bool sync_always = false;  // what is acknowledged is on the disk
    bool jetstream = true;
    std::string extra = {};  // lines of configuration: users, tls, limits
    // Gives the whole configuration instead of what is made here, from the ports and the folder; when it is launched.
    std::function<std::string(const nats_server&)> configuration = {};
    bool launches = true;         // false: launch() or start() does it
    std::string scheme = "nats";  // of url()
};

class nats_server {
public:
    explicit nats_server(server_options options = {});  // starts it, and returns when it is ready
    nats_server(const nats_server&) = delete;
    nats_server& operator=(const nats_server&) = delete;
    ~nats_server();

    [[nodiscard]] std::string url() const;  // nats://127.0.0.1:4711
    [[nodiscard]] std::uint16_t port() const noexcept { return port_.number(); }
    [[nodiscard]] std::uint16_t monitoring_port() const noexcept { return http_.number(); }
    [[nodiscard]] const std::filesystem::path& store() const noexcept { return folder_.path(); }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] bool runs() const noexcept { return pid_ > 0; }

    void kill();  // SIGKILL; returns when it is gone
    void end();   // SIGTERM, likewise
    // What server_options::extra says from the next start() on.
    void configure_with(std::string extra) { options_.extra = std::move(extra); }
    void start();   // again, with the same ports and store; ready when it returns
    void launch();  // the same, without waiting for it
    void wait_ready() const;
    void pause();   // SIGSTOP
    void resume();  // SIGCONT

    // What the monitoring port answers ("/jsz"); nothing when it does not answer with 200.
    [[nodiscard]] std::string ask(std::string_view path) const;
    [[nodiscard]] std::string log() const;

private:
    friend class nats_trio;
    struct member {  // of three
        std::string name, routes;
        std::uint16_t routes_port = 0;
    };
    nats_server(server_options options, member self);
    void configure() const;
    void wait_gone();
    [[nodiscard]] bool is_ready() const;

    server_options options_;
    member self_;
    held_port port_, http_;
    own_folder folder_;
    pid_t pid_ = 0;
};

// Three servers with JetStream that replicate. Ready when all three are, and have a leader.
class nats_trio {
public:
    explicit nats_trio(server_options options = {});

    nats_server& operator[](std::size_t index) { return *servers_[index]; }
    [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
    [[nodiscard]] std::string url() const;  // of all three, with commas
    void wait_ready() const;                // all three run, and agree on a leader

    // Which server leads: the group that keeps the account of streams and consumers, or one stream. Waits until one does.
    [[nodiscard]] std::size_t leader() const;
    [[nodiscard]] std::size_t leader_of(std::string_view stream) const;

private:
    std::vector<std::unique_ptr<held_port>> routes_;
    std::vector<std::unique_ptr<nats_server>> servers_;
};

// Keys and certificates as files, made with the openssl command: an authority, a server for 127.0.0.1, ::1 and localhost, a client;
// and those of an authority that nobody should trust.
struct certificates {
    certificates();
    own_folder folder;
    std::string authority, server, server_key, client, client_key;
    std::string other_authority, other_server, other_server_key;
    // For server_options::extra: the server speaks TLS alone.
    [[nodiscard]] std::string server_tls(bool asks_for_client = false) const;
};

}  // namespace leat_test
