// nats_broker: the engine itself, a nats-server with JetStream: 2.12 or newer, or an old one as a single server with one
// replica (limits().durability says what survives). The contract is broker.hpp's; in addition:
//
// A call that found nobody to answer (no connection, a stream whose leader is being elected), or whose answer did not come, is
// made again with growing pauses until `patience` is over; where that could do a thing twice (a publish without an id, an update
// of a key that may have happened) only while it is certain that nothing has happened. So the order of messages holds for as long
// as no call is made again. A publish to a subject that no stream takes is `unavailable` at once, and is not made again.
// The connection is made again for ever, with pauses of at most a second. Only where the server refuses the user it ends, and
// with it all calls, as `refused`.
// fetch() with a wait that ends while there is no connection is `unavailable`, after that wait. What a stopped fetch() was sent
// goes back at once, for others.
// A subject that the user may not use is `refused`, with the subject.
//
// Each broker has a thread of its own, which alone touches the socket; it blocks no worker. What is published and not yet
// confirmed is bounded in messages and bytes; beyond that publish() waits in order of arrival.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <leat/cluster/broker.hpp>

namespace leat::cluster {

struct nats_options {
    nats_options() = default;
    explicit nats_options(std::string server) { servers.push_back(std::move(server)); }

    // As engine_url.hpp has them: "nats://127.0.0.1:4222", "tls://engine.example.org?ca=FILE"; of a cluster all or some, in one
    // text or several. What is neither loopback nor TLS is refused, and a certificate is always verified, with the name of
    // the host. Where an address and these options both say something, the options count.
    std::vector<std::string> servers;
    std::string user;
    std::string password;
    std::string credentials_file;  // with a JWT and its seed, as nsc writes them
    std::string nkey_file;  // the seed, and the public key in a line of its own, as `nk -gen user -pubout` prints them
    std::string ca_file;    // who signs the servers' certificates; empty: whom the system trusts
    std::string certificate_file;  // our own, where the server asks for one, with its key
    std::string key_file;
    std::string name = "leat";  // told to the server, for its lists of connections
    // What answers are sent to: <inbox>.<random>.…; the user must be allowed to subscribe to it. Empty: the address's, or _INBOX.
    std::string inbox;

    std::chrono::nanoseconds connect_timeout = std::chrono::seconds(2);
    std::chrono::nanoseconds answer_timeout = std::chrono::seconds(5);  // of one try
    std::chrono::nanoseconds patience = std::chrono::seconds(20);       // of all tries of a call
    std::size_t most_in_flight = 8192;                                  // published and not confirmed
    std::size_t most_bytes_in_flight = std::size_t{32} << 20U;

    // The operator's word that the servers write through to the disk (sync_interval: always), which no server tells; only
    // limits().durability says it.
    bool operator_says_synced = false;
};

// Connects, and asks whether JetStream is there. `refused`: the user, a certificate, or an address that is neither loopback nor
// TLS; `unavailable`: nobody answers there. Blocks no worker: a thread of the blocking pool does it, which is waited for also
// when the caller is stopped. The broker is to be closed (broker::close) before it is destroyed, which else blocks.
[[nodiscard]] task<broker_result<std::unique_ptr<broker>>> connect(nats_options options);

}  // namespace leat::cluster
