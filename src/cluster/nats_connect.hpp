// nats_connect: from options to a connection: what may be connected to, what the server says of itself before, and what it means
// when that fails. Blocks; for nats_broker.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <cluster/nats_api.hpp>
#include <cluster/nats_link.hpp>
#include <leat/cluster/nats_broker.hpp>

namespace leat::cluster {

// What a server says to whoever connects, before anything else. Not authenticated: for messages, and for what is worth trying.
struct nats_greeting {
    nats_api::server_version version;
    std::string version_text;
    std::string cluster;  // its name; empty: a server alone
    bool has_jetstream = false;
    bool wants_tls = false;
    bool wants_certificate = false;  // of ours
};

struct nats_connection {
    std::unique_ptr<nats_link> link;
    nats_greeting greeting;
    bool synced = false;  // the operator says so
};

[[nodiscard]] broker_result<nats_connection> connect_blocking(const nats_options& options);

}  // namespace leat::cluster
