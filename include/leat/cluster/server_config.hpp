// server_config: configurations of nats-server for leat, as texts: one server, or three that replicate. With TLS, a user for each
// role who proves itself by an nkey, and settings under which what is acknowledged survives a power failure. `leat cluster init`
// writes them; keys.hpp makes what they refer to.
//
// All that is leat's lives in one account, which sees nothing of others and is seen by none. In it, a user may do what its role
// needs and no more: who runs a worker gets a key that can neither make nor remove a stream, nor read what others were sent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace leat::cluster {

enum class role : std::uint8_t {
    coordinator,  // runs flows: makes and removes their streams, gives items and takes results
    worker,       // does items
    observer,     // looks: leat status
};
inline constexpr role all_roles[] = {role::coordinator, role::worker, role::observer};
[[nodiscard]] std::string_view name_of(role who) noexcept;
// What the answers to its questions come to; no role can listen to another's. Addresses say it: inbox=….
[[nodiscard]] std::string inbox_of(role who);

// The subjects that a user may publish to, and subscribe to; with '*' and '>'.
struct permissions {
    std::vector<std::string> publish;
    std::vector<std::string> no_publish;  // of these
    std::vector<std::string> subscribe;
};
// What programs on the cluster share by name, and workers may use.
struct shared_names {
    std::vector<std::string> queues = {"leat"};  // of submitted jobs (cluster_client.hpp): to serve them
    std::vector<std::string> caches = {};        // of shared_cache.hpp: to make, read and write them
    std::vector<std::string> seen = {};          // of shared_seen.hpp: the same
};
[[nodiscard]] permissions permissions_of(role who, const shared_names& shared = {});

struct server_place {
    std::string host;  // how clients and the other servers reach it: a name or an address
    std::uint16_t port = 4222;
    std::uint16_t routes_port = 6222;      // of three: to each other
    std::uint16_t monitoring_port = 8222;  // on loopback
    // Where it finds server.pem, server.key and ca.pem, and keeps its store; absolute.
    std::string folder;

    [[nodiscard]] bool is_loopback() const;
    // What its certificate is for.
    [[nodiscard]] std::vector<std::string> names() const;
};

struct engine_plan {
    std::string name = "leat";
    std::vector<server_place> servers;                      // one, or three
    std::string coordinator_key, worker_key, observer_key;  // public halves of nkeys
    std::string disk;                                       // of each server: "100GB"; empty: as much as it finds
    shared_names shared;
};

// What the server at that index is started with.
[[nodiscard]] std::string server_config(const engine_plan& plan, std::size_t index);

// The address that a role connects with, whose files are in `folder`.
[[nodiscard]] std::string address_for(const engine_plan& plan, role who, const std::string& folder);

}  // namespace leat::cluster
